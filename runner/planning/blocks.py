"""Blocks: what a job says of one block, made into the blocks of one request: none, one, or several.

Owns   `if`, `each`, `optional`, values that pass whole, lists that make a block of each item, and what is told of a
       value that makes no block.
Knows  templates, expressions, and content; files only through the reader that it is given.

A block that says none of this, and whose text is a template, takes the short way in `planning.requests` instead.

Order of things: `each` gives the items; for each, `if` decides; then the value is made. A value that is exactly one
`{{ expression }}` passes as it is: bytes stay bytes, a list makes a block of each. All of a block's texts see `item`.
What `optional` leaves out: null, an empty text, a list of nothing, a file that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from runner.media.content import Content, MediaKind, Unsendable
from runner.planning.content import (
    Encoded,
    Resize,
    Sight,
    Weight,
    file_block,
    media_block,
    search_result,
    text_content,
    text_document,
    uploaded_block,
    url_block,
)
from runner.spec.origins import Unreadable, Unseen, origin_of
from runner.templating import Expression, Printed
from runner.types import PendingFile

Context = Mapping[str, Any]
Stamp = Callable[[str], Hashable]
"""Gives what changes with the content of a file, by its path; None where it cannot be told."""
Read = Callable[[str], bytes]
"""Gives the content of a file by its path. Raises Unreadable, or Unseen where it may not look."""


class Rendered(Protocol):
    """A template as far as blocks need it."""

    def render(self, context: Mapping[str, Any], printed: Printed | None = None) -> str: ...


class Uploadable(NamedTuple):
    """A document that is uploaded, and its weight."""

    file: PendingFile
    weight: Weight


class Uploading:
    """How the files of a block are uploaded: those that rows name by a path are read, hashed and looked through once,
    however many rows name them, as long as `stamp` says that they are unchanged (None: it cannot say)."""

    def __init__(self, stamp: Stamp) -> None:
        self.stamp = stamp
        self._known: dict[tuple[str, Hashable], Uploadable] = {}

    def known(self, source: str, stamp: Hashable) -> Uploadable | None:
        return self._known.get((source, stamp))

    def note(self, source: str, stamp: Hashable, found: Uploadable) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[source, stamp] = found


_MOST_KNOWN = 4_096
"""Documents of which something is remembered: less than a kilobyte each."""


class EmptyText(Exception):
    """A text block without text, which the API refuses."""


class Value(Struct, frozen=True):
    """What a key of a block holds: a text, a template that gives one, or an expression that gives a value."""

    text: str | None = None
    template: Rendered | None = None
    whole: Expression | None = None

    def get(self, context: Context, printed: Printed | None) -> Any:
        """Raises TemplateFailure."""
        if self.whole is not None:
            return self.whole.evaluate(context)
        return self.text if self.template is None else self.template.render(context, printed)

    def printed(self, context: Context, printed: Printed | None) -> str:
        """The value as text. Raises TemplateFailure."""
        return (self.text or "") if self.template is None else self.template.render(context, printed)


class Draft(Struct, frozen=True):
    """One block that will be made, once it is known how many images its request holds."""

    encode: Callable[[int], Encoded]
    """For so many images in all. Raises Unsendable."""
    size_bytes: int = 0
    """Of content that waits to be encoded."""
    images: int = 0


Shape = Callable[[Context, Printed | None], Iterator[Draft]]
"""Makes the blocks of one item. Raises TemplateFailure, Unsendable, Unreadable, EmptyText."""


@dataclass(frozen=True, slots=True)
class BlockMaker:
    """A block of a job; `name` is what messages call it."""

    name: str
    shape: Shape = field(repr=False)
    condition: Expression | None = None
    each: Expression | None = None
    reads_files: bool = False
    """Whether a row may name files of which it is made."""

    def drafts(self, context: Context, printed: Printed | None = None) -> Iterator[Draft]:
        """Raises TemplateFailure, Unsendable, Unreadable, EmptyText."""
        if self.each is None:
            if self._wanted(context):
                yield from self.shape(context, printed)
            return
        for item in self._items(self.each, context):
            seen = {**context, "item": item}
            if self._wanted(seen):
                yield from self.shape(seen, printed)

    def _items(self, each: Expression, context: Context) -> Sequence[Any]:
        items = each.evaluate(context)
        if items is None:
            return ()
        if not isinstance(items, Sequence) or isinstance(items, str | bytes):
            hint = "give a list; a JSON text in a column is not one"
            raise Unsendable(f"`each` of {self.name} gives {_noun(items)}, not a list", hint, code="not-a-list")
        return items

    def _wanted(self, context: Context) -> bool:
        if self.condition is None:
            return True
        value = self.condition.evaluate(context)
        if not isinstance(value, bool):
            hint = "compare it, such as `row.photo is not none` or `row.stars | int < 3`"
            raise Unsendable(
                f"`if` of {self.name} gives {_noun(value)}, not true or false", hint, code="not-true-or-false"
            )
        return value


# -- the shapes ----------------------------------------------------------------------------------------------------


def text_shape(value: Value, *, optional: bool) -> Shape:
    def shape(context: Context, printed: Printed | None) -> Iterator[Draft]:
        text = value.printed(context, printed)
        if text and not text.isspace():
            yield Draft(lambda _: text_content(text), len(text))
        elif not optional:
            raise EmptyText

    return shape


def document_text_shape(value: Value, further: Further, *, optional: bool) -> Shape:
    def shape(context: Context, printed: Printed | None) -> Iterator[Draft]:
        text = value.printed(context, printed)
        if text and not text.isspace():
            more = further(context, printed)
            yield Draft(lambda _: text_document(text, more), len(text))
        elif not optional:
            raise EmptyText

    return shape


Further = Callable[[Context, Printed | None], Mapping[str, Any]]
"""What a block says beside its source: title, context, citations. Raises TemplateFailure."""


def further_of(title: Value | None, about: Value | None, citations: bool | None) -> Further:
    """An empty title or context is left out."""

    def further(context: Context, printed: Printed | None) -> Mapping[str, Any]:
        said: dict[str, Any] = {}
        for name, value in (("title", title), ("context", about)):
            text = "" if value is None else value.printed(context, printed).strip()
            if text:
                said[name] = text
        if citations is not None:
            said["citations"] = {"enabled": citations}
        return said

    return further


def media_shape(
    kind: MediaKind,
    value: Value,
    further: Further,
    *,
    name: str,
    sight: Sight,
    read: Read,
    optional: bool,
    resize: Resize | None,
    upload: Uploading | None = None,
) -> Shape:
    def shape(context: Context, printed: Printed | None) -> Iterator[Draft]:
        found = value.get(context, printed)
        for source in found if isinstance(found, list | tuple) else (found,):
            draft = media_draft(
                kind,
                source,
                further(context, printed),
                name=name,
                sight=sight,
                read=read,
                optional=optional,
                resize=resize,
                upload=upload,
            )
            if draft is not None:
                yield draft

    return shape


def media_draft(
    kind: MediaKind,
    source: Any,
    further: Mapping[str, Any],
    *,
    name: str,
    sight: Sight,
    read: Read,
    optional: bool,
    resize: Resize | None,
    upload: Uploading | None = None,
) -> Draft | None:
    """A block of one source: bytes, or a text that says where they are; None where there is nothing and that is fine.
    With `upload` bytes are uploaded first; an address or a file id is sent as it is.

    Raises Unsendable, Unreadable.
    """
    stamp: Hashable = None
    if isinstance(source, bytes | bytearray | memoryview):
        data, called = bytes(source), f"the content of {name}"
        if not data and optional:
            return None
    elif isinstance(source, str) and source.strip():
        source = source.strip()
        origin = origin_of(source)
        images = 1 if kind == "image" else 0
        if origin == "url":
            return Draft(lambda _: url_block(kind, source, further, sight), images=images)
        if origin == "file-id":
            return Draft(lambda _: file_block(kind, source, further, sight), images=images)
        if upload is not None and kind == "document" and (stamp := upload.stamp(source)) is not None:
            known = upload.known(source, stamp)
            if known is not None:
                return Draft(lambda _: uploaded_block(kind, known.file, further, known.weight), known.file.size_bytes)
        try:
            data, called = read(source), repr(source)
        except Unseen:  # what is known of it is what is known of an address
            return Draft(lambda _: url_block(kind, source, further, sight), images=images)
        except Unreadable as failure:
            if failure.missing and optional:
                return None
            raise
    elif source is None or isinstance(source, str):
        if optional:
            return None
        nothing = "null" if source is None else "an empty text"
        hint = "give it a value, or write `optional: true` to do without the block"
        raise Unsendable(f"the source of {name} is {nothing}", hint, code="no-content")
    else:
        hint = "give a path, an `https://` address, a file id, bytes, or a list of them"
        raise Unsendable(f"the source of {name} is {_noun(source)}", hint, code="bad-source")
    content = Content.of(data, called, kind)

    def encode(images: int) -> Encoded:
        if upload is None:
            return media_block(kind, content, further, sight, images=images, resize=resize)
        again = partial(bytes, content.data) if stamp is None else partial(_read_again, read, source, called, kind)
        block = media_block(kind, content, further, sight, images=images, resize=resize, upload=again)
        if stamp is not None:
            upload.note(source, stamp, Uploadable(block.pending[0], block.weight))
        return block

    return Draft(encode, len(data), 1 if kind == "image" else 0)


def _read_again(read: Read, source: str, called: str, kind: MediaKind) -> bytes:
    """The bytes of a file that was looked at before. Raises ValueError."""
    try:
        return Content.of(read(source), called, kind).data
    except (Unreadable, Unsendable) as failure:
        raise ValueError(f"{failure.message} ({failure.hint})") from failure


def search_result_shape(
    source: Value, title: Value, passages: Sequence[Value], *, name: str, citations: bool | None, optional: bool
) -> Shape:
    def shape(context: Context, printed: Printed | None) -> Iterator[Draft]:
        texts: list[str] = []
        for passage in passages:
            found = passage.get(context, printed)
            for text in found if isinstance(found, list | tuple) else (found,):
                if text is None or text == "":
                    continue
                if not isinstance(text, str):
                    hint = "give a text, or a list of texts"
                    raise Unsendable(f"the content of {name} is {_noun(text)}", hint, code="bad-content")
                if not text.isspace():
                    texts.append(text)
        where = source.printed(context, printed).strip()
        if optional and not (texts and where):
            return
        if not texts:
            raise EmptyText
        called = title.printed(context, printed).strip()
        if not where or not called:
            missing = "source" if not where else "title"
            hint = f"give it one: the API wants a {missing}"
            raise Unsendable(f"the {missing} of {name} is an empty text", hint, code="no-content")
        yield Draft(lambda _: search_result(where, called, texts, citations=citations), sum(map(len, texts)))

    return shape


def _noun(value: Any) -> str:
    """What a value is, for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, bytes):
        return "bytes"
    return "a mapping" if isinstance(value, Mapping) else f"a value of type {type(value).__name__}"
