"""One HTTP exchange: what came, and the ways to answer it or to let it fail.

Owns   the identity headers of a response, the writing of replies to the end (so that delivery is known), and the
       transport tricks of faults: a reset, a hang, a body that stops halfway.
Knows  aiohttp. What to answer is not its business.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable

from aiohttp import web
from msgspec import Struct, field

from runner.simulator.acts import Act
from runner.simulator.faults import Fault
from runner.simulator.platforms import ANTHROPIC, FRAMES, Envelope, Frames, error_body, status_of
from runner.simulator.refusal import Refused

LOGIN_PAGE = b"<!doctype html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"

_LINGER_NOTHING = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing the socket sends RST instead of FIN."""


class Exchange(Struct):
    """`workspace` is the scope of the credential, `headers` go on every response."""

    request: web.BaseRequest
    path: str
    request_id: str
    workspace: str
    version: str
    betas: str
    headers: dict[str, str] = field(default_factory=dict)
    envelope: Envelope = ANTHROPIC
    _frames: Frames = field(default_factory=Frames)

    def unwrap(self, data: bytes) -> bytes:
        """The body as Anthropic's API takes it; what a platform's body says of version and betas is taken out of it.
        Raises Refused."""
        body, version, betas = self.envelope.body(data)
        self.version = version or self.version
        self.betas = betas or self.betas
        return body

    async def write(self, response: web.StreamResponse, events: bytes) -> None:
        """Send events of a stream, in the frames that the client expects."""
        await response.write(self._frames.of(events) if self.envelope.frames else events)

    async def reply(self, body: bytes, *, content_type: str = "application/json", status: int = 200) -> web.Response:
        """Send a whole response; returns once it is written."""
        response = web.Response(body=body, status=status, headers=self.headers, content_type=content_type)
        await response.prepare(self.request)
        await response.write_eof()
        return response

    async def deliver(self, body: bytes, fault: Fault | None) -> web.StreamResponse:
        """Send the reply to what was done, or lose it as the fault says."""
        match fault and fault.act:
            case Act.REPLY_LOST:
                return await self.reset()
            case Act.REPLY_HANGS:
                return await self.hang()
            case Act.TRUNCATED:
                return await self.cut_short(body)
            case Act.WRONG_TYPE:
                return await self.reply(body, content_type="text/plain")
            case Act.REPLY_HTML:
                return await self.reply(LOGIN_PAGE, content_type="text/html")
            case Act.REPLY_GARBAGE:
                return await self.reply(b'{"accepted":true}')
            case Act.REPLY_ERROR if fault is not None and fault.error is not None:
                return await self.refuse(fault.error)
            case Act.SLOW if fault is not None:
                await asyncio.sleep(fault.rule.seconds)
        return await self.reply(body)

    async def refuse(self, refused: Refused) -> web.Response:
        body, more = error_body(refused, self.request_id, self.envelope.shape)
        self.headers.update({**refused.headers, **more})
        return await self.reply(body, status=status_of(refused.status, self.envelope.shape))

    async def open_stream(self) -> web.StreamResponse:
        """Send the head of an event stream."""
        response = web.StreamResponse(headers={**self.headers, "cache-control": "no-cache"})
        response.content_type = FRAMES if self.envelope.frames else "text/event-stream"
        if not self.envelope.frames:
            response.charset = "utf-8"
        await response.prepare(self.request)
        return response

    async def cut_short(self, body: bytes) -> web.StreamResponse:
        """Announce a whole body, send half of it, and drop the connection."""
        response = web.StreamResponse(headers=self.headers)
        response.content_type = "application/json"
        response.content_length = len(body)
        await response.prepare(self.request)
        await response.write(body[: len(body) // 2])
        return await self.close()

    async def close(self) -> web.StreamResponse:
        """Close the connection in the middle of a body: what was written arrives, then nothing."""
        if self.request.transport is not None:
            self.request.transport.close()
        return await self.hang()

    async def reset(self) -> web.StreamResponse:
        """Drop the connection with RST: the client's system discards even what it had received."""
        transport = self.request.transport
        if transport is not None:
            connection = transport.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)
            transport.abort()
        return await self.hang()

    async def hang(self) -> web.StreamResponse:
        """Never answer. Ends when the client has gone: the server cancels the handler of a lost connection."""
        await asyncio.Event().wait()
        raise AssertionError("an event nobody sets was set")


async def fail(exchange: Exchange, fault: Fault) -> web.StreamResponse:
    """Carry out a fault that strikes before a request is accepted. Raises Refused."""
    match fault.act:
        case Act.RESET:
            return await exchange.reset()
        case Act.HANG:
            return await exchange.hang()
        case Act.HTML:
            return await exchange.reply(LOGIN_PAGE, content_type="text/html")
        case _:
            assert fault.error is not None
            raise fault.error


async def write_spread(
    exchange: Exchange, response: web.StreamResponse, pieces: Iterable[bytes], seconds: float
) -> None:
    """Write pieces over about `seconds`, in few writes; at once where there is no time to spend."""
    waiting = list(pieces)
    if seconds <= 0:
        await exchange.write(response, b"".join(waiting))
        return
    writes = min(8, len(waiting))
    size = -(-len(waiting) // writes)
    for start in range(0, len(waiting), size):
        await asyncio.sleep(seconds / writes)
        await exchange.write(response, b"".join(waiting[start : start + size]))
