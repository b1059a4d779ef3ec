"""SQLite.

Rows go in one by one by a statement that is prepared once: there is no network between.

It has five kinds of values, so what they are is in the columns' declared types and the values are texts: dates and
times in ISO 8601, lists and mappings in JSON, decimals in plain digits (a NUMERIC column would make floats of them).

Source: sqlite.org: "Datatypes In SQLite" (3.1, affinity by declared type), "UPSERT", "PRAGMA table_xinfo",
"PRAGMA index_list", "PRAGMA index_xinfo".
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from msgspec.structs import replace

from runner.column_types import ColumnType
from runner.sinks.sql.columns import Column, Family, Table
from runner.sinks.sql.names import TableName, double_quoted
from runner.sinks.sql.session import (
    VALUE,
    Dialect,
    Rows,
    Session,
    Trouble,
    copy_as_found,
    insert_head,
    on_conflict,
)
from runner.values import text_form

_TYPES = {
    "null": "TEXT", "string": "TEXT", "boolean": "BOOLEAN", "integer": "INTEGER", "number": "REAL", "decimal": "TEXT",
    "bytes": "BLOB", "date": "DATE", "datetime": "DATETIME", "time": "TIME", "duration": "TEXT", "list": "JSON_TEXT",
    "mapping": "JSON_TEXT", "json": "JSON_TEXT",
}  # fmt: skip
_BUSY, _LOCKED, _CONSTRAINT, _TOO_BIG, _MISMATCH = 5, 6, 19, 18, 20


class SQLite(Dialect):
    kind = "sqlite"
    shown = "SQLite"
    begins_with = "BEGIN IMMEDIATE"
    holds_nan = False
    forms: ClassVar[Mapping[type, Callable[[Any], Any]]] = {
        bool: int,
        Decimal: text_form,
        dt.date: text_form,
        dt.datetime: text_form,
        dt.time: text_form,
        dt.timedelta: text_form,
    }

    def prepare(self, session: Session) -> None:
        """Wait ten seconds for another that writes; hold rows to foreign keys, as the others do."""
        session.rows("PRAGMA busy_timeout = 10000")
        session.run("PRAGMA foreign_keys = ON")

    def quoted(self, name: str) -> str:
        return double_quoted(name)

    def type_text(self, type_: ColumnType, *, keys: int = 0) -> str:  # noqa: ARG002 - an index takes any text
        return "TEXT" if type_.kind == "integer" and type_.wide else _TYPES[type_.kind]

    def find(self, session: Session, table: TableName) -> Table | None:
        schema = f"{self.quoted(table.schema)}." if table.schema is not None else ""
        of = f"SELECT type FROM {schema}sqlite_master WHERE name = {VALUE} COLLATE NOCASE"
        kinds = [kind for (kind,) in session.rows(of, (table.name,)) if kind in ("table", "view")]
        if not kinds:
            return None
        if kinds == ["view"]:
            raise ValueError("a view")
        quoted = self.quoted(table.name)
        found = session.rows(f"PRAGMA {schema}table_xinfo({quoted})")
        keys = sorted((place, name) for _, name, _, _, _, place, _ in found if place)
        is_rowid = len(keys) == 1 and any(place and kind.upper() == "INTEGER" for _, _, kind, _, _, place, _ in found)
        columns = [
            _column(name, kind, not required and not (place and is_rowid), default, hidden,
                    is_rowid=bool(place) and is_rowid)
            for _, name, kind, required, default, place, hidden in found
        ]  # fmt: skip
        unique = [frozenset(name for _, name in keys)] if is_rowid else []
        folds: dict[str, str] = {}
        for _, index, is_unique, _, is_partial in session.rows(f"PRAGMA {schema}index_list({quoted})"):
            if is_unique and not is_partial:
                parts = session.rows(f"PRAGMA {schema}index_xinfo({self.quoted(index)})")
                collations = {name: collation for _, _, name, _, collation, is_key in parts if is_key}
                if None not in collations:
                    unique.append(frozenset(collations))
                    folds |= {name: each for name, each in collations.items() if each != "BINARY"}
        columns = [replace(column, folds=folds.get(column.name)) for column in columns]
        return Table(columns, unique, folds_case=True)

    def copy_shape(self, session: Session, table: TableName, columns: Sequence[str], made: TableName) -> None:
        copy_as_found(self, session, table, columns, made)

    def load(
        self, session: Session, table: TableName, columns: Sequence[Column], rows: Rows, unique_key: Sequence[str]
    ) -> None:
        names = [column.name for column in columns]
        places = ", ".join([VALUE] * len(names))
        statement = f"{insert_head(self, table, names)} VALUES ({places}){on_conflict(self, names, unique_key)}"
        session.run_many(statement, rows)

    def trouble(self, error: Exception) -> Trouble:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (_BUSY, _LOCKED):
            return "passing"
        if code in (_CONSTRAINT, _TOO_BIG, _MISMATCH) or type(error).__name__ in ("DataError", "OverflowError"):
            return "value"
        return "lasting"


def _column(name: str, kind: str, nullable: bool, default: Any, hidden: int, *, is_rowid: bool) -> Column:
    family = _family(kind)
    length = re.search(r"CHAR\w*\s*\((\d+)\)", kind.upper())
    return Column(
        name, family, kind, nullable, default is not None or is_rowid, hidden in (2, 3),
        least=-(1 << 63) if family == "integer" else None,
        most=(1 << 63) - 1 if family == "integer" else None,
        length=int(length[1]) if length and family == "string" else None,
        zoned=False,
    )  # fmt: skip


def _family(written: str) -> Family:
    """By what the declared type says to people, then by the affinity that SQLite gives it. A column that is declared
    as nothing takes anything."""
    name = written.upper()
    for part, family in _BY_NAME:
        if part in name:
            return family
    return "other" if not name else "decimal"


_BY_NAME: Sequence[tuple[str, Family]] = (
    ("JSON", "json"), ("BOOL", "boolean"), ("DATETIME", "datetime"), ("TIMESTAMP", "datetime"), ("DATE", "date"),
    ("TIME", "time"), ("INTERVAL", "string"), ("INT", "integer"), ("CHAR", "string"), ("CLOB", "string"),
    ("TEXT", "string"), ("BLOB", "bytes"), ("BINARY", "bytes"), ("REAL", "number"), ("FLOA", "number"),
    ("DOUB", "number"),
)  # fmt: skip
