"""Conversations: the request of a later step, from the row and the replies that led to it.

Owns   what is said after a reply: `Continuation`, made of the replies before a step with the reason why each of them
       was asked about again.
Knows  compiled jobs, replies and reasons. Where replies are kept, and who judged them, is not known here.

    longer, other model   the request as it was, with another limit or model; the reply is left aside
    repair                … the reply, as the API returned it, and a message of the user that says what is wrong
    go on                 … the reply, and nothing else: the API takes the turn up where it paused
    call tools            … the reply, and a message of the user with the results of all its calls, in their order

A limit and a model hold from the round on that raised them. A reply goes back unchanged, thinking with its signature
among it: the API binds thinking to what stood before it, which stays as it was, and drops by itself what another model
cannot read (preserved thinking page, November 2026). Left out are blank texts, which it refuses. Where a job ends with
the beginning of the assistant's answer (prefill), that beginning stands again behind what is added, so that every reply
goes on from it; consecutive messages of one role count as one (Messages API reference).

The job's own part is spliced, not made anew: what rows share is encoded and hashed once for each model and limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from runner.encoding import decode, encode_text, printable
from runner.planning.requests import Appended, CompiledJob
from runner.rounds import CallTools, GoOn, Longer, OtherModel, Repair, Why
from runner.tools import ToolResult, calls_of
from runner.types import Failure, Reply, Request, Row


class Exchange(NamedTuple):
    """A reply, and why it was not the end; `results` of the calls in it, by their ids, where it called functions."""

    reply: Reply
    why: Why
    results: Mapping[str, ToolResult] = {}


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a later request has that the row's first has not: another model or limit (None: the job's), and messages."""

    model: str | None = None
    max_tokens: int | None = None
    messages: tuple[Mapping[str, Any], ...] = ()


def continuation(exchanges: Sequence[Exchange]) -> Continuation:
    """What follows from the replies before a step, in their order."""
    model: str | None = None
    max_tokens: int | None = None
    messages: list[Mapping[str, Any]] = []
    for reply, why, results in exchanges:
        match why:
            case Longer():
                max_tokens = why.max_tokens
            case OtherModel():
                model = why.model
            case Repair():
                messages += (_message("assistant", said(reply)), _message("user", [_text(why.text)]))
            case GoOn():
                messages.append(_message("assistant", said(reply)))
            case CallTools():
                blocks = [results[call.id].block() for call in calls_of(reply.content)]
                messages += (_message("assistant", said(reply)), _message("user", blocks))
    return Continuation(model, max_tokens, tuple(messages))


def said(reply: Reply) -> list[Mapping[str, Any]]:
    """A reply's content as it may stand in a conversation."""
    return [block for block in reply.content if not _is_blank(block)]


class Conversations:
    """Makes the requests of later steps of one compiled job. One thread."""

    def __init__(self, compiled: CompiledJob) -> None:
        self._compiled = compiled
        self._variants: dict[tuple[str | None, int | None], CompiledJob] = {(None, None): compiled}

    def request(self, row: Row, exchanges: Sequence[Exchange]) -> Request | Failure:
        """Failures: those of `CompiledJob.request`."""
        after = continuation(exchanges)
        compiled = self._variant(after.model, after.max_tokens)
        if not after.messages:
            return compiled.request(row)
        messages = after.messages
        if self._compiled.may_end_with_assistant:
            first = self._compiled.request(row)
            if isinstance(first, Failure):
                return first
            last = decode(first.body)["messages"][-1]
            messages = (*messages, last) if last["role"] == "assistant" else messages
        return compiled.request(row, more=appended(messages))

    def _variant(self, model: str | None, max_tokens: int | None) -> CompiledJob:
        known = self._variants.get((model, max_tokens))
        if known is None:
            known = self._variants[model, max_tokens] = self._compiled.variant(model=model, max_tokens=max_tokens)
        return known


def appended(messages: Sequence[Mapping[str, Any]]) -> Appended:
    """Messages as they are spliced in behind a job's own. A half of a surrogate pair, which a reply that was cut may
    hold and the API refuses, becomes U+FFFD."""
    text = "".join(f",{encode_text(message)}" for message in messages)
    data = printable(text).encode()
    return Appended(data, data)


def _message(role: Literal["user", "assistant"], content: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"role": role, "content": list(content)}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _is_blank(block: Mapping[str, Any]) -> bool:
    if block.get("type") != "text":
        return False
    text = block.get("text")
    return not isinstance(text, str) or not text or text.isspace()
