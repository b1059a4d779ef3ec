"""Reopening: `runner retry` makes rows that ended without success open again, with fresh tries.

Owns   that one move; what the rows cost so far stays in the books.
Knows  the tables `rows` and `steps`.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from runner.ledger.schema import OPEN, ROW_CODE, ROW_STATUSES
from runner.ledger.totals import Changes

_FAILED = ROW_CODE["failed"]


def reopen(connection: apsw.Connection, kinds: Sequence[str], rows: Sequence[int] | None) -> int:
    """Open failed, expired and canceled rows: of these kinds (a status counts as one), among these rows; all where not said."""
    ended = [ROW_CODE["failed"], ROW_CODE["expired"], ROW_CODE["canceled"]]
    statuses = [code for code in ended if not kinds or ROW_STATUSES[code] in kinds]
    connection.execute("CREATE TEMP TABLE reopened (row INTEGER PRIMARY KEY)")
    try:
        _choose(connection, ended, statuses, kinds, rows)
        return _open(connection)
    finally:
        connection.execute("DROP TABLE temp.reopened")


def _choose(
    connection: apsw.Connection, ended: list[int], statuses: list[int], kinds: Sequence[str], rows: Sequence[int] | None
) -> None:
    wanted = f"status IN ({_marks(ended)}) AND (status IN ({_marks(statuses)}) OR kind IN ({_marks(kinds)}))"
    choose = f"INSERT OR IGNORE INTO temp.reopened SELECT idx FROM rows WHERE {wanted}"
    if rows is None:
        connection.execute(choose, [*ended, *statuses, *kinds])
    else:
        connection.executemany(f"{choose} AND idx = ?", [[*ended, *statuses, *kinds, row] for row in rows])


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _open(connection: apsw.Connection) -> int:
    changes, count = Changes(), 0
    groups = connection.execute(
        "SELECT status, kind, count(*) FROM rows JOIN temp.reopened ON row = idx GROUP BY status, kind"
    ).fetchall()
    for status, kind, rows in groups:
        changes.add_rows(ROW_STATUSES[status], -rows)
        count += rows
        if status == _FAILED and kind is not None:
            changes.kinds[kind] -= rows
    changes.rows_open += count
    changes.write(connection)
    connection.execute("UPDATE rows SET status = 0, kind = NULL, reused = 0 FROM temp.reopened WHERE row = idx")
    # The step that decided the row is its last one.
    connection.execute(
        f"""
        UPDATE steps AS s SET state = {OPEN}, tries = 0 FROM temp.reopened AS r
        WHERE s.row = r.row AND (s.turn, s.sample, s.round) =
            (SELECT turn, sample, round FROM steps AS t WHERE t.row = s.row ORDER BY turn DESC, sample DESC, round DESC LIMIT 1)
        """
    )
    return count
