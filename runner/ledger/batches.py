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

from runner.errors import LedgerError
from runner.ledger import Batch, BatchState, Lease
from runner.ledger.database import fetch, fetch_one, fetch_value
from runner.ledger.frames import from_millis, to_millis
from runner.ledger.steps import free_all, give_up_all, take_leases

MOVES: Final[dict[BatchState, frozenset[BatchState]]] = {
    "intent": frozenset({"sending", "not_sent"}),
    "sending": frozenset({"in_progress", "rejected", "not_sent", "in_doubt"}),
    "in_doubt": frozenset({"in_progress", "rejected", "not_sent"}),
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

_READ = "SELECT * FROM batches WHERE number = ?"
_READ_ALL = "SELECT * FROM batches ORDER BY number"
_MOVE = """
    UPDATE batches SET state = ?, batch_id = coalesce(?, batch_id), expires_at = coalesce(?, expires_at) WHERE number
    = ?
"""


def intend(
    connection: apsw.Connection, leases: Sequence[Lease], *, body_sha256: bytes, watermark: str | None, now: datetime
) -> Batch:
    """Note a batch that is about to be sent, reserving and leasing all its steps."""
    number = fetch_value(connection, "SELECT coalesce(max(number), 0) + 1 FROM batches")
    millis = to_millis(now)
    reserved = take_leases(connection, leases, batch=number, now_millis=millis)
    connection.execute(
        "INSERT INTO batches VALUES (?, 'intent', NULL, ?, ?, ?, ?, ?, NULL)",
        (number, len(leases), body_sha256, watermark, reserved, millis),
    )
    return read_batch(connection, number)


def mark(
    connection: apsw.Connection, number: int, state: BatchState, *, batch_id: str | None, expires_at: datetime | None
) -> Batch:
    """Move a batch. Raises LedgerError `batch-move` for a move that is not allowed, `batch-open` where steps lack
    outcomes."""
    batch = read_batch(connection, number)
    if state != batch.state and state not in MOVES[batch.state]:
        raise LedgerError(f"batch {number} is {batch.state} and cannot become {state}", code="batch-move")
    if batch.batch_id is not None and batch_id not in (None, batch.batch_id):
        raise LedgerError(f"batch {number} is {batch.batch_id} and cannot become {batch_id}", code="batch-move")
    if state == "in_progress" and (batch_id or batch.batch_id) is None:
        raise LedgerError(f"batch {number} cannot be in progress without an id", code="batch-move")
    if state in ("rejected", "not_sent"):
        if batch.state == "in_doubt":
            give_up_all(connection, number)
        else:
            free_all(connection, number)
    if state == "closed":
        _check_answered(connection, number)
    connection.execute(
        _MOVE,
        (state, batch_id, to_millis(expires_at) if expires_at is not None else None, number),
    )
    return read_batch(connection, number)


def _check_answered(connection: apsw.Connection, number: int) -> None:
    missing = fetch_value(connection, "SELECT count(*) FROM leases WHERE batch = ?", (number,))
    if missing:
        raise LedgerError(f"batch {number} cannot be closed: {missing} of its steps have no outcome", code="batch-open")


def read_batch(connection: apsw.Connection, number: int) -> Batch:
    found = fetch_one(connection, _READ, (number,))
    if found is None:
        raise LedgerError(f"there is no batch {number}", code="no-batch")
    return _batch(found)


def read_batches(connection: apsw.Connection) -> list[Batch]:
    return [_batch(found) for found in fetch(connection, _READ_ALL)]


def _batch(columns: tuple[Any, ...]) -> Batch:
    number, state, batch_id, steps, body_sha256, watermark, reserved, created_at, expires_at = columns
    expires = from_millis(expires_at) if expires_at is not None else None
    return Batch(number, state, batch_id, steps, body_sha256, watermark, reserved, from_millis(created_at), expires)
