"""Collecting: lines of a batch's landed results become outcomes, are ruled on and booked.

Owns   which line counts: the first of each step that is leased in this batch; the outcome a line makes; and booking
       replies that are accepted, which nearly all are, many at once.
Knows  `settlement`, which books what is not accepted; the lines are durable before they come here.

A batch has up to 100,000 lines, in any order. They are worked on in the order of their steps, because neighbours in
the tables share pages: a group of lines that lie side by side costs a third of one that is spread over the batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import apsw

from runner.encoding import printable
from runner.ledger import Batch, Landed, Rule, Ruling, Settled
from runner.ledger.bulk import insert_flat, numbers, outcome_without_body
from runner.ledger.database import Database, fetch
from runner.ledger.frames import to_millis
from runner.ledger.schema import END_CODE, LEASED, MODE_CODE, ROW_CODE, STEP_CODE
from runner.ledger.settlement import Settlement
from runner.ledger.spool import Place
from runner.ledger.steps import StepFacts, StepKey, facts_of_rows
from runner.ledger.totals import Changes
from runner.types import Usage

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

_ATTEMPTS: Final = "INSERT INTO attempts VALUES "
# Constants: batch_id, started_at, ended_at, segment, end, mode. Neither reused nor failed.
_ATTEMPT = "({},{},{},{},{},?5,?6,{},{},{},{},{},{},{},0,{},{},?1,NULL,?2,?3,?4,{},{})"
_WIDTH: Final = _ATTEMPT.count("{}")
_SUCCEED_STEPS = """
    UPDATE steps SET state = ?, tries = tries + 1, sent = 1
    WHERE row IN carray(?) AND turn = ? AND sample = ? AND round = ?
"""
_SUCCEED_ROWS = "UPDATE rows SET status = ?, kind = NULL, reused = 0 WHERE idx IN carray(?)"
_END_LEASES = "DELETE FROM leases WHERE row IN carray(?) AND turn = ? AND sample = ? AND round = ?"
_SETTLE = "UPDATE batches SET settled = settled + ? WHERE number = ?"

_FRESH = (0, 0)


def settle(
    database: Database, batch: Batch, landing: int, lines: Sequence[Landed], rule: Rule, now: datetime
) -> Settled:
    """See `Ledger.settle_batch`. What the rule raises is raised, with nothing booked."""
    connection = database.connection
    database.check_writable()
    keys: list[StepKey] = [(line.step.row, line.step.turn, line.step.sample, line.step.round) for line in lines]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    leases = {each[:4]: each for each in _fetch_rows(connection, _LEASED, [keys[at] for at in order], batch.number)}
    earlier = _tries_before(connection, leases)
    rulings: list[Ruling | None] = [None] * len(lines)
    accepted = _Accepted(batch, landing, ended_at := batch.ended_at or now)
    settlement = Settlement()
    passed_over: list[StepKey] = []
    for at in order:
        key, line = keys[at], lines[at]
        lease = leases.pop(key, None)
        if lease is None:
            passed_over.append(key)
            continue
        _, _, _, _, number, reserved, request_hash = lease
        tries, sent = earlier[key] if number > 1 else _FRESH
        outcome = outcome_without_body(
            line.step, number, line.end, "batch", request_hash, batch.created_at, ended_at, line.reply, line.failure,
            line.usage, line.cost_pico, line.request_id, batch.batch_id, tries + 1,
        )  # fmt: skip
        rulings[at] = ruling = rule(outcome)
        if (
            ruling.state == "succeeded" and ruling.failure is None and ruling.next_step is None
            and line.failure is None and line.end == "succeeded" and key[0] >= 0
        ):  # fmt: skip
            accepted.add(key, line, number, reserved, request_hash, sent)
        else:
            facts = StepFacts(LEASED, number, tries, sent, number, reserved, batch.number)
            settlement.take_up(outcome, facts, Place(-landing, line.offset, line.length), ruling)
    if len(passed_over) < len(lines):
        with database.transaction(durable=False):
            accepted.write(connection)
            settlement.write(connection)
    return _settled(connection, batch, rulings, passed_over)


def _fetch_rows(connection: apsw.Connection, sql: str, keys: Sequence[StepKey], *bindings: Any) -> list[Any]:
    return fetch(connection, sql, (numbers([key[0] for key in keys]), *bindings))


def _tries_before(connection: apsw.Connection, leases: dict[Any, tuple[Any, ...]]) -> dict[StepKey, tuple[int, int]]:
    """`tries` and `sent` of the steps that have had an attempt before; a first attempt needs no look-up."""
    rows = {lease[0] for lease in leases.values() if lease[4] > 1}
    return {key: (facts.tries, facts.sent) for key, facts in facts_of_rows(connection, rows).items()} if rows else {}


def _settled(
    connection: apsw.Connection, batch: Batch, rulings: Sequence[Ruling | None], passed_over: Sequence[StepKey]
) -> Settled:
    """Say of the lines that changed nothing whether their steps have had their outcome in this batch."""
    if not passed_over:
        return Settled(rulings)
    ended = set(_fetch_rows(connection, _ENDED, passed_over, MODE_CODE["batch"], batch.batch_id))
    repeated = sum(key in ended for key in passed_over)
    return Settled(rulings, repeated, len(passed_over) - repeated)


class _Accepted:
    """Lines whose replies were accepted, gathered: the same as `Settlement` makes of each, a table at a time."""

    def __init__(self, batch: Batch, landing: int, ended_at: datetime) -> None:
        self._batch = batch
        self._constants = (
            batch.batch_id,
            to_millis(batch.created_at),
            to_millis(ended_at),
            -landing,
            END_CODE["succeeded"],
            MODE_CODE["batch"],
        )
        self._attempts: list[Any] = []
        self._rows: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        self._sent_before = 0

    def add(self, key: StepKey, line: Landed, number: int, reserved: int, request_hash: bytes, sent: int) -> None:
        usage, request_id = line.usage, line.request_id
        self._attempts += (
            *key,
            number,
            reserved,
            line.cost_pico,
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_input_tokens,
            usage.ephemeral_5m_input_tokens,
            usage.ephemeral_1h_input_tokens,
            request_hash,
            None if request_id is None else printable(request_id),
            line.offset,
            line.length,
        )
        self._sent_before += sent
        self._rows[key[1:]].append(key[0])

    def write(self, connection: apsw.Connection) -> None:
        insert_flat(connection, _ATTEMPTS, _ATTEMPT, self._attempts, self._constants)
        total = 0
        for rest, rows in self._rows.items():
            connection.execute(_END_LEASES, (numbers(rows), *rest))
            connection.execute(_SUCCEED_STEPS, (STEP_CODE["succeeded"], numbers(rows), *rest))
            connection.execute(_SUCCEED_ROWS, (ROW_CODE["succeeded"], numbers(rows)))
            total += len(rows)
        self._change_totals(connection, total)
        connection.execute(_SETTLE, (total, self._batch.number))

    def _change_totals(self, connection: apsw.Connection, total: int) -> None:
        # Column by column: a sum over a slice takes a tenth of adding up line by line.
        reserved, costs, *tokens = (self._attempts[place::_WIDTH] for place in range(5, 12))
        hashes = self._attempts[12::_WIDTH]
        changes = Changes(
            rows_open=-total,
            rows_succeeded=total,
            attempts=sum(map(bool, hashes)),
            requests=total - self._sent_before,
            spent=sum(filter(None, costs)),
            reserved=-sum(reserved),
            unpriced=costs.count(None),
        )
        changes.add_usage(Usage(*map(sum, tokens)))
        changes.write(connection)
