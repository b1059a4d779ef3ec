"""From what is durable to what a sink gets: one record a row.

Owns   the making of `Record`s from the ledger's results. A record is recomputed from the stored reply each time it is
       needed, so a run's folder holds every reply once and an export always agrees with it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from runner.clock import to_rfc3339
from runner.execution.conversing import Shape, conversed
from runner.execution.folders import RunInfo
from runner.ledger import Ledger, RowResult
from runner.message import parse_reply
from runner.replies.extract import output_of
from runner.replies.judge import is_no_whole_answer
from runner.spec.load import LoadedJob
from runner.types import PICO_PER_USD, BinaryValues, Record, Reply, maker_of


@dataclass(frozen=True, slots=True)
class RecordMaker:
    """What every record of a run shares. `structured`: the job has a schema, so `output` is parsed JSON and `text`
    the raw text."""

    run_id: str
    job: str
    model: str
    structured: bool
    shape: Shape | None = None
    """Of a job whose rows have several turns or samples."""

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
        reply = parse_reply(result.body) if result.body else None
        answer = output_of(reply.content, structured=self.structured) if reply is not None else None
        succeeded = result.status == "succeeded"
        return _record(
            result.row.key,
            result.row.index,
            result.status,
            answer.output if answer is not None and succeeded and not self._is_kept(reply) else None,
            _text(answer.text if answer is not None else None, self.structured, succeeded),
            reply.stop_reason if reply is not None else None,
            result.failure.to_dict() if result.failure is not None else None,
            result.row.values if type(result.row.values) is not BinaryValues else _in_base64(result.row.values),
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
        )

    def _is_kept(self, reply: Reply | None) -> bool:
        """Whether a reply counts although it is no whole answer (`on_truncation`, `on_refusal`: `keep`). Its beginning
        may be JSON by accident, `12` of `123`; so where there is a schema it has a text and no output."""
        return self.structured and reply is not None and is_no_whole_answer(reply.stop_reason)


_record = maker_of(Record)


def _in_base64(value: Any) -> Any:
    """A row's values as records have them: a text in base64 for bytes."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _in_base64(item) for name, item in value.items()}
    return [_in_base64(item) for item in value] if isinstance(value, list) else value


def _text(text: str | None, structured: bool, succeeded: bool) -> str | None:
    """The raw text where there is a schema; a cut-off or refused reply keeps its text too, as it has no output."""
    return text if structured or not succeeded else None


def _time(moment: datetime | None) -> str | None:
    return to_rfc3339(moment) if moment is not None else None


def to_usd(pico: int | None) -> float | None:
    """Pico-dollars as US dollars, for people and records; sums are made before, in integers."""
    return pico / PICO_PER_USD if pico is not None else None


def record_maker(info: RunInfo, loaded: LoadedJob) -> RecordMaker:
    return RecordMaker(info.run_id, loaded.job.name, loaded.job.model, loaded.schema is not None, Shape.of(loaded))
