"""The dataset of a statement over a database that SQLAlchemy reaches.

Owns   the one statement: asked over a connection that only reads, its rows fetched a block at a time from a cursor of
       the server (PostgreSQL, MariaDB) or of the library (SQLite).
Knows  its options and the connection it is given.

Invariants
  * No more rows are fetched at once than `BlockSize` says, and none before it is asked for, but for the first.
  * Values are bound, never written into the statement, and are given to the driver as they are: it is the database
    that says what type a parameter has.
  * The transaction is rolled back, whatever the statement was.

Sources: SQLAlchemy 2.1, "Using Server Side Cursors", "Textual Column Expressions"; psycopg 3, "Server-side cursors";
PyMySQL, `SSCursor`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import sqlalchemy

from runner.connections import Connection
from runner.databases.engines import engine_of
from runner.datasets import DatasetContext
from runner.datasets.sql_options import SqlOptions
from runner.datasets.sql_rows import AS_IS, Asked, BlockSize, StatementDataset, row_value
from runner.statements import Statement, scan

_MOST_ROWS = 5_000
"""Fetched at once."""


class SqlDataset(StatementDataset["_OpenResult"]):
    """Rows of one statement, in the order in which the database gives them."""

    Options: ClassVar[type[SqlOptions]] = SqlOptions

    def __init__(self, options: SqlOptions, context: DatasetContext) -> None:
        """Raises SetupError where the database's URL cannot be used; connects nothing."""
        connection = context.connection or Connection(options.url or "")
        is_mysql = connection.dialect in ("mysql", "mariadb")
        super().__init__(Asked(scan(options.sql, mysql=is_mysql), options.bind, context, connection), connection)
        self._engine = engine_of(connection, context.root, read_only=True)

    def _ask(self) -> _OpenResult:
        return _OpenResult(self._engine, self._asked)

    def _unread(self, error: Exception, number: int) -> Exception:
        """What a driver raises where it cannot make a value of what the database sends, JSON above all."""
        if isinstance(error, UnicodeDecodeError):
            return self._asked.bad_value("?", number, f"a text is not {error.encoding}")
        if isinstance(error, RecursionError):
            return self._asked.bad_value("?", number, "JSON that is nested too deep")
        if "integer string conversion" in str(error):  # Python's own limit
            return self._asked.bad_value("?", number, "JSON with a number of more than 4,300 digits")
        return error

    def _row(self, result: _OpenResult, values: Sequence[Any], number: int) -> dict[str, Any]:
        row = dict(zip(result.columns, values, strict=True))
        if AS_IS.issuperset(map(type, values)):
            return row
        for name, value in row.items():
            if type(value) not in AS_IS:
                try:
                    row[name] = row_value(value)
                except TypeError as error:
                    raise self._asked.bad_value(name, number, str(error)) from None
        return row


class _OpenResult:
    """A statement that has been asked, and the connection that is its own."""

    def __init__(self, engine: sqlalchemy.Engine, asked: Asked) -> None:
        self._connection = engine.connect()
        self._cursor: Any = None
        self._done = False
        try:
            streaming = self._connection.execution_options(stream_results=True)
            self._result = streaming.execute(
                _clause(asked.statement, asked.bind, engine.dialect.name), dict(asked.bind)
            )
            if not self._result.returns_rows:
                raise asked.no_rows()
            self._cursor = self._result.cursor
            described = self._cursor.description
            self.columns = asked.columns([str(column[0]) for column in described])
            self.type_names = [getattr(column, "type_display", None) for column in described]
        except BaseException:
            self.close()
            raise

    def blocks(self) -> Iterator[Sequence[Sequence[Any]]]:
        """The rows, as many at a time as their size allows."""
        size = BlockSize(_MOST_ROWS)
        while block := self._result.fetchmany(size.rows):
            size.look_at(block)
            yield block
        self._done = True

    def close(self) -> None:
        """End the transaction. PyMySQL would first read all the rows that nobody wants any more: such a connection is
        thrown away. What goes wrong here has no bearing on the rows that were read."""
        if self._connection.closed:
            return
        with suppress(Exception):
            if not self._done and self._connection.dialect.driver == "pymysql":
                self._connection.invalidate()
                # The result would read on when it is closed, and when it is collected, from a connection that is gone.
                self._cursor._result.unbuffered_active = False  # noqa: SLF001
        with suppress(Exception):
            if self._cursor is not None:
                self._cursor.close()
        with suppress(Exception):
            self._connection.close()


def _clause(statement: Statement, bind: Any, dialect: str) -> sqlalchemy.TextClause:
    """The statement as SQLAlchemy takes it: its own colons escaped, parameters without a type of ours.

    A list is the items of an IN; anywhere else PostgreSQL takes it as an array (`= any(:ids)`).
    """
    text, end = [], 0
    body = statement.body
    for parameter in statement.parameters:
        text += [body[end : parameter.start].replace(":", "\\:"), f":{parameter.name}"]
        end = parameter.end
    text.append(body[end:].replace(":", "\\:"))
    clause = sqlalchemy.text("".join(text))
    parameters = [
        sqlalchemy.bindparam(
            name,
            type_=sqlalchemy.types.NullType(),
            expanding=isinstance(bind.get(name), list) and (name in statement.lists or dialect != "postgresql"),
        )
        for name in statement.names
    ]
    return clause.bindparams(*parameters)
