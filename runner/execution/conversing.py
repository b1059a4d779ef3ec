"""What a record says of a row that had several turns, or several samples.

Owns   the record's `turns`, `samples` and `vote`, and which sample's reply is the row's answer.
Knows  the ledger (read-only), and replies. Rows of one request never come here.

A row with several samples succeeds where one of them does. Its answer is that of the first sample that succeeded or,
where there is a vote, that of the first that says what most of the valid ones say. What all of them cost is in the
record as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from runner.ledger import Ledger, RowResult, StepReply
from runner.message import parse_reply
from runner.replies.asking import CALLS, PAUSED
from runner.replies.extract import text_of
from runner.replies.judge import is_no_whole_answer
from runner.replies.reply_check import ReplyCheck
from runner.replies.vote import Vote, majority, nobody_voted
from runner.spec.load import LoadedJob
from runner.types import Attempt, Reply


class Shape(Struct, frozen=True):
    """How many requests the rows of a job have beside the first: further `turns`, and `samples` in all. `vote` is the
    field that is voted on."""

    turns: int
    samples: int
    vote: str | None
    check: ReplyCheck | None
    """What the job asks of a reply: where it takes an output out of it."""

    @property
    def structured(self) -> bool:
        return self.check is not None and self.check.structured

    @classmethod
    def of(cls, loaded: LoadedJob, check: ReplyCheck | None) -> Shape | None:
        """None where a row has one turn and one sample."""
        job = loaded.job
        if not job.turns and job.samples == 1:
            return None
        vote = job.output.vote.field if job.output is not None and job.output.vote is not None else None
        return cls(len(job.turns), job.samples, vote, check)


class Conversed(Struct, frozen=True):
    """A row's result with the reply that is its answer, and what the record says beside it."""

    result: RowResult
    turns: Sequence[Mapping[str, Any]] | None
    samples: Sequence[Mapping[str, Any]] | None
    vote: Mapping[str, Any] | None


def conversed(result: RowResult, ledger: Ledger, shape: Shape) -> Conversed:
    """Look at all replies of a row."""
    replies = ledger.replies(result.row.index)
    vote = None
    if shape.samples > 1:
        outputs = _outputs(replies, shape)
        vote = majority(outputs, shape.vote, shape.samples) if shape.vote is not None else None
        if vote is not None and result.step is not None and vote.sample != result.step.sample:
            result = _as_answered_by(result, vote.sample, replies, ledger.attempts(result.row.index))
    of_sample = result.step.sample if result.step is not None else 0
    return Conversed(
        result,
        _turns([found for found in replies if found.step.sample == of_sample]) if shape.turns else None,
        _samples(result, replies, ledger.attempts(result.row.index), shape) if shape.samples > 1 else None,
        _told(vote, shape) if shape.samples > 1 else None,
    )


def _told(vote: Vote | None, shape: Shape) -> dict[str, Any] | None:
    if shape.vote is None:
        return None
    return nobody_voted(shape.vote, shape.samples) if vote is None else vote.to_dict()


def _turns(replies: Sequence[StepReply]) -> list[dict[str, Any]]:
    """The last reply of each turn of a sample, in order."""
    last = {found.step.turn: parse_reply(found.body) for found in replies}
    return [
        {"text": text_of(reply.content), "stop_reason": reply.stop_reason, "message_id": reply.message_id}
        for _, reply in sorted(last.items())
    ]


def _last_of_samples(replies: Sequence[StepReply]) -> dict[int, StepReply]:
    """They come by sample, turn and round."""
    return {found.step.sample: found for found in replies}


def _outputs(replies: Sequence[StepReply], shape: Shape) -> dict[int, Any]:
    """What each sample that ended with an answer says."""
    found = {}
    for sample, last in _last_of_samples(replies).items():
        reply = _answer(last, shape)
        if reply is not None:
            found[sample] = (
                shape.check.answer(reply.content).output if shape.check is not None else text_of(reply.content)
            )
    return found


def _answer(last: StepReply, shape: Shape) -> Reply | None:
    """A reply that ends its sample and is an answer; one that is kept although it is not whole votes for nothing."""
    reply = _end_of_sample(last, shape)
    return None if reply is None or (shape.structured and is_no_whole_answer(reply.stop_reason)) else reply


def _end_of_sample(last: StepReply, shape: Shape) -> Reply | None:
    """A sample's last reply, where the sample succeeded with it. Nothing is wrong with one that calls for tools or
    pauses either, but it ends nothing: what followed on it may have failed without a reply."""
    if last.failure is not None or last.step.turn < shape.turns:
        return None
    reply = parse_reply(last.body)
    return None if reply.stop_reason in (PAUSED, CALLS) else reply


def _samples(
    result: RowResult, replies: Sequence[StepReply], attempts: Sequence[Attempt], shape: Shape
) -> list[dict[str, Any]]:
    lasts = _last_of_samples(replies)
    # Of a row that is open, a sample that came to nothing so far may be tried again.
    ends = {attempt.step.sample: attempt for attempt in attempts} if result.status != "open" else {}
    outputs = _outputs(replies, shape)
    not_ended = "open" if result.status == "open" else "canceled"
    return [
        _sample(number, lasts.get(number), ends.get(number), outputs, shape, not_ended)
        for number in range(shape.samples)
    ]


def _sample(
    number: int, last: StepReply | None, end: Attempt | None, outputs: Mapping[int, Any], shape: Shape, not_ended: str
) -> dict[str, Any]:
    if last is not None and _end_of_sample(last, shape) is not None:
        return {"status": "succeeded", "output": outputs.get(number), "error": None}
    if end is None or end.failure is None:
        return {"status": not_ended, "output": None, "error": None}
    status = end.end if end.end in ("expired", "canceled") else "failed"
    return {"status": status, "output": None, "error": end.failure.to_dict()}


def _as_answered_by(
    result: RowResult, sample: int, replies: Sequence[StepReply], attempts: Sequence[Attempt]
) -> RowResult:
    """The same row with the reply of another of its samples."""
    last = _last_of_samples(replies)[sample]
    attempt = [each for each in attempts if each.step == last.step][-1]
    return replace(
        result,
        body=last.body,
        failure=None,
        mode=attempt.mode,
        request_id=attempt.request_id,
        batch_id=attempt.batch_id,
        step=last.step,
    )
