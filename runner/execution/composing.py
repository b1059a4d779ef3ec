"""Composing: the request of any open step, first or later, put together from what is durable.

Owns   the way from a step back to the replies that led to it: which of them were asked about again is found by the
       same judge that asked, so nothing about a conversation is kept but its replies.
Knows  the ledger (read-only), the judge, and `planning.conversation`, which says what follows from replies.

A row that was begun again (`runner retry`) has replies of rounds that led nowhere; the chain passes them by. After
`runner revalidate` a chain may end before the step: the reply that asked again is an answer now, or no reason to ask.
It was paid for, so it is what the step comes to, and nothing is sent. A chain that leads elsewhere fails the row and
says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from runner.engines import Ask, Judge
from runner.ledger import Ledger, StepReply
from runner.message import parse_reply
from runner.planning.conversation import Conversations, Exchange
from runner.planning.requests import CompiledJob
from runner.rounds import CallTools, first_round, is_first_request, step_words
from runner.tools import ToolCall, calls_of
from runner.types import Failure, Reply, Request, Row, Step

_LOST = "the conversation that led to {} cannot be followed any more: its replies are judged otherwise now"

_CURE = "`runner run --new` and then `runner retry` begin it again"
"""A retry goes back to the beginning of a turn, never to an earlier one; in a new run that is where the row failed."""


class Awaited(Struct, frozen=True):
    """Calls of the reply to `asking` that have no result yet."""

    asking: Step
    calls: Sequence[ToolCall]


class Standing(Struct, frozen=True):
    """A reply of the step's turn that is not asked about any more."""

    body: bytes
    reply: Reply


class Composer:
    """Makes the requests of one job in one mode. One thread."""

    def __init__(self, compiled: CompiledJob, judge: Judge) -> None:
        self._compiled = compiled
        self._judge = judge
        self._conversations = Conversations(compiled)

    def request(self, ledger: Ledger, step: Step, row: Row) -> Request | Failure | Awaited | Standing:
        """What a step says, what has to be called before it can say anything, or the reply that leaves nothing to say.
        Failures: those of `CompiledJob.request`, and `input_error` where the chain is broken."""
        if is_first_request(step):
            return self._compiled.request(row)
        exchanges = self._exchanges(ledger, step)
        if exchanges is None:
            return Failure("input_error", f"{_LOST.format(step_words(step))}; {_CURE}")
        if isinstance(exchanges, Awaited | Standing):
            return exchanges
        return self._conversations.request(row, exchanges)

    def _exchanges(self, ledger: Ledger, step: Step) -> list[Exchange] | Awaited | Standing | None:
        """The replies before a step, each with why it was not the end; None where they do not lead to it."""
        found = {answered.step: answered for answered in ledger.replies_before(step)}
        exchanges: list[Exchange] = []
        here = _begin(found, step, turn=0)
        while here != step:
            answered = found.get(here)
            if answered is None:
                return None
            reply = parse_reply(answered.body)
            verdict = self._judge(here, reply)
            if not isinstance(verdict, Ask):
                return Standing(answered.body, reply) if here.turn == step.turn else None
            if isinstance(verdict.why, CallTools):
                results = ledger.tool_results(here)
                missing = [call for call in calls_of(reply.content) if call.id not in results]
                if missing:
                    return Awaited(here, missing)
                exchanges.append(Exchange(reply, verdict.why, results))
            else:
                exchanges.append(Exchange(reply, verdict.why))
            following = verdict.step
            here = following if following.turn == here.turn else _begin(found, step, turn=following.turn)
        return exchanges


def _begin(found: Mapping[Step, StepReply], step: Step, *, turn: int) -> Step:
    """Where a turn of the step's conversation began, since it was begun last."""
    if turn == step.turn:
        return first_round(step)
    rounds = [answered.round for answered in found if answered.turn == turn]
    return first_round(Step(step.row, turn, step.sample, max(rounds, default=0)))
