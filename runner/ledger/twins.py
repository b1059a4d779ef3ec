"""Twins: rows of the same request, of which the first is sent and the others end as it does (`dataset.distinct`).

Owns   the table `twins`, and the totals as far as they are concerned.
Knows  digests that somebody else makes; nothing of requests.

A twin has no steps and no attempts. Its row's status is `TWIN`: how it stands is how its first row stands, whatever
changes that (an outcome, results of a batch, `retry`, a cancel, another judgement), so it is never behind it. Only the
totals have to follow, and a trigger on the first row's status does that within the same statement. It is made with the
twins, so that other runs pay nothing for it.

Equal digests are found by sorting, which spills to disk: memory does not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import apsw

from runner.errors import LedgerError
from runner.ledger.bulk import numbers
from runner.ledger.database import fetch, fetch_value
from runner.ledger.schema import ROW_CODE, TWIN
from runner.ledger.totals import Changes
from runner.types import Row

_AT_ONCE = 1_000
_PAGE = 10_000

_GROUP = """
    INSERT INTO twins SELECT row, first FROM (
        SELECT row, min(row) OVER (PARTITION BY digest) AS first FROM temp.digests
    ) WHERE row > first ORDER BY row
"""
_TWIN = f"""
    CREATE INDEX twins_by_first ON twins (first);
    DELETE FROM steps WHERE row IN (SELECT row FROM twins);
    UPDATE rows SET status = {TWIN} WHERE idx IN (SELECT row FROM twins);
"""  # noqa: S608 - our own code
_TWINS_OF = "SELECT t.row FROM carray(?) AS wanted CROSS JOIN twins AS t ON t.first = wanted.value LIMIT ?"
_SETTLED = """
    SELECT r.idx FROM rows AS r LEFT JOIN twins AS t ON t.row = r.idx
    JOIN rows AS own ON own.idx = coalesce(t.first, r.idx)
    WHERE r.idx >= ? AND own.status <> ? ORDER BY r.idx LIMIT ?
"""
_AT_PLACES = f"""
    SELECT idx FROM (SELECT idx, row_number() OVER (ORDER BY idx) - 1 AS place FROM rows WHERE status <> {TWIN})
    WHERE place IN carray(?) ORDER BY idx
"""  # noqa: S608
_IS, _WAS, _TWINS = "(new.status = {})", "(old.status = {})", "(SELECT count(*) FROM twins WHERE first = new.idx)"
_TOTALS = ", ".join(
    f"{column} = {column} + {_TWINS} * ({_IS.format(code)} - {_WAS.format(code)})"
    for column, code in [*((f"rows_{status}", code) for status, code in ROW_CODE.items()), ("twins_open", 0)]
)
_FOLLOW = f"""
    CREATE TRIGGER twins_follow AFTER UPDATE OF status, kind ON rows
    WHEN (new.status <> old.status OR new.kind IS NOT old.kind) AND EXISTS (SELECT 1 FROM twins WHERE first = new.idx)
    BEGIN
        UPDATE totals SET {_TOTALS};
        UPDATE failure_kinds SET rows = rows - {_TWINS} WHERE old.status = {ROW_CODE["failed"]} AND kind = old.kind;
        INSERT INTO failure_kinds SELECT new.kind, {_TWINS}
            WHERE new.status = {ROW_CODE["failed"]} AND new.kind IS NOT NULL
            ON CONFLICT (kind) DO UPDATE SET rows = rows + excluded.rows;
    END
"""  # noqa: S608 - our own names and codes


def note_twins(connection: apsw.Connection, digests: Iterable[bytes | None]) -> int:
    """See `Ledger.note_twins`; to be called in a transaction."""
    if fetch(connection, "SELECT 1 FROM steps WHERE attempts > 0 LIMIT 1") or twins_in(connection):
        raise LedgerError("twins are noted once, before anything is sent", code="enrolled")
    connection.execute("CREATE TEMP TABLE digests (row INTEGER PRIMARY KEY, digest BLOB NOT NULL) STRICT")
    try:
        numbered = ((row, digest) for row, digest in enumerate(digests) if digest is not None)
        while some := list(islice(numbered, _AT_ONCE)):
            connection.executemany("INSERT INTO temp.digests VALUES (?, ?)", some)
        connection.execute(_GROUP)
    finally:
        connection.execute("DROP TABLE temp.digests")
    count = int(fetch_value(connection, "SELECT count(*) FROM twins"))
    if count:
        connection.execute(_TWIN)
        connection.execute(_FOLLOW)
        Changes(twins=count, twins_open=count).write(connection)
    return count


def twins_in(connection: apsw.Connection) -> int:
    """How many rows of the run are twins."""
    return int(fetch_value(connection, "SELECT twins FROM totals"))


def first_of(connection: apsw.Connection, row: int) -> int:
    found = fetch_value(connection, "SELECT first FROM twins WHERE row = ?", (row,))
    return row if found is None else int(found)


def with_twins(connection: apsw.Connection, rows: Iterable[int], most: int) -> Sequence[int] | None:
    """See `Ledger.with_twins`."""
    wanted = sorted(set(rows))
    if not wanted or not twins_in(connection):
        return wanted
    found = fetch(connection, _TWINS_OF, (numbers(wanted), most + 1))
    return sorted([*wanted, *(row for (row,) in found)]) if len(found) <= most else None


def settled_rows(connection: apsw.Connection, start: int, limit: int) -> Sequence[int]:
    """See `Ledger.settled_rows`."""
    return [row for (row,) in fetch(connection, _SETTLED, (start, ROW_CODE["open"], limit))]


def spread(connection: apsw.Connection, most: int) -> Sequence[int]:
    """See `Ledger.spread`."""
    total = int(fetch_value(connection, "SELECT count(*) FROM rows"))
    twins = twins_in(connection)
    asking = total - twins
    places = [place * asking // most for place in range(most)] if asking > most else list(range(asking))
    if not twins or not places:
        return places
    return [index for (index,) in fetch(connection, _AT_PLACES, (numbers(places),))]


def without_twins(connection: apsw.Connection, rows: Iterator[Row], start: int) -> Iterator[Row]:
    """The rows that have requests of their own; `rows` are all from `start` on."""
    twins = _twins_from(connection, start)
    twin = next(twins, None)
    for row in rows:
        if row.index == twin:
            twin = next(twins, None)
        else:
            yield row


def _twins_from(connection: apsw.Connection, start: int) -> Iterator[int]:
    while page := fetch(connection, "SELECT row FROM twins WHERE row >= ? ORDER BY row LIMIT ?", (start, _PAGE)):
        yield from (row for (row,) in page)
        start = page[-1][0] + 1
