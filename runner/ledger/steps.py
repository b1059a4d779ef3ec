"""Steps: which are open, and the leases of those under way.

Owns   the tables `steps` and `leases`, as far as no outcome is concerned (that is `settlement`).
Knows  the contract's `OpenStep` and `Lease`.

A lease sets its upper bound aside before anything is sent; its attempt gets its number here. When it ends without an outcome
it is either *freed* (certainly not sent: the attempt never was) or *given up* (perhaps sent: the attempt ends `lost` and its
bound stays in doubt). Steps of rows below 0 belong to no row (warm-ups): leasing makes them, and they are never listed as open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import apsw

from runner.ledger import Lease, OpenStep
from runner.ledger.schema import END_CODE, LEASED, MODE_CODE, OPEN
from runner.ledger.totals import Changes, read_money
from runner.types import Step

THE_STEP = "row = ? AND turn = ? AND sample = ? AND round = ?"
_LEASE_OF_STEP = "l.row = s.row AND l.turn = s.turn AND l.sample = s.sample AND l.round = s.round"


def step_key(step: Step) -> tuple[int, int, int, int]:
    return (step.row, step.turn, step.sample, step.round)


class StepFacts(NamedTuple):
    """What the tables hold of a step; `leased` is the number of the attempt under way, `reserved` its bound."""

    state: int
    attempts: int
    tries: int
    sent: int
    leased: int | None
    reserved: int


_FACTS = f"""
    SELECT s.state, s.attempts, s.tries, s.sent, l.number, coalesce(l.reserved, 0)
    FROM steps AS s LEFT JOIN leases AS l ON {_LEASE_OF_STEP}
    WHERE s.row = ? AND s.turn = ? AND s.sample = ? AND s.round = ?
"""


def facts_of(connection: apsw.Connection, step: Step) -> StepFacts | None:
    found = connection.execute(_FACTS, step_key(step)).fetchone()
    return None if found is None else StepFacts(*found)


def open_steps(connection: apsw.Connection, after: Step | None, limit: int) -> list[OpenStep]:
    found = connection.execute(
        """
        SELECT row, turn, sample, round, attempts, tries FROM steps INDEXED BY steps_open
        WHERE state = 0 AND row >= 0 AND (row, turn, sample, round) > (?, ?, ?, ?)
        ORDER BY row, turn, sample, round LIMIT ?
        """,
        (*(step_key(after) if after is not None else (-1, 0, 0, 0)), limit),
    )
    return [OpenStep(Step(row, turn, sample, round_), attempts, tries) for row, turn, sample, round_, attempts, tries in found]


def affordable(connection: apsw.Connection, leases: Sequence[Lease], cap_pico: int | None) -> Sequence[Lease]:
    """The longest prefix whose bounds fit under the cap, on top of what is spent, reserved and in doubt."""
    if cap_pico is None:
        return leases
    money = read_money(connection)
    left = cap_pico - money.spent - money.reserved - money.doubtful
    for count, lease in enumerate(leases):
        left -= lease.bound_pico
        if left < 0:
            return leases[:count]
    return leases


def take_leases(connection: apsw.Connection, leases: Sequence[Lease], *, batch: int | None, now_millis: int) -> int:
    """Lease open steps and reserve their bounds; returns the sum. Raises ValueError where one is not open."""
    of_no_row = [step_key(lease.step) for lease in leases if lease.step.row < 0]
    connection.executemany("INSERT OR IGNORE INTO steps VALUES (?, ?, ?, ?, 0, 0, 0, 0)", of_no_row)
    numbers = connection.executemany(
        f"UPDATE steps SET state = {LEASED}, attempts = attempts + 1 WHERE {THE_STEP} AND state = {OPEN} RETURNING attempts",
        [step_key(lease.step) for lease in leases],
    ).fetchall()
    if len(numbers) != len(leases):
        raise ValueError(f"of {len(leases)} steps to lease only {len(numbers)} are open")
    connection.executemany(
        "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (*step_key(lease.step), number, MODE_CODE[lease.mode], lease.bound_pico, lease.request_hash, batch, now_millis)
            for lease, (number,) in zip(leases, numbers, strict=True)
        ],
    )
    reserved = sum(lease.bound_pico for lease in leases)
    Changes(reserved=reserved).write(connection)
    return reserved


def release(connection: apsw.Connection, steps: Sequence[Step]) -> None:
    """Free the leases of steps that were not sent; steps that hold none are left alone."""
    freed = connection.executemany(
        f"DELETE FROM leases WHERE {THE_STEP} AND batch IS NULL RETURNING row, turn, sample, round, reserved",
        [step_key(step) for step in steps],
    ).fetchall()
    connection.executemany(
        f"UPDATE steps SET state = {OPEN}, attempts = attempts - 1 WHERE {THE_STEP}", [found[:4] for found in freed]
    )
    Changes(reserved=-sum(found[4] for found in freed)).write(connection)


def free_all(connection: apsw.Connection, batch: int) -> None:
    """Free every lease of a batch that was certainly not accepted."""
    connection.execute(
        f"UPDATE steps AS s SET state = {OPEN}, attempts = attempts - 1 FROM leases AS l WHERE {_LEASE_OF_STEP} AND l.batch IS ?",
        (batch,),
    )
    reserved, _ = _end_leases(connection, batch)
    Changes(reserved=-reserved).write(connection)


def give_up_all(connection: apsw.Connection, batch: int | None) -> int:
    """End every lease of a batch, or of none, whose fate nobody knows: the attempt is lost, its bound in doubt, the step open.

    Returns how many.
    """
    first_requests = connection.execute(
        f"SELECT count(*) FROM leases AS l JOIN steps AS s ON {_LEASE_OF_STEP} WHERE l.batch IS ? AND s.sent = 0", (batch,)
    ).get
    connection.execute(
        f"""
        INSERT INTO attempts
        SELECT row, turn, sample, round, number, {END_CODE["lost"]}, mode, reserved, 0, 0, 0, 0, 0, 0, 0, request_hash, NULL,
            (SELECT batch_id FROM batches WHERE batches.number = leases.batch), NULL, started_at, NULL, NULL, NULL, NULL
        FROM leases WHERE batch IS ?
        """,
        (batch,),
    )
    connection.execute(
        f"UPDATE steps AS s SET state = {OPEN}, sent = 1 FROM leases AS l WHERE {_LEASE_OF_STEP} AND l.batch IS ?", (batch,)
    )
    reserved, count = _end_leases(connection, batch)
    Changes(reserved=-reserved, doubtful=reserved, attempts=count, requests=first_requests).write(connection)
    return count


def _end_leases(connection: apsw.Connection, batch: int | None) -> tuple[int, int]:
    """Delete a batch's leases; returns their sum and number."""
    reserved, count = connection.execute(
        "SELECT coalesce(sum(reserved), 0), count(*) FROM leases WHERE batch IS ?", (batch,)
    ).fetchall()[0]
    connection.execute("DELETE FROM leases WHERE batch IS ?", (batch,))
    return int(reserved), int(count)
