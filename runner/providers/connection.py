"""One connection to the API: a request goes out in one write, a response comes back.

Owns   one socket's transport, the request that is on its way over it, and what becomes of both when it ends.
Knows  asyncio's transports and `Incoming`. Nothing of addresses, headers or messages.

Invariants
  * At most one request is on its way. Nothing is sent twice: whether it may be is for others to say.
  * A connection is given back (`on_free`) only after a response that was whole and left it as it should be, with every
    byte of the request gone. Whatever else happens closes it.
  * What comes while nothing was asked closes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from runner.providers.incoming import BadResponse, Incoming, IncomingStream

JOINED_BYTES = 64 * 1024
"""Up to this size a request leaves in one write, the transport's to keep until the kernel takes it."""
PIECE_BYTES = 256 * 1024
"""So much of a larger one is handed over at once: what TLS makes of it is a copy, and the loop has others to serve."""


class ConnectionEnded(ConnectionError):
    """The connection ended before the response was whole. The request may have been answered."""


class Connection(asyncio.Protocol):
    """Made by the pool. `idle_since` is the loop's time when it was given back."""

    __slots__ = ("_incoming", "_loop", "_on_free", "_rest", "_transport", "_waiter", "_waits", "closed", "idle_since")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_free: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._on_free = on_free
        self._transport: asyncio.Transport | None = None
        self._incoming: Incoming | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._rest: memoryview | None = None
        """Of a large request, what has not been handed to the transport."""
        self._waits = False
        """The transport has enough for now."""
        self.closed = False
        self.idle_since = 0.0

    # -- asking ----------------------------------------------------------------------------------------------------

    async def ask(self, head: bytes, body: bytes) -> Incoming:
        """Send a request and return its whole response. Raises OSError; the connection is closed then."""
        incoming = Incoming()
        waiter = self._send(incoming, head, body)
        try:
            await waiter
        except BaseException:
            self._leave(incoming)
            raise
        return incoming

    async def open(self, head: bytes, body: bytes) -> IncomingStream:
        """Send a request and return its response once its head is there; close it."""
        incoming = IncomingStream(self._begun, self._hold, self.abandon)
        waiter = self._send(incoming, head, body)
        try:
            await waiter
        except BaseException:
            self._leave(incoming)
            raise
        return incoming

    def _send(self, incoming: Incoming, head: bytes, body: bytes) -> asyncio.Future[None]:
        transport = self._transport
        assert transport is not None
        assert self._incoming is None
        self._incoming = incoming
        self._waiter = waiter = self._loop.create_future()
        if len(body) <= JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            self._rest = memoryview(body)
            self._go_on()
        return waiter

    def _go_on(self) -> None:
        while self._rest is not None and not self._waits and not self.closed:
            assert self._transport is not None
            piece, rest = self._rest[:PIECE_BYTES], self._rest[PIECE_BYTES:]
            self._rest = rest if rest.nbytes else None
            self._transport.write(piece)

    def _leave(self, incoming: Incoming) -> None:
        """Nobody waits for this response any more. Where it has come, the connection may be another's by now."""
        if self._incoming is incoming:
            self.abandon()

    def abandon(self) -> None:
        """Close at once; whatever is on its way is let go of."""
        self._incoming = self._waiter = None
        self._close()

    def _close(self) -> None:
        self.closed = True
        self._rest = None
        if self._transport is not None:
            self._transport.abort()

    # -- what the transport calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def pause_writing(self) -> None:
        self._waits = True

    def resume_writing(self) -> None:
        self._waits = False
        self._go_on()

    def data_received(self, data: bytes) -> None:
        incoming = self._incoming
        if incoming is None:
            self._close()
            return
        try:
            incoming.feed(data)
        except BadResponse as error:
            self._fail(error)
            return
        if incoming.whole:
            self._end(incoming)

    def eof_received(self) -> bool:
        incoming = self._incoming
        if incoming is not None and incoming.end():
            self._end(incoming)
        else:
            self._lost(None)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._lost(error)

    # -- the end of a response -------------------------------------------------------------------------------------

    def _end(self, incoming: Incoming) -> None:
        waiter = self._waiter
        self._incoming = self._waiter = None
        transport = self._transport
        assert transport is not None
        # A response that was faster than its request: the rest of it is still to leave, and means nothing any more.
        has_left = self._rest is None and not transport.get_write_buffer_size()
        if incoming.reusable and has_left and not self.closed:
            self.idle_since = self._loop.time()
            self._on_free(self)
        else:
            self._close()
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _lost(self, error: Exception | None) -> None:
        if self._incoming is None:
            self._close()
            return
        ended = ConnectionEnded("the connection ended before the response did")
        ended.__cause__ = error
        self._fail(ended)

    def _fail(self, error: ConnectionError) -> None:
        incoming, waiter = self._incoming, self._waiter
        self._incoming = self._waiter = None
        self._close()
        if waiter is not None:
            if not waiter.done():
                waiter.set_exception(error)
        elif isinstance(incoming, IncomingStream):
            incoming.fail(error)

    # -- of a stream -----------------------------------------------------------------------------------------------

    def _begun(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _hold(self, holds: bool) -> None:
        if self._transport is None or self.closed:
            return
        if holds:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
