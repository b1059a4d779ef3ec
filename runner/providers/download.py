"""A batch's results on their way: raw bytes in large pieces, as long as they are seen to be results.

Owns   the reading of one results response: its encoding, its progress, and what shows that it is none or cut.
Knows  HTTP and gzip. Nothing of lines; that what came looks whole proves nothing.

Invariants
  * Nothing is written of a response that is seen to be no results: the first piece is looked at before it is given.
  * Memory does not grow with the results, nor with what a few compressed bytes unfold to.
  * A server has to send 64 KiB within each stall bound; time that the caller spends on writing does not count.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

from runner.providers import failures
from runner.providers.exchange import Reading, Response, media_type_of
from runner.providers.unfolding import Gzip
from runner.types import Failure

PIECE_BYTES = 256 * 1024
_PROGRESS_BYTES = 64 * 1024
_HEADERS = {"accept": "application/binary", "accept-encoding": "gzip"}
"""`accept` as SDK 2.12 `resources/messages/batches.py` sends it; one encoding, so that its end can be checked."""
_PAGES = frozenset({"text/html", "application/xhtml+xml"})


async def download(reading: Reading, path: str, *, stall_s: float) -> AsyncGenerator[bytes | Failure, None]:
    """GET the results and yield their pieces; a Failure is the last."""
    try:
        async with asyncio.timeout(stall_s) as deadline:
            response = await reading.wire.open(path, _HEADERS, stall_s)
            try:
                async with aclosing(_pieces(reading, response, deadline, stall_s)) as pieces:
                    async for piece in pieces:
                        deadline.reschedule(None)
                        yield piece
                        _move(deadline, stall_s)
            finally:
                await response.aclose()
    except (*reading.wire.errors, *reading.wire.credential_errors) as error:
        yield failures.stood_still(stall_s) if deadline.expired() else reading.failure_of(error)


async def _pieces(
    reading: Reading, response: Response, deadline: asyncio.Timeout, stall_s: float
) -> AsyncGenerator[bytes | Failure, None]:
    if not response.is_success:
        yield reading.refusal(response)
        return
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if response.status_code != 200 or encoding not in {"", "identity", "gzip"}:
        what = f"HTTP {response.status_code}, encoded as {encoding or 'nothing'!r}, where results were asked for"
        yield reading.bad_reply(response, what)
        return
    gzip = Gzip() if encoding == "gzip" else None
    page = media_type_of(response) in _PAGES
    buffer, begun, unseen = bytearray(), False, 0
    try:
        async for raw in response.aiter_raw():
            unseen += len(raw)
            if unseen >= _PROGRESS_BYTES:
                unseen = 0
                _move(deadline, stall_s)
            for data in (raw,) if gzip is None else gzip.parts(raw):
                buffer += data
                if len(buffer) < PIECE_BYTES:
                    continue
                if not begun and (page or _looks_like_a_page(buffer)):
                    yield reading.bad_reply(response, "a page where results were asked for", bytes(buffer[:200]))
                    return
                begun = True
                yield bytes(buffer)
                buffer = bytearray()
    except zlib.error as error:
        yield reading.bad_reply(response, f"the compressed results are broken ({error})")
        return
    if not begun and (page or _looks_like_a_page(buffer)):
        yield reading.bad_reply(response, "a page where results were asked for", bytes(buffer[:200]))
        return
    if buffer:
        yield bytes(buffer)
    if gzip is not None and not gzip.whole:
        yield reading.bad_reply(response, "the compressed results are cut off")


def _looks_like_a_page(begin: bytearray) -> bool:
    return begin[:1_000].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _move(deadline: asyncio.Timeout, seconds: float) -> None:
    if not deadline.expired():
        deadline.reschedule(asyncio.get_running_loop().time() + seconds)
