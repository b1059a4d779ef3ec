"""The sink of a table: records to rows, in transactions that know what was delivered.

Owns   one delivery: what becomes of each record of a part, and the part and its mark in one transaction.
Knows  its options, the table made ready (`preparing`), dialects and marks by their contracts.

    append     parts go straight into the table
    merge      the same, each row in the place of the one that has its unique key
    replace    parts go into a table beside it; `finish` deletes the old rows and copies the new ones in, in one
               transaction of the server. So a reader sees the old rows or the new ones and never waits, and what
               belongs to the table stays: indexes, grants, views, triggers

Values that a column cannot hold, keys that come twice and rows that the table refuses are left out and told; the rest
of their part is delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from msgspec.structs import replace

from runner.column_types import ColumnType
from runner.connections import Connection
from runner.errors import DeliveryError, SetupError
from runner.sinks import DeliveryId, Part, PartLimits, Refused, SinkContext
from runner.sinks.sql.columns import Column
from runner.sinks.sql.fitting import fitter
from runner.sinks.sql.key_book import KeyBook
from runner.sinks.sql.loading import KeyedRow, Sieve
from runner.sinks.sql.marks import Marks
from runner.sinks.sql.names import parse_table
from runner.sinks.sql.opening import can_be_made, dialect_of
from runner.sinks.sql.options import SqlOptions
from runner.sinks.sql.preparing import Preparation, Ready
from runner.sinks.sql.reach import Reach
from runner.sinks.sql.session import Session
from runner.sinks.sql.target import Wanted
from runner.sinks.sql.unique_keys import UniqueKeys, unique_keys
from runner.sinks.typed_columns import typed_columns
from runner.types import Record


class SqlSink:
    """Records to the rows of a table."""

    Options: ClassVar[type[SqlOptions]] = SqlOptions

    def __init__(self, options: SqlOptions, context: SinkContext) -> None:
        """Raises SpecError for columns that clash or a unique key that is none of them."""
        self._options = options
        self._context = context
        self._table = parse_table(options.table)
        self._typed = typed_columns(options, context)
        self._unique: UniqueKeys = unique_keys(options, self._typed.columns, context)
        self._connection = context.connection or Connection(options.url)
        self._reached: tuple[Reach, Preparation] | None = None
        self._delivery: DeliveryId | None = None
        self._ready: Ready | None = None
        self._columns: Sequence[Column] = ()
        self._fit: Callable[[Sequence[Any]], list[Any]] = list
        self._book: KeyBook | None = None

    @property
    def kind(self) -> str:
        return "sql"

    @property
    def target(self) -> str:
        return f"{self._table} at {self._connection.shown}"

    @property
    def limits(self) -> PartLimits:
        return PartLimits(self._options.batch_size)

    @property
    def is_replaced(self) -> bool:
        return self._options.write == "replace"

    @property
    def left_out(self) -> Sequence[Refused]:
        return self._ready.left_out if self._ready is not None else ()

    # -- before --------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        reach, preparation = self._parts()
        try:
            if not can_be_made(self._connection, self._context.root):
                reach.attempt(preparation.check, waits=False)
        finally:
            self.close()

    def begin(self, delivery: DeliveryId) -> int:
        self._delivery = delivery
        ready = self._made_ready()
        records = self._context.records
        if ready.table is None and records is not None and self._context.written.get("when") != "live":
            ready = self._for(records())
        if self._book is not None:
            self._book.close()
        self._book = self._unique.book(self._context.memory, delivery.id)
        return ready.part

    def _parts(self) -> tuple[Reach, Preparation]:
        """What depends on the database's kind, and so on its libraries. Raises DeliveryError."""
        if self._reached is None:
            try:
                dialect = dialect_of(self._connection)
            except SetupError as error:
                raise DeliveryError(f"{self.target}: {error.message}", hint=error.hint, code=error.code) from None
            options = self._options
            types = dict(zip(self._typed.names, self._typed.types, strict=True))
            evolves = options.contract == "evolve"
            keys = options.unique_key or ()
            wanted = Wanted(self._table, self._typed.names, types, options.write, keys, evolves)
            reach = Reach(self._connection, self._context.root, dialect, self.target, self._context.pause)
            marks = Marks(dialect, self._table)
            preparation = Preparation(dialect, wanted, marks, self.target, options.overwrite, reach.message)
            self._reached = reach, preparation
        return self._reached

    def _made_ready(self) -> Ready:
        reach, preparation = self._parts()
        delivery = self._begun
        ready = reach.attempt(lambda session: preparation.take(session, delivery), delivery.run_id)
        self._ready = ready
        if ready.table is not None:
            dialect = preparation.dialect
            found = [ready.table.column(name) for name in preparation.wanted.names]
            self._columns = [column for column in found if column is not None]
            self._fit = fitter(self._columns, dialect.forms, holds_nul=dialect.holds_nul, holds_nan=dialect.holds_nan)
            self._unique.see(self._columns)
        return ready

    @property
    def _begun(self) -> DeliveryId:
        if self._delivery is None:
            raise ValueError("the delivery has not begun")
        return self._delivery

    # -- parts ---------------------------------------------------------------------------------------------------------

    def deliver(self, part: Part) -> Sequence[Refused]:
        ready = self._for(part.records)
        reach, preparation = self._parts()
        rows, refused = self._rows(part.records)
        delivery = self._begun
        merged = self._options.unique_key or () if self._options.write == "merge" else ()
        dialect = preparation.dialect

        def load(session: Session, keyed: Sequence[KeyedRow]) -> None:
            dialect.load(session, ready.into, self._columns, [row for _, row in keyed], merged)

        sieve = Sieve(dialect, load, reach.message, self.target)

        def send_all(session: Session, keyed: Sequence[KeyedRow]) -> None:
            with session.transaction():
                if preparation.marks.advance(session, delivery, part.number):
                    sieve.load(session, keyed)
                    if refused or sieve.refused:
                        preparation.marks.leave_out(session, delivery, [*refused, *sieve.refused])

        def send(session: Session) -> None:
            try:
                send_all(session, rows)
            except Exception as error:
                if dialect.has_savepoints or dialect.trouble(error) != "value":
                    raise
                send_all(session, sieve.without_refused(session, rows))

        reach.attempt(send, delivery.run_id)
        return [*refused, *sieve.refused]

    def _for(self, records: Iterable[Record]) -> Ready:
        """The table, made now where these records had to tell the types of its columns (once through)."""
        if self._ready is None:
            raise ValueError("the delivery has not begun")
        if self._ready.table is None:
            reach, preparation = self._parts()
            wanted = preparation.wanted
            types = dict(zip(wanted.names, self._settled(records), strict=True))
            self._reached = reach, replace(preparation, wanted=replace(wanted, types=types))
            return self._made_ready()
        return self._ready

    def _settled(self, records: Iterable[Record]) -> Sequence[ColumnType]:
        """The types of all columns; what is not known before is what these records have in common."""
        return self._typed.settled(record for record in records if self._is_computable(record))

    def _is_computable(self, record: Record) -> bool:
        try:
            self._typed.columns.cells(record)
        except DeliveryError:
            return False
        return True

    def _rows(self, records: Sequence[Record]) -> tuple[list[KeyedRow], list[Refused]]:
        rows: list[KeyedRow] = []
        refused: list[Refused] = []
        for record in records:
            try:
                rows.append((record.key, self._fit(self._typed.columns.cells(record))))
            except ValueError as error:
                refused.append(Refused(record.key, str(error)))
            except DeliveryError as error:
                refused.append(Refused(record.key, error.message))
        rows, twice = self._unique.apart(rows, self._book)
        return rows, [*refused, *twice]

    def finish(self) -> None:
        ready = self._for(())
        reach, preparation = self._parts()
        delivery = self._begun

        def end(session: Session) -> None:
            if self._options.write == "replace":
                preparation.swap(session, delivery, ready.into)
            else:
                with session.transaction():
                    preparation.marks.finish(session, delivery)

        reach.attempt(end, delivery.run_id)

    def close(self) -> None:
        if self._reached is not None:
            self._reached[0].close()
        if self._book is not None:
            self._book.close()
            self._book = None
