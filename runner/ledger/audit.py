"""The audit: do the tables of a ledger agree with each other? Every total is counted again.

Owns   the queries that say what must hold (reliability invariants I1, I5, I7), for tests and for `runner doctor`.
Knows  the tables (mode 0 is `batch`, status -1 that of a twin). Reads only, and takes seconds where a run has
       millions of rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import apsw

from runner.ledger.database import Database, fetch
from runner.ledger.folder import DATABASE, SPOOL
from runner.ledger.landings import landed_path

_STANDS: Final = """
    WITH stands AS (
        SELECT r.idx, own.status, own.kind FROM rows AS r LEFT JOIN twins AS t ON t.row = r.idx
        JOIN rows AS own ON own.idx = coalesce(t.first, r.idx)
    )
"""
"""How each row stands; a twin as its first row does."""
_MUST_BE_EMPTY: Final[dict[str, str]] = {
    "rows without a step, or steps of no row": """
        SELECT idx FROM rows WHERE (status = -1) = EXISTS (SELECT 1 FROM steps WHERE steps.row = rows.idx)
        UNION ALL SELECT row FROM steps WHERE row >= 0 AND row NOT IN (SELECT idx FROM rows)
    """,
    "open rows without a step to do, or ended rows with one": """
        SELECT idx FROM rows
        WHERE (status = 0) <> EXISTS (SELECT 1 FROM steps WHERE steps.row = rows.idx AND state IN (0, 1, 2))
    """,
    "leased steps without a lease, or leases of steps that are not leased": """
        SELECT s.row FROM steps AS s LEFT JOIN leases AS l USING (row, turn, sample, round)
        WHERE (s.state = 1) <> (l.number IS NOT NULL)
        UNION ALL
        SELECT l.row FROM leases AS l LEFT JOIN steps AS s USING (row, turn, sample, round) WHERE s.state IS NULL
    """,
    "steps whose attempts are not all there": """
        SELECT s.row FROM steps AS s
        WHERE s.attempts - (s.state = 1) <>
            (SELECT count(*) FROM attempts AS a
             WHERE a.row = s.row AND a.turn = s.turn AND a.sample = s.sample AND a.round = s.round)
    """,
    "rows by status that differ from the totals": """
        SELECT 1 FROM totals WHERE
            rows_open <> (SELECT count(*) FROM stands WHERE status = 0)
            OR rows_succeeded <> (SELECT count(*) FROM stands WHERE status = 1)
            OR rows_failed <> (SELECT count(*) FROM stands WHERE status = 2)
            OR rows_expired <> (SELECT count(*) FROM stands WHERE status = 3)
            OR rows_canceled <> (SELECT count(*) FROM stands WHERE status = 4)
            OR rows_reused <> (SELECT count(*) FROM rows WHERE reused)
            OR twins <> (SELECT count(*) FROM twins)
            OR twins_open <> (SELECT count(*) FROM twins JOIN rows ON idx = first WHERE status = 0)
    """,
    "twins of twins, of later rows or of none, or rows that are twins without one": """
        SELECT t.row FROM twins AS t LEFT JOIN rows AS r ON r.idx = t.first
        WHERE r.status IS NULL OR r.status = -1 OR t.first >= t.row
        UNION ALL SELECT idx FROM rows WHERE (status = -1) <> (idx IN (SELECT row FROM twins))
    """,
    "failures by kind that differ from the rows": """
        SELECT kind, rows FROM failure_kinds WHERE rows <> 0
        EXCEPT SELECT kind, count(*) FROM stands WHERE status = 2 GROUP BY kind
    """,
    "money or tokens that differ from the attempts and leases": """
        SELECT 1 FROM totals WHERE
            attempts <> (SELECT count(*) FROM attempts WHERE reused = 0 AND length(request_hash) > 0)
            OR requests <> (SELECT coalesce(sum(sent), 0) FROM steps)
            OR spent <> (SELECT coalesce(sum(cost), 0) FROM attempts)
            OR unpriced <> (SELECT count(*) FROM attempts WHERE cost IS NULL)
            OR overhead <> (SELECT coalesce(sum(cost), 0) FROM attempts WHERE row < 0)
            OR reserved <> (SELECT coalesce(sum(reserved), 0) FROM leases)
            OR input_tokens <> (SELECT coalesce(sum(input_tokens), 0) FROM attempts)
            OR output_tokens <> (SELECT coalesce(sum(output_tokens), 0) FROM attempts)
    """,
    "closed batches with steps under way": """
        SELECT number FROM batches
        WHERE state IN ('closed', 'rejected', 'not_sent') AND number IN (SELECT batch FROM leases)
    """,
    "batches whose steps are neither under way nor settled, or leases of no batch": """
        SELECT b.number FROM batches AS b LEFT JOIN
            (SELECT batch, count(*) AS leased, min(row) AS first, max(row) AS last FROM leases GROUP BY batch) AS l
            ON l.batch = b.number
        WHERE b.settled + coalesce(l.leased, 0) <> iif(b.state IN ('rejected', 'not_sent'), 0, b.steps)
            OR l.first < b.first_row OR l.last > b.last_row
        UNION ALL SELECT batch FROM leases WHERE batch IS NOT NULL AND batch NOT IN (SELECT number FROM batches)
    """,
    "batches whose settled steps are not their attempts, or attempts of no batch": """
        SELECT b.number FROM batches AS b LEFT JOIN
            (SELECT batch_id, count(*) AS ended FROM attempts
             WHERE mode = 0 AND reused = 0 GROUP BY batch_id) AS a USING (batch_id)
        WHERE b.state NOT IN ('rejected', 'not_sent') AND b.settled <> coalesce(a.ended, 0)
        UNION ALL
        SELECT row FROM attempts WHERE mode = 0 AND reused = 0 AND batch_id IS NOT NULL
            AND batch_id NOT IN (SELECT batch_id FROM batches WHERE batch_id IS NOT NULL)
    """,
    "batches that share an id": """
        SELECT batch_id FROM batches WHERE batch_id IS NOT NULL GROUP BY batch_id HAVING count(*) > 1
    """,
    "attempts from files that have not landed, or that another batch brought": """
        SELECT a.row FROM attempts AS a
        LEFT JOIN landings AS l ON l.id = -a.segment LEFT JOIN batches AS b ON b.number = l.batch
        WHERE a.segment < 0 AND (b.batch_id IS NOT a.batch_id OR a.offset + a.length > l.bytes)
    """,
    "two attempts from one line": """
        SELECT segment FROM attempts WHERE segment < 0 GROUP BY segment, offset HAVING count(*) > 1
    """,
}


def audit(folder: Path) -> list[str]:
    """What does not add up in a run's ledger; empty where all is well. Raises LedgerError where it cannot be opened."""
    database = Database(folder / DATABASE, read_only=True)
    connection = database.connection
    try:
        with connection:  # one snapshot
            wrong = [what for what, query in _MUST_BE_EMPTY.items() if fetch(connection, f"{_STANDS} {query} LIMIT 1")]
            if _missing_files(connection, folder / SPOOL):
                wrong.append("landed files that are missing or not as long as they were")
    finally:
        database.close()
    return [f"there are {what}" for what in wrong]


def _missing_files(connection: apsw.Connection, spool: Path) -> bool:
    """Whether a landed file is not as long as it was."""
    for landing, size in fetch(connection, "SELECT id, bytes FROM landings"):
        path = landed_path(spool, landing)
        if not path.exists() or path.stat().st_size != size:
            return True
    return False
