"""Results: every row with what became of it, in the dataset's order.

Owns   joining `rows`, `attempts`, the run's rows and the spool. Reads only.
Knows  the contract's `RowResult` and `Attempt`.

Rows are read in windows, each in a short read transaction: memory does not grow with the run, a writer beside is
never held up, and what it commits meanwhile is seen from the next window on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import apsw
from msgspec.structs import replace

from runner.ledger import EarlierReply, RowResult, StepReply
from runner.ledger.bulk import numbers
from runner.ledger.database import fetch
from runner.ledger.frames import failure_from_text, from_millis
from runner.ledger.rows import RowReader
from runner.ledger.schema import ATTEMPT_ENDS, END_CODE, MODES, OPEN, ROW_CODE, ROW_STATUSES
from runner.ledger.settlement import was_sent
from runner.ledger.spool import Place, SpoolReader
from runner.ledger.twins import first_of
from runner.message import parse_reply
from runner.types import Attempt, Failure, Outcome, Row, RowStatus, Step, Usage

_WINDOW = 500

_STATES = """
    SELECT r.idx, r.status, r.reused, t.first FROM rows AS r LEFT JOIN twins AS t ON t.row = r.idx
    WHERE r.idx >= ? ORDER BY r.idx LIMIT ?
"""
_STATUSES = "SELECT idx, status FROM rows WHERE idx IN carray(?)"
ATTEMPTS_OF = "SELECT * FROM attempts WHERE row IN carray(?) ORDER BY row, turn, sample, round, number"
_ATTEMPTS = "SELECT * FROM attempts WHERE row >= ? AND row < ? ORDER BY row, turn, sample, round, number"
_REPLIES = f"""
    SELECT * FROM attempts WHERE row = ? AND end = {END_CODE["succeeded"]} AND segment IS NOT NULL
    ORDER BY sample, turn, round, number
"""  # noqa: S608 - our own code, as in the next
_REPLIES_BEFORE = f"""
    SELECT * FROM attempts
    WHERE row = ? AND (turn, round) < (?, ?) AND sample = ? AND end = {END_CODE["succeeded"]} AND segment IS NOT NULL
    ORDER BY turn, round, number
"""  # noqa: S608
_OF_REQUEST = """
    SELECT * FROM attempts WHERE row = ? AND sample = ? AND request_hash = ?
    ORDER BY turn DESC, round DESC, number DESC LIMIT 1
"""
_DECIDED_ROWS = f"""
    SELECT idx, status, kind, reused, (SELECT count(*) FROM twins WHERE first = idx) FROM rows
    WHERE idx >= ? AND idx < ? AND status IN ({ROW_CODE["succeeded"]}, {ROW_CODE["failed"]}) ORDER BY idx
"""  # noqa: S608 - our own codes
_UNDER_WAY = """
    SELECT l.row, l.turn, l.sample, l.round, l.number, l.mode, l.started_at, l.reserved, b.batch_id
    FROM leases AS l LEFT JOIN batches AS b ON b.number = l.batch
    WHERE l.row = ? ORDER BY l.turn, l.sample, l.round
"""


class AttemptColumns(NamedTuple):
    """The table `attempts`, column by column."""

    row: int
    turn: int
    sample: int
    round: int
    number: int
    end: int
    mode: int
    reserved: int
    cost: int | None
    input_tokens: int
    output_tokens: int
    cache_read: int
    cache_5m: int
    cache_1h: int
    reused: int
    request_hash: bytes
    request_id: str | None
    batch_id: str | None
    failure: str | None
    started_at: int
    ended_at: int | None
    segment: int | None
    offset: int | None
    length: int | None


class SampleEnd(NamedTuple):
    """The last attempt of one sample of a row; most rows have one sample. `outcome` is there where a reply came, to be
    ruled on again."""

    status: RowStatus
    failure: Failure | None
    reused: bool
    outcome: Outcome | None


class Decided(NamedTuple):
    """A row that succeeded or failed, with how each of its samples ended, and how many rows end as it does."""

    row: int
    status: RowStatus
    kind: str | None
    reused: bool
    ends: Sequence[SampleEnd]
    twins: int


_SAMPLE = AttemptColumns._fields.index("sample")
_END = AttemptColumns._fields.index("end")
_FAILURE = AttemptColumns._fields.index("failure")
_REUSED = AttemptColumns._fields.index("reused")
_REQUEST_HASH = AttemptColumns._fields.index("request_hash")
_SEGMENT = AttemptColumns._fields.index("segment")
_PLACE = slice(_SEGMENT, _SEGMENT + 3)


class ResultReader:
    """Reads results and attempts of one run. One thread."""

    def __init__(self, connection: apsw.Connection, rows: RowReader, spool: SpoolReader) -> None:
        self._connection = connection
        self._rows = rows
        self._spool = spool

    def results(self, start: int) -> Iterator[RowResult]:
        while True:
            count = 0
            for result in self._window(start, _WINDOW):
                yield result
                count += 1
            if count < _WINDOW:
                return
            start += _WINDOW

    def result(self, index: int) -> RowResult:
        """Raises IndexError where there is no such row."""
        found = next(self._window(index, 1), None)
        if found is None or index < 0:
            raise IndexError(index)
        return found

    def _window(self, start: int, limit: int) -> Iterator[RowResult]:
        """Up to `limit` results; values and replies, which may be large, are read one by one, but for what a fast run
        has put into its spool one behind the other."""
        connection = self._connection
        with connection:
            states = fetch(connection, _STATES, (start, limit))
            attempts = fetch(connection, _ATTEMPTS, (start, start + limit))
            # Of twins those of their first rows, which may stand anywhere before.
            firsts = {first for *_, first in states if first is not None}
            statuses = dict(fetch(connection, _STATUSES, (numbers(firsts),))) if firsts else {}
            elsewhere = [first for first in firsts if first < start]
            if elsewhere:
                attempts += fetch(connection, ATTEMPTS_OF, (numbers(elsewhere),))
        of_row: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for columns in attempts:
            of_row[columns[0]].append(columns)
        places = [columns[_PLACE] for columns in attempts if (columns[_SEGMENT] or 0) > 0] if limit > 1 else []
        with self._spool.ahead_of(*_stretch(places)) if places else nullcontext():
            for index, status, reused, first in states:
                if first is None:
                    yield self._result(index, status, bool(reused), of_row.get(index, []))
                else:
                    yield _as_twin(self._result(index, statuses[first], False, of_row.get(first, [])))

    def _result(self, index: int, status: int, reused: bool, attempts: list[tuple[Any, ...]]) -> RowResult:
        row = self._rows.row(index)
        if not attempts:
            return RowResult(
                row, ROW_STATUSES[status], None, b"", None, None, 0, False, Usage(), 0, None, None, None, None
            )
        if len(attempts) == 1:
            return self._result_of_one(row, status, reused, attempts[0])
        last = AttemptColumns(*deciding(attempts))
        first_started = min(AttemptColumns(*each).started_at for each in attempts)
        decided = status != OPEN
        return RowResult(
            row,
            ROW_STATUSES[status],
            failure_from_text(last.failure) if decided else None,
            self._body(last) if decided else b"",
            last.request_hash,
            MODES[last.mode],
            sum([was_sent(each[_REUSED], each[_REQUEST_HASH]) for each in attempts]),
            reused,
            _sum_usage(attempts),
            _sum_cost(attempts),
            last.request_id,
            last.batch_id,
            from_millis(first_started),
            from_millis(last.ended_at) if last.ended_at is not None else None,
            Step(last.row, last.turn, last.sample, last.round),
        )

    def _result_of_one(self, row: Row, status: int, reused: bool, columns: tuple[Any, ...]) -> RowResult:
        """What the general way makes of a row with one attempt, as nearly all rows have, in half of the time."""
        (
            index, turn, sample, round_, _, end, mode, _, cost, fresh, output, read, five_minutes, one_hour,
            attempt_reused, request_hash, request_id, batch_id, failure, started_at, ended_at, segment, offset, length,
        ) = columns  # fmt: skip
        decided = status != OPEN
        has_body = decided and segment is not None and (segment > 0 or end == _SUCCEEDED)
        return RowResult(
            row,
            ROW_STATUSES[status],
            failure_from_text(failure) if decided and failure is not None else None,
            self._spool.body((segment, offset, length)) if has_body else b"",
            request_hash,
            MODES[mode],
            int(was_sent(attempt_reused, request_hash)),
            reused,
            Usage(fresh, output, read, five_minutes, one_hour),
            cost,
            request_id,
            batch_id,
            from_millis(started_at),
            from_millis(ended_at) if ended_at is not None else None,
            Step(index, turn, sample, round_),
        )

    def replies(self, row: int) -> list[StepReply]:
        return self._replies(_REPLIES, (first_of(self._connection, row),))

    def replies_before(self, step: Step) -> list[StepReply]:
        return self._replies(_REPLIES_BEFORE, (step.row, step.turn, step.round, step.sample))

    def _replies(self, sql: str, bindings: tuple[int, ...]) -> list[StepReply]:
        """The last of each step, in the order in which they are found."""
        last = {columns[:4]: AttemptColumns(*columns) for columns in fetch(self._connection, sql, bindings)}
        return [StepReply(Step(*key), self._body(at), failure_from_text(at.failure)) for key, at in last.items()]

    def earlier_reply(self, row: int, sample: int, request_hash: bytes) -> EarlierReply | None:
        found = fetch(self._connection, _OF_REQUEST, (first_of(self._connection, row), sample, request_hash))
        if not found:
            return None
        attempt = AttemptColumns(*found[0])
        end = ATTEMPT_ENDS[attempt.end]
        body = self._body(attempt) if end == "succeeded" else b""
        return EarlierReply(end, body, failure_from_text(attempt.failure), attempt.request_id)

    def decided(self, start: int, limit: int) -> Iterator[Decided]:
        """Of the rows from `start` up to `start + limit` those that have succeeded or failed; replies, which may be
        large, are read one by one."""
        connection = self._connection
        with connection:
            states = fetch(connection, _DECIDED_ROWS, (start, start + limit))
            attempts = fetch(connection, _ATTEMPTS, (start, start + limit))
        lasts: dict[int, dict[int, AttemptColumns]] = {}
        for columns in map(AttemptColumns._make, attempts):
            lasts.setdefault(columns.row, {})[columns.sample] = columns
        for index, status, kind, reused, twins in states:
            ends = [self._sample_end(columns) for _, columns in sorted(lasts.get(index, {}).items())]
            yield Decided(index, ROW_STATUSES[status], kind, bool(reused), ends, twins)

    def _sample_end(self, last: AttemptColumns) -> SampleEnd:
        failure, end = failure_from_text(last.failure), ATTEMPT_ENDS[last.end]
        reused = bool(last.reused)
        body = self._body(last) if end == "succeeded" else b""
        if not body:
            return SampleEnd(end if end in ("expired", "canceled") else "failed", failure, reused, None)
        outcome = Outcome(
            step=Step(last.row, last.turn, last.sample, last.round),
            attempt=last.number,
            end="succeeded",
            mode=MODES[last.mode],
            request_hash=last.request_hash,
            started_at=from_millis(last.started_at),
            ended_at=from_millis(last.ended_at or last.started_at),
            body=body,
            reply=parse_reply(body, last.request_id),
            request_id=last.request_id,
            batch_id=last.batch_id,
            reused=reused,
        )
        return SampleEnd("failed" if failure is not None else "succeeded", failure, reused, outcome)

    def _body(self, attempt: AttemptColumns) -> bytes:
        if attempt.segment is None or attempt.offset is None or attempt.length is None:
            return b""
        if attempt.segment < 0 and ATTEMPT_ENDS[attempt.end] != "succeeded":
            return b""  # a line of results whose message could not be read, if it has one
        return self._spool.body(Place(attempt.segment, attempt.offset, attempt.length))

    def attempts(self, row: int) -> list[Attempt]:
        """Those that ended, then those under way."""
        with self._connection as connection:
            row = first_of(connection, row)
            ended = fetch(connection, _ATTEMPTS, (row, row + 1))
            under_way = fetch(connection, _UNDER_WAY, (row,))
        return [
            *(_ended_attempt(AttemptColumns(*columns)) for columns in ended),
            *(_attempt_under_way(columns) for columns in under_way),
        ]


def _stretch(places: Sequence[tuple[int, ...]]) -> tuple[int, int, int]:
    """The segment that the first of some frames are in, with where these begin and end in it."""
    segment, start, _ = min(places)
    return segment, start, max([offset + length for of, offset, length in places if of == segment])


def _as_twin(result: RowResult) -> RowResult:
    """The result of a row that was not asked for itself: it has cost nothing."""
    return replace(result, attempts=0, reused=result.status != "open", usage=Usage(), cost_pico=0)


def deciding(attempts: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The attempt that decides a row: the last one; with several samples, the last of the first sample that succeeded,
    or of the first sample."""
    last_of = {columns[_SAMPLE]: columns for columns in attempts}
    if len(last_of) == 1:
        return attempts[-1]
    lasts = [last_of[sample] for sample in sorted(last_of)]
    answered = (each for each in lasts if each[_FAILURE] is None and ATTEMPT_ENDS[each[_END]] == "succeeded")
    return next(answered, lasts[0])


_SUCCEEDED = END_CODE["succeeded"]


def _sum_usage(attempts: list[tuple[Any, ...]]) -> Usage:
    if len(attempts) == 1:
        return Usage(*attempts[0][9:14])
    return Usage(*map(sum, zip(*(columns[9:14] for columns in attempts), strict=True)))


def _sum_cost(attempts: list[tuple[Any, ...]]) -> int | None:
    """None as soon as one attempt has no known price."""
    costs = [columns[8] for columns in attempts]
    return None if None in costs else sum(costs)


def _ended_attempt(columns: AttemptColumns) -> Attempt:
    failure: Failure | None = failure_from_text(columns.failure)
    return Attempt(
        step=Step(columns.row, columns.turn, columns.sample, columns.round),
        number=columns.number,
        end=ATTEMPT_ENDS[columns.end],
        mode=MODES[columns.mode],
        started_at=from_millis(columns.started_at),
        ended_at=from_millis(columns.ended_at) if columns.ended_at is not None else None,
        failure=failure,
        usage=_sum_usage([columns]),
        cost_pico=columns.cost,
        reserved_pico=columns.reserved,
        request_id=columns.request_id,
        batch_id=columns.batch_id,
        reused=bool(columns.reused),
    )


def _attempt_under_way(columns: tuple[Any, ...]) -> Attempt:
    *step, number, mode, started_at, reserved, batch_id = columns
    return Attempt(
        step=Step(*step),
        number=number,
        end=None,
        mode=MODES[mode],
        started_at=from_millis(started_at),
        ended_at=None,
        failure=None,
        usage=Usage(),
        cost_pico=0,
        reserved_pico=reserved,
        request_id=None,
        batch_id=batch_id,
        reused=False,
    )
