"""Batches: their states, the moves between them, and what a move does to the steps inside.

Owns   the table `batches`.
Knows  the contract's `Batch`; reliability rules 3.1 (I3, I5) and 3.2. Sends nothing.

A batch is reserved and its steps are leased in the transaction of its intent. It leaves the tables' care in one of
these ways: `closed` when every step has its outcome, `rejected` or `not_sent` when the API certainly has none of it.
A batch *in doubt* that is declared not sent may still have been accepted, so then its attempts end `lost` and its
bound stays in doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import apsw

from runner.encoding import decode, encode, printable
from runner.errors import LedgerError
from runner.ledger import Batch, BatchFacts, BatchState, BatchStep, Lease
from runner.ledger.database import fetch, fetch_one, fetch_value
from runner.ledger.frames import from_millis, to_millis
from runner.ledger.steps import free_all, give_up_all, step_key, take_leases
from runner.types import Step

MOVES: Final[dict[BatchState, frozenset[BatchState]]] = {
    "intent": frozenset({"sending", "not_sent"}),
    "sending": frozenset({"in_progress", "rejected", "not_sent", "in_doubt"}),
    "in_doubt": frozenset({"in_progress", "not_sent"}),
    "in_progress": frozenset({"canceling", "ended", "unseen", "stuck", "archived"}),
    "canceling": frozenset({"ended", "unseen", "stuck", "archived"}),
    "unseen": frozenset({"in_progress", "canceling", "ended", "stuck", "archived"}),
    "stuck": frozenset({"in_progress", "canceling", "ended", "unseen", "archived"}),
    "ended": frozenset({"closed", "unseen", "archived"}),
    "archived": frozenset({"closed"}),
    "rejected": frozenset(),
    "not_sent": frozenset(),
    "closed": frozenset(),
}
"""A batch that was accepted has an id, so `in_progress` is the only way in from before; `archived` closes once its
rows are recorded as `results_lost`."""

_COLUMNS = """
    number, state, batch_id, steps, body_sha256, watermark, reserved, created_at, expires_at, priming, settled,
    began_at, ended_at, tallies, cause, note
"""
_READ = f"SELECT {_COLUMNS} FROM batches WHERE number = ?"  # noqa: S608 - our own names
_READ_ALL = f"SELECT {_COLUMNS} FROM batches ORDER BY number"  # noqa: S608
_ADD = """
    INSERT INTO batches
        (number, state, steps, body_sha256, watermark, reserved, created_at, priming, first_row, last_row)
    VALUES (?, 'intent', ?, ?, ?, ?, ?, ?, ?, ?)
"""
_MOVE = """
    UPDATE batches SET state = ?2, batch_id = coalesce(?3, batch_id), expires_at = coalesce(?4, expires_at),
        began_at = coalesce(?5, began_at), ended_at = coalesce(?6, ended_at), tallies = coalesce(?7, tallies),
        cause = coalesce(?8, cause), note = coalesce(?9, note)
    WHERE number = ?1
"""
_STEPS = """
    SELECT l.row, l.turn, l.sample, l.round, l.number, s.tries + 1, l.request_hash, l.started_at
    FROM batches AS b
    CROSS JOIN leases AS l ON l.batch = b.number AND l.row <= b.last_row
    JOIN steps AS s USING (row, turn, sample, round)
    WHERE b.number = ? AND (l.row, l.turn, l.sample, l.round) > (max(?, b.first_row - 1), ?, ?, ?)
    ORDER BY l.row, l.turn, l.sample, l.round LIMIT ?
"""
_MISSING = """
    SELECT count(*) FROM batches AS b
    CROSS JOIN leases AS l ON l.batch = b.number AND l.row BETWEEN b.first_row AND b.last_row
    WHERE b.number = ?
"""
_BEFORE_ALL = (-(2**63), 0, 0, 0)


def intend(
    connection: apsw.Connection,
    leases: Sequence[Lease],
    *,
    body_sha256: bytes,
    watermark: str | None,
    now: datetime,
    priming: bool,
) -> Batch:
    """Note a batch that is about to be sent, reserving and leasing all its steps."""
    number = fetch_value(connection, "SELECT coalesce(max(number), 0) + 1 FROM batches")
    millis = to_millis(now)
    taken = take_leases(connection, leases, batch=number, now_millis=millis)
    span = (taken.first_row, taken.last_row)
    connection.execute(_ADD, (number, len(leases), body_sha256, watermark, taken.reserved, millis, priming, *span))
    return read_batch(connection, number)


def mark(connection: apsw.Connection, number: int, state: BatchState, facts: BatchFacts) -> Batch:
    """Move a batch, or note facts of it. Raises LedgerError `batch-move` for a move that is not allowed, `batch-open`
    where steps lack outcomes."""
    batch = read_batch(connection, number)
    _check_move(connection, batch, state, facts)
    if state in ("rejected", "not_sent"):
        if batch.state == "in_doubt":
            give_up_all(connection, number)
        else:
            free_all(connection, number)
    if state == "closed":
        _check_answered(connection, number)
    connection.execute(_MOVE, (number, state, *_fact_columns(facts)))
    return read_batch(connection, number)


def _check_move(connection: apsw.Connection, batch: Batch, state: BatchState, facts: BatchFacts) -> None:
    number, batch_id = batch.number, facts.batch_id
    if state != batch.state and state not in MOVES[batch.state]:
        raise LedgerError(f"batch {number} is {batch.state} and cannot become {state}", code="batch-move")
    if batch.batch_id is not None and batch_id not in (None, batch.batch_id):
        raise LedgerError(f"batch {number} is {batch.batch_id} and cannot become {batch_id}", code="batch-move")
    if state == "in_progress" and (batch_id or batch.batch_id) is None:
        raise LedgerError(f"batch {number} cannot be in progress without an id", code="batch-move")
    if batch_id is not None:
        other = fetch_value(
            connection, "SELECT number FROM batches WHERE batch_id = ? AND number <> ?", (batch_id, number)
        )
        if other is not None:
            raise LedgerError(f"batch {number} cannot be {batch_id}: batch {other} is", code="batch-move")


def _fact_columns(facts: BatchFacts) -> tuple[Any, ...]:
    return (
        facts.batch_id,
        _millis(facts.expires_at),
        _millis(facts.began_at),
        _millis(facts.ended_at),
        encode(dict(facts.tallies)).decode() if facts.tallies is not None else None,
        facts.cause,
        printable(facts.note) if facts.note is not None else None,
    )


def _check_answered(connection: apsw.Connection, number: int) -> None:
    missing = fetch_value(connection, _MISSING, (number,))
    if missing:
        raise LedgerError(f"batch {number} cannot be closed: {missing} of its steps have no outcome", code="batch-open")


def read_batch(connection: apsw.Connection, number: int) -> Batch:
    """Raises LedgerError `no-batch`."""
    found = fetch_one(connection, _READ, (number,))
    if found is None:
        raise LedgerError(f"there is no batch {number}", code="no-batch")
    return _batch(found)


def read_batches(connection: apsw.Connection) -> list[Batch]:
    return [_batch(found) for found in fetch(connection, _READ_ALL)]


def batch_steps(connection: apsw.Connection, number: int, after: Step | None, limit: int) -> list[BatchStep]:
    """The next steps of a batch that have no outcome yet."""
    start = step_key(after) if after is not None else _BEFORE_ALL
    return [
        BatchStep(Step(row, turn, sample, round_), attempt, tries, request_hash, from_millis(started_at))
        for row, turn, sample, round_, attempt, tries, request_hash, started_at in fetch(
            connection, _STEPS, (number, *start, limit)
        )
    ]


def _batch(columns: tuple[Any, ...]) -> Batch:
    number, state, batch_id, steps, body_sha256, watermark, reserved, created_at, expires_at = columns[:9]
    priming, settled, began_at, ended_at, tallies, cause, note = columns[9:]
    return Batch(
        number=number,
        state=state,
        batch_id=batch_id,
        steps=steps,
        body_sha256=body_sha256,
        watermark=watermark,
        reserved_pico=reserved,
        created_at=from_millis(created_at),
        expires_at=_moment(expires_at),
        priming=bool(priming),
        settled=settled,
        began_at=_moment(began_at),
        ended_at=_moment(ended_at),
        tallies=decode(tallies) if tallies is not None else None,
        cause=cause,
        note=note,
    )


def _millis(moment: datetime | None) -> int | None:
    return to_millis(moment) if moment is not None else None


def _moment(millis: int | None) -> datetime | None:
    return from_millis(millis) if millis is not None else None
