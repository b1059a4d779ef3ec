"""Canceling: `runner cancel` ends the rows that wait and are under way nowhere.

Owns   that one move, some rows at a time: what a crash leaves undone, doing it again does.
Knows  the tables `rows` and `steps`.
"""

from __future__ import annotations

import apsw

from runner.ledger.database import Database, fetch_value
from runner.ledger.schema import ROW_CODE, STEP_CODE
from runner.ledger.totals import Changes

_STEPS_A_TRANSACTION = 200_000

# The last row of the next steps that are open. State 0 is `open`, 1 `leased`, 2 `answered`.
_UP_TO = """
    SELECT max(row) FROM (
        SELECT row FROM steps INDEXED BY steps_open WHERE state = 0 AND row > ? ORDER BY row LIMIT ?
    )
"""
_CHOOSE = """
    INSERT INTO temp.canceled
    SELECT DISTINCT s.row FROM steps AS s INDEXED BY steps_open
    WHERE s.state = 0 AND s.row > ? AND s.row <= ?
        AND NOT EXISTS (SELECT 1 FROM steps AS t WHERE t.row = s.row AND t.state IN (1, 2))
"""
_END_ROWS = "UPDATE rows SET status = ?, kind = NULL, reused = 0 FROM temp.canceled AS c WHERE idx = c.row"
_END_STEPS = "UPDATE steps AS s SET state = ? FROM temp.canceled AS c WHERE s.row = c.row AND s.state = 0"


def cancel_open(database: Database) -> int:
    """End the rows that are open and of which no step is leased or answered; returns how many."""
    total, last = 0, -1
    while True:
        following: int | None = fetch_value(database.connection, _UP_TO, (last, _STEPS_A_TRANSACTION))
        if following is None:
            return total
        with database.transaction(durable=True) as connection:
            total += _cancel_between(connection, last, following)
        last = following


def _cancel_between(connection: apsw.Connection, after: int, last: int) -> int:
    connection.execute("CREATE TEMP TABLE canceled (row INTEGER PRIMARY KEY)")
    try:
        connection.execute(_CHOOSE, (after, last))
        count = int(fetch_value(connection, "SELECT count(*) FROM temp.canceled"))
        if count:
            connection.execute(_END_ROWS, (ROW_CODE["canceled"],))
            connection.execute(_END_STEPS, (STEP_CODE["canceled"],))
            Changes(rows_open=-count, rows_canceled=count).write(connection)
        return count
    finally:
        connection.execute("DROP TABLE temp.canceled")
