"""How large an image is and how many pages a PDF has, read from their bytes without a library.

Owns   the few bytes of each format's header that say so.
Knows  what `kinds` found. What cannot be read is None, never a guess: whoever asks decides what that means.

A PDF's pages are counted as the larger of its page objects and the count that its page trees claim, also inside
compressed object streams (most PDFs since version 1.5). A file that was saved again and again may hold pages that are
not shown any more, so the number is an upper bound; None where there is no page to be seen (encrypted, damaged), and
where more is compressed than is looked at.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from itertools import chain

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_COUNT = re.compile(rb"/Count\s+(\d{1,7})(?!\s+\d+\s+R)")
_PAGES = re.compile(rb"/Type\s*/Pages(?![A-Za-z])")
_OBJECT_STREAM = re.compile(rb"/Type\s*/ObjStm(?![A-Za-z])")
_MAX_STREAM = 8 * 2**20
"""Bytes that one object stream may unfold to: a file of 32 MB must not fill the memory."""
_MAX_STREAMS = 4_096


def image_size(data: bytes, media_type: str) -> tuple[int, int] | None:
    """Width and height in pixels, as stored; None where the header does not say."""
    try:
        match media_type:
            case "image/png":
                return struct.unpack(">II", data[16:24]) if data[12:16] == b"IHDR" else None
            case "image/gif":
                return struct.unpack("<HH", data[6:10])
            case "image/jpeg":
                return _jpeg_size(data)
            case "image/webp":
                return _webp_size(data)
    except struct.error:
        return None
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """From the frame header (SOF0 to SOF15, without DHT, JPG and DAC); other segments are stepped over."""
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        if marker in (0xD8, 0x01) or 0xD0 <= marker <= 0xD7:
            place += 2
            continue
        (length,) = struct.unpack(">H", data[place + 2 : place + 4])
        place += 2 + length
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def pdf_pages(data: bytes) -> int | None:
    """An upper bound of the pages of a PDF; None where none is to be seen, or not all of them can be."""
    pages = count = 0
    for part in chain((data,), _object_streams(data)):
        if part is None:
            return None
        pages += len(_PAGE.findall(part))
        if _PAGES.search(part):
            count = max(count, *(int(number) for number in _COUNT.findall(part)), 0)
    return max(pages, count) or None


def is_encrypted(data: bytes) -> bool:
    """Whether a PDF says that it is encrypted, which the API refuses (PDF guide, "no passwords/encryption")."""
    return re.search(rb"/Encrypt\s+\d+\s+\d+\s+R|/Encrypt\s*<<", data) is not None


def _object_streams(data: bytes) -> Iterator[bytes | None]:
    """The content of compressed object streams; None for one that unfolds to more than `_MAX_STREAM`, and for all that
    are too many."""
    for number, match in enumerate(_OBJECT_STREAM.finditer(data)):
        if number >= _MAX_STREAMS:
            yield None
            return
        start = data.find(b"stream", match.end(), match.end() + 1_024)
        if start < 0:
            continue
        start += len(b"stream")
        start += 2 if data[start : start + 2] == b"\r\n" else 1
        try:
            content = zlib.decompressobj().decompress(memoryview(data)[start:], _MAX_STREAM + 1)
        except zlib.error:
            continue
        yield content if len(content) <= _MAX_STREAM else None
