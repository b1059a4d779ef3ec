"""The media type of bytes, from the bytes alone: names lie, and rows may hold bytes without a name.

Owns   the magic numbers of what the API takes, and of what people most often send by mistake, so that a message can
       say what it is.
Source: the formats' own specifications (PNG 3, GIF89a, JFIF, WebP container, ISO 32000 PDF, APPNOTE for ZIP);
        API: vision guide ("JPEG, PNG, GIF, WebP") and PDF guide.
"""

from __future__ import annotations

from collections.abc import Mapping

IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
PDF = "application/pdf"
TEXT = "text/plain"

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_PDF_WITHIN = 1_024
"""Readers look for `%PDF-` in the first kilobyte (ISO 32000, annex on implementation notes): some files have a few
bytes before it."""
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive, as Word, Excel and PowerPoint files are"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Word, Excel or PowerPoint file"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"BM", "a BMP image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
)
_HEIF = frozenset({b"heic", b"heix", b"mif1", b"msf1", b"hevc", b"avif"})

_NOUNS: Mapping[str, str] = {
    "image/png": "a PNG image",
    "image/jpeg": "a JPEG image",
    "image/gif": "a GIF image",
    "image/webp": "a WebP image",
    PDF: "a PDF",
    TEXT: "text",
}


def media_type(data: bytes) -> str | None:
    """One of `IMAGES`, `PDF` or `TEXT` (UTF-8 without a NUL, which no text has); None for anything else."""
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if b"%PDF-" in data[:_PDF_WITHIN]:
        return PDF
    return TEXT if _is_text(data) else None


def described(data: bytes) -> str:
    """What bytes are, for a message: `a PNG image`, `a TIFF image`, `neither text nor anything known`."""
    kind = media_type(data)
    if kind is not None:
        return _NOUNS[kind] if data else "empty"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF:
        return "a HEIC or AVIF image"
    for magic, noun in _FOREIGN:
        if data.startswith(magic):
            return noun
    return "neither UTF-8 text nor anything that the API takes"


def _is_text(data: bytes) -> bool:
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
