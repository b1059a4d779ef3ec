"""Canceling: `runner cancel` ends the rows that wait and are under way nowhere.

Owns   that one move, some rows at a time: what a crash leaves undone, doing it again does.
Knows  the tables `rows` and `steps`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from runner.ledger.database import Database, fetch, fetch_value
from runner.ledger.sampling import end_sampled
from runner.ledger.schema import ROW_CODE, STEP_CODE
from runner.ledger.totals import Changes, read_counts

_STEPS_A_TRANSACTION = 200_000

# The last row of the next steps that are open. State 0 is `open`, 1 `leased`, 2 `answered`.
_UP_TO = """
    SELECT max(row) FROM (
        SELECT row FROM steps INDEXED BY steps_open WHERE state = 0 AND row > ? ORDER BY row LIMIT ?
    )
"""
_BUSY = """
    SELECT EXISTS (SELECT 1 FROM leases WHERE row > ?1 AND row <= ?2)
        OR EXISTS (SELECT 1 FROM steps INDEXED BY steps_answered WHERE state = 2 AND row > ?1 AND row <= ?2)
"""
_END_ALL_STEPS = "UPDATE steps SET state = ? WHERE state = 0 AND row > ? AND row <= ?"
_END_ALL_ROWS = "UPDATE rows SET status = ?, kind = NULL, reused = 0 WHERE status = 0 AND idx > ? AND idx <= ?"
_CHOOSE = """
    INSERT INTO temp.canceled
    SELECT DISTINCT s.row FROM steps AS s INDEXED BY steps_open
    WHERE s.state = 0 AND s.row > ? AND s.row <= ?
        AND NOT EXISTS (SELECT 1 FROM steps AS t WHERE t.row = s.row AND t.state IN (1, 2))
"""
_END_STEPS = "UPDATE steps SET state = ? WHERE state = 0 AND row IN (SELECT row FROM temp.canceled)"
_END_ROWS = "UPDATE rows SET status = ?, kind = NULL, reused = 0 WHERE idx IN (SELECT row FROM temp.canceled)"


def cancel_open(database: Database, samples: int = 1) -> int:
    """End the rows that are open and of which no step is leased or answered; returns how many are canceled. A row of
    which a sample has succeeded already has succeeded."""
    before, last = read_counts(database.connection).canceled, -1
    while True:
        following: int | None = fetch_value(database.connection, _UP_TO, (last, _STEPS_A_TRANSACTION))
        if following is None:
            return read_counts(database.connection).canceled - before  # with their twins
        with database.transaction(durable=True) as connection:
            if samples > 1:
                _end_samples(connection, last, following)
            else:
                _cancel_between(connection, last, following)
        last = following


def _cancel_between(connection: apsw.Connection, after: int, last: int) -> None:
    busy = fetch_value(connection, _BUSY, (after, last))
    count = _cancel_some(connection, after, last) if busy else _cancel_all(connection, after, last)
    Changes(rows_open=-count, rows_canceled=count).write(connection)


def _cancel_all(connection: apsw.Connection, after: int, last: int) -> int:
    """Where nothing is under way nothing has to be chosen, which is half the work."""
    connection.execute(_END_ALL_STEPS, (STEP_CODE["canceled"], after, last))
    connection.execute(_END_ALL_ROWS, (ROW_CODE["canceled"], after, last))
    return connection.changes()


def _cancel_some(connection: apsw.Connection, after: int, last: int) -> int:
    with _chosen(connection, after, last):
        connection.execute(_END_STEPS, (STEP_CODE["canceled"],))
        connection.execute(_END_ROWS, (ROW_CODE["canceled"],))
        return connection.changes()


def _end_samples(connection: apsw.Connection, after: int, last: int) -> None:
    with _chosen(connection, after, last):
        connection.execute(_END_STEPS, (STEP_CODE["canceled"],))
        end_sampled(connection, [row for (row,) in fetch(connection, "SELECT row FROM temp.canceled")])


@contextmanager
def _chosen(connection: apsw.Connection, after: int, last: int) -> Iterator[None]:
    """The rows to end, as a table."""
    connection.execute("CREATE TEMP TABLE canceled (row INTEGER PRIMARY KEY)")
    try:
        connection.execute(_CHOOSE, (after, last))
        yield
    finally:
        connection.execute("DROP TABLE temp.canceled")
