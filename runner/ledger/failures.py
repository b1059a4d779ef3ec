"""Rows that ended without success, and why: what there is to say of a run that did not go well.

Owns   finding them, and joining them to the failure of the attempt that decided each. Reads only.
Knows  the tables `rows`, `twins` and `attempts`, and the run's rows for their keys. No reply is read.

A run has no index of its failed rows, which would cost every run something on its way: they are found by going through
`rows` once, in the dataset's order (10 million rows take a second). Who wants one of each kind stops at the last kind
that was missing. As results are, they are read in windows, so memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import apsw

from runner.encoding import encode
from runner.ledger import FailedRow
from runner.ledger.bulk import numbers
from runner.ledger.database import fetch, fetch_one
from runner.ledger.frames import failure_from_text
from runner.ledger.results import ATTEMPTS_OF, AttemptColumns, deciding
from runner.ledger.rows import RowReader
from runner.ledger.schema import ROW_CODE, ROW_STATUSES
from runner.ledger.settlement import was_sent
from runner.ledger.twins import twins_in

_WINDOW = 500
_FAILED = ROW_CODE["failed"]

# Index, the row that has the attempts, status. 0 is `open`, 1 `succeeded`. ?2: NULL for all kinds, else a JSON array of
# kinds, and ?3 of the statuses among them.
_OF_KINDS = """
    (?2 IS NULL OR own.kind IN (SELECT value FROM json_each(?2)) OR own.status IN (SELECT value FROM json_each(?3)))
"""
_PAGE = f"""
    SELECT own.idx, own.idx, own.status FROM rows AS own
    WHERE own.idx >= ?1 AND own.status > 1 AND {_OF_KINDS} ORDER BY own.idx LIMIT ?4
"""  # noqa: S608 - our own names, as in the next
_PAGE_WITH_TWINS = f"""
    SELECT r.idx, own.idx, own.status FROM rows AS r LEFT JOIN twins AS t ON t.row = r.idx
    CROSS JOIN rows AS own ON own.idx = coalesce(t.first, r.idx)
    WHERE r.idx >= ?1 AND own.status > 1 AND {_OF_KINDS} ORDER BY r.idx LIMIT ?4
"""  # noqa: S608
_NEXT_OF_KINDS = f"""
    SELECT idx, kind FROM rows
    WHERE idx >= ? AND status = {_FAILED} AND kind IN (SELECT value FROM json_each(?)) ORDER BY idx LIMIT 1
"""  # noqa: S608

_Found = tuple[int, int, int]


def failed_rows(connection: apsw.Connection, rows: RowReader, kinds: Sequence[str]) -> Iterator[FailedRow]:
    """See `Ledger.failed_rows`."""
    statuses = [code for status, code in ROW_CODE.items() if status in kinds]
    wanted = (_json(kinds) if kinds else None, _json(statuses))
    page = _PAGE_WITH_TWINS if twins_in(connection) else _PAGE
    start = 0
    while True:
        with connection:
            found: list[_Found] = fetch(connection, page, (start, *wanted, _WINDOW))
            attempts = _attempts(connection, found)
        for index, own, status in found:
            yield _failed_row(rows, index, own, status, attempts)
        if len(found) < _WINDOW:
            return
        start = found[-1][0] + 1


def first_failed(connection: apsw.Connection, rows: RowReader, kinds: Sequence[str]) -> Mapping[str, FailedRow]:
    """See `Ledger.first_failed`. A twin comes after its first row, so it is never the first."""
    missing, start, first = set(kinds), 0, dict[str, FailedRow]()
    with connection:
        while missing:
            following = fetch_one(connection, _NEXT_OF_KINDS, (start, _json(sorted(missing))))
            if following is None:
                break
            index, kind = following
            attempts = _attempts(connection, [(index, index, _FAILED)])
            first[kind] = _failed_row(rows, index, index, _FAILED, attempts)
            missing.discard(kind)
            start = index + 1
    return first


def _json(values: Sequence[object]) -> str:
    return encode(list(values)).decode()


_Attempts = Mapping[int, list[tuple[Any, ...]]]


def _attempts(connection: apsw.Connection, found: Sequence[_Found]) -> _Attempts:
    """The attempts of the rows that have them, in order."""
    owners = {own for _, own, _ in found}
    attempts = fetch(connection, ATTEMPTS_OF, (numbers(owners),)) if owners else []
    return {row: list(group) for row, group in groupby(attempts, itemgetter(0))}


def _failed_row(rows: RowReader, index: int, own: int, status: int, attempts: _Attempts) -> FailedRow:
    made = attempts.get(own, [])
    failure = failure_from_text(AttemptColumns(*deciding(made)).failure) if made else None
    sent = [AttemptColumns(*each) for each in made] if index == own else []  # a twin has cost nothing
    count = sum(was_sent(each.reused, each.request_hash) for each in sent)
    return FailedRow(rows.row(index).key, index, ROW_STATUSES[status], failure, count)
