"""Faults: what drivers raise, read into words for people.

Owns   the classes of errors (not reached, not allowed, lost, wrong in the statement, wrong in the data) by SQLSTATE and
       the servers' own numbers, and where in a statement an error is.
Knows  drivers by what PEP 249 and they promise of their exceptions, SQLAlchemy by the name of its own; imports none of
       them, because DuckDB is asked without SQLAlchemy too.

Sources: PostgreSQL 18, appendix A "PostgreSQL Error Codes"; "MariaDB Error Code Reference"; "SQLSTATE" of ISO 9075:
class 08 is connection exceptions, 28 authorization, 42 syntax or access rule, 40 rollback, 57 operator intervention.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from runner.connections import Connection
from runner.databases import FILES, Fault
from runner.errors import SetupError
from runner.extras import missing_library


@contextmanager
def told(connection: Connection, make: Callable[[Fault], BaseException]) -> Iterator[None]:
    """Turn what SQLAlchemy and a driver raise into a Fault, and raise what `make` makes of it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_library(error.name or "", connection.shown) from None
    except Exception as error:
        if not (_is_of_sqlalchemy(error) or _is_of_a_driver(error)):
            raise
        raise make(fault_of(error, connection)) from None


def fault_of(error: BaseException, connection: Connection) -> Fault:
    """What an error of SQLAlchemy or of a driver says, without secrets, in one line."""
    original = getattr(error, "orig", None) or error
    state, number = _state(original), _number(original)
    message, line, near = _said(original)
    message = connection.scrubbed(message)
    unheld = _UNHELD.match(message)
    if unheld is not None:
        return Fault("unreadable-value", _no_date(unheld.group(1) or unheld.group(2), message), _NO_DATE_HINT)
    if state.startswith("22") or type(original).__name__ in _ABOUT_VALUES:
        message = re.sub(r"""(['"]).*?\1(?!\w)""", "…", message)
    if not _ACCESS.isdisjoint((state, number)) or _ACCESS_WORDS.search(message):
        return Fault("no-access", f"{connection.shown} gives no access: {message}", _ACCESS_HINT)
    if getattr(error, "connection_invalidated", False) or state[:2] in ("08", "57") or number in _LOST:
        return Fault("connection-lost", f"the connection to {connection.shown} was lost: {message}", is_passing=True)
    if not _UNREACHED.isdisjoint((state, number)) or _UNREACHED_WORDS.search(message):
        hint = _FILE_HINT if connection.parts.dialect in FILES else _SERVER_HINT
        return Fault("cannot-connect", f"{connection.shown} cannot be reached: {message}", hint, is_passing=True)
    passing = state[:2] in ("40", "53", "55") or not _PASSING.isdisjoint((number, message))
    return Fault("database-error", message, None, line, near or _quoted(message), is_passing=passing)


def _no_date(kind: str, message: str) -> str:
    """What a date or a time is that Python has none for."""
    infinite = re.search(r"-?infinity", message)
    if infinite is not None:
        return f"a {kind} is {infinite.group()}, which no row can hold"
    where = "is 24:00" if kind == "time" else "lies before the year 1 or after 9999"
    return f"a {kind} {where}, which no row can hold"


_UNHELD = re.compile(r"(date|timestamp|time) too (?:large|small) |can't parse (date|timestamp|time)")
"""What psycopg says of a value that it was sent and cannot make, without a SQLSTATE ("Date/time limits")."""
_NO_DATE_HINT = "say in the statement what it is to be: nullif(x, 'infinity') for null, x::text for its text"
_ACCESS_HINT = "set user and password in the environment variable that the URL is taken from"
_ACCESS = frozenset({"28000", "28P01", 1044, 1045, 1698})
_ACCESS_WORDS = re.compile(
    r"FATAL: +(?:role \"[^\"]*\" does not exist|password authentication failed|no pg_hba\.conf entry)"
)
"""What PostgreSQL says before the driver gives the number, 28000 or 28P01."""
_LOST = frozenset({1927, 2006, 2013, 2014})
_SERVER_HINT = "is the server running, and are host, port and database right?"
_FILE_HINT = "is the path right? It starts at the project's root; //// begins a whole path"
_UNREACHED = frozenset({"3D000", 1049, 2002, 2003, 2005})
_UNREACHED_WORDS = re.compile(
    r"connection failed|connection refused|failed to resolve|timeout expired|unable to open database file"
    r"|could not translate host name|database \"[^\"]*\" does not exist"
)
"""What drivers say before there is a server to give a number."""
_PASSING = frozenset({1205, 1213, "database is locked"})
"""Lock wait timeout and deadlock of MariaDB; SQLite's one word for both."""


_ABOUT_VALUES = frozenset({"ConversionException", "InvalidInputException", "OutOfRangeException"})
"""DuckDB's exceptions that quote a value, which is a row's; of other databases those of SQLSTATE's class 22 do."""


def _is_of_a_driver(error: Exception) -> bool:
    """Whether it is an exception of PEP 249, which every driver derives from an `Error` of its own module."""
    return any(kind.__name__ == "Error" and kind.__module__ != "builtins" for kind in type(error).__mro__)


def _is_of_sqlalchemy(error: Exception) -> bool:
    return any(kind.__name__ == "SQLAlchemyError" for kind in type(error).__mro__)


def _state(error: Any) -> str:
    """The SQLSTATE, where the driver gives one."""
    return str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")


def _number(error: Any) -> object:
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else None


def _said(error: Any) -> tuple[str, int | None, str | None]:
    """The message in one line, and the line and word of the statement that it names."""
    text = str(error.args[-1]) if error.args else str(error)
    text = re.split(r"\n\s*Original Line:| with text '", text, maxsplit=1)[0]  # DuckDB and SQLite show the row itself
    # PostgreSQL shows the line of the statement below its message; before it stands what a cursor adds.
    shown = re.search(r"\nLINE (\d+): ", text)
    message = text[: shown.start()] if shown else text
    line = int(shown.group(1)) if shown else None
    # MariaDB repeats the rest of the statement, which may hold bound values: its first word is enough.
    near = re.search(r"to use near '(.*)' at line (\d+)$", message, re.DOTALL)
    if near:
        rest = near.group(1).split()
        word = rest[0] if rest else ""
        where = f"near {word!r}" if word else "at the end"
        return f"syntax error {where}", int(near.group(2)), word or None
    return " ".join(message.split()), line, None


def _quoted(message: str) -> str | None:
    """The word that a message names: `column "x" does not exist`, `no such table: x`."""
    match = re.search(r"[\"'`]([^\"'`]+)[\"'`]", message) or re.search(r"no such \w+: ([\w.]+)", message)
    return match.group(1).rpartition(".")[2] if match else None


def setup_error(fault: Fault) -> SetupError:
    """A fault as an error of the machine: the database is not reached, or does not let us in."""
    return SetupError(fault.message, hint=fault.hint, code=fault.code)
