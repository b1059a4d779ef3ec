"""Compressed bodies, unfolded in bounded parts.

Owns   the content codings that are understood: gzip and deflate. None is asked for where a body is short; some gateways
       compress nevertheless.
Knows  bytes and zlib.

Invariant: a few bytes never unfold to more than PART_BYTES at a time, so that who counts the parts can stop.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PART_BYTES = 256 * 1024

_GZIP = 31
_ZLIB = 15
_RAW = -15
"""What `deflate` is with some servers: zlib's data without its frame."""


class Gzip:
    """Members of gzip, one after the other. `whole`: the last one has ended and been checked."""

    _wbits = _GZIP

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=self._wbits)
        self._begun = False

    @property
    def whole(self) -> bool:
        return not self._begun

    def parts(self, data: bytes) -> Iterator[bytes]:
        """What these bytes unfold to, at most PART_BYTES at a time. Raises zlib.error."""
        while data:
            self._begun = True
            yield self._member.decompress(data, PART_BYTES)
            if self._member.eof:
                data = self._member.unused_data
                self._member, self._begun = zlib.decompressobj(wbits=self._wbits), False
            else:
                data = self._member.unconsumed_tail


class Deflate(Gzip):
    """The same of `deflate`, with zlib's frame or without."""

    _wbits = _ZLIB

    def parts(self, data: bytes) -> Iterator[bytes]:
        if data and not self._begun and data[0] & 0x0F != zlib.DEFLATED:
            self._member = zlib.decompressobj(wbits=_RAW)
        return super().parts(data)


def decoder_of(coding: str) -> Gzip | None:
    """What undoes a content coding, None where nothing is to be undone. Raises ValueError for one that is not known."""
    name = coding.strip().lower()
    if name in {"", "identity"}:
        return None
    if name in {"gzip", "x-gzip"}:
        return Gzip()
    if name == "deflate":
        return Deflate()
    raise ValueError(f"a body in the coding {name[:40]!r}, which was not asked for")
