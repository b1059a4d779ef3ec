"""Collecting: lines of a batch's landed results become outcomes, are ruled on and booked.

Owns   which line counts: the first of each step that is leased in this batch; and the outcome a line makes.
Knows  `settlement`, which books; the lines are durable before they come here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import apsw

from runner.ledger import Batch, Landed, Rule, Ruling, Settled
from runner.ledger.database import Database, fetch, fetch_value
from runner.ledger.frames import from_millis
from runner.ledger.settlement import Settlement
from runner.ledger.spool import Place
from runner.ledger.steps import StepFacts, StepKey, step_key
from runner.types import Outcome

_LEASED = """
    SELECT s.row, s.turn, s.sample, s.round, s.state, s.attempts, s.tries, s.sent, l.number, l.reserved, l.batch,
        l.request_hash, l.started_at
    FROM json_each(?) AS wanted
    CROSS JOIN leases AS l ON l.row = wanted.value
    JOIN steps AS s ON l.row = s.row AND l.turn = s.turn AND l.sample = s.sample AND l.round = s.round
    WHERE l.batch = ?
"""
_HAS_OUTCOME = """
    SELECT 1 FROM attempts WHERE row = ? AND turn = ? AND sample = ? AND round = ? AND mode = 0 AND batch_id = ?
"""


def settle(
    database: Database, batch: Batch, landing: int, lines: Sequence[Landed], rule: Rule, now: datetime
) -> Settled:
    """See `Ledger.settle_batch`. What the rule raises is raised, with nothing booked."""
    connection = database.connection
    leased = _leased_in(connection, batch.number, {line.step.row for line in lines})
    rulings: list[Ruling | None] = []
    settlement = Settlement()
    seen: set[StepKey] = set()
    repeated = unknown = 0
    for line in lines:
        key = step_key(line.step)
        found = leased.pop(key, None)
        if found is None:
            if key in seen or _has_outcome(connection, batch, key):
                repeated += 1
            else:
                unknown += 1
            rulings.append(None)
            continue
        seen.add(key)
        facts, request_hash, started_at = found
        outcome = _outcome(line, facts, request_hash, started_at, batch, now)
        ruling = rule(outcome)
        settlement.take_up(outcome, facts, Place(-landing, line.offset, line.length), ruling)
        rulings.append(ruling)
    if seen:
        with database.transaction(durable=False):
            settlement.write(connection)
    return Settled(rulings, repeated, unknown)


def _leased_in(
    connection: apsw.Connection, number: int, rows: Iterable[int]
) -> dict[StepKey, tuple[StepFacts, bytes, datetime]]:
    """The steps of these rows that are under way in a batch."""
    found: list[tuple[Any, ...]] = fetch(connection, _LEASED, (str(list(rows)), number))
    return {each[:4]: (StepFacts(*each[4:11]), each[11], from_millis(each[12])) for each in found}


def _has_outcome(connection: apsw.Connection, batch: Batch, key: StepKey) -> bool:
    return fetch_value(connection, _HAS_OUTCOME, (*key, batch.batch_id)) is not None


def _outcome(
    line: Landed, facts: StepFacts, request_hash: bytes, started_at: datetime, batch: Batch, now: datetime
) -> Outcome:
    assert facts.leased is not None
    return Outcome(
        step=line.step,
        attempt=facts.leased,
        end=line.end,
        mode="batch",
        request_hash=request_hash,
        started_at=started_at,
        ended_at=batch.ended_at or now,
        reply=line.reply,
        failure=line.failure,
        usage=line.usage,
        cost_pico=line.cost_pico,
        request_id=line.request_id,
        batch_id=batch.batch_id,
        tries=facts.tries + 1,
    )
