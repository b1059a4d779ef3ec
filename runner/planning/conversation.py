"""Conversations: the request of a later step, from the row and the replies that led to it.

Owns   what is said after a reply, made of the replies before a step with the reason why each was not the end.
Knows  compiled jobs, replies and reasons. Where replies are kept, and who judged them, is not known here.

    longer, other model   the request as it was, with another limit or model; the reply is left aside
    repair                … the reply, as the API returned it, and a message of the user that says what is wrong
    go on                 … the reply, and nothing else: the API takes the turn up where it paused
    call tools            … the reply, and a message of the user with the results of all its calls, in their order
    next turn             … the reply, and what the user says next; of the turn before nothing is left out but that,
                          so a conversation only grows, and what is cached of it stays readable

A limit and a model hold from the round on that raised them to the end of their turn. A reply goes back unchanged,
thinking with its signature among it: the API binds thinking to what stood before it, which stays as it was, and drops
by itself what another model cannot read (preserved thinking page, November 2026). Left out are blank texts, which it
refuses. Where a job ends with the beginning of the assistant's answer (prefill), that beginning stands again behind
what is added within the first turn, so that every reply goes on from it; consecutive messages of one role count as one
(Messages API reference).

The job's own part is spliced, not made anew: what rows share is encoded and hashed once for each model and limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from msgspec import Struct, field

from runner.encoding import decode, encode_text, printable
from runner.planning.identity import unmarked
from runner.planning.pieces import text_block
from runner.planning.requests import Appended, CompiledJob
from runner.planning.turns import turn_text
from runner.rounds import CallTools, GoOn, Longer, NextTurn, OtherModel, Repair, Why
from runner.tools import ToolResult, calls_of
from runner.types import CacheTtl, Failure, Reply, Request, Row


class Exchange(NamedTuple):
    """A reply, and why it was not the end; `results` of the calls in it, by their ids, where it called functions."""

    reply: Reply
    why: Why
    results: Mapping[str, ToolResult] = {}


class _Course(Struct):
    """How far a conversation is: what the next request has that the row's first has not."""

    model: str | None = None
    max_tokens: int | None = None
    """Of the turn that the conversation is in; None for the job's."""
    turn: int = 0
    replies: list[str] = field(default_factory=list)
    """The texts of the answers of earlier turns."""
    messages: list[Mapping[str, Any]] = field(default_factory=list)

    def answer(self, reply: Reply) -> None:
        """A reply goes back as it came; a user's message that follows on none joins the one before it."""
        content = said(reply)
        if content:
            self.messages.append(_message("assistant", content))

    def ask(self, text: str, ttl: CacheTtl | None = None) -> None:
        self.messages.append(_message("user", [text_block(text, ttl)]))


def said(reply: Reply) -> list[Mapping[str, Any]]:
    """A reply's content as it may stand in a conversation."""
    return [block for block in reply.content if not _is_blank(block)]


class Conversations:
    """Makes the requests of later steps of one compiled job. One thread."""

    def __init__(self, compiled: CompiledJob) -> None:
        self._compiled = compiled
        self._variants: dict[tuple[str | None, int | None, bool], CompiledJob] = {(None, None, False): compiled}

    def request(self, row: Row, exchanges: Sequence[Exchange]) -> Request | Failure:
        """Failures: those of `CompiledJob.request`, and `render_error` of a turn's text."""
        course = _Course()
        for exchange in exchanges:
            failure = self._follow(course, row, exchange)
            if failure is not None:
                return failure
        compiled = self._variant(course)
        messages = course.messages
        if not messages:
            return compiled.request(row)
        if self._compiled.may_end_with_assistant and not course.turn:
            first = self._compiled.request(row)
            if isinstance(first, Failure):
                return first
            last = decode(first.body)["messages"][-1]
            messages = [*messages, last] if last["role"] == "assistant" else messages
        return compiled.request(row, more=appended(messages))

    def _follow(self, course: _Course, row: Row, exchange: Exchange) -> Failure | None:
        """One reply further."""
        reply, why, results = exchange
        match why:
            case Longer():
                course.max_tokens = why.max_tokens
            case OtherModel():
                course.model = why.model
            case Repair():
                course.answer(reply)
                course.ask(why.text)
            case GoOn():
                course.answer(reply)
            case CallTools():
                course.answer(reply)
                course.messages.append(_message("user", [results[call.id].block() for call in calls_of(reply.content)]))
            case NextTurn():
                course.replies.append(_text_of(reply))
                text = turn_text(self._compiled, why.turn, row, course.replies)
                if isinstance(text, Failure):
                    return text
                course.answer(reply)
                course.ask(text, self._compiled.turns[why.turn - 1].ttl)
                course.turn, course.model, course.max_tokens = why.turn, None, None
        return None

    def _variant(self, course: _Course) -> CompiledJob:
        last = bool(course.turn) and course.turn == len(self._compiled.turns)
        key = (course.model, course.max_tokens, last)
        known = self._variants.get(key)
        if known is None:
            known = self._variants[key] = self._compiled.variant(
                model=course.model, max_tokens=course.max_tokens, last_turn=last
            )
        return known


def appended(messages: Sequence[Mapping[str, Any]]) -> Appended:
    """Messages as they are spliced in behind a job's own. A half of a surrogate pair, which a reply that was cut may
    hold and the API refuses, becomes U+FFFD."""
    sent = _joined(messages)
    if all("cache_control" not in block for message in messages for block in message["content"]):
        return Appended(sent, sent)
    return Appended(sent, _joined([{**message, "content": unmarked(message["content"])} for message in messages]))


def _joined(messages: Sequence[Mapping[str, Any]]) -> bytes:
    return printable("".join(f",{encode_text(message)}" for message in messages)).encode()


def _message(role: Literal["user", "assistant"], content: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"role": role, "content": list(content)}


def _text_of(reply: Reply) -> str:
    """What templates see of a reply: all its texts, joined."""
    texts = (block.get("text") for block in reply.content if block.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def _is_blank(block: Mapping[str, Any]) -> bool:
    if block.get("type") != "text":
        return False
    text = block.get("text")
    return not isinstance(text, str) or not text or text.isspace()
