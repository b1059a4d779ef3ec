"""Pieces: a job's messages, encoded once and cut where a row's text or blocks go.

Owns   the compiled blocks of a message, and `pieces_of`, which turns messages into fixed bytes and what is made for
       each row.
Knows  encoded content and makers of blocks; nothing of rows.

Blocks that come and go make commas a matter of the row: a piece that `joins` begins with one that goes again where no
block was made before it in its message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

from runner.encoding import encode
from runner.planning.blocks import BlockMaker, Rendered
from runner.planning.content import BYTES_OF_A_TOKEN, NO_WEIGHT, Encoded, Weight
from runner.types import CacheTtl, PendingFile

END_OF_MESSAGE = b"]}"


class TextBlock(Struct, frozen=True):
    """A text block of a message: its fixed text, or the template that gives a row's text.

    `name` is what messages call it. `ttl`: a breakpoint follows it.
    """

    name: str
    content: str | Rendered
    ttl: CacheTtl | None = None


class FixedBlock(Struct, frozen=True):
    """Blocks that no row has a part in, encoded once; a breakpoint with `ttl` follows the last of them."""

    name: str
    blocks: tuple[Encoded, ...]
    ttl: CacheTtl | None = None


class RowBlock(Struct, frozen=True):
    """What makes the blocks of a row: none, one, or several; a breakpoint with `ttl` follows the last of them."""

    name: str
    maker: BlockMaker
    ttl: CacheTtl | None = None


class Evaluated(Protocol):
    """An expression as far as requests need it."""

    def evaluate(self, context: Mapping[str, Any]) -> Any: ...


class CompiledMessage(Struct, frozen=True):
    role: Literal["user", "assistant"]
    blocks: Sequence[TextBlock | FixedBlock | RowBlock]


class CompiledHistory(Struct, frozen=True):
    """Messages that a row holds, in place of one that the job writes. `name` is what messages call it."""

    name: str
    expression: Evaluated


class Piece(Struct, frozen=True):
    """A part of the encoded `messages`: a `template` (called `name`), a `maker` of blocks, a `history`, or fixed bytes.

    `sent` goes into the body, `seen` (the same without cache marks, known content as its digest) into the identity.
    `ttl`: a breakpoint stands behind it, so what has been hashed so far is a cached prefix. `weight` is that of the
    content in it, `pending` the files in it that are uploaded first. `joins`: it begins with a comma that goes where no
    block stands before it in its message. `opens`: the role of the message that fixed bytes begin, where histories
    alone stand before it, so that only the row shows whether it is the first; `after`: the role of the message that a
    history stands behind.
    """

    template: Rendered | None = None
    name: str = ""
    sent: bytes = b""
    seen: bytes = b""
    ttl: CacheTtl | None = None
    maker: BlockMaker | None = None
    weight: Weight = NO_WEIGHT
    joins: bool = False
    pending: tuple[PendingFile, ...] = ()
    history: Evaluated | None = None
    opens: str | None = None
    after: str | None = None

    @property
    def is_fixed(self) -> bool:
        """The same for every row."""
        return self.template is None and self.maker is None and not self.is_of_history

    @property
    def is_of_history(self) -> bool:
        return self.history is not None or self.opens is not None

    @property
    def length(self) -> int:
        """About its length as text in UTF-8."""
        return len(self.seen) + round(self.weight.tokens * BYTES_OF_A_TOKEN)


def text_block(text: str, ttl: CacheTtl | None) -> dict[str, Any]:
    """A text block of the API, with its breakpoint where one is wanted."""
    block: dict[str, Any] = {"type": "text", "text": text}
    if ttl is not None:
        block["cache_control"] = cache_control(ttl)
    return block


def cache_control(ttl: CacheTtl) -> dict[str, str]:
    return {"type": "ephemeral", "ttl": ttl}


def cache_mark(ttl: CacheTtl) -> bytes:
    """A breakpoint as it follows the other keys of a block."""
    return b',"cache_control":%b' % encode(cache_control(ttl))


def pieces_of(messages: Sequence[CompiledMessage | CompiledHistory]) -> list[Piece]:
    """Cut the encoded messages, all but the bracket at their end, where a row's text, blocks or history go, and behind
    each breakpoint."""
    pieces: list[Piece] = []
    fixed = _Fixed()
    fixed.add(b"[")
    begun = expanded = False
    role: str | None = None
    for message in messages:
        if isinstance(message, CompiledHistory):
            pieces += [fixed.take(), Piece(history=message.expression, name=message.name, after=role)]
            expanded, role = True, None
            continue
        if begun:
            fixed.add(b",")
        elif expanded:  # whether a comma goes before it, only the row shows
            pieces.append(fixed.take())
            fixed.opens = message.role
        pieces += _message_pieces(message, fixed)
        begun, role = True, message.role
    pieces.append(fixed.take())
    return [piece for piece in pieces if piece.sent or not piece.is_fixed or piece.ttl is not None]


def _message_pieces(message: CompiledMessage, fixed: _Fixed) -> Iterator[Piece]:
    """One message; what is fixed at its end stays in `fixed`."""
    fixed.add(b'{"role":%b,"content":[' % encode(message.role))
    # Whether a block stands before the next one: `perhaps` where those before it come and go.
    before: Literal["none", "some", "perhaps"] = "none"
    for block in message.blocks:
        if isinstance(block, RowBlock):
            yield fixed.take()
            yield Piece(maker=block.maker, name=block.name, ttl=block.ttl)
            before = "some" if before == "some" else "perhaps"
            continue
        if isinstance(block, FixedBlock) and not block.blocks:
            continue
        if before == "perhaps":
            yield fixed.take()
            fixed.joins = True
        fixed.add(b"" if before == "none" else b",")
        before = "some"
        if isinstance(block, FixedBlock):
            fixed.add_blocks(block.blocks)
        else:
            fixed.add(b'{"type":"text","text":')
            if isinstance(block.content, str):
                fixed.add(encode(block.content))
            else:
                yield fixed.take()
                yield Piece(template=block.content, name=block.name)
        if block.ttl is not None:
            fixed.add_mark(block.ttl)
        fixed.add(b"}")
        if block.ttl is not None:
            yield fixed.take(block.ttl)
    fixed.add(END_OF_MESSAGE)


def ends_with_assistant(messages: Sequence[CompiledMessage | CompiledHistory]) -> bool:
    return bool(messages) and isinstance(messages[-1], CompiledMessage) and messages[-1].role == "assistant"


class _Fixed:
    """Collects fixed JSON until a piece is cut off."""

    def __init__(self) -> None:
        self.opens: str | None = None
        """The role of the message that the next piece begins, where that has to be known."""
        self._sent: list[bytes] = []
        self._seen: list[bytes] = []
        self._weight = NO_WEIGHT
        self._pending: list[PendingFile] = []
        self.joins = False

    def add(self, data: bytes) -> None:
        self._sent.append(data)
        self._seen.append(data)

    def add_blocks(self, blocks: Sequence[Encoded]) -> None:
        """All of them, but for the last one's closing brace."""
        for number, block in enumerate(blocks):
            self.add(b"},"[: 2 * (number > 0)])
            self._sent.append(block.sent)
            self._seen.append(block.seen)
            self._weight += block.weight
            self._pending += block.pending

    def add_mark(self, ttl: CacheTtl) -> None:
        self._sent.append(cache_mark(ttl))

    def take(self, ttl: CacheTtl | None = None) -> Piece:
        piece = Piece(
            sent=b"".join(self._sent),
            seen=b"".join(self._seen),
            ttl=ttl,
            weight=self._weight,
            joins=self.joins,
            pending=tuple(self._pending),
            opens=self.opens,
        )
        self._sent.clear()
        self._seen.clear()
        self._pending.clear()
        self._weight, self.joins, self.opens = NO_WEIGHT, False, None
        return piece
