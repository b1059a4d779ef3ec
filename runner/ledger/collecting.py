"""Collecting: lines of a batch's landed results become outcomes, are ruled on and booked.

Owns   which line counts: the first of each step that is leased in this batch; the outcome a line makes; and booking
       replies that are accepted, which nearly all are, many at once.
Knows  `settlement`, which books what is not accepted; the lines are durable before they come here.

A batch has up to 100,000 lines, in any order. They are booked in the order of their steps, because neighbours in the
tables share pages. Rows without a gap between them are changed by their first and last number, which SQLite does in
one pass over the table: 0.6 µs a row in three tables, where a list of their numbers takes 1.4 (measured).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import apsw

from runner.ledger import ACCEPTED_COLUMNS, UNPRICED, AcceptedLines, Batch, Landed, Rule, Ruling, Settled
from runner.ledger.bulk import insert_flat, numbers
from runner.ledger.database import Database, fetch, fetch_value
from runner.ledger.frames import to_millis
from runner.ledger.schema import END_CODE, LEASED, MODE_CODE, ROW_CODE, STEP_CODE
from runner.ledger.settlement import Settlement
from runner.ledger.spool import Place
from runner.ledger.steps import StepFacts, StepKey, facts_of_rows, step_key
from runner.ledger.totals import Changes
from runner.types import Outcome, Step

_LEASED = """
    SELECT l.row, l.turn, l.sample, l.round, l.number, l.reserved, l.request_hash
    FROM carray(?) AS wanted CROSS JOIN leases AS l ON l.row = wanted.value
    WHERE l.batch = ?
"""
_ENDED = """
    SELECT a.row, a.turn, a.sample, a.round
    FROM carray(?) AS wanted CROSS JOIN attempts AS a ON a.row = wanted.value
    WHERE a.mode = ? AND a.batch_id = ?
"""

_FIRST_STEPS_LEASED = """
    FROM carray(?) AS wanted
    CROSS JOIN leases AS l ON l.row = wanted.value AND l.turn = 0 AND l.sample = 0 AND l.round = 0
    WHERE l.batch = ?
"""
_ROWS_LEASED = f"SELECT l.row {_FIRST_STEPS_LEASED}"
_WHAT_IS_LEASED = f"""
    SELECT count(*), coalesce(sum(l.reserved), 0), count(*) FILTER (WHERE length(l.request_hash) > 0),
        count(*) FILTER (WHERE l.number > 1)
    {_FIRST_STEPS_LEASED}
"""
_SENT_BEFORE = """
    SELECT coalesce(sum(s.sent), 0) FROM carray(?) AS wanted
    CROSS JOIN steps AS s ON s.row = wanted.value AND s.turn = 0 AND s.sample = 0 AND s.round = 0
"""

# Constants: batch_id, started_at, ended_at, segment, end, mode. Neither reused nor failed, and without a request id.
_ATTEMPTS: Final = """
    INSERT INTO attempts SELECT
        l.row, 0, 0, 0, l.number, ?5, ?6, l.reserved, nullif(line.column2, ?7), line.column3, line.column4,
        line.column5, line.column6, line.column7, 0, l.request_hash, NULL, ?1, NULL, ?2, ?3, ?4, line.column8,
        line.column9
    FROM (VALUES
"""
_ATTEMPT: Final = f"({','.join(['{}'] * ACCEPTED_COLUMNS)})"
_ATTEMPTS_END: Final = """
    ) AS line
    CROSS JOIN leases AS l ON l.row = line.column1 AND l.turn = 0 AND l.sample = 0 AND l.round = 0
"""
_END_LEASES = "DELETE FROM leases WHERE row BETWEEN ? AND ? AND turn = 0 AND sample = 0 AND round = 0"
_SUCCEED_STEPS = f"""
    UPDATE steps SET state = {STEP_CODE["succeeded"]}, tries = tries + 1, sent = 1
    WHERE row BETWEEN ? AND ? AND turn = 0 AND sample = 0 AND round = 0
"""  # noqa: S608 - our own code, as in the next
_SUCCEED_ROWS = f"""
    UPDATE rows SET status = {ROW_CODE["succeeded"]}, kind = NULL, reused = 0 WHERE idx BETWEEN ? AND ?
"""  # noqa: S608
_SETTLE = "UPDATE batches SET settled = settled + ? WHERE number = ?"

_FRESH = (0, 0)


def settle(
    database: Database,
    batch: Batch,
    landing: int,
    lines: Sequence[Landed],
    rule: Rule,
    now: datetime,
    accepted: AcceptedLines,
    samples: int = 1,
) -> Settled:
    """See `Ledger.settle_batch`. What the rule raises is raised, with nothing booked."""
    connection = database.connection
    database.check_writable()
    if samples > 1 and accepted:
        raise ValueError("a row with several samples does not end with one of them")
    settlement = Settlement(samples)
    rulings, passed_over = _rule_on(
        connection, batch, landing, lines, rule, ended_at := batch.ended_at or now, settlement
    )
    replies = _Replies(batch, landing, ended_at, accepted)
    passed_over += [(row, 0, 0, 0) for row in replies.take_leased(connection)]
    if len(passed_over) < len(lines) + len(accepted):
        with database.transaction(durable=False):
            settlement.write(connection)
            replies.write(connection)
    return _settled(connection, batch, rulings, replies.lines, passed_over)


def _rule_on(
    connection: apsw.Connection,
    batch: Batch,
    landing: int,
    lines: Sequence[Landed],
    rule: Rule,
    ended_at: datetime,
    settlement: Settlement,
) -> tuple[list[Ruling | None], list[StepKey]]:
    """Gather what lines come to; returns their rulings, and the steps of those that change nothing."""
    keys = [step_key(line.step) for line in lines]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    leases = {each[:4]: each for each in _fetch_rows(connection, _LEASED, [key[0] for key in keys], batch.number)}
    earlier = _tries_before(connection, leases)
    rulings: list[Ruling | None] = [None] * len(lines)
    passed_over: list[StepKey] = []
    for at in order:
        key, line = keys[at], lines[at]
        lease = leases.pop(key, None)
        if lease is None:
            passed_over.append(key)
            continue
        _, _, _, _, number, reserved, request_hash = lease
        tries, sent = earlier[key] if number > 1 else _FRESH
        outcome = Outcome(
            step=line.step,
            attempt=number,
            end=line.end,
            mode="batch",
            request_hash=request_hash,
            started_at=batch.created_at,
            ended_at=ended_at,
            reply=line.reply,
            failure=line.failure,
            usage=line.usage,
            cost_pico=line.cost_pico,
            request_id=line.request_id,
            batch_id=batch.batch_id,
            tries=tries + 1,
        )
        rulings[at] = ruling = rule(outcome)
        facts = StepFacts(LEASED, number, tries, sent, number, reserved, batch.number)
        settlement.take_up(outcome, facts, Place(-landing, line.offset, line.length), ruling)
    return rulings, passed_over


def _fetch_rows(connection: apsw.Connection, sql: str, rows: Iterable[int], *bindings: Any) -> list[Any]:
    return fetch(connection, sql, (numbers(rows), *bindings))


def _tries_before(connection: apsw.Connection, leases: dict[Any, tuple[Any, ...]]) -> dict[StepKey, tuple[int, int]]:
    """`tries` and `sent` of the steps that have had an attempt before; a first attempt needs no look-up."""
    rows = {lease[0] for lease in leases.values() if lease[4] > 1}
    return {key: (facts.tries, facts.sent) for key, facts in facts_of_rows(connection, rows).items()} if rows else {}


def _settled(
    connection: apsw.Connection,
    batch: Batch,
    rulings: Sequence[Ruling | None],
    accepted: AcceptedLines,
    passed_over: Sequence[StepKey],
) -> Settled:
    """Say of the lines that changed nothing whether their steps have had their outcome in this batch."""
    if not passed_over:
        return Settled(rulings, accepted)
    rows = [key[0] for key in passed_over]
    ended = set(_fetch_rows(connection, _ENDED, rows, MODE_CODE["batch"], batch.batch_id))
    unknown = tuple(Step(*key) for key in passed_over if key not in ended)
    return Settled(rulings, accepted, len(passed_over) - len(unknown), unknown)


class _Held(NamedTuple):
    """What the leases of some first steps come to: how many, their bounds, how many are requests at the API, and how
    many have had an attempt before."""

    leases: int
    reserved: int
    attempts: int
    again: int


class _Replies:
    """Lines whose replies were accepted: the same as `Settlement` makes of each, a table at a time."""

    def __init__(self, batch: Batch, landing: int, ended_at: datetime, lines: AcceptedLines) -> None:
        self.lines = lines
        """Once `take_leased` has been called: those whose steps are leased in the batch."""
        self._batch = batch
        self._constants = (
            batch.batch_id,
            to_millis(batch.created_at),
            to_millis(ended_at),
            -landing,
            END_CODE["succeeded"],
            MODE_CODE["batch"],
            UNPRICED,
        )
        self._held = _Held(0, 0, 0, 0)

    def take_leased(self, connection: apsw.Connection) -> list[int]:
        """Keep the lines whose steps are leased in the batch; returns the rows of the others."""
        if not self.lines:
            return []
        self._held = self._look(connection)
        if self._held.leases == len(self.lines):
            return []
        rows = self.lines.rows
        leased = {row for (row,) in _fetch_rows(connection, _ROWS_LEASED, rows, self._batch.number)}
        kept = array("q")
        for place, row in enumerate(rows):
            if row in leased:
                kept.extend(self.lines.part(place, place + 1).numbers)
        self.lines = AcceptedLines(kept)
        return [row for row in rows if row not in leased]

    def _look(self, connection: apsw.Connection) -> _Held:
        return _Held(*_fetch_rows(connection, _WHAT_IS_LEASED, self.lines.rows, self._batch.number)[0])

    def write(self, connection: apsw.Connection) -> None:
        if not self.lines:
            return
        rows = self.lines.rows
        ranges = _ranges(rows)
        self._change_totals(connection, rows)
        insert_flat(connection, _ATTEMPTS, _ATTEMPT, self.lines.numbers, self._constants, _ATTEMPTS_END)
        connection.executemany(_END_LEASES, ranges)
        connection.executemany(_SUCCEED_STEPS, ranges)
        connection.executemany(_SUCCEED_ROWS, ranges)
        connection.execute(_SETTLE, (len(rows), self._batch.number))

    def _change_totals(self, connection: apsw.Connection, rows: Iterable[int]) -> None:
        costs, held = self.lines.costs_pico, self._held
        sent_before = fetch_value(connection, _SENT_BEFORE, (numbers(rows),)) if held.again else 0
        unpriced = costs.count(UNPRICED)
        changes = Changes(
            rows_open=-held.leases,
            rows_succeeded=held.leases,
            attempts=held.attempts,
            requests=held.leases - sent_before,
            spent=sum(costs) - unpriced * UNPRICED,
            reserved=-held.reserved,
            unpriced=unpriced,
        )
        changes.add_usage(self.lines.usage)
        changes.write(connection)


def _ranges(rows: Sequence[int]) -> list[tuple[int, int]]:
    """The first and the last of each stretch of ascending rows without a gap."""
    if rows[-1] - rows[0] == len(rows) - 1:
        return [(rows[0], rows[-1])]
    ends = [place for place in range(1, len(rows)) if rows[place] - rows[place - 1] > 1]
    return [(rows[start], rows[stop - 1]) for start, stop in zip([0, *ends], [*ends, len(rows)], strict=True)]
