"""Rows into a table, but for those that it does not take.

Owns   the search for the rows of a part at which a table takes offence, when it does not say which.
Knows  sessions and dialects; records by their keys.

Most of what does not fit is found before (`fitting`). What is left are the table's own rules: checks, foreign keys,
other unique indexes, triggers. Where there are savepoints the part is halved until single rows are left, all in one
transaction; elsewhere the shortest beginning that fails is searched for, each try a transaction that is rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from runner.errors import DeliveryError
from runner.sinks import Refused
from runner.sinks.sql.session import Dialect, Session

MOST_REFUSED = 100
"""Rows of one part that a table may refuse one by one: more are no matter of single records."""

KeyedRow = tuple[str, Sequence[Any]]
"""The key of a record, and what the table gets of it."""
Load = Callable[[Session, Sequence[KeyedRow]], None]
Tell = Callable[[Exception], str]


class Sieve:
    """Loads one part, again and again if need be. `refused` are the rows that were left out."""

    def __init__(self, dialect: Dialect, load: Load, tell: Tell, shown: str) -> None:
        self._dialect = dialect
        self._load = load
        self._tell = tell
        self._shown = shown
        self.refused: list[Refused] = []

    def load(self, session: Session, rows: Sequence[KeyedRow]) -> None:
        """Load in the transaction that is open. Raises what the driver raises, but for values that do not fit where
        there are savepoints."""
        if rows and self._dialect.has_savepoints:
            self.refused = []
            self._halved(session, rows)
        elif rows:
            self._load(session, rows)

    def _halved(self, session: Session, rows: Sequence[KeyedRow]) -> None:
        pending = [rows]
        while pending:
            portion = pending.pop()
            try:
                with session.savepoint():
                    self._load(session, portion)
            except Exception as error:
                if self._dialect.trouble(error) != "value":
                    raise
                if len(portion) == 1:
                    self._refuse(portion[0], error)
                else:
                    middle = len(portion) // 2
                    pending += [portion[middle:], portion[:middle]]

    def without_refused(self, session: Session, rows: Sequence[KeyedRow]) -> Sequence[KeyedRow]:
        """The rows that load together, tried in transactions of their own: for a database without savepoints."""
        self.refused = []
        kept: list[KeyedRow] = []
        left = list(rows)
        while left:
            error = self._error_of(session, [*kept, *left])
            if error is None:
                return [*kept, *left]
            sound, offending = 0, len(left)  # of `left`: so many load, so many do not
            while offending - sound > 1:
                middle = (sound + offending) // 2
                found = self._error_of(session, [*kept, *left[:middle]])
                if found is None:
                    sound = middle
                else:
                    offending, error = middle, found
            kept += left[:sound]
            self._refuse(left[sound], error)
            left = left[sound + 1 :]
        return kept

    def _error_of(self, session: Session, rows: Sequence[KeyedRow]) -> Exception | None:
        session.begin()
        try:
            self._load(session, rows)
        except Exception as error:
            if self._dialect.trouble(error) != "value":
                raise
            return error
        finally:
            session.connection.rollback()
        return None

    def _refuse(self, row: KeyedRow, error: Exception) -> None:
        self.refused.append(Refused(row[0], self._tell(error)))
        if len(self.refused) > MOST_REFUSED:
            first = self.refused[0]
            message = f"{self._shown} refuses more than {MOST_REFUSED} records of a part"
            raise DeliveryError(
                f"{message}; first {first.key!r}: {first.message}",
                hint="look at the table's rules, then: runner export RUN",
                code="table-unfit",
            )
