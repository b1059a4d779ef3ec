"""Rejudging: the replies that a run has are ruled on again, by another rule, and the books follow.

Owns   that one move (`runner revalidate`), some rows at a time. No attempt is added and no money moves: what changes
       is the state of the steps that decided their rows, the failure noted with their attempts, the rows' statuses and
       the totals.
Knows  the tables, the results and the rule. Only rows that succeeded or failed, and whose deciding step has a reply,
       are ruled on; others have nothing to be ruled on.

Nothing is opened. A ruling that asks for another request with something wrong makes the row failed, and `runner retry`
sends it again; one that would go on (a next turn) leaves the row as it is.

Each window of rows is a transaction that also notes how far the work is and what it came to (meta `revalidation`),
under a label that tells one rule from another. After a crash the same label goes on where it was; another one begins
anew.
"""

from __future__ import annotations

from typing import Any

import apsw
from msgspec.structs import asdict

from runner.encoding import decode, encode, printable
from runner.ledger import Rejudged, Rule, Ruling
from runner.ledger.database import Database, fetch_value
from runner.ledger.frames import failure_to_text
from runner.ledger.results import Decided, ResultReader, SampleEnd
from runner.ledger.schema import ROW_CODE, STEP_CODE
from runner.ledger.steps import step_key
from runner.ledger.totals import Changes
from runner.types import Failure, RowStatus

_WINDOW = 500
_NOTE = "revalidation"
_SET_NOTE = "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
_SET_STEP = "UPDATE steps SET state = ? WHERE row = ? AND turn = ? AND sample = ? AND round = ?"
_SET_ROW = "UPDATE rows SET status = ?, kind = ?, reused = ? WHERE idx = ?"
_SET_FAILURE = """
    UPDATE attempts SET failure = ? WHERE row = ? AND turn = ? AND sample = ? AND round = ? AND number = ?
"""


def rejudge(database: Database, results: ResultReader, rule: Rule, label: str) -> Rejudged:
    """See `Ledger.rejudge`."""
    connection = database.connection
    start, so_far = _noted(connection, label)
    total: int = fetch_value(connection, "SELECT count(*) FROM rows")
    while start < total:
        work = _Work()
        for decided in results.decided(start, _WINDOW):
            work.rule_on(decided, rule)
        start = min(start + _WINDOW, total)
        so_far += work.came_to
        with database.transaction(durable=False) as writing:
            work.write(writing)
            writing.execute(_SET_NOTE, (_NOTE, encode({"label": label, "next": start, **asdict(so_far)}).decode()))
    return so_far


def _noted(connection: apsw.Connection, label: str) -> tuple[int, Rejudged]:
    """Where this rule's work stands, and what it has come to."""
    text = fetch_value(connection, "SELECT value FROM meta WHERE name = ?", (_NOTE,))
    noted: dict[str, Any] = decode(text) if text else {}
    if not noted or noted.pop("label") != label:
        return 0, Rejudged()
    return noted.pop("next"), Rejudged(**noted)


class _Work:
    """What a window of rows comes to."""

    def __init__(self) -> None:
        self._changes = Changes()
        self._steps: list[tuple[int, ...]] = []
        self._rows: list[tuple[Any, ...]] = []
        self._failures: list[tuple[Any, ...]] = []
        self.came_to = Rejudged()

    def rule_on(self, decided: Decided, rule: Rule) -> None:
        ends = [self._ruled(end, rule) for end in decided.ends]
        if ends == [*decided.ends]:
            return
        # As `sampling` ends a row: by its first sample that succeeded, or by its first.
        answered = [end for end in ends if end.status == "succeeded"]
        deciding = answered[0] if answered else ends[0]
        reused = bool(answered) and all(end.reused for end in answered)
        self._end_row(decided, deciding.status, _kind(deciding.failure), reused)

    def _ruled(self, end: SampleEnd, rule: Rule) -> SampleEnd:
        outcome = end.outcome
        if outcome is None:
            return end
        self.came_to += Rejudged(replies=1)
        status, failure = _standing(rule(outcome)) or (end.status, end.failure)
        key = step_key(outcome.step)
        if failure != end.failure:
            self._failures.append((failure_to_text(failure), *key, outcome.attempt))
        if status != end.status:
            self._steps.append((STEP_CODE[status], *key))
        return end._replace(status=status, failure=failure)

    def _end_row(self, decided: Decided, status: RowStatus, kind: str | None, reused: bool) -> None:
        if (status, kind, reused) == (decided.status, decided.kind, decided.reused):
            return
        changes = self._changes
        self._rows.append((ROW_CODE[status], kind, reused, decided.row))
        changes.rows_reused += reused - decided.reused
        for each, of_kind, by in ((decided.status, decided.kind, -1), (status, kind, 1)):
            changes.add_rows(each, by)
            if each == "failed" and of_kind is not None:
                changes.kinds[of_kind] += by
        if status != decided.status:
            now, rows = status == "succeeded", 1 + decided.twins
            self.came_to += Rejudged(to_succeeded=rows * now, to_failed=rows * (not now))

    def write(self, connection: apsw.Connection) -> None:
        connection.executemany(_SET_FAILURE, self._failures)
        connection.executemany(_SET_STEP, self._steps)
        connection.executemany(_SET_ROW, self._rows)
        self._changes.write(connection)


def _standing(ruling: Ruling) -> tuple[RowStatus, Failure | None] | None:
    """How a sample stands by a ruling; None where it would go on."""
    if ruling.state == "succeeded":
        return "succeeded", None
    return None if ruling.failure is None else ("failed", ruling.failure)


def _kind(failure: Failure | None) -> str | None:
    return None if failure is None else printable(failure.kind)
