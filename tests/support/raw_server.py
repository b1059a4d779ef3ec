"""A server of raw bytes on loopback: a test says, byte for byte, how each connection is answered.

It is for what no well-behaved server does: half bodies, resets, silence, pages of HTML where JSON was asked for.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request as it came, and the way back."""

    line: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


@dataclass
class RawServer:
    address: str
    requests: list[Exchange] = field(default_factory=list)


@asynccontextmanager
async def serve(
    answer: Answer, *, read_body: bool = True, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Answer one request a connection with `answer`, then close it; without `read_body` the answer is given the head
    alone, and reads what it wants of the rest. With `tls` the server is `localhost`."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in head[1:] if line)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")) if read_body else 0)
            exchange = Exchange(head[0], headers, body, reader, writer)
            running.requests.append(exchange)
            await answer(exchange)
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass  # the client went away, or the test is over
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    running = RawServer(f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}")
    try:
        yield running
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def reply(
    body: bytes,
    *,
    status: str = "200 OK",
    content_type: str | None = "application/json",
    length: int | None = -1,
    **headers: str,
) -> Answer:
    """A whole answer. `length` -1 tells the true length, None tells none; header names are written with underscores."""

    async def answer(exchange: Exchange) -> None:
        lines = [f"HTTP/1.1 {status}", "connection: close"]
        if content_type is not None:
            lines.append(f"content-type: {content_type}")
        if length is not None:
            lines.append(f"content-length: {len(body) if length == -1 else length}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await exchange.send("\r\n".join([*lines, "", ""]).encode() + body)

    return answer
