"""Content: bytes that were looked at, fit for an image or a document block, or refused with the reason and the cure.

Owns   `Content` and `Unsendable`, and what can be said of bytes alone: wrong media, an encrypted PDF, an image that is
       too large.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from runner.media.kinds import IMAGES, PDF, TEXT, described, media_type
from runner.media.limits import MAX_IMAGE_BASE64, MAX_IMAGE_EDGE, largest_edge
from runner.media.measures import image_size, is_encrypted

MediaKind = Literal["image", "document"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_TAKEN: Mapping[MediaKind, frozenset[str]] = {"image": IMAGES, "document": frozenset({PDF, TEXT})}
_WANTED: Mapping[MediaKind, str] = {
    "image": "an image block takes PNG, JPEG, GIF and WebP",
    "document": "a document takes PDF and UTF-8 text",
}


class Unsendable(Exception):
    """Content that cannot be sent: what was found, and the cure. It is the fault of one row, or of the job."""

    def __init__(self, message: str, hint: str, *, code: str = "wrong-media") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class Content(Struct, frozen=True):
    """Bytes, without a byte order mark where they are text. `name` is what messages call them."""

    data: bytes
    media_type: str
    name: str

    @classmethod
    def of(cls, data: bytes, name: str, kind: MediaKind) -> Content:
        """Raises Unsendable for what such a block does not take."""
        if not data:
            raise Unsendable(f"{name} is empty", "give it content", code="no-content")
        found = media_type(data)
        if found is None or found not in _TAKEN[kind]:
            raise Unsendable(f"{name} is {described(data)}, and {_WANTED[kind]}", _cure(kind, found))
        if found == PDF and is_encrypted(data):
            raise Unsendable(f"{name} is an encrypted PDF, which the API refuses", "save it without a password")
        if found == TEXT:
            data = data.removeprefix(BYTE_ORDER_MARK)
            if not data.strip():
                raise Unsendable(f"{name} holds nothing but white space", "give it content", code="no-content")
        return cls(data, found, name)


def too_large(content: Content, images: int = 1) -> str | None:
    """Why the API would refuse an image for its size, in a request with so many of them; None where it would not."""
    size = image_size(content.data, content.media_type)
    edge = largest_edge(images)
    if size is not None and max(size) > edge:
        where = f" in a request with {images} images" if edge < MAX_IMAGE_EDGE else ""
        return f"{content.name} has {size[0]:,} by {size[1]:,} pixels, and the API takes {edge:,} an edge{where}"
    base64_length = (len(content.data) + 2) // 3 * 4
    if base64_length > MAX_IMAGE_BASE64:
        return f"{content.name} has {base64_length:,} bytes in base64, and the API takes {MAX_IMAGE_BASE64:,} an image"
    return None


def _cure(kind: MediaKind, found: str | None) -> str:
    if kind == "image" and found == PDF:
        return "send it as a document: `document:` instead of `image:`"
    if kind == "document" and found in IMAGES:
        return "send it as an image: `image:` instead of `document:`"
    if found == TEXT:
        return "send it as text: `document:` or `file:` instead of `image:`"
    return "convert it to one of these" if kind == "image" else "convert it to PDF, or save it as UTF-8"
