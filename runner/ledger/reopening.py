"""Reopening: `runner retry` makes rows that ended without success open again, with fresh tries.

Owns   that one move; what the rows cost so far stays in the books.
Knows  the tables `rows` and `steps`.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from runner.encoding import encode
from runner.ledger.database import fetch
from runner.ledger.schema import ROW_CODE, ROW_STATUSES
from runner.ledger.totals import Changes

_FAILED = ROW_CODE["failed"]

# NULL for all kinds, else a JSON array of kinds. 0 is `open`, 1 `succeeded`.
_CHOOSE = """
    INSERT OR IGNORE INTO temp.reopened
    SELECT idx FROM rows
    WHERE status > 1 AND (
        ?1 IS NULL
        OR kind IN (SELECT value FROM json_each(?1))
        OR status IN (SELECT value FROM json_each(?2))
    )
"""
_CHOOSE_ROW = _CHOOSE + "AND idx = ?3"
_CHOSEN = "SELECT status, kind, count(*) FROM rows JOIN temp.reopened ON row = idx GROUP BY status, kind"
_OPEN_ROWS = "UPDATE rows SET status = 0, kind = NULL, reused = 0 FROM temp.reopened WHERE row = idx"
# The step that decided the row is its last one.
_OPEN_STEPS = """
    UPDATE steps AS s SET state = 0, tries = 0 FROM temp.reopened AS r
    WHERE s.row = r.row AND (s.turn, s.sample, s.round) = (
        SELECT turn, sample, round FROM steps AS t
        WHERE t.row = s.row ORDER BY turn DESC, sample DESC, round DESC LIMIT 1
    )
"""


def reopen(connection: apsw.Connection, kinds: Sequence[str], rows: Sequence[int] | None) -> int:
    """Open failed, expired and canceled rows; returns how many. To be called in a transaction.

    Only those of these `kinds` (a status counts as one) and among these `rows`, where these are given.
    """
    connection.execute("CREATE TEMP TABLE reopened (row INTEGER PRIMARY KEY)")
    try:
        statuses = [code for status, code in ROW_CODE.items() if status in kinds]
        wanted = (_json(kinds) if kinds else None, _json(statuses))
        if rows is None:
            connection.execute(_CHOOSE, wanted)
        else:
            connection.executemany(_CHOOSE_ROW, [(*wanted, row) for row in rows])
        return _open_chosen(connection)
    finally:
        connection.execute("DROP TABLE temp.reopened")


def _json(values: Sequence[object]) -> str:
    return encode(list(values)).decode()


def _open_chosen(connection: apsw.Connection) -> int:
    changes, total = Changes(), 0
    for status, kind, count in fetch(connection, _CHOSEN):
        changes.add_rows(ROW_STATUSES[status], -count)
        total += count
        if status == _FAILED and kind is not None:
            changes.kinds[kind] -= count
    changes.rows_open += total
    changes.write(connection)
    connection.execute(_OPEN_ROWS)
    connection.execute(_OPEN_STEPS)
    return total
