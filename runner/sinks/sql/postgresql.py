"""PostgreSQL.

Rows go in by COPY where the driver is psycopg: straight into the table, or where it is an upsert into a temporary one
and from there by one INSERT … SELECT … ON CONFLICT. That table is dropped with its transaction, so nothing is asked of
the connection but the transaction itself, and a pooler between (pgbouncer) may change the connection behind it.

A text cannot hold U+0000 here, nor can jsonb: it is written as U+FFFD, as in csv.

Source: PostgreSQL 15 documentation: pg_index, pg_attribute, "INSERT … ON CONFLICT", "Error Codes".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runner.column_types import ColumnType
from runner.sinks.sql.columns import Column, Family, Table
from runner.sinks.sql.names import TableName, double_quoted
from runner.sinks.sql.session import (
    VALUE,
    Dialect,
    Rows,
    Session,
    Trouble,
    insert_head,
    listed,
    load_by_statements,
    on_conflict,
    qualified,
)

_MOST_VALUES = 30_000
"""In one statement; the protocol takes 65,535."""
_PART = TableName("pg_temp", "runner_part")

_RELATION = f"SELECT c.oid, c.relkind::text FROM pg_catalog.pg_class c WHERE c.oid = to_regclass({VALUE})"
_COLUMNS = f"""
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(b.typname, t.typname),
           coalesce(b.typcategory, t.typcategory)::text, a.atttypmod, NOT (a.attnotnull OR t.typnotnull),
           a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
           a.attgenerated <> '' OR a.attidentity = 'a', CASE WHEN NOT l.collisdeterministic THEN l.collname END
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    WHERE a.attrelid = {VALUE} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_UNIQUE = f"""
    SELECT i.indexrelid, a.attname
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = {VALUE} AND k.place <= i.indnkeyatts AND i.indisunique AND i.indisvalid AND i.indimmediate
      AND i.indpred IS NULL AND i.indexprs IS NULL
"""

_FAMILIES: Mapping[str, Family] = {
    "bool": "boolean", "int2": "integer", "int4": "integer", "int8": "integer", "float4": "number", "float8": "number",
    "numeric": "decimal", "text": "string", "varchar": "string", "bpchar": "string", "name": "string",
    "citext": "string", "bytea": "bytes", "date": "date", "timestamp": "datetime", "timestamptz": "datetime",
    "time": "time", "interval": "duration", "json": "json", "jsonb": "json",
}  # fmt: skip
_INTEGER_BITS = {"int2": 16, "int4": 32, "int8": 64}
_TYPES = {
    "null": "text", "string": "text", "boolean": "boolean", "integer": "bigint", "number": "double precision",
    "bytes": "bytea", "date": "date", "datetime": "timestamp", "time": "time", "duration": "interval", "list": "jsonb",
    "mapping": "jsonb", "json": "jsonb",
}  # fmt: skip

_PASSING = ("08", "57", "53", "40", "55P03", "42P07", "42701", "25006")
"""Classes and codes: connection, operator intervention (a shutdown), resources, rolled back (deadlocks), a lock, a
table or column that somebody else has just made, a server that only reads while another takes over."""
_OF_VALUES = ("22", "23", "54000", "54001", "P0")
"""Data, a rule of the table, a text too long for its index or JSON too large or too deep, an exception that a trigger
raised."""


class PostgreSQL(Dialect):
    kind = "postgresql"
    shown = "PostgreSQL"
    begins_with = (
        "SELECT set_config('lock_timeout', '60s', true), set_config('idle_in_transaction_session_timeout', '60s', true)"
    )
    """A lock is not waited for without end, and a process that stops in the middle of a part keeps none for long."""
    holds_nul = False
    most_name_bytes = 63

    def prepare(self, session: Session) -> None:
        """No prepared statements: behind a pooler the next transaction may meet another server process."""
        if hasattr(session.connection, "prepare_threshold"):
            session.connection.prepare_threshold = None

    def quoted(self, name: str) -> str:
        return double_quoted(name)

    def type_text(self, type_: ColumnType, *, keys: int = 0) -> str:  # noqa: ARG002 - an index takes any text
        match type_.kind:
            case "integer" if type_.wide:
                return "numeric"
            case "decimal" if type_.precision is not None:
                return f"numeric({type_.precision}, {type_.scale or 0})" if type_.precision <= 1_000 else "numeric"
            case "decimal":
                return "numeric"
            case "datetime" if type_.zone is not None:
                return "timestamptz"
        return _TYPES[type_.kind]

    def find(self, session: Session, table: TableName) -> Table | None:
        relation = session.rows(_RELATION, (qualified(self, table),))
        if not relation:
            return None
        ((oid, kind),) = relation
        if kind not in ("r", "p"):
            raise ValueError({"v": "a view", "m": "a materialized view", "f": "a foreign table"}.get(kind, "no table"))
        columns = [_column(*found) for found in session.rows(_COLUMNS, (oid,))]
        indexes: dict[Any, set[str]] = {}
        for index, name in session.rows(_UNIQUE, (oid,)):
            indexes.setdefault(index, set()).add(name)
        return Table(columns, [frozenset(names) for names in indexes.values()])

    def copy_shape(self, session: Session, table: TableName, columns: Sequence[str], made: TableName) -> None:
        # Defaults are left out: one that draws from a sequence would bind that to the table that goes again.
        session.run(
            f"CREATE TABLE {qualified(self, made)} "
            f"(LIKE {qualified(self, table)} INCLUDING CONSTRAINTS INCLUDING INDEXES)"
        )
        found = self.find(session, made)
        assert found is not None
        for column in found.columns:
            if column.name not in columns:
                session.run(f"ALTER TABLE {qualified(self, made)} DROP COLUMN {self.quoted(column.name)} CASCADE")

    def load(
        self, session: Session, table: TableName, columns: Sequence[Column], rows: Rows, unique_key: Sequence[str]
    ) -> None:
        names = [column.name for column in columns]
        if not hasattr(session.connection.cursor(), "copy"):  # another driver than psycopg
            tail = on_conflict(self, names, unique_key)
            head = insert_head(self, table, names)
            load_by_statements(session, head, len(names), rows, tail, most_values=_MOST_VALUES)
        elif not unique_key:
            self._copy(session, table, names, rows)
        else:
            listed_names = listed(self, names)
            session.run(
                f"CREATE TEMPORARY TABLE {self.quoted(_PART.name)} ON COMMIT DROP AS "
                f"SELECT {listed_names} FROM {qualified(self, table)} WITH NO DATA"
            )
            self._copy(session, _PART, names, rows)
            session.run(
                f"{insert_head(self, table, names)} SELECT {listed_names} FROM {qualified(self, _PART)}"
                f"{on_conflict(self, names, unique_key)}"
            )
            session.run(f"DROP TABLE {qualified(self, _PART)}")

    def _copy(self, session: Session, table: TableName, names: Sequence[str], rows: Rows) -> None:
        statement = f"COPY {qualified(self, table)} ({listed(self, names)}) FROM STDIN"
        with session.connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)

    def trouble(self, error: Exception) -> Trouble:
        code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if code is None:
            # No server has spoken: none was reached, or it went away.
            return "passing" if type(error).__name__ in ("OperationalError", "InterfaceError") else "lasting"
        if str(code).startswith(_PASSING) or _is_in_catalog(error):
            return "passing"
        return "value" if str(code).startswith(_OF_VALUES) else "lasting"


def _column(
    name: str, written: str, base: str, category: str, modifier: int, nullable: bool, has_default: bool,
    is_computed: bool, folding: str | None,
) -> Column:  # fmt: skip
    family: Family = "list" if category == "A" else _FAMILIES.get(base, "other")
    bits = _INTEGER_BITS.get(base)
    bound = modifier - 4 if modifier >= 4 else None
    precision = scale = None
    if base == "numeric" and bound is not None:
        precision, scale = (bound >> 16) & 0xFFFF, ((bound & 0x7FF) ^ 1024) - 1024
    return Column(
        name, family, written, nullable, has_default, is_computed,
        least=-(1 << (bits - 1)) if bits else None,
        most=(1 << (bits - 1)) - 1 if bits else None,
        length=bound if base in ("varchar", "bpchar") else None,
        precision=precision, scale=scale,
        zoned=base == "timestamptz",
        folds="citext" if base == "citext" else folding,
    )  # fmt: skip


def _is_in_catalog(error: Exception) -> bool:
    """Two have made the same table at the same time, and this one was later."""
    name = getattr(getattr(error, "diag", None), "constraint_name", None)
    return isinstance(name, str) and name.startswith("pg_")
