"""What all datasets have in common that ask a database: columns, rows, values and errors of a statement.

Owns   when the statement is asked, which names of columns are taken, what the drivers' values become in a row, and how
       a Fault is told.
Knows  the statement's text, and by the context where it is written.

What a row holds is `values.held`'s to say. Beside it: networks, ranges and other types of a driver's own are their
text; a timestamp keeps its zone as an offset; what JSON columns hold is a list or a mapping where the driver reads
them (PostgreSQL), else their text (MariaDB, SQLite).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from runner.column_types import ColumnType
from runner.connections import SHORTEST_SECRET, Connection
from runner.databases import Fault
from runner.databases.faults import told
from runner.datasets import DatasetContext, SourceRow
from runner.datasets.problems import data_error
from runner.datasets.sql_types import declared
from runner.errors import InputError, Problem, RunnerError, SetupError
from runner.statements import Statement
from runner.values import held, text_form

_UNREACHED = frozenset({"cannot-connect", "connection-lost", "no-access"})
_UNNAMED = frozenset({"", "?column?"})
"""What databases call a column that has no name; `?column?` is PostgreSQL's."""


class Asked:
    """A statement with its values and the words for what goes wrong with it. `shown` names the database."""

    def __init__(
        self, statement: Statement, bind: Mapping[str, Any], context: DatasetContext, connection: Connection | None
    ) -> None:
        self.statement = statement
        self.bind = bind
        self._context = context
        self._connection = connection
        self.shown = connection.shown if connection is not None else "query"

    def error(self, fault: Fault) -> RunnerError:
        """A fault as an exception: of the machine where the database is not reached, else of the statement."""
        message = self._without_values(fault.message)
        if fault.code in _UNREACHED:
            return SetupError(message, hint=fault.hint or _LOST_HINT, code=fault.code)
        token = fault.token if fault.token and fault.token in self.statement.text else None
        where = self._context.statement_at(fault.line, token)
        return InputError([Problem(fault.code, message, where, fault.hint)])

    def _without_values(self, message: str) -> str:
        """The message without what `bind` gives, which may come from the environment."""
        for value in self.bind.values():
            if isinstance(value, str) and len(value) >= SHORTEST_SECRET:
                message = message.replace(value, "***")
        return message

    def columns(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names of the result's columns. Raises InputError for one that is missing or stands twice."""
        where = self._context.statement_at(None, None)
        for number, name in enumerate(names, 1):
            if name in _UNNAMED:
                hint = "give it one: … AS name"
                raise InputError([Problem("unnamed-column", f"column {number} has no name", where, hint)])
            if name in names[: number - 1]:
                found = f"two columns are called {name!r}: {names.index(name) + 1} and {number}"
                at = self._context.statement_at(None, name)
                raise InputError([Problem("duplicate-column", found, at, f"rename one: … AS {name}_2")])
        return tuple(names)

    def no_rows(self) -> InputError:
        """That the statement is none that gives rows."""
        where = self._context.statement_at(None, None)
        return InputError([Problem("bad-statement", "the statement gives no rows", where, "one SELECT")])

    def bad_value(self, column: str, number: int, why: str) -> InputError:
        return data_error(
            "unreadable-value",
            f"column {column!r}: {why}",
            self.shown,
            number,
            hint="cast it in the statement, for instance to text",
        )


_LOST_HINT = "run it again: no row was taken yet"


class OpenResult(Protocol):
    """A statement that has been asked, with the connection that is its own."""

    columns: tuple[str, ...]
    type_names: Sequence[str | None]

    def blocks(self) -> Iterator[Sequence[Sequence[Any]]]:
        """The rows, as many at a time as their size allows."""
        ...

    def close(self) -> None:
        """May be called more than once."""
        ...


R = TypeVar("R", bound=OpenResult)


class StatementDataset(ABC, Generic[R]):
    """Rows of one statement, in the order in which the database gives them.

    A kind of database says how its statement is asked (`_ask`) and how a row is made of its values (`_row`). Asked for
    the columns, a statement is not asked again for the rows that come next.
    """

    def __init__(self, asked: Asked, connection: Connection) -> None:
        self._asked = asked
        self._connection = connection
        self._open: R | None = None

    @abstractmethod
    def _ask(self) -> R: ...

    @abstractmethod
    def _row(self, result: R, values: Sequence[Any], number: int) -> dict[str, Any]: ...

    def _unread(self, error: Exception, number: int) -> Exception:
        """What is told where a driver cannot make a value of what the database sends for a row."""
        del number
        return error

    def columns(self) -> tuple[str, ...]:
        """The columns of the result. The statement is asked; what it gives is for the next `rows`."""
        return self._result().columns

    def column_types(self) -> Mapping[str, ColumnType] | None:
        """What the database says of the columns, where all of its types are known here; else the rows say it."""
        result = self._result()
        return declared(result.columns, result.type_names)

    def rows(self) -> Iterator[SourceRow]:
        """All rows. Raises InputError, SetupError."""
        result, self._open = self._result(), None
        shown = self._asked.shown
        number = 0
        try:
            with told(self._connection, self._asked.error):
                for block in result.blocks():
                    for values in block:
                        number += 1
                        yield SourceRow(self._row(result, values, number), shown, number)
        except (ValueError, RecursionError) as error:
            raise self._unread(error, number + 1) from None
        finally:
            result.close()

    def _result(self) -> R:
        if self._open is None:
            try:
                with told(self._connection, self._asked.error):
                    self._open = self._ask()
            except (ValueError, RecursionError) as error:  # of the first row, which may come with the columns
                raise self._unread(error, 1) from None
            weakref.finalize(self, self._open.close)
        return self._open


class BlockSize:
    """How many rows are fetched next: as many as come to `_BLOCK_BYTES`, as far as those before tell how large one is.

    Until rows have been seen it is a few, and it doubles at most.
    """

    def __init__(self, most: int) -> None:
        self.rows = _FIRST_ROWS
        self._most = most

    def look_at(self, block: Sequence[Sequence[Any]]) -> None:
        bytes_a_row = sum(sum(map(_size, row)) for row in block) / len(block)
        self.rows = max(1, min(self._most, 2 * self.rows, int(_BLOCK_BYTES / (bytes_a_row + 1))))


_BLOCK_BYTES = 4 << 20
_FIRST_ROWS = 16
_A_VALUE = 16
"""Bytes that a value counts beside its text; of a list or a mapping each that is in it."""


def _size(value: Any) -> int:
    kind = type(value)
    if kind is str or kind is bytes:
        return _A_VALUE + len(value)
    if kind is dict:
        return _A_VALUE + sum(map(_size, value)) + sum(map(_size, value.values()))
    if kind is list or kind is tuple:
        return _A_VALUE + sum(map(_size, value))
    return _A_VALUE


def row_value(value: Any) -> Any:
    """A driver's value as a row holds it. Raises TypeError for what no row holds."""
    convert = _CONVERTED.get(type(value))
    if convert is not None:
        return convert(value)
    try:
        return held(value)
    except TypeError:
        if type(value).__module__.partition(".")[0] in _DRIVERS:
            return str(value)
        raise


def _zoned(value: dt.datetime) -> dt.datetime:
    """The offset of a zone instead of its name: the server's rules and this machine's may differ."""
    if value.tzinfo is None or isinstance(value.tzinfo, dt.timezone):
        return value
    return value.replace(tzinfo=dt.timezone(value.utcoffset() or dt.timedelta()))


def _listed(value: list[Any] | tuple[Any, ...]) -> list[Any]:
    return [row_value(item) for item in value]


def _mapped(value: dict[Any, Any]) -> dict[str, Any]:
    """DuckDB's maps have keys of any type."""
    return {name if type(name) is str else text_form(held(name)): row_value(item) for name, item in value.items()}


_CONVERTED: Mapping[type, Callable[[Any], Any]] = {
    dt.datetime: _zoned,
    list: _listed,
    tuple: _listed,
    dict: _mapped,
    **dict.fromkeys(
        (
            ipaddress.IPv4Address,
            ipaddress.IPv6Address,
            ipaddress.IPv4Network,
            ipaddress.IPv6Network,
            ipaddress.IPv4Interface,
            ipaddress.IPv6Interface,
        ),
        str,
    ),
}
_DRIVERS = frozenset({"psycopg", "pymysql", "duckdb", "oracledb", "pyodbc"})
"""Drivers whose own types have a text that the database reads back."""

AS_IS = frozenset({type(None), bool, int, float, str, bytes})
"""Types that a row holds as they come, and that need no look."""
