"""Reopening: `runner retry` makes rows that ended without success open again, with fresh tries.

Owns   that one move; what the rows cost so far stays in the books.
Knows  the tables `rows` and `steps`.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from runner.encoding import encode
from runner.ledger.database import fetch
from runner.ledger.schema import END_CODE, ROW_CODE, ROW_STATUSES
from runner.ledger.totals import Changes, read_counts
from runner.rounds import RESTART_BIT, most

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
# The last step of each sample that has not succeeded: 3 is `succeeded`, and 0 to 2 are undecided. Where what came last
# of it was a reply, after it had been asked for again within its turn, the turn begins anew: see `runner.rounds`.
_LAST_STEPS = f"""
    CREATE TEMP TABLE last_steps AS
    WITH last AS (
        SELECT s.row, s.turn, s.sample, max(s.round) AS round, s.state FROM temp.reopened AS r
        CROSS JOIN steps AS s ON s.row = r.row
        WHERE s.turn = (SELECT max(turn) FROM steps AS t WHERE t.row = s.row AND t.sample = s.sample)
        GROUP BY s.row, s.sample
    )
    SELECT l.row, l.turn, l.sample, l.round,
        l.round & {(1 << RESTART_BIT) - 1} AND l.round >> {RESTART_BIT} < {most("restarts")}
            AND {END_CODE["succeeded"]} IS (SELECT a.end FROM attempts AS a
             WHERE a.row = l.row AND a.turn = l.turn AND a.sample = l.sample AND a.round = l.round
             ORDER BY a.number DESC LIMIT 1) AS anew
    FROM last AS l WHERE l.state > 3
"""  # noqa: S608 - our own codes
_OPEN_STEPS = """
    UPDATE steps AS s SET state = 0, tries = 0 FROM temp.last_steps AS l
    WHERE NOT l.anew AND s.row = l.row AND s.turn = l.turn AND s.sample = l.sample AND s.round = l.round
"""
_BEGIN_ANEW = f"""
    INSERT INTO steps SELECT row, turn, sample, ((round >> {RESTART_BIT}) + 1) << {RESTART_BIT}, 0, 0, 0, 0
    FROM temp.last_steps WHERE anew
"""  # noqa: S608


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
    changes, open_before = Changes(), read_counts(connection).open
    for status, kind, count in fetch(connection, _CHOSEN):
        changes.add_rows(ROW_STATUSES[status], -count)
        changes.rows_open += count
        if status == _FAILED and kind is not None:
            changes.kinds[kind] -= count
    changes.write(connection)
    connection.execute(_OPEN_ROWS)
    connection.execute(_LAST_STEPS)
    try:
        connection.execute(_OPEN_STEPS)
        connection.execute(_BEGIN_ANEW)
    finally:
        connection.execute("DROP TABLE temp.last_steps")
    return read_counts(connection).open - open_before  # with their twins
