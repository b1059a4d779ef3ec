"""Which database stands behind a connection, and a session with it. The only module here that opens anything.

Owns   the choice of the dialect, and how a driver's connection becomes a `Session`.
Knows  `runner.databases`, which makes engines; dialects.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.connections import Connection
from runner.databases import DUCKDB, database_of
from runner.errors import DeliveryError, SetupError
from runner.sinks.sql.duckdb import DuckDB, DuckDBSession
from runner.sinks.sql.mysql import MySQL
from runner.sinks.sql.postgresql import PostgreSQL
from runner.sinks.sql.session import Dialect, Session
from runner.sinks.sql.sqlite import SQLite

_DIALECTS: dict[str, Callable[[], Dialect]] = {
    "postgresql": PostgreSQL,
    "mysql": MySQL,
    "mariadb": MySQL,
    "sqlite": SQLite,
    DUCKDB: DuckDB,
}


def dialect_of(connection: Connection) -> Dialect:
    """Raises SetupError for a database that no table can be written in here, or a library that is missing."""
    parts = database_of(connection)
    make = _DIALECTS.get(parts.dialect)
    if make is None:
        known = "PostgreSQL, MariaDB, MySQL, SQLite and DuckDB"
        hint = f"records go to tables of {known}; or write a file, and load that"
        raise SetupError(f"{parts.dialect} is no database that a sink writes to", hint=hint, code="unknown-database")
    if parts.dialect in _IN_FILES and parts.database in ("", ":memory:"):
        hint = f"name a file: {parts.dialect}:///out/answers.db"
        raise SetupError("a database in memory is gone when the run ends", hint=hint, code="bad-url")
    return make()


_IN_FILES = frozenset({"sqlite", DUCKDB})


def file_of(connection: Connection, root: Path) -> Path | None:
    """The file of a database that is one."""
    parts = database_of(connection)
    return root / parts.database if parts.dialect in _IN_FILES else None


def can_be_made(connection: Connection, root: Path) -> bool:
    """Whether it is a file that is not there yet, and that can be made. Raises DeliveryError where it cannot."""
    file = file_of(connection, root)
    if file is None or file.exists():
        return False
    folder = file.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        message = f"{connection.shown} cannot be made: {folder} is no folder that can be written"
        raise DeliveryError(message, hint="name another file", code="bad-target")
    return True


def open_session(connection: Connection, root: Path, dialect: Dialect) -> Session:
    """Connect. Raises what the driver raises, and SetupError."""
    session = _opened(connection, root, dialect)
    try:
        dialect.prepare(session)
    except BaseException:
        session.close()
        raise
    return session


def _opened(connection: Connection, root: Path, dialect: Dialect) -> Session:
    file = file_of(connection, root)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    if dialect.kind == DUCKDB:
        from runner.databases.duck import open_duckdb

        return DuckDBSession(open_duckdb(connection, root))
    from runner.databases.engines import engine_of

    engine = engine_of(connection, root)
    raw = engine.raw_connection()
    driver: Any = raw.driver_connection
    raw.detach()  # or the connection would be closed with the object around it
    if dialect.kind == "sqlite":
        driver.isolation_level = None
        return Session(driver, "?", dialect.begins_with)
    return Session(driver, "%s", dialect.begins_with)
