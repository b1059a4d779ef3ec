"""From what is durable to what a sink gets: one record a row.

Owns   the making of `Record`s from the ledger's results. A record is recomputed from the stored reply each time it is
       needed, so a run's folder holds every reply once and an export always agrees with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from runner.clock import to_rfc3339
from runner.execution.conversing import Shape, conversed
from runner.execution.folders import RunInfo
from runner.execution.reply_checks import check_of
from runner.ledger import Ledger, RowResult
from runner.message import parse_reply
from runner.replies.extract import Answer, text_of
from runner.replies.judge import is_no_whole_answer
from runner.replies.reply_check import ReplyCheck
from runner.spec.load import LoadedJob
from runner.types import PICO_PER_USD, Record, Reply, Row


class RecordMaker(Struct, frozen=True):
    """What every record of a run shares. `check` is what the job asks of a reply: where it takes an output out of it,
    `text` is the raw text."""

    run_id: str
    job: str
    model: str
    check: ReplyCheck | None
    shape: Shape | None = None
    """Of a job whose rows have several turns or samples."""
    broken: Counter[str] = field(default_factory=Counter)
    """How often each rule that warns did not hold, over the records made so far."""

    def records(self, ledger: Ledger) -> Iterator[Record]:
        """Every row's record, in the dataset's order; bounded memory."""
        if self.shape is None:
            return (self.record(result) for result in ledger.results())
        return (self.record_of(result, ledger) for result in ledger.results())

    def record_of(self, result: RowResult, ledger: Ledger) -> Record:
        """A row's record, for which all its replies are looked at where there may be several."""
        if self.shape is None:
            return self.record(result)
        found = conversed(result, ledger, self.shape)
        return replace(self.record(found.result), turns=found.turns, samples=found.samples, vote=found.vote)

    def record(self, result: RowResult) -> Record:
        reply = parse_reply(result.body, usage=result.usage) if result.body else None
        check, succeeded = self.check, result.status == "succeeded"
        output: Any = None
        text: str | None = None
        warnings: tuple[str, ...] = ()
        if reply is not None and check is None:
            text_only = text_of(reply.content)
            output, text = (text_only, None) if succeeded else (None, text_only)
        elif reply is not None and check is not None:
            output, text, warnings = self._checked(check, reply, result, succeeded=succeeded)
        return Record(
            result.row.key,
            result.row.index,
            result.status,
            output,
            text,
            reply.stop_reason if reply is not None else None,
            result.failure.to_dict() if result.failure is not None else None,
            result.row.values,
            reply.model if reply is not None else self.model,
            result.mode,
            result.attempts,
            result.reused,
            to_usd(result.cost_pico),
            result.usage.to_dict(),
            self.run_id,
            self.job,
            result.request_hash.hex() if result.request_hash else None,
            reply.message_id if reply is not None else None,
            result.request_id,
            result.batch_id,
            _time(result.started_at),
            _time(result.ended_at),
            reply.content if reply is not None else (),
            warnings,
        )

    def _checked(
        self, check: ReplyCheck, reply: Reply, result: RowResult, *, succeeded: bool
    ) -> tuple[Any, str | None, tuple[str, ...]]:
        """Output, text and warnings of a reply of which the job asks something.

        The text is the raw one where there is a schema; a cut-off or refused reply keeps its text too, as it has no
        output. One that counts although it is no whole answer (`on_truncation`, `on_refusal`: `keep`) may begin like
        JSON by accident, `12` of `123`; so where there is a schema it has a text and no output.
        """
        answer, whole = check.answer(reply.content), not is_no_whole_answer(reply.stop_reason)
        output = answer.output if succeeded and (whole or not check.structured) else None
        text = answer.text if check.structured or not succeeded else None
        warns = succeeded and whole and check.warns
        return output, text, self._warnings(check, answer, reply, result.row) if warns else ()

    def _warnings(self, check: ReplyCheck, answer: Answer, reply: Reply, row: Row) -> tuple[str, ...]:
        told = check.warnings(answer, reply, row)
        self.broken.update(rule for rule, _ in told)
        return tuple(problem for _, problem in told)


def _time(moment: datetime | None) -> str | None:
    return to_rfc3339(moment) if moment is not None else None


def to_usd(pico: int | None) -> float | None:
    """Pico-dollars as US dollars, for people and records; sums are made before, in integers."""
    return pico / PICO_PER_USD if pico is not None else None


def record_maker(info: RunInfo, loaded: LoadedJob) -> RecordMaker:
    check = check_of(loaded)
    return RecordMaker(info.run_id, loaded.job.name, loaded.job.model, check, Shape.of(loaded, check))
