"""Composing: the parts of one request with content in it, in their order.

Owns   the two steps of a row with blocks that come and go: first all of them are drafted, because what an image may
       measure depends on how many there are; then each is encoded and joined to the others.
Knows  pieces and makers. What is hashed, and what becomes of a failure, is `planning.requests`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from runner.catalog.api import MAX_REQUEST_BYTES
from runner.media.content import Unsendable
from runner.media.limits import largest_edge
from runner.planning.blocks import Draft, EmptyText
from runner.planning.content import BYTES_OF_A_TOKEN, NO_WEIGHT, Encoded, Sight, Weight, text_content
from runner.planning.history import BadHistory, PastMessage, Spoken
from runner.planning.pieces import END_OF_MESSAGE, Piece, cache_mark
from runner.templating import Printed
from runner.types import CacheTtl, PendingFile


class NoBlock(Exception):
    """A text without text, or a message without a block: the API refuses both."""


class InHistory(Exception):
    """What is wrong with a conversation that a row holds; `name` is empty behind it."""

    def __init__(self, name: str, failure: BadHistory) -> None:
        super().__init__(str(failure))
        self.name = name


class TooLarge(Exception):
    """The content alone makes the request too large."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self.size_bytes = size_bytes


class Part(Struct, frozen=True):
    """A part of the body; the same again as it is hashed. `ttl`: a breakpoint stands behind it."""

    sent: bytes
    seen: bytes
    length: int
    weight: Weight = NO_WEIGHT
    ttl: CacheTtl | None = None
    pending: tuple[PendingFile, ...] = ()


class Drafted(Struct, frozen=True):
    """The drafts of each piece that makes blocks, by its place, and how many images the request will hold."""

    of: Mapping[int, Sequence[Draft]]
    images: int


def drafted(pieces: Sequence[Piece], context: Mapping[str, Any], printed: Printed | None, head: Weight) -> Drafted:
    """Make all that the row's blocks are made of. Raises TemplateFailure, Unsendable, Unreadable, NoBlock, TooLarge."""
    of: dict[int, list[Draft]] = {}
    images, size_bytes = head.images, 0
    for place, piece in enumerate(pieces):
        images += piece.weight.images
        if piece.maker is None:
            continue
        of[place] = []
        try:
            for draft in piece.maker.drafts(context, printed):
                of[place].append(draft)
                images += draft.images
                size_bytes += draft.size_bytes
                if size_bytes > MAX_REQUEST_BYTES:  # so that no row fills the memory
                    raise TooLarge(size_bytes)
        except EmptyText as error:
            raise NoBlock(_empty(piece.name)) from error
    return Drafted(of, images)


def composed(
    pieces: Sequence[Piece],
    drafts: Drafted,
    context: Mapping[str, Any],
    printed: Printed | None,
    head: bytes,
    told: Spoken,
) -> Iterator[Part]:
    """The parts behind `head`. Raises TemplateFailure, Unsendable, NoBlock, InHistory."""
    opened = head.endswith(b"[")  # no block stands in this message yet
    for place, piece in enumerate(pieces):
        if piece.is_of_history:
            opened = False
            yield from _of_history(piece, context, told)
        if piece.history is not None:
            continue
        if piece.maker is not None:
            for part in _made(piece, drafts.of[place], drafts.images, opened=opened):
                opened = False
                yield part
        elif piece.template is not None:
            text = piece.template.render(context, printed)
            if not text or text.isspace():
                raise NoBlock(_empty(piece.name))
            encoded = _text(text, piece.name)
            yield Part(encoded, encoded, len(encoded))
        else:
            dropped = piece.joins and opened
            if opened and piece.sent.startswith(END_OF_MESSAGE):
                raise NoBlock("a message has no block: all of its blocks were left out")
            sent, seen = (piece.sent[1:], piece.seen[1:]) if dropped else (piece.sent, piece.seen)
            opened = sent.endswith(b"[")
            yield Part(sent, seen, piece.length, piece.weight, piece.ttl, piece.pending)


def _of_history(piece: Piece, context: Mapping[str, Any], told: Spoken) -> Iterator[Part]:
    """The messages that a row holds, or the comma, if any, before a message of the job behind them."""
    past: Sequence[PastMessage] = ()
    try:
        if piece.history is None:
            before = told.open(piece.opens or "")
        else:
            if piece.after is not None:
                told.spoke(piece.after)
            before, past = told.expand(piece.history.evaluate(context))
    except BadHistory as failure:
        raise InHistory(piece.name, failure) from failure
    if before:
        yield Part(before, before, len(before))
    for number, message in enumerate(past):
        comma = b"," if number else b""
        length = len(message.seen) + round(message.weight.tokens * BYTES_OF_A_TOKEN)
        yield Part(comma + message.encoded, comma + message.seen, length, message.weight)


def _made(piece: Piece, drafts: Sequence[Draft], images: int, *, opened: bool) -> Iterator[Part]:
    for number, draft in enumerate(drafts):
        block: Encoded = draft.encode(images)
        comma = b"" if opened and number == 0 else b","
        last = number == len(drafts) - 1
        mark = cache_mark(piece.ttl) if last and piece.ttl is not None else b""
        yield Part(
            b"%b%b%b}" % (comma, block.sent, mark),
            b"%b%b}" % (comma, block.seen),
            block.length + 2,
            block.weight,
            piece.ttl if last else None,
            block.pending,
        )


def require_within(weight: Weight, sight: Sight) -> None:
    """What only a whole request shows. Raises Unsendable.

    Breakpoints need no look: a block has one at most, behind the last that is made of it, so a request has no more of
    them than its job says, which `check` has counted.
    """
    for count, noun in ((weight.images, "images"), (weight.pages, "pages of PDFs")):
        if count > sight.max_media:
            raise Unsendable(
                f"the request has {count:,} {noun}, and the API takes {sight.max_media:,}",
                "send fewer of them with each row",
                code="too-much-media",
            )
    edge = largest_edge(weight.images)
    if weight.largest_edge > edge:
        raise Unsendable(
            f"an image has {weight.largest_edge:,} pixels an edge, and the API takes {edge:,} in a request with "
            f"{weight.images} images",
            "make it smaller, or send fewer images with each row",
            code="image-too-large",
        )


def _text(text: str, name: str) -> bytes:
    try:
        return text_content(text).sent.removeprefix(b'{"type":"text","text":')
    except Unsendable as refused:
        raise Unsendable(f"{name}: {refused.message}", refused.hint, code=refused.code) from refused


def _empty(name: str) -> str:
    return f"{name}: the text is empty, which the API refuses"
