"""The table before the first part: made or found fit, with the marks beside it and the delivery taken over.

Owns   the order of things that must be there before a part can be written, and what only looks at them (`check`).
Knows  dialects, marks, the comparison of a table with what is wanted.

Where a database changes tables in transactions all of it is one, and a check is the same transaction rolled back: what
would stop the delivery (a missing right, a missing schema) stops that too. MariaDB and MySQL end a transaction with
each such statement; there each step leaves things as the next try expects them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from runner.errors import DeliveryError
from runner.sinks import DeliveryId, Refused
from runner.sinks.sql.columns import Table
from runner.sinks.sql.marks import FINISHED, Marks, digest
from runner.sinks.sql.names import TableName
from runner.sinks.sql.session import Dialect, Session, is_of_a_driver, qualified
from runner.sinks.sql.target import Wanted, add_statements, create_statement, missing_columns, require_fit

_NO_SCHEMA = re.compile(r"(?i)\bschema\b.* does not exist|unknown database")
"""What PostgreSQL and DuckDB say, and MariaDB and MySQL."""

Tell = Callable[[Exception], str]


class Ready(Struct, frozen=True):
    """What a delivery writes to, and where it is. `table` is None where the types of its columns are not known yet."""

    table: Table | None
    into: TableName
    part: int
    left_out: Sequence[Refused] = ()
    """The records that this part was delivered without."""


class Preparation(Struct, frozen=True):
    """How one sink's table is made ready."""

    dialect: Dialect
    wanted: Wanted
    marks: Marks
    shown: str
    overwrite: bool
    tell: Tell
    """What a driver's error says, without secrets."""

    def check(self, session: Session) -> None:
        """Raise DeliveryError, or what the driver raises, for what would stop a delivery; changes nothing."""
        if not self.dialect.alters_in_transactions:
            self._require_names()
            found = self._found(session)
            if found is not None:
                self._require(session, found, self.marks.is_there(session))
            session.connection.rollback()
            return
        session.begin()
        try:
            self._shaped(session, dry=True)
        finally:
            session.connection.rollback()

    def take(self, session: Session, delivery: DeliveryId) -> Ready:
        """Make everything ready and the delivery this owner's."""
        if self.dialect.alters_in_transactions:
            with session.transaction():
                found = self._shaped(session)
                return self._claimed(session, delivery, found)
        found = self._shaped(session)
        session.connection.commit()
        with session.transaction():
            self.marks.take(session, delivery, self.wanted.write)
        return self._claimed(session, delivery, found)

    # -- the tables ----------------------------------------------------------------------------------------------------

    def _shaped(self, session: Session, *, dry: bool = False) -> Table | None:
        self._require_names()
        has_marks = self.marks.is_there(session)
        if not has_marks:
            self._make_marks(session)
        found = self._found(session)
        if found is None:
            if has_marks:
                self.marks.forget_target(session)
            return self._made(session)
        self._require(session, found, has_marks)
        missing = missing_columns(self.wanted, found)
        if dry or not missing:
            return found
        if any(self.wanted.types.get(name) is None for name in missing):
            return None
        for statement in add_statements(self.dialect, self.wanted, missing):
            session.run(statement)
        return self._found(session)

    def _make_marks(self, session: Session) -> None:
        statement = self.marks.create_statement
        try:
            session.run(statement)
        except Exception as error:
            if not is_of_a_driver(error) or self.dialect.trouble(error) != "lasting":
                raise
            message = f"{self.shown} needs a table beside it that says what was delivered: {self.tell(error)}"
            hint = f"give the right to make tables there, or make it: {statement};"
            schema = self.wanted.table.schema
            if schema is not None and _NO_SCHEMA.search(message):
                message = f"{self.shown} cannot be made: there is no {schema!r} to make it in"
                hint = f"CREATE SCHEMA {self.dialect.quoted(schema)};"
            raise DeliveryError(message, hint=hint, code="table-unfit") from None

    def _require_names(self) -> None:
        for name in (self.wanted.table.name, *self.wanted.names):
            if "\0" in name or not name or self.dialect.too_long(name):
                message = f"{self.dialect.shown} takes no name like {name!r}: it is too long, or not one at all"
                raise DeliveryError(message, hint="name columns by `columns:`", code="table-unfit")

    def _found(self, session: Session) -> Table | None:
        try:
            return self.dialect.find(session, self.wanted.table)
        except ValueError as error:
            raise DeliveryError(f"{self.shown} is {error}", hint="name a table", code="table-unfit") from None

    def _made(self, session: Session) -> Table | None:
        if None in self.wanted.types.values():
            return None
        unfit = [name for name in self.wanted.unique_key if not self.dialect.fits_key(self.wanted.type_of(name))]
        if unfit:
            message = (
                f"the column {unfit[0]!r} holds {self.wanted.type_of(unfit[0])} values, which no index makes unique"
            )
            raise DeliveryError(message, hint="name other columns in `unique_key`", code="table-unfit")
        session.run(create_statement(self.dialect, self.wanted))
        return self._found(session)

    def _require(self, session: Session, found: Table, has_marks: bool) -> None:
        require_fit(self.dialect, self.wanted, found, self.shown)
        if self.wanted.write != "replace" or self.overwrite:
            return
        if has_marks and self.marks.was_replaced(session):
            return
        if session.rows(f"SELECT 1 FROM {qualified(self.dialect, self.wanted.table)} LIMIT 1"):
            message = f"{self.shown} has rows that no `write: replace` of a job put there"
            hint = "write to another table, or set `overwrite: true` on the sink"
            raise DeliveryError(message, hint=hint, code="foreign-target")

    # -- the delivery --------------------------------------------------------------------------------------------------

    def _claimed(self, session: Session, delivery: DeliveryId, found: Table | None) -> Ready:
        self.marks.take(session, delivery, self.wanted.write)
        mark = self.marks.find(session, delivery)
        assert mark is not None
        into = self.wanted.table
        if self.wanted.write == "replace":
            into = into.beside(f"runner_fill_{digest(delivery)[:24]}")
            if mark.state != FINISHED and found is not None:
                is_there = mark.filling is not None and self.dialect.find(session, into) is not None
                if not is_there:
                    self._begin_filling(session, delivery, into)
                    mark = None
        self._commit_alone(session)
        return Ready(found, into, mark.part, mark.left_out) if mark is not None else Ready(found, into, 0)

    def _begin_filling(self, session: Session, delivery: DeliveryId, into: TableName) -> None:
        """Make the table that is filled; what others were filling for the same target will not be needed any more."""
        for name in self.marks.others_filling(session, delivery):
            self._drop(session, into.beside(name))
        self.marks.forget_others_filling(session, delivery)
        self._drop(session, into)
        self.dialect.copy_shape(session, self.wanted.table, self.wanted.names, into)
        self.marks.fill(session, delivery, into.name)

    def _drop(self, session: Session, table: TableName) -> None:
        session.run(f"DROP TABLE IF EXISTS {qualified(self.dialect, table)}")

    def _commit_alone(self, session: Session) -> None:
        if not self.dialect.alters_in_transactions:
            session.connection.commit()

    def swap(self, session: Session, delivery: DeliveryId, into: TableName) -> None:
        """Put the rows of the filled table in the place of the target's, in one transaction."""
        dialect = self.dialect
        target = qualified(dialect, self.wanted.table)
        names = ", ".join(dialect.quoted(name) for name in self.wanted.names)
        with session.transaction():
            mark = self.marks.find(session, delivery)
            self.marks.finish(session, delivery)
            if mark is None or mark.state == FINISHED:
                return
            session.run(f"DELETE FROM {target}")
            session.run(f"INSERT INTO {target} ({names}) SELECT {names} FROM {qualified(dialect, into)}")
            if dialect.alters_in_transactions:
                self._clear(session, delivery, into)
        if not dialect.alters_in_transactions:
            with session.transaction():
                self._clear(session, delivery, into)

    def _clear(self, session: Session, delivery: DeliveryId, into: TableName) -> None:
        self._drop(session, into)
        self.marks.filled(session, delivery)
