"""A connection, and what every database has to say of itself: the contract of the four dialects.

Owns   `Session`, a DBAPI connection with transactions that begin and end where they are written; `Dialect`; the marks
       that stand for parameters.
Knows  the DBAPI (PEP 249). Of SQL only `SAVEPOINT`.

A statement has `VALUE` for each parameter. A session writes its driver's own sign for it, and doubles what the driver
would take for one; so a name with `?` or `%` in it is a name. No name holds a NUL.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Literal

from runner.column_types import ColumnType
from runner.sinks.sql.columns import Column, Table
from runner.sinks.sql.names import TableName

VALUE = "\0"
"""A parameter in a statement."""

Trouble = Literal["passing", "value", "lasting"]
"""What went wrong: something that passes (a server that restarts, a deadlock); a value that the table does not take;
anything else."""

Rows = Sequence[Sequence[Any]]


class Session:
    """One connection. What the driver raises is not translated here: whoever tries again has to look at it."""

    def __init__(self, connection: Any, style: Literal["?", "%s"], begin: str | None = None) -> None:
        """`begin` is the statement that begins a transaction, where the driver does not by itself."""
        self.connection = connection
        self._style = style
        self._begin = begin

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Execute; how many rows it changed, as far as the driver says."""
        cursor = self.connection.cursor()
        try:
            cursor.execute(self.written(statement), tuple(values))
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def run_many(self, statement: str, rows: Rows) -> None:
        cursor = self.connection.cursor()
        try:
            cursor.executemany(self.written(statement), rows)
        finally:
            cursor.close()

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        cursor = self.connection.cursor()
        try:
            cursor.execute(self.written(query), tuple(values))
            return [tuple(row) for row in cursor.fetchall()]
        finally:
            cursor.close()

    def written(self, statement: str) -> str:
        """A statement as the driver takes it."""
        if self._style == "%s":
            statement = statement.replace("%", "%%")
        return statement.replace(VALUE, self._style)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. What a commit that raises has done, nobody here knows."""
        self.begin()
        try:
            yield
            self.connection.commit()
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell; a lost connection has rolled back by itself
                self.connection.rollback()
            raise

    def begin(self) -> None:
        if self._begin is not None:
            self.run(self._begin)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """All or nothing, within a transaction that goes on."""
        self.run("SAVEPOINT runner_try")
        try:
            yield
        except Exception:
            self.run("ROLLBACK TO SAVEPOINT runner_try")
            self.run("RELEASE SAVEPOINT runner_try")
            raise
        self.run("RELEASE SAVEPOINT runner_try")

    def close(self) -> None:
        with suppress(Exception):  # what it was asked to do is committed, or must not be
            self.connection.close()


class Dialect(ABC):
    """What differs from one database to the next: its words for types, its catalog, the fastest way in."""

    kind: str
    """As records, summaries and the ledger name it."""
    shown: str
    """As its makers write it."""
    alters_in_transactions: bool = True
    """Tables can be made, changed and dropped in a transaction with what is written to them."""
    has_savepoints: bool = True
    forms: ClassVar[Mapping[type, Callable[[Any], Any]]] = {}
    """What becomes of values that the driver does not take as they are."""
    holds_nul: bool = True
    """Whether a text may have U+0000 in it."""
    holds_nan: bool = True
    """Whether a number may be none, or infinite."""
    most_name_bytes: int | None = None
    most_name_characters: int | None = None
    """How long a name may be; PostgreSQL cuts a longer one off, and says nothing of it."""
    begins_with: str | None = None
    """The first statement of each transaction, where there is one."""
    table_options: str = ""
    """What stands behind the columns of a table that is made here."""

    def prepare(self, session: Session) -> None:  # noqa: B027 - most have nothing to settle
        """Settle what the connection could have otherwise by its server's or user's defaults."""

    @abstractmethod
    def quoted(self, name: str) -> str: ...

    @abstractmethod
    def type_text(self, type_: ColumnType, *, keys: int = 0) -> str:
        """The type of a column of a table that is made here; `keys`: how many columns its unique key has, where it is
        one of them."""

    def fits_key(self, type_: ColumnType) -> bool:
        """Whether a column of such values can be unique."""
        return type_.kind not in ("list", "mapping", "json")

    def too_long(self, name: str) -> bool:
        """Whether a name cannot be one here."""
        in_bytes, in_characters = self.most_name_bytes, self.most_name_characters
        if in_bytes is not None and len(name.encode(errors="replace")) > in_bytes:
            return True
        return in_characters is not None and len(name) > in_characters

    @abstractmethod
    def find(self, session: Session, table: TableName) -> Table | None:
        """The table as it is, None where there is none. Raises ValueError for what is no table (a view)."""

    @abstractmethod
    def copy_shape(self, session: Session, table: TableName, columns: Sequence[str], made: TableName) -> None:
        """Make an empty table of these columns of another one, with as much of what holds its rows to order as the
        database copies."""

    @abstractmethod
    def load(
        self, session: Session, table: TableName, columns: Sequence[Column], rows: Rows, unique_key: Sequence[str]
    ) -> None:
        """Put rows in a table, in a transaction that is open; with a `unique_key`, in the place of rows that have the
        same values in it."""

    @abstractmethod
    def trouble(self, error: Exception) -> Trouble: ...


def is_of_a_driver(error: Exception) -> bool:
    """PEP 249: every driver derives its exceptions from an `Error` of its own; SQLAlchemy keeps them as `orig`."""
    return hasattr(error, "orig") or any(kind.__name__ == "Error" for kind in type(error).__mro__)


def qualified(dialect: Dialect, table: TableName) -> str:
    return ".".join(dialect.quoted(part) for part in (table.schema, table.name) if part is not None)


def listed(dialect: Dialect, names: Sequence[str]) -> str:
    return ", ".join(dialect.quoted(name) for name in names)


def insert_head(dialect: Dialect, table: TableName, names: Sequence[str]) -> str:
    return f"INSERT INTO {qualified(dialect, table)} ({listed(dialect, names)})"


def on_conflict(dialect: Dialect, names: Sequence[str], unique_key: Sequence[str]) -> str:
    """The end of an insert that is an upsert, as PostgreSQL, SQLite and DuckDB have it."""
    if not unique_key:
        return ""
    others = [dialect.quoted(name) for name in names if name not in unique_key]
    sets = ", ".join(f"{name} = excluded.{name}" for name in others)
    return f" ON CONFLICT ({listed(dialect, unique_key)}) DO {f'UPDATE SET {sets}' if sets else 'NOTHING'}"


def portions(rows: Rows, most_rows: int, most_bytes: int) -> Iterator[Rows]:
    """Rows in groups of so many at most, and of about so many bytes; a row is never divided."""
    portion: list[Sequence[Any]] = []
    weight = 0
    for row in rows:
        portion.append(row)
        weight += sum([len(value) if type(value) in _SIZED else 16 for value in row])
        if len(portion) >= most_rows or weight >= most_bytes:
            yield portion
            portion, weight = [], 0
    if portion:
        yield portion


_SIZED = {str, bytes}


def load_by_statements(
    session: Session, head: str, columns: int, rows: Rows, tail: str, *, most_values: int, most_bytes: int = 1 << 20
) -> None:
    """Insert by statements of many rows each."""
    row_text = f"({', '.join([VALUE] * columns)})"
    for portion in portions(rows, max(1, most_values // columns), most_bytes):
        statement = f"{head} VALUES {', '.join([row_text] * len(portion))}{tail}"
        session.run(statement, [value for row in portion for value in row])


def copy_as_found(
    dialect: Dialect, session: Session, table: TableName, columns: Sequence[str], made: TableName
) -> None:
    """`Dialect.copy_shape` of a database that has no statement for it: the columns and unique keys that are found."""
    found = dialect.find(session, table)
    assert found is not None
    kept = [column for name in columns if (column := found.column(name)) is not None]
    made_columns = [
        f"{dialect.quoted(each.name)} {each.written}{'' if each.nullable else ' NOT NULL'}" for each in kept
    ]
    unique = [f"UNIQUE ({listed(dialect, sorted(names))})" for names in found.unique if names <= set(columns)]
    session.run(f"CREATE TABLE {qualified(dialect, made)} ({', '.join([*made_columns, *unique])})")
