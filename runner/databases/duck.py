"""DuckDB: a file of its own, or queries over files.

Owns   how a DuckDB is opened: nothing is ever fetched for it, and its configuration cannot be changed by a statement.
Knows  connections. DuckDB's own library is used, not SQLAlchemy: its results come as Arrow batches.

Source: "Configuration" and "Securing DuckDB", DuckDB documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb

from runner.connections import Connection
from runner.databases import database_of

CONFIG: Mapping[str, str] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
}
"""Extensions are code from the network: none is fetched, and none is loaded that this library does not bring. A name in
a statement is that of a table, never of a variable in this process."""


def open_duckdb(connection: Connection, root: Path, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Open the file of a connection, looked for from `root`; it is made where it is missing, but not with `read_only`.

    Raises duckdb.Error, and SetupError for a URL that cannot be used.
    """
    parts = database_of(connection)
    in_memory = parts.database in ("", ":memory:")
    file = ":memory:" if in_memory else str(root / parts.database)
    config: dict[str, str | bool | int | float | list[str]] = {**CONFIG, **parts.query}
    config |= {name: str(value) for name, value in connection.options.items()}
    opened = duckdb.connect(file, read_only=read_only and not in_memory, config=config)
    opened.execute("SET enable_progress_bar = false")  # after two seconds it would draw one on stdout
    return opened
