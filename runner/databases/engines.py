"""Engines: databases that SQLAlchemy reaches.

Owns   the engine of a connection, also of one that only reads.
Knows  connections and drivers.

No pool: a command has one or two connections, each for as long as it works.

Source: SQLAlchemy 2.1, "Engine Configuration", "PostgreSQL: Setting READ ONLY / DEFERRABLE"; PEP 249.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from runner.connections import SHORTEST_SECRET, Connection, DatabaseUrl
from runner.databases import DRIVERS, URL_HINT, database_of
from runner.errors import SetupError
from runner.extras import missing_library

CONNECT_SECONDS = 15
"""How long a server may take to answer before it counts as not there: psycopg's own is 130 s, PyMySQL's 10 s."""

_CONNECT_ARGS: Mapping[str, Mapping[str, Any]] = {
    "postgresql": {"connect_timeout": CONNECT_SECONDS},
    "mysql": {"connect_timeout": CONNECT_SECONDS},
    "mariadb": {"connect_timeout": CONNECT_SECONDS},
}


def engine_of(connection: Connection, root: Path, *, read_only: bool = False) -> sqlalchemy.Engine:
    """The engine of a connection; nothing is connected yet. The file of SQLite is looked for from `root`.

    Args:
        read_only: what is sent over it cannot write, as far as the database can promise that.
    Raises:
        SetupError: a URL that cannot be used, or a library that is missing.
    """
    parts = database_of(connection)
    connect_args = {**_connect_args(parts), **connection.options}
    try:
        if parts.dialect == "sqlite":
            engine = _sqlite(parts, root, connect_args, read_only=read_only)
        else:
            engine = sqlalchemy.create_engine(
                _url(parts), poolclass=sqlalchemy.NullPool, hide_parameters=True, connect_args=connect_args
            )
    except ModuleNotFoundError as error:
        raise missing_library(error.name or "", f"{parts.dialect}://") from None
    except (ArgumentError, NoSuchModuleError, ValueError, TypeError) as error:
        found = connection.scrubbed(str(error))
        raise SetupError(f"{connection.shown} cannot be used: {found}", hint=URL_HINT, code="bad-url") from None
    _tell_of_options(engine, connection)
    if read_only and parts.dialect in _READ_ONLY:
        _after_connect(engine, _READ_ONLY[parts.dialect])
    return engine


_READ_ONLY: Mapping[str, Sequence[str]] = {
    # All rows of a cursor are read: without this, plans are chosen for the first tenth of them.
    "postgresql": ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET cursor_tuple_fraction = 1"),
    "mysql": ("SET SESSION TRANSACTION READ ONLY",),
    "mariadb": ("SET SESSION TRANSACTION READ ONLY",),
    "sqlite": ("PRAGMA query_only = ON",),
}
"""What makes all transactions of a connection refuse to write. SQL Server, Oracle and others have nothing of the kind
for a session: there a transaction that is never committed has to do."""


def _after_connect(engine: sqlalchemy.Engine, statements: Sequence[str]) -> None:
    @sqlalchemy.event.listens_for(engine, "connect")
    def _set(dbapi_connection: Any, _record: Any) -> None:
        cursor = dbapi_connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        dbapi_connection.commit()


def _tell_of_options(engine: sqlalchemy.Engine, connection: Connection) -> None:
    """An option that a driver does not know, or whose value it does not take, is told as such."""

    @sqlalchemy.event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        try:
            return dialect.connect(*arguments, **options)
        except (TypeError, ValueError, dialect.loaded_dbapi.ProgrammingError) as error:
            found = connection.scrubbed(" ".join(str(error).split()))
            for value in connection.options.values():
                if len(str(value)) >= SHORTEST_SECRET:
                    found = found.replace(str(value), "***")
            hint = "look at the options of the connection, and at those in its URL"
            raise SetupError(f"{connection.shown} cannot be used: {found}", hint=hint, code="bad-url") from None


def _connect_args(parts: DatabaseUrl) -> dict[str, Any]:
    return {name: value for name, value in _CONNECT_ARGS.get(parts.dialect, {}).items() if name not in parts.query}


def _url(parts: DatabaseUrl) -> sqlalchemy.URL:
    driver = parts.driver or (DRIVERS[parts.dialect].name if parts.dialect in DRIVERS else None)
    return sqlalchemy.URL.create(
        f"{parts.dialect}+{driver}" if driver else parts.dialect,
        username=parts.username,
        password=parts.password,
        host=parts.host or None,
        port=parts.port,
        database=parts.database or None,
        query=dict(parts.query),
    )


def _sqlite(parts: DatabaseUrl, root: Path, connect_args: dict[str, Any], *, read_only: bool) -> sqlalchemy.Engine:
    """A file; with `mode=ro` it is not made where it is missing."""
    if parts.database in ("", ":memory:") or parts.database.startswith("file:"):
        url = sqlalchemy.URL.create("sqlite", database=parts.database or None, query=dict(parts.query))
    else:
        file = (root / parts.database).absolute()
        query = {**parts.query, "uri": "true", **({"mode": "ro"} if read_only else {})}
        url = sqlalchemy.URL.create("sqlite", database=file.as_uri().replace("file://", "file:", 1), query=query)
    return sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, hide_parameters=True, connect_args=connect_args)
