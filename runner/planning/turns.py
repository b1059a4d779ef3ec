"""Turns: what the user says once there is a reply, and how large the requests of later turns may be.

Owns   the text of a further turn, rendered for a row and the replies so far; the sizes of later requests, which a plan
       has to reckon with before there is any reply.
Knows  compiled jobs and rows. How a conversation is put together is `planning.conversation`.

A later request holds all that was said before, the replies among it, so its input grows from turn to turn. Before there
are replies it is bounded as if each were as long as `max_tokens` allows: a stand-in of that many bytes is put in its
place, also where a turn's text quotes it. A token of a reply counts as one when it comes back as input.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from runner.encoding import encode_text
from runner.planning.pieces import TextBlock
from runner.planning.requests import SCHEMA_TOKENS, CompiledJob
from runner.templating import Printed, TemplateFailure
from runner.types import Failure, Request, Row

_FRAMING_BYTES = 128
"""About what JSON puts around a reply and the question behind it."""


class LaterRequest(Struct, frozen=True):
    """The request of a later turn as far as it can be known: about how many bytes it has, and an upper bound of its
    input tokens (None where bytes do not bound it)."""

    size_bytes: int
    input_bound: int | None


def turn_text(
    compiled: CompiledJob, number: int, row: Row, replies: Sequence[str], printed: Printed | None = None
) -> str | Failure:
    """What the user says in turn `number`, from 1; `replies` are the texts of the turns before it."""
    block = compiled.turns[number - 1]
    if isinstance(block.content, str):
        return block.content
    try:
        text = block.content.render({**compiled.context, "row": row.values, "replies": list(replies)}, printed)
    except TemplateFailure as failure:
        hint = f" ({failure.hint})" if failure.hint else ""
        return Failure("render_error", f"{failure}{hint}; turn {number + 1} of row {row.key!r}")
    if not text or text.isspace():
        message = f"{block.name}: the text is empty, which the API refuses"
        return Failure("render_error", f"{message}; turn {number + 1} of row {row.key!r}")
    return text


def later_requests(compiled: CompiledJob, row: Row, first: Request, reply_bytes: int) -> list[LaterRequest]:
    """The requests of a row's further turns, where replies have about `reply_bytes`; none in a job of one turn."""
    found: list[LaterRequest] = []
    size, bound = len(first.body), first.input_bound
    for number, block in enumerate(compiled.turns, 1):
        said = _length(compiled, number, block, row, reply_bytes) + _FRAMING_BYTES
        size += reply_bytes + said
        if bound is not None:
            bound += compiled.max_tokens + _length(compiled, number, block, row, compiled.max_tokens) + _FRAMING_BYTES
        found.append(LaterRequest(size, bound))
    if found and compiled.last_format is not None:
        hidden = SCHEMA_TOKENS + 2 * len(encode_text(compiled.last_format).encode())
        last = found[-1]
        found[-1] = LaterRequest(last.size_bytes, None if last.input_bound is None else last.input_bound + hidden)
    return found


def _length(compiled: CompiledJob, number: int, block: TextBlock, row: Row, reply_bytes: int) -> int:
    """Bytes of a turn's text as JSON, with replies of that length. A text that reads its replies in a way that a
    stand-in does not allow (as a number) counts as its template."""
    text = turn_text(compiled, number, row, ["x" * reply_bytes] * number)
    if isinstance(text, Failure):
        text = getattr(block.content, "text", "")
    return len(encode_text(text).encode("utf-8", "surrogatepass"))
