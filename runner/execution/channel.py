"""A channel between a run and one of its workers: messages in groups over a socket, one frame a group.

Owns   the frames (8 bytes of length, then a pickled list) and the gathering: what is sent within `LINGER_S`, up to
       `GROUP` messages or `GROUP_BYTES`, leaves as one; an urgent message takes along what has gathered by the end of
       the loop's turn.
Knows  nothing of what the messages mean. They are tuples of plain values, which pickle takes at once; it has to ask
       each struct what it is made of.

Pickle is safe here because both ends are this program, over a socket pair that nobody else can name: nothing that came
from a dataset or from the API is ever unpickled but as the text or the bytes that it is.

Memory: what waits to leave is bounded by what the other end may have under way, which is the sender's to see to.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

Message: TypeAlias = tuple[Any, ...]
"""Its kind, a text, and its values."""

LINGER_S = 0.002
"""As long as the writer waits for outcomes to share a sync."""
GROUP = 256
GROUP_BYTES = 2**20
_LENGTH = struct.Struct("<Q")
_PROTOCOL = 5
"""Of pickle: the newest that every Python has which runner supports."""


class Channel(asyncio.Protocol):
    """One end. `take` gets each group that comes, in order; `lost` is called once, when the other end is gone or has
    closed. Both are called on the loop."""

    def __init__(self, take: Callable[[Sequence[Message]], None], lost: Callable[[], None]) -> None:
        self._take = take
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._waiting: list[Message] = []
        self._waiting_bytes = 0
        self._timer: asyncio.Handle | None = None
        self._leaves_now = False
        self._arrived = bytearray()

    async def open(self, end: socket.socket) -> None:
        """Take over one end of a socket pair, on the running loop."""
        self._loop = asyncio.get_running_loop()
        await self._loop.create_unix_connection(lambda: self, sock=end)

    def send(self, *message: Any, urgent: bool = False, size_bytes: int = 0) -> None:
        """Send a message; `size_bytes` is that of its large parts. To an end that is gone nothing is sent."""
        self._waiting.append(message)
        self._waiting_bytes += size_bytes
        if len(self._waiting) >= GROUP or self._waiting_bytes >= GROUP_BYTES:
            self.flush()
        elif urgent:
            if not self._leaves_now:
                self._cancel_timer()
                self._leaves_now = True
                self._timer = self._loop.call_soon(self.flush)
        elif self._timer is None:
            self._timer = self._loop.call_later(LINGER_S, self.flush)

    def flush(self) -> None:
        """Let go what has gathered."""
        self._cancel_timer()
        messages, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if messages and self._transport is not None and not self._transport.is_closing():
            frame = pickle.dumps(messages, _PROTOCOL)
            self._transport.writelines([_LENGTH.pack(len(frame)), frame])

    def close(self) -> None:
        """Send what has gathered, and close this end; `lost` is called when that is done."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._leaves_now = False

    # -- the protocol, called by the loop --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio's

    def data_received(self, data: bytes) -> None:
        arrived = self._arrived
        arrived += data
        while len(arrived) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(arrived)[0]
            if len(arrived) < end:
                return
            with memoryview(arrived) as view:
                messages = pickle.loads(view[_LENGTH.size : end])  # noqa: S301 - see the top of this module
            del arrived[:end]
            self._take(messages)

    def connection_lost(self, _error: Exception | None) -> None:
        self._cancel_timer()
        self._transport = None
        self._lost()
