"""Content: bytes, addresses and file ids as blocks of the API, encoded once, with what they cost.

Owns   the shape of `image`, `document` and `search_result` blocks, how they come within the API's limits, and their
       `Weight`: what of a body says nothing of its tokens, and the tokens that stand for it.
Knows  media and the facts of a model. Nothing of rows or templates: `planning.blocks` decides what becomes a block.

A block is encoded as a JSON object without its closing brace, so that a cache mark can follow. It has two forms: `sent`
goes into the body, `seen` into the identity. They differ in the source alone: wherever the content is known, `seen` has
its SHA-256, whether it travels as base64, as text, or under a file id. So one file has one identity, however it is
called and sent.

Content that is to be uploaded once stands in `sent` under a placeholder, and with its bytes in `pending`: whoever sends
the request puts the id in.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any, Literal

import orjson
from msgspec import Struct
from msgspec.structs import replace

from runner.catalog.models import ModelFacts, snapshot_facts
from runner.encoding import encode
from runner.media.content import Content, MediaKind, Unsendable, too_large
from runner.media.kinds import TEXT, described
from runner.media.limits import MAX_MEDIA, MAX_MEDIA_SHORT_CONTEXT, SCALED_IMAGE_BASE64, SHORT_CONTEXT, largest_edge
from runner.media.measures import image_size, pdf_pages
from runner.media.scaling import ScalingFailure, can_scale, scaled
from runner.media.tokens import HIGH, STANDARD, Resolution, image_tokens, page_tokens, page_tokens_at_most
from runner.types import PendingFile

Resize = Literal["fit", "refuse"]

BYTES_OF_A_TOKEN = 3.5
"""What stands for a token where content has to be compared with text by its length (API glossary)."""
BLOCK_FRAMING_TOKENS = 256
"""Added to the bound for each document and search result: what the API puts around it, and the rules of citing, are not
documented. A generous guess."""


class Weight(Struct, frozen=True):
    """What content adds beside its own text.

    `silent_bytes`: bytes of the body that say nothing of tokens. `tokens` stand for them as expected, `bound` at most;
    None where nothing bounds them but the model's context.
    """

    silent_bytes: int = 0
    tokens: int = 0
    bound: int | None = 0
    images: int = 0
    pages: int = 0
    largest_edge: int = 0
    """Of its images, in pixels, as far as known."""

    def __add__(self, other: Weight) -> Weight:
        return Weight(
            self.silent_bytes + other.silent_bytes,
            self.tokens + other.tokens,
            None if self.bound is None or other.bound is None else self.bound + other.bound,
            self.images + other.images,
            self.pages + other.pages,
            max(self.largest_edge, other.largest_edge),
        )


NO_WEIGHT = Weight()


class Encoded(Struct, frozen=True):
    """One block: its JSON object without the closing brace, as it is sent and as it is hashed."""

    sent: bytes
    seen: bytes
    weight: Weight = NO_WEIGHT
    pending: tuple[PendingFile, ...] = ()

    @property
    def length(self) -> int:
        """About its length as text in UTF-8: what prefixes are measured by."""
        return len(self.sent) - self.weight.silent_bytes + round(self.weight.tokens * BYTES_OF_A_TOKEN)


class Sight(Struct, frozen=True):
    """What a model takes in of images and documents; the most there is, where the model is not known."""

    resolution: Resolution = HIGH
    context: int | None = None
    max_media: int = MAX_MEDIA

    @classmethod
    def of(cls, facts: ModelFacts | None) -> Sight:
        if facts is None:
            return cls()
        short = facts.max_input_tokens is not None and facts.max_input_tokens <= SHORT_CONTEXT
        # The models that see in high resolution are those with the newer tokenizer: both came with 4.7.
        resolution = HIGH if facts.wide_tokenizer else STANDARD
        return cls(resolution, facts.max_input_tokens, MAX_MEDIA_SHORT_CONTEXT if short else MAX_MEDIA)

    def of_model(self, model: str) -> Sight:
        """The same for requests that go to another model, which reads as much as that one does. Weights are made once
        for both, so their bounds suppose the finer resolution."""
        facts = snapshot_facts(model)
        return replace(self, context=None if facts is None else facts.max_input_tokens)

    def bound(self, tokens: int | None) -> int | None:
        """No prompt is longer than the context: the API refuses it, and bills nothing."""
        if tokens is None or self.context is None:
            return self.context if tokens is None else tokens
        return min(tokens, self.context)


def media_block(
    kind: MediaKind,
    content: Content,
    further: Mapping[str, Any],
    sight: Sight,
    *,
    images: int,
    resize: Resize | None,
    upload: Callable[[], bytes] | None = None,
) -> Encoded:
    """Encode content into a request that holds so many `images` in all; with `upload`, which gives its bytes once more,
    as a file that is uploaded first. Raises Unsendable."""
    if content.media_type == TEXT and upload is None:
        return text_document(content.data.decode(), further)
    if kind == "image":
        fitted, weight = _fitted(content, sight, images, resize)
        if fitted is not content and upload is not None:
            upload = partial(bytes, fitted.data)
        content = fitted
    else:
        weight = _document_weight(content, further, sight)
    if upload is not None:
        digest = sha256(content.data).digest()
        file = PendingFile(digest, content.media_type, len(content.data), upload)
        return uploaded_block(kind, file, further, weight)
    data = b64encode(content.data)
    source = b'{"type":"base64","media_type":"%b","data":"%b"}' % (content.media_type.encode(), data)
    return _encoded(kind, source, digest_source(content.data), further, weight + Weight(silent_bytes=len(data)))


def text_document(text: str, further: Mapping[str, Any]) -> Encoded:
    """A document of plain text; every token of it is bounded by its bytes. Raises Unsendable."""
    source = b'{"type":"text","media_type":"text/plain","data":%b}' % _json(text)
    return _encoded("document", source, digest_source(text.encode()), further, _framing(further, len(source)))


def url_block(kind: MediaKind, url: str, further: Mapping[str, Any], sight: Sight) -> Encoded:
    """An address that the API fetches."""
    source = b'{"type":"url","url":%b}' % _json(url)
    return _encoded(kind, source, source, further, _unseen(kind, sight))


def file_block(kind: MediaKind, file_id: str, further: Mapping[str, Any], sight: Sight) -> Encoded:
    """A file that the API has, and of which nothing else is known."""
    source = b'{"type":"file","file_id":%b}' % _json(file_id)
    return _encoded(kind, source, source, further, _unseen(kind, sight))


def uploaded_block(kind: MediaKind, file: PendingFile, further: Mapping[str, Any], weight: Weight) -> Encoded:
    """A file that is uploaded before the request is sent; it costs and means what its content does, whose `weight` is
    given."""
    source = b'{"type":"file","file_id":%b}' % _json(file.placeholder)
    block = _encoded(kind, source, b'{"sha256":"%b"}' % file.sha256.hex().encode(), further, weight)
    return replace(block, pending=(file,))


def search_result(source: str, title: str, passages: list[str], *, citations: bool | None) -> Encoded:
    """Raises Unsendable where a text has no UTF-8 form."""
    content = b",".join(b'{"type":"text","text":%b}' % _json(passage) for passage in passages)
    further = {} if citations is None else {"citations": {"enabled": citations}}
    block = b'{"type":"search_result","source":%b,"title":%b,"content":[%b]%b' % (
        _json(source), _json(title), content, _more(further),
    )  # fmt: skip
    return Encoded(block, block, _framing(further, len(content)))


def text_content(text: str) -> Encoded:
    """A block of text. Raises Unsendable where it has no UTF-8 form."""
    block = b'{"type":"text","text":%b' % _json(text)
    return Encoded(block, block)


def digest_source(data: bytes) -> bytes:
    """What stands for a source of known content in the identity."""
    return b'{"sha256":"%b"}' % sha256(data).hexdigest().encode()


def held_weight(block: Mapping[str, Any], sight: Sight) -> Weight:
    """What a block of the API, as a row holds it, adds beside its text. Raises Unsendable for what the API refuses of
    its content; blocks of types that are not known here pass, and nothing is said of their tokens.
    """
    kind = block["type"]
    if kind in ("image", "document"):
        return _held_media(kind, block, sight)
    if kind == "search_result":
        return _framing(block, len(encode(block.get("content"))))
    if kind == "tool_result":
        return _held_list(block.get("content"), sight)
    return NO_WEIGHT if kind in ("text", "tool_use", "thinking", "redacted_thinking") else Weight(bound=None)


def _held_list(blocks: Any, sight: Sight) -> Weight:
    weight = NO_WEIGHT
    for block in blocks if isinstance(blocks, list | tuple) else ():
        if isinstance(block, Mapping) and isinstance(block.get("type"), str):
            weight += held_weight(block, sight)
    return weight


def _held_media(kind: MediaKind, block: Mapping[str, Any], sight: Sight) -> Weight:
    match block.get("source"):
        case {"type": "base64", "media_type": said, "data": str(data)}:
            content = Content.of(_decoded(data), f"the content of this {kind}", kind)
            if content.media_type != said:
                found = f"{content.name} is {described(content.data)}, not {said!r} as it says"
                raise Unsendable(found, f"write `media_type: {content.media_type}`")
            problem = too_large(content) if kind == "image" else None
            if problem is not None:
                raise Unsendable(problem, "make it smaller", code="image-too-large")
            weight = _image_weight(content, sight) if kind == "image" else _pdf_weight(content, sight)
            return weight + Weight(silent_bytes=len(data))
        case {"type": "text", "data": str(text)} if kind == "document":
            return _framing(block, len(text.encode("utf-8", "surrogatepass")))
        case {"type": "url", "url": str()} | {"type": "file", "file_id": str()}:
            return _unseen(kind, sight)
        case {"type": "content", "content": content} if kind == "document":
            return _held_list(content, sight) + _framing(block, 0)
    raise Unsendable(f"this {kind} has no `source` that the API takes", "give it a source of base64, url or file")


def _decoded(data: str) -> bytes:
    try:
        return b64decode(data, validate=True)
    except ValueError as error:
        raise Unsendable("its `data` is not base64", "encode the bytes in base64") from error


# -- limits ------------------------------------------------------------------------------------------------------------


def _fitted(content: Content, sight: Sight, images: int, resize: Resize | None) -> tuple[Content, Weight]:
    """An image within the API's limits, scaled where it has to be and may be."""
    edge, size = largest_edge(images), image_size(content.data, content.media_type)
    problem = too_large(content, images)
    if problem is None:
        return content, _image_weight(content, sight)
    if resize == "refuse":
        raise Unsendable(problem, "make it smaller, or write `resize: fit`", code="image-too-large")
    if not can_scale():
        hint = 'install what scales images: pip install "rowrunner[media]"; or make it smaller'
        raise Unsendable(problem, hint, code="image-too-large")
    # What a model sees of an image that is larger than its native resolution is scaled down by the API anyway.
    edge = min(edge, sight.resolution.edge) if size is None or max(size) > edge else edge
    try:
        data, kind = scaled(content.data, content.media_type, edge=edge, size_bytes=SCALED_IMAGE_BASE64 // 4 * 3)
    except ScalingFailure as failure:
        raise Unsendable(f"{problem}, and {failure}", "make it smaller by hand", code="image-too-large") from failure
    content = Content(data, kind, content.name)
    return content, _image_weight(content, sight)


def _image_weight(content: Content, sight: Sight) -> Weight:
    size = image_size(content.data, content.media_type)
    tokens, bound = image_tokens(size, sight.resolution), image_tokens(size, HIGH)
    return Weight(tokens=tokens, bound=bound, images=1, largest_edge=max(size) if size else 0)


def _pdf_weight(content: Content, sight: Sight) -> Weight:
    pages = pdf_pages(content.data)
    if pages is None:
        return Weight(tokens=page_tokens(sight.resolution), bound=None)
    if pages > sight.max_media:
        raise Unsendable(
            f"{content.name} has {pages:,} pages, and the API takes {sight.max_media:,} a request",
            "split it",
            code="too-many-pages",
        )
    bound = pages * page_tokens_at_most(HIGH) + BLOCK_FRAMING_TOKENS
    return Weight(tokens=pages * page_tokens(sight.resolution), bound=bound, pages=pages)


def _document_weight(content: Content, further: Mapping[str, Any], sight: Sight) -> Weight:
    """Of a PDF; or of a text that is not within the body, and that its bytes bound all the same."""
    if content.media_type == TEXT:
        size = len(content.data)
        return Weight(tokens=round(size / BYTES_OF_A_TOKEN), bound=size) + _framing(further, size)
    return _pdf_weight(content, sight)


def _unseen(kind: MediaKind, sight: Sight) -> Weight:
    """Of content that only the API sees: an image has a largest size there, a document the model's context."""
    if kind == "image":
        return Weight(tokens=sight.resolution.tokens, bound=HIGH.tokens, images=1)
    return Weight(tokens=page_tokens(sight.resolution), bound=None)


def _framing(further: Mapping[str, Any], text_bytes: int) -> Weight:
    """Text with citations is cut into sentences, each with a mark of its own."""
    cited = bool((further.get("citations") or {}).get("enabled"))
    return Weight(bound=BLOCK_FRAMING_TOKENS + (text_bytes // 4 if cited else 0))


# -- bytes -------------------------------------------------------------------------------------------------------------


def _encoded(kind: MediaKind, source: bytes, seen: bytes, further: Mapping[str, Any], weight: Weight) -> Encoded:
    more = _more(further)
    begin = b'{"type":"%b","source":' % kind.encode()
    return Encoded(begin + source + more, begin + seen + more, weight)


def _more(further: Mapping[str, Any]) -> bytes:
    return b"".join(b',"%b":%b' % (name.encode(), _json(value)) for name, value in further.items())


def _json(value: Any) -> bytes:
    """Of texts and small mappings it writes what `encode` does."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise Unsendable(
            "a text holds half of a surrogate pair, which has no UTF-8 form and which the API refuses",
            "look for a \\ud800 to \\udfff escape in the data",
        ) from error
