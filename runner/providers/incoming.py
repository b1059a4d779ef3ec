"""A response as its bytes come in: what is whole, what is cut, what is no HTTP.

Owns   the framing of a response and its bounds. The grammar is llhttp's, strict, by way of `httptools`.
Knows  bytes. Nothing of sockets, nor of what a body says.

Each response has a parser of its own, so that nothing of one can reach the next. What follows a whole response on the
same connection was not asked for: it is never read as a response, and the connection is not used again.

Bounds: the head, and what else is no body (chunk extensions, trailers), HEAD_BYTES; a body that is read whole,
BODY_BYTES, compressed or not. Both are far beyond the API's own: only a server that has lost its way meets them.

Sources: RFC 9112, 6.3 (where a body ends) and 9.3 (which connections persist); llhttp 9 refuses a Content-Length
beside a Transfer-Encoding, two of either, and bare line feeds.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from runner.providers.headers import Headers, all_folded
from runner.providers.unfolding import Gzip, decoder_of

HEAD_BYTES = 128 * 1024
"""The API's own take 2 kB."""
BODY_BYTES = 256 * 2**20
"""The longest answer there is, 128,000 tokens, takes 1 MB."""

_STREAM_BYTES = 256 * 1024
"""So much of a stream may wait for its reader before the sender has to."""


class BadResponse(ConnectionError):
    """What came is no response of HTTP, or passes a bound. The request may have been answered."""


class Incoming:
    """One response, kept until it is whole. `status`, `headers` and `body` can be read then."""

    _most_bytes: float = BODY_BYTES

    __slots__ = (
        "_besides",
        "_parser",
        "_parts",
        "_persists",
        "_size",
        "_told",
        "_values",
        "begun",
        "on_header",
        "status",
        "surplus",
        "whole",
    )

    def __init__(self) -> None:
        self._told: dict[bytes, bytes] = {}
        """Headers as they came. The parser puts them in itself: of a call of ours for each of twenty a reply would cost
        6 µs."""
        self.on_header: Callable[[bytes, bytes], object] = self._told.setdefault
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        """It holds this by its callbacks: let go of at the end, so that no circle is left to the collector."""
        self._values: dict[str, bytes] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._persists = False
        self._besides = 0
        """Bytes since the last one of the body."""
        self.status = 0
        self.begun = False
        """Its head is whole, and it is no interim response."""
        self.whole = False
        self.surplus = False
        """Something followed it that nobody asked for."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises BadResponse."""
        size, parser = self._size, self._parser
        assert parser is not None, "what comes behind a whole response is not fed"
        try:
            parser.feed_data(data)
        except HttpParserCallbackError:  # a bug in the callbacks below
            raise
        except HttpParserError as error:
            if self.whole:  # what is broken is the surplus
                self.surplus = True
                return
            raise BadResponse(f"no response of HTTP: {error}") from None
        except HttpParserUpgrade:
            raise BadResponse("the server changed to another protocol") from None
        if not self.whole:
            self._besides = self._besides + len(data) if self._size == size else 0
            if self._besides > HEAD_BYTES:
                raise BadResponse(f"more than {HEAD_BYTES:,} bytes of headers")
        if self._size > self._most_bytes:
            raise _too_long()

    def end(self) -> bool:
        """Nothing more will come; returns whether the response is whole thereby: one without a length of its own."""
        if self.begun and not self.whole and self._is_until_the_end():
            self._finish()
        return self.whole

    @property
    def reusable(self) -> bool:
        """Whether its connection may carry a further request."""
        return self._persists and not self.surplus

    @property
    def headers(self) -> Headers:
        return Headers(self._values)

    @property
    def content_type(self) -> bytes:
        return self._values.get("content-type", b"")

    @property
    def request_id(self) -> str | None:
        value = self._values.get("request-id")
        return None if value is None else value.decode("utf-8", "replace")

    @property
    def body(self) -> bytes:
        """Decompressed. Raises BadResponse where it cannot be."""
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        decoder = self._decoder()
        if decoder is None:
            return body
        unfolded, size = [], 0
        try:
            for part in decoder.parts(body):
                size += len(part)
                if size > BODY_BYTES:
                    raise _too_long()
                unfolded.append(part)
        except zlib.error as error:
            raise _broken(error) from None
        _require_whole(decoder)
        return b"".join(unfolded)

    def _decoder(self) -> Gzip | None:
        coding = self._values.get("content-encoding")
        if coding is None:
            return None
        try:
            return decoder_of(coding.decode("latin-1"))
        except ValueError as error:
            raise BadResponse(str(error)) from None

    def _is_until_the_end(self) -> bool:
        coding = self._values.get("transfer-encoding")
        if coding is None:
            return "content-length" not in self._values
        return not coding.lower().rstrip().endswith(b"chunked")

    def _finish(self) -> None:
        self.whole = True
        self._parser = None

    # -- what the parser calls -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.whole:
            self.surplus = True

    def on_headers_complete(self) -> None:
        if self.begun:  # what was told since is a trailer, or of the surplus
            return
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self._told.clear()
        else:
            self.begun = True
            self._values = all_folded(self._told)

    def on_body(self, data: bytes) -> None:
        if self.whole:
            return
        self._size += len(data)
        self._parts.append(data)

    def on_message_complete(self) -> None:
        if self.begun and self._parser is not None:
            self._persists = self._parser.should_keep_alive()  # which it has forgotten afterwards
            self._finish()


class IncomingStream(Incoming):
    """One response, handed on as it comes. `on_begun` is called when its head is there, `hold` with True when its
    reader is behind, with False when it has caught up; `abandon` lets go of the connection."""

    _most_bytes = math.inf

    __slots__ = ("_abandon", "_error", "_hold", "_holds", "_on_begun", "_pieces", "_unread", "_waiting")

    def __init__(self, on_begun: Callable[[], None], hold: Callable[[bool], None], abandon: Callable[[], None]) -> None:
        super().__init__()
        self._abandon = abandon
        self._on_begun = on_begun
        self._hold = hold
        self._holds = False
        self._pieces: deque[bytes] = deque()
        self._unread = 0
        self._waiting: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, decompressed. Raises BadResponse, and what `fail` was told."""
        decoder = self._decoder()
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._unread -= len(piece)
                try:
                    for data in (piece,) if decoder is None else decoder.parts(piece):
                        yield data
                except zlib.error as error:
                    raise _broken(error) from None
            if self._error is not None:
                raise self._error
            if self.whole:
                break
            self._catch_up()
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if decoder is not None:
            _require_whole(decoder)

    async def read(self) -> bytes:
        """All of the body that has not been read. Raises as `chunks` does."""
        pieces, size = [], 0
        async for piece in self.chunks():
            size += len(piece)
            if size > BODY_BYTES:
                raise _too_long()
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Take no more of it. After its end the connection may be carrying something else by now."""
        if not self.whole:
            self._abandon()

    def fail(self, error: BaseException) -> None:
        """The rest will not come."""
        self._error = error
        self._wake()

    def _finish(self) -> None:
        super()._finish()
        self._catch_up()  # the connection is another's from here on
        self._wake()

    def _catch_up(self) -> None:
        if self._holds:
            self._holds = False
            self._hold(False)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.begun and not self.whole:
            self._on_begun()

    def on_body(self, data: bytes) -> None:
        if self.whole:
            return
        self._size += len(data)
        self._unread += len(data)
        self._pieces.append(data)
        self._wake()
        if self._unread > _STREAM_BYTES and not self._holds:
            self._holds = True
            self._hold(True)


def _too_long() -> BadResponse:
    return BadResponse(f"a body of more than {BODY_BYTES:,} bytes")


def _broken(error: zlib.error) -> BadResponse:
    return BadResponse(f"a compressed body that is broken: {error}")


def _require_whole(decoder: Gzip) -> None:
    if not decoder.whole:
        raise BadResponse("a compressed body that is cut off")
