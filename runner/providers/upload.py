"""A batch's body on its way: pulled chunk by chunk, and watched.

Owns   how much of the body has been handed to the transport, when it has to move on, and what its source raised.
Knows  an asyncio deadline, which it moves. Nothing of HTTP.

The transport asks for the next piece when the one before has left. With aiohttp that is: at most one piece and the
64 KiB of asyncio's write buffer (`asyncio.Transport` high-water mark; aiohttp 3.14 `http_writer.py` drains after every
64 KiB) are ahead of the kernel's own buffer, whatever the size of the source's chunks.

Invariants
  * After the source has raised, or has given another number of bytes than it said, nothing more is sent; and the
    body lacks a byte then, so no server can take it for whole.
  * The time that the source takes is not held against the network: it counts for the wall deadline alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

PIECE_BYTES = 256 * 1024
"""What is handed to the transport at once: large enough to be cheap, small enough that one is sent within the stall
bound on any line (2 kB/s with 120 s)."""


class WrongSize(ValueError):
    """The source gave another number of bytes than it said."""


class Upload:
    """An async iterable over a body's pieces, for one pass. `raised` is what the source raised, `whole` whether the
    last byte has been handed over."""

    def __init__(
        self,
        chunks: AsyncIterable[bytes],
        size_bytes: int,
        deadline: asyncio.Timeout,
        *,
        stall_s: float,
        reply_s: float,
    ) -> None:
        self._chunks = chunks
        self._size_bytes = size_bytes
        self._deadline = deadline
        self._wall_at = deadline.when()
        self._stall_s = stall_s
        self._reply_s = reply_s
        self._open = True
        self._pulling: asyncio.Task[object] | None = None
        self.handed_bytes = 0
        self.raised: BaseException | None = None

    @property
    def whole(self) -> bool:
        return self.handed_bytes == self._size_bytes

    async def close(self) -> None:
        """The call is over: its deadline is not moved any more, and the source is not waited for any more, so that it
        can be closed."""
        self._open = False
        task = self._pulling
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait([task])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        source = aiter(self._chunks)
        while (chunk := await self._pull(source)) is not None:
            for start in range(0, len(chunk), PIECE_BYTES):
                piece = chunk[start : start + PIECE_BYTES]
                # A refusal that has come in the meantime is read before the next write can fail.
                await asyncio.sleep(0)
                self.handed_bytes += len(piece)
                self._move(self._stall_s)
                yield piece
                self._move(None)
        self._move(self._reply_s)

    async def _pull(self, source: AsyncIterator[bytes]) -> bytes | None:
        """The next chunk, None after the last. What the source raises is kept, since the transport wraps it."""
        self._pulling = task = asyncio.current_task()
        try:
            chunk = await anext(source, None)
            size_bytes = self.handed_bytes + (len(chunk) if chunk is not None else 0)
            if size_bytes > self._size_bytes or (chunk is None and size_bytes != self._size_bytes):
                raise WrongSize(f"a body of {self._size_bytes:,} bytes that has {size_bytes:,}")
        except BaseException as error:
            # A transport that has its answer stops pulling by cancelling; that is not the source's doing.
            if not (isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()):
                self.raised = error
            raise
        finally:
            self._pulling = None
        return chunk

    def _move(self, seconds: float | None) -> None:
        """Let the deadline pass so many seconds from now, but never later than the whole call's."""
        if not self._open or self._deadline.expired():
            return
        at = self._wall_at
        if seconds is not None:
            soon = asyncio.get_running_loop().time() + seconds
            at = soon if at is None else min(at, soon)
        self._deadline.reschedule(at)
