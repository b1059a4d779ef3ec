"""Steps: which are open, and the leases of those under way.

Owns   the tables `steps` and `leases`, as far as no outcome is concerned (that is `settlement`).
Knows  the contract's `OpenStep` and `Lease`.

A lease sets its upper bound aside before anything is sent; its attempt gets its number here. When it ends without an
outcome it is either *freed* (certainly not sent: the attempt never was) or *given up* (perhaps sent: the attempt ends
`lost` and its bound stays in doubt). Steps of rows below 0 belong to no row (warm-ups): leasing makes them, and they
are never listed as open. State 0 is `open`: the index of open steps is a partial one, which SQLite finds by the
literal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import apsw

from runner.ledger import Lease, OpenStep
from runner.ledger.bulk import insert_flat, numbers
from runner.ledger.database import fetch, fetch_one, fetch_value
from runner.ledger.schema import END_CODE, LEASED, MODE_CODE, OPEN
from runner.ledger.totals import Changes, read_money
from runner.types import Step

_FACTS = """
    SELECT s.state, s.attempts, s.tries, s.sent, l.number, coalesce(l.reserved, 0), l.batch
    FROM steps AS s
    LEFT JOIN leases AS l ON l.row = s.row AND l.turn = s.turn AND l.sample = s.sample AND l.round = s.round
    WHERE s.row = ? AND s.turn = ? AND s.sample = ? AND s.round = ?
"""
_FACTS_OF_ROWS = """
    SELECT s.row, s.turn, s.sample, s.round,
        s.state, s.attempts, s.tries, s.sent, l.number, coalesce(l.reserved, 0), l.batch
    FROM json_each(?) AS wanted
    CROSS JOIN steps AS s ON s.row = wanted.value
    LEFT JOIN leases AS l ON l.row = s.row AND l.turn = s.turn AND l.sample = s.sample AND l.round = s.round
"""
_OPEN_STEPS = """
    SELECT row, turn, sample, round, attempts, tries FROM steps INDEXED BY steps_open
    WHERE state = 0 AND (row, turn, sample, round) > (?, ?, ?, ?)
    ORDER BY row, turn, sample, round LIMIT ?
"""
_BEFORE_ROWS: Final = (-1, 2**63 - 1, 0, 0)
"""Behind the last step that is of no row. To ask for `row >= 0` as well would be taken for where to begin: each page
would go over all those before it."""
_LEASE_STEPS = """
    UPDATE steps SET state = ?, attempts = attempts + 1
    WHERE row IN carray(?) AND turn = ? AND sample = ? AND round = ? AND state = 0
    RETURNING row, turn, sample, round, attempts, tries, sent
"""
_LEASES = "INSERT INTO leases VALUES "
_LEASE = "({},{},{},{},{},{},{},{},?1,?2)"  # constants: batch, started_at
_LEASES_AT_ONCE = 2000
_RELEASE_LEASE = """
    DELETE FROM leases WHERE row = ? AND turn = ? AND sample = ? AND round = ? AND batch IS NULL
    RETURNING row, turn, sample, round, reserved
"""
_RELEASE_STEP = """
    UPDATE steps SET state = 0, attempts = attempts - 1 WHERE row = ? AND turn = ? AND sample = ? AND round = ?
"""
_FREE_STEPS_OF_BATCH = """
    UPDATE steps AS s SET state = 0, attempts = attempts - 1 FROM leases AS l
    WHERE l.row = s.row AND l.turn = s.turn AND l.sample = s.sample AND l.round = s.round AND l.batch IS ?
"""
_OPEN_STEPS_OF_BATCH = """
    UPDATE steps AS s SET state = 0, sent = 1 FROM leases AS l
    WHERE l.row = s.row AND l.turn = s.turn AND l.sample = s.sample AND l.round = s.round AND l.batch IS ?
"""
_FIRST_REQUESTS_OF_BATCH = """
    SELECT count(*) FROM leases AS l
    JOIN steps AS s ON l.row = s.row AND l.turn = s.turn AND l.sample = s.sample AND l.round = s.round
    WHERE l.batch IS ? AND s.sent = 0
"""
_LOSE_ATTEMPTS_OF_BATCH = """
    INSERT INTO attempts
    SELECT row, turn, sample, round, number, ?, mode, reserved, 0, 0, 0, 0, 0, 0, 0, request_hash, NULL,
        (SELECT batch_id FROM batches WHERE batches.number = leases.batch), NULL, started_at, NULL, NULL, NULL, NULL
    FROM leases WHERE batch IS ?
"""


StepKey: TypeAlias = tuple[int, int, int, int]


def step_key(step: Step) -> StepKey:
    return (step.row, step.turn, step.sample, step.round)


class StepFacts(NamedTuple):
    """What the tables hold of a step; `leased` is the number of the attempt under way, `reserved` its bound, and
    `batch` the batch it is in."""

    state: int
    attempts: int
    tries: int
    sent: int
    leased: int | None
    reserved: int
    batch: int | None


def facts_of(connection: apsw.Connection, step: Step) -> StepFacts | None:
    found = fetch_one(connection, _FACTS, step_key(step))
    return None if found is None else StepFacts(*found)


def facts_of_rows(connection: apsw.Connection, rows: Iterable[int]) -> dict[StepKey, StepFacts]:
    """What is known of all steps of these rows, in one query: a query a step is half of what recording costs."""
    wanted = str(list(rows))  # a JSON array
    return {found[:4]: StepFacts(*found[4:]) for found in fetch(connection, _FACTS_OF_ROWS, (wanted,))}


def open_step(connection: apsw.Connection, step: Step) -> OpenStep | None:
    facts = facts_of(connection, step)
    return OpenStep(step, facts.attempts, facts.tries) if facts is not None and facts.state == OPEN else None


def open_steps(connection: apsw.Connection, after: Step | None, limit: int) -> list[OpenStep]:
    start = step_key(after) if after is not None else _BEFORE_ROWS
    return [
        OpenStep(Step(row, turn, sample, round_), attempts, tries)
        for row, turn, sample, round_, attempts, tries in fetch(connection, _OPEN_STEPS, (*start, limit))
    ]


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


class Taken(NamedTuple):
    """What leases came to: the sum of their bounds, and the lowest and highest row (0 where there is none)."""

    reserved: int
    first_row: int
    last_row: int


Known: TypeAlias = dict[StepKey, StepFacts]
"""Steps that this process has leased outside batches and that have no outcome yet: what the tables hold of them."""


def take_leases(
    connection: apsw.Connection,
    leases: Sequence[Lease],
    *,
    batch: int | None,
    now_millis: int,
    known: Known | None = None,
) -> Taken:
    """Lease open steps and reserve their bounds; `known` gets what is known of each then. Raises ValueError where one
    is not open.

    A batch may have 100,000: some thousands at a time, so that memory does not grow with it.
    """
    reserved, ends = 0, list[int]()
    for start in range(0, len(leases), _LEASES_AT_ONCE):
        some = list(leases[start : start + _LEASES_AT_ONCE])  # a sequence may make its items as they are looked at
        rows = _take_some(connection, some, (batch, now_millis), known)
        ends += (min(rows), max(rows))
        reserved += sum([lease.bound_pico for lease in some])
    Changes(reserved=reserved).write(connection)
    return Taken(reserved, min(ends, default=0), max(ends, default=0))


def _take_some(
    connection: apsw.Connection, leases: Sequence[Lease], constants: tuple[int | None, int], known: Known | None
) -> list[int]:
    """Returns the rows."""
    keys = [step_key(lease.step) for lease in leases]
    of_no_row = [key for key in keys if key[0] < 0]
    connection.executemany("INSERT OR IGNORE INTO steps VALUES (?, ?, ?, ?, 0, 0, 0, 0)", of_no_row)
    rows: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for key in keys:
        rows[key[1:]].append(key[0])
    opened: dict[tuple[int, ...], tuple[int, ...]] = {}
    for rest, same in rows.items():
        opened.update({each[:4]: each[4:] for each in fetch(connection, _LEASE_STEPS, (LEASED, numbers(same), *rest))})
    values: list[Any] = []
    for key, lease in zip(keys, leases, strict=True):
        facts = opened.pop(key, None)
        if facts is None:
            raise ValueError(f"{lease.step} is to be leased, but it is not open")
        number, tries, sent = facts
        if known is not None:
            known[key] = StepFacts(LEASED, number, tries, sent, number, lease.bound_pico, constants[0])
        values += (*key, number, MODE_CODE[lease.mode], lease.bound_pico, lease.request_hash)
    insert_flat(connection, _LEASES, _LEASE, values, constants)
    return [key[0] for key in keys]


def release(connection: apsw.Connection, steps: Sequence[Step]) -> None:
    """Free the leases of steps that were not sent; steps that hold none are left alone."""
    freed: list[Any] = connection.executemany(_RELEASE_LEASE, [step_key(step) for step in steps]).fetchall()
    connection.executemany(_RELEASE_STEP, [found[:4] for found in freed])
    Changes(reserved=-sum(found[4] for found in freed)).write(connection)


def free_all(connection: apsw.Connection, batch: int) -> None:
    """Free every lease of a batch that was certainly not accepted."""
    connection.execute(_FREE_STEPS_OF_BATCH, (batch,))
    reserved, _ = _end_leases(connection, batch)
    Changes(reserved=-reserved).write(connection)


def give_up_all(connection: apsw.Connection, batch: int | None) -> int:
    """End every lease of a batch, or of none, whose fate nobody knows; returns how many.

    The attempt is lost, its bound stays in doubt, the step is open.
    """
    first_requests = fetch_value(connection, _FIRST_REQUESTS_OF_BATCH, (batch,))
    connection.execute(_LOSE_ATTEMPTS_OF_BATCH, (END_CODE["lost"], batch))
    connection.execute(_OPEN_STEPS_OF_BATCH, (batch,))
    reserved, count = _end_leases(connection, batch)
    Changes(reserved=-reserved, doubtful=reserved, attempts=count, requests=first_requests).write(connection)
    return count


def _end_leases(connection: apsw.Connection, batch: int | None) -> tuple[int, int]:
    """Delete a batch's leases; returns their sum and number."""
    reserved, count = fetch(
        connection, "SELECT coalesce(sum(reserved), 0), count(*) FROM leases WHERE batch IS ?", (batch,)
    )[0]
    connection.execute("DELETE FROM leases WHERE batch IS ?", (batch,))
    return reserved, count
