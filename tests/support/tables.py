"""Tables of the four databases that sinks write to: each test has a place of its own, which is removed in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from runner.column_types import ColumnType
from runner.connections import Connection
from runner.sinks import DeliveryId, Part, SinkContext
from runner.sinks.sql.names import parse_table
from runner.sinks.sql.opening import dialect_of, open_session
from runner.sinks.sql.options import SqlOptions
from runner.sinks.sql.session import Dialect, Session
from runner.sinks.sql.sink import SqlSink
from runner.types import Record
from support.databases import mariadb_database, postgresql_schema

DATABASES = ("postgresql", "mariadb", "sqlite", "duckdb")


@dataclass(frozen=True)
class Place:
    """One schema (or file) of one database. `root` is what its files and the memory of sinks are in."""

    kind: str
    url: str
    schema: str | None
    root: Path

    def named(self, table: str) -> str:
        """A table of this place, as a job writes it."""
        return f"{self.schema}.{table}" if self.schema else table

    @property
    def dialect(self) -> Dialect:
        return dialect_of(Connection(self.url))

    def quoted(self, table: str) -> str:
        names = [self.schema, table] if self.schema else [table]
        return ".".join(self.dialect.quoted(name) for name in names if name)

    @contextmanager
    def session(self) -> Iterator[Session]:
        session = open_session(Connection(self.url), self.root, self.dialect)
        try:
            yield session
        finally:
            session.close()

    def run(self, *statements: str) -> None:
        """Each in a transaction; `{}` is the schema with a dot behind it."""
        with self.session() as session:
            for statement in statements:
                with session.transaction():
                    session.run(self._filled(statement))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.session() as session:
            return session.rows(self._filled(query))

    def _filled(self, statement: str) -> str:
        return statement.replace("{}", f"{self.schema}." if self.schema else "")

    def has(self, table: str) -> bool:
        with self.session() as session:
            return self.dialect.find(session, parse_table(self.named(table))) is not None

    def options(self, table: str = "answers", **changes: Any) -> SqlOptions:
        return SqlOptions(url=self.url, table=self.named(table), **changes)

    def sink(
        self,
        options: SqlOptions,
        *,
        row_types: dict[str, ColumnType] | None = None,
        waits: Callable[[float], bool] | None = None,
        **context: Any,
    ) -> SqlSink:
        types = row_types or {}
        made = SinkContext(
            self.root,
            row_columns=tuple(types),
            row_types=types,
            connection=Connection(self.url),
            memory=self.root / "keys.db",
            pause=waits or (lambda _: False),
        )
        return SqlSink(options, msgspec.structs.replace(made, **context))


@contextmanager
def place_in(kind: str, root: Path) -> Iterator[Place]:
    """Skips the test where the server does not answer; in CI it fails."""
    if kind == "postgresql":
        with postgresql_schema() as (url, schema):
            yield Place(kind, url, schema, root)
    elif kind == "mariadb":
        with mariadb_database() as (url, schema):
            yield Place(kind, url, schema, root)
    elif kind == "sqlite":
        yield Place(kind, "sqlite:///answers.db", None, root)
    else:
        yield Place(kind, "duckdb:///answers.duckdb", None, root)


def deliver(sink: SqlSink, records: Sequence[Record], *, name: str = "run.0.abc.1", owner: str = "owner") -> list[Any]:
    """One delivery from its beginning to its end, in parts as the sink takes them; what was refused."""
    held = sink.begin(DeliveryId(name, "run", owner))
    step = sink.limits.records
    refused: list[Any] = []
    for number, start in enumerate(range(0, len(records), step), held + 1):
        refused += sink.deliver(Part(number, f"{name}.{number}", records[start : start + step]))
    sink.finish()
    sink.close()
    return refused
