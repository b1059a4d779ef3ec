"""Databases: from a connection to an engine, and what databases say to what people can read.

Owns   which driver reaches which kind of database and the extra that brings it, and `Fault`, the one form of what goes
       wrong there. `databases.engines` is for what SQLAlchemy reaches, `databases.duck` for DuckDB; the drivers are
       imported by those two alone. `databases.faults` reads what drivers raise.
Knows  connections. Nothing of datasets and sinks, which share this: each raises a Fault as an exception of its own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping

from msgspec import Struct

from runner.connections import BadUrl, Connection, DatabaseUrl
from runner.errors import SetupError, closest
from runner.extras import missing_library

DUCKDB = "duckdb"


class Driver(Struct, frozen=True):
    """What reaches a kind of database where its URL names no driver. `name` is SQLAlchemy's, `module` what it
    imports; None where Python brings it."""

    name: str | None
    module: str | None
    extra: str


DRIVERS: Mapping[str, Driver] = {
    "postgresql": Driver("psycopg", "psycopg", "postgresql"),
    "mysql": Driver("pymysql", "pymysql", "mysql"),
    "mariadb": Driver("pymysql", "pymysql", "mysql"),
    "sqlite": Driver(None, None, "sql"),
    DUCKDB: Driver(None, "duckdb", "duckdb"),
}
"""The kinds of databases that are tested. Any other that SQLAlchemy reaches works by its own dialect and driver."""

FILES = frozenset({"sqlite", DUCKDB})
"""Those whose database is a file of this machine."""

_OTHERS = frozenset({"mssql", "oracle"})
"""What SQLAlchemy brings beside; all else is an entry point of `sqlalchemy.dialects`."""

_ASYNC = frozenset({"asyncpg", "psycopg_async", "aiosqlite", "asyncmy", "aiomysql", "aioodbc", "oracledb_async"})
"""SQLAlchemy's drivers for asyncio ("Dialects", SQLAlchemy 2.1), which its ordinary engine cannot use."""


class Fault(Struct, frozen=True):
    """What went wrong at a database, told without a secret.

    `token` and `line` say where in the statement, as far as the database does: a word of it, and its line from 1.
    `is_passing`: the connection was lost or refused, so that another try may work.
    """

    code: str
    message: str
    hint: str | None = None
    line: int | None = None
    token: str | None = None
    is_passing: bool = False


def database_of(connection: Connection) -> DatabaseUrl:
    """The parts of the connection's URL, with everything there that needs no connection: kind, driver, library.

    Raises SetupError.
    """
    try:
        parts = connection.parts
    except BadUrl as error:
        name = f"the URL of {connection.name}" if connection.name else "the URL"
        raise SetupError(f"{name} is not readable: {error}", hint=URL_HINT, code="bad-url") from None
    if parts.driver in _ASYNC:
        hint = f"leave the driver out: {parts.dialect}://…"
        raise SetupError(f"the driver {parts.driver} is for asyncio, and is not used here", hint=hint, code="bad-url")
    driver = DRIVERS.get(parts.dialect)
    what = f"{parts.dialect}://"
    if parts.dialect != DUCKDB and not _is_installed("sqlalchemy"):
        raise missing_library("sqlalchemy", what, extra=driver.extra if driver else "sql")
    if driver is None:
        known = importlib.metadata.entry_points(group="sqlalchemy.dialects")
        if parts.dialect not in _OTHERS and parts.dialect not in {each.name.partition(".")[0] for each in known}:
            raise _unknown_dialect(parts.dialect)
        return parts
    if parts.driver in (None, driver.name) and driver.module and not _is_installed(driver.module):
        raise missing_library(driver.module, what, extra=driver.extra)
    return parts


URL_HINT = "postgresql://user@host/database, mysql://…, sqlite:///file.db, duckdb:///file.duckdb"


def _unknown_dialect(dialect: str) -> SetupError:
    near = closest(dialect, DRIVERS)
    hint = (f"did you mean `{near}`? " if near else "") + f"There are: {', '.join(DRIVERS)}, and what SQLAlchemy knows"
    return SetupError(f"there is no kind of database {dialect!r}", hint=hint, code="unknown-database")


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
