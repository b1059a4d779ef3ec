"""Images and documents, as the API looks at them: what it refuses of their bytes, and what they cost.

Owns   the rules on content that go beyond a block's shape: bytes that are what they are said to be, sizes, how many of
       them, citations on all or none; and the token formulas.
Knows  blocks that have the right shape, and a model's card. What bytes are is read by `runner.media`; the limits are
       kept here a second time, as the API has them.

Source: the vision guide ("General limits", "Evaluate image size"), the PDF guide, the citations guide, and the SDK's
`image_dimensions_too_large_error_details.py` (2.12.0). Wording is that of replies quoted in public issues where there
are any.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any

from runner.media.kinds import PDF, described, media_type
from runner.media.measures import image_size, is_encrypted, pdf_pages
from runner.simulator.models import Card
from runner.simulator.refusal import Refused

_IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_MAX_EDGE, _MAX_EDGE_OF_MANY, _MANY = 8_000, 2_000, 20
_MAX_IMAGE_BASE64 = 10 * 2**20
_MAX_MEDIA, _MAX_MEDIA_SHORT = 600, 100
_SHORT_CONTEXT = 200_000

_PATCH = 28
_STANDARD = (1_568, 1_568)
_HIGH = (2_576, 4_784)
"""The longer edge and the tokens of the largest image that a model sees as it is; high from 4.7 on."""
_PAGE = (1_275, 1_650)
_PAGE_TEXT_TOKENS = 2_250
"""A page is drawn as an image, and has 1,500 to 3,000 tokens of text (PDF guide); the middle is taken."""

_Place = tuple[str, Mapping[str, Any]]


def check_media(body: Mapping[str, Any], card: Card) -> None:
    """Refuse a body whose content the API would not take. Its blocks have the right shape."""
    blocks = list(_blocks(body["messages"]))
    images: list[tuple[str, tuple[int, int] | None]] = []
    pages = 0
    for path, block in blocks:
        if block["type"] == "image":
            images.append((path, _check_image(block["source"], f"{path}.image.source")))
        elif block["type"] == "document":
            pages += _check_document(block["source"], f"{path}.document.source")
        elif block["type"] == "search_result":
            _check_search_result(block, f"{path}.search_result")
    most = _MAX_MEDIA_SHORT if card.max_input_tokens <= _SHORT_CONTEXT else _MAX_MEDIA
    if len(images) > most:
        raise Refused(f"messages: too many images: {len(images)} > {most}")
    if pages > most:
        raise Refused(f"messages: A maximum of {most} PDF pages may be provided.")
    _check_edges(images)
    _check_citations([block for _, block in blocks if block["type"] in ("document", "search_result")])


def _blocks(messages: Sequence[Mapping[str, Any]]) -> Iterator[_Place]:
    for number, message in enumerate(messages):
        if isinstance(message["content"], list):
            yield from _nested(message["content"], f"messages.{number}.content")


def _nested(blocks: Sequence[Any], path: str) -> Iterator[_Place]:
    for number, block in enumerate(blocks):
        if not isinstance(block, dict) or "type" not in block:
            continue
        here = f"{path}.{number}"
        yield here, block
        inner = block.get("content")
        if block["type"] == "tool_result" and isinstance(inner, list):
            yield from _nested(inner, f"{here}.content")


def _check_image(source: Mapping[str, Any], path: str) -> tuple[int, int] | None:
    """The image's pixels, where its bytes are here."""
    if source["type"] != "base64":
        _check_elsewhere(source, path)
        return None
    said = source["media_type"]
    if said not in _IMAGE_TYPES:
        expected = ", ".join(repr(kind) for kind in _IMAGE_TYPES)
        raise Refused(f"{path}.base64.media_type: Input should be {expected}")
    data = _decoded(source["data"], f"{path}.base64.data")
    if len(source["data"]) > _MAX_IMAGE_BASE64:
        sizes = f"{len(source['data'])} bytes > {_MAX_IMAGE_BASE64} bytes"
        raise Refused(f"{path}.base64: image exceeds 10 MB maximum: {sizes}")
    found = media_type(data)
    if found in _IMAGE_TYPES and found != said:
        raise Refused(
            f"{path}.base64: The image was specified using the {said} media type, but the image appears to be a "
            f"{found} image"
        )
    size = image_size(data, said) if found == said else None
    if size is None:
        raise Refused(f"{path}.base64.data: Could not process image")
    return size


def _check_edges(images: Sequence[tuple[str, tuple[int, int] | None]]) -> None:
    most = _MAX_EDGE_OF_MANY if len(images) > _MANY else _MAX_EDGE
    paths = [path for path, size in images if size is not None and max(size) > most]
    if paths:
        many = " for many-image requests" if most == _MAX_EDGE_OF_MANY else ""
        raise Refused(
            f"{paths[0]}.image.source.base64.data: At least one of the image dimensions exceed max allowed size{many}: "
            f"{most} pixels",
            error_code="image_dimensions_too_large",
            details={"max_side_length_pixels": most, "paths": paths},
        )


def _check_document(source: Mapping[str, Any], path: str) -> int:
    """How many pages it has, as far as they count."""
    if source["type"] == "text":
        if source["media_type"] != "text/plain":
            raise Refused(f"{path}.text.media_type: Input should be 'text/plain'")
        if not isinstance(source["data"], str) or not source["data"].strip():
            raise Refused(f"{path}.text.data: text documents must be non-empty")
        return 0
    if source["type"] == "content":
        return 0
    if source["type"] != "base64":
        _check_elsewhere(source, path)
        return 0
    if source["media_type"] != PDF:
        raise Refused(f"{path}.base64.media_type: Input should be 'application/pdf'")
    data = _decoded(source["data"], f"{path}.base64.data")
    if media_type(data) != PDF:
        raise Refused(f"{path}.base64.data: The PDF specified was not valid: it is {described(data)}")
    if is_encrypted(data):
        raise Refused(f"{path}.base64.data: The PDF specified is password protected.")
    return pdf_pages(data) or 1


def _check_search_result(block: Mapping[str, Any], path: str) -> None:
    for name in ("source", "title"):
        if not isinstance(block[name], str) or not block[name]:
            raise Refused(f"{path}.{name}: Input should be a valid string")
    content = block["content"]
    texts = isinstance(content, list) and all(isinstance(b, dict) and b.get("type") == "text" for b in content)
    if not texts or not content:
        raise Refused(f"{path}.content: at least one text block is required")
    if any(not isinstance(each.get("text"), str) or not each["text"].strip() for each in content):
        raise Refused(f"{path}.content: text content blocks must be non-empty")


def _check_elsewhere(source: Mapping[str, Any], path: str) -> None:
    if source["type"] == "url" and not str(source["url"]).startswith("https://"):
        raise Refused(f"{path}.url.url: Only HTTPS URLs are supported.")
    if source["type"] == "file" and not isinstance(source["file_id"], str):
        raise Refused(f"{path}.file.file_id: Input should be a valid string")


def _check_citations(blocks: Sequence[Mapping[str, Any]]) -> None:
    on = {bool((block.get("citations") or {}).get("enabled")) for block in blocks}
    if len(on) > 1:
        raise Refused("citations must be enabled on all or none of the documents and search results")


def _decoded(data: Any, path: str) -> bytes:
    try:
        return b64decode(data, validate=True)
    except (TypeError, ValueError):
        raise Refused(f"{path}: invalid base64 data") from None


# -- tokens --------------------------------------------------------------------------------------------------------


MEASURED = frozenset({*_IMAGE_TYPES, PDF})


def measured(kind: str, data: bytes) -> dict[str, int]:
    """What decides the cost of such content: a PDF's pages, an image's edges; 0 of anything else."""
    width, height = (image_size(data, kind) or (0, 0)) if kind in _IMAGE_TYPES else (0, 0)
    return {"pages": (pdf_pages(data) or 1) if kind == PDF else 0, "width": width, "height": height}


def image_tokens(source: Mapping[str, Any], card: Card) -> int:
    """Tokens of an image, from its edges; one that is not here is taken to be of the largest size."""
    size = (source.get("width", 0), source.get("height", 0))
    return _tokens_of(size if all(size) else None, card)


def page_tokens(card: Card) -> int:
    """Tokens of a page of a PDF. One that is not here is taken to have a page."""
    return _tokens_of(_PAGE, card) + _PAGE_TEXT_TOKENS


def _tokens_of(size: tuple[int, int] | None, card: Card) -> int:
    edge, most = _HIGH if card.dense_tokenizer else _STANDARD
    if size is None:
        return most
    scale = min(1.0, edge / max(*size, 1))
    return max(1, min(most, ceil(size[0] * scale / _PATCH) * ceil(size[1] * scale / _PATCH)))
