"""MariaDB and MySQL.

Rows go in by INSERT statements of many rows each, about a megabyte a statement (`max_allowed_packet` is 16 MB and more
by default).

What a table made here has: InnoDB, as everything else has no transactions; utf8mb4; for texts in the unique key a
bounded length, as an index takes 3,072 bytes, and a collation for which no two different texts are equal: with the
servers' defaults `a`, `A` and `a ` would be one key.

Source: MariaDB documentation ("INSERT ON DUPLICATE KEY UPDATE", "InnoDB Limitations", "Supported Character Sets and
Collations", "MariaDB Error Codes"); MySQL 8.4 reference manual (15.2.7.2, row alias since 8.0.19; utf8mb4_0900_bin).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from runner.column_types import ColumnType
from runner.sinks.sql.columns import Column, Family, Table
from runner.sinks.sql.names import TableName, backquoted
from runner.sinks.sql.session import (
    VALUE,
    Dialect,
    Rows,
    Session,
    Trouble,
    insert_head,
    load_by_statements,
    qualified,
)
from runner.values import duration_text

_MOST_VALUES = 20_000
_INDEX_CHARACTERS = 768
"""3,072 bytes of four-byte characters."""
_MOST_KEY_CHARACTERS = 512

_TABLE = f"""
    SELECT TABLE_TYPE, ENGINE FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = COALESCE({VALUE}, DATABASE()) AND TABLE_NAME = {VALUE}
"""
_COLUMNS = f"""
    SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, CHARACTER_MAXIMUM_LENGTH,
           CHARACTER_OCTET_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, COLLATION_NAME, GENERATION_EXPRESSION
    FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = COALESCE({VALUE}, DATABASE()) AND TABLE_NAME = {VALUE} ORDER BY ORDINAL_POSITION
"""
_UNIQUE = f"""
    SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = COALESCE({VALUE}, DATABASE()) AND TABLE_NAME = {VALUE} AND NON_UNIQUE = 0
"""
_JSON_CHECKS = f"""
    SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS
    WHERE CONSTRAINT_SCHEMA = COALESCE({VALUE}, DATABASE()) AND TABLE_NAME = {VALUE}
"""

_FAMILIES: Mapping[str, Family] = {
    "tinyint": "integer", "smallint": "integer", "mediumint": "integer", "int": "integer", "bigint": "integer",
    "float": "number", "double": "number", "decimal": "decimal", "char": "string", "varchar": "string",
    "tinytext": "string", "text": "string", "mediumtext": "string", "longtext": "string", "binary": "bytes",
    "varbinary": "bytes", "tinyblob": "bytes", "blob": "bytes", "mediumblob": "bytes", "longblob": "bytes",
    "date": "date", "datetime": "datetime", "timestamp": "datetime", "time": "time", "json": "json",
}  # fmt: skip
_INTEGER_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_TYPES = {
    "null": "LONGTEXT", "string": "LONGTEXT", "boolean": "BOOLEAN", "integer": "BIGINT", "number": "DOUBLE",
    "bytes": "LONGBLOB", "date": "DATE", "datetime": "DATETIME(6)", "time": "TIME(6)", "duration": "VARCHAR(64)",
    "list": "JSON", "mapping": "JSON", "json": "JSON",
}  # fmt: skip

_PASSING = frozenset(
    {1040, 1050, 1053, 1060, 1158, 1159, 1160, 1161, 1180, 1205, 1213, 1290, 1836, 1927, 2002, 2003, 2006, 2013}
    | {2055, 4031}
)
"""Too many connections, a table or column that somebody else has just made, a shutdown, the network, a lock, a
deadlock, a server that only reads, a connection that was ended or is gone."""
_OF_VALUES = frozenset(
    {1048, 1062, 1153, 1264, 1265, 1292, 1364, 1366, 1406, 1411, 1416, 1452, 1525, 1644, 1690, 3140, 3819, 3988, 4025}
)


def _in_utc(value: dt.datetime) -> dt.datetime:
    """The driver writes what the clock shows and leaves the zone out."""
    return value if value.tzinfo is None else value.astimezone(dt.UTC).replace(tzinfo=None)


class MySQL(Dialect):
    alters_in_transactions = False

    kind = "mysql"
    shown = "MariaDB or MySQL"
    forms: ClassVar[Mapping[type, Callable[[Any], Any]]] = {dt.datetime: _in_utc, dt.timedelta: duration_text}
    most_name_characters = 64
    holds_nan = False
    table_options = " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"

    def __init__(self) -> None:
        self.is_mariadb = True
        """Settled by `prepare`."""

    def prepare(self, session: Session) -> None:
        """A value that does not fit is an error, and not cut to fit; moments are in UTC; a lock is not waited for
        without end, and a process that stops in the middle of a part keeps none for long."""
        ((version,),) = session.rows("SELECT VERSION()")
        self.is_mariadb = "mariadb" in str(version).lower()
        session.run(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION time_zone = '+00:00', "
            "SESSION lock_wait_timeout = 60"
        )
        if self.is_mariadb:
            session.run("SET SESSION idle_transaction_timeout = 60")

    def quoted(self, name: str) -> str:
        return backquoted(name)

    def type_text(self, type_: ColumnType, *, keys: int = 0) -> str:
        match type_.kind:
            case "null" | "string" if keys:
                return f"{_varchar(keys)} CHARACTER SET utf8mb4 COLLATE {self._exact_collation}"
            case "bytes" if keys:
                return f"VARBINARY({_key_characters(keys) * 4})"
            case "integer" if type_.wide:
                return "DECIMAL(65, 0)"
            case "decimal":
                return _decimal(type_.precision, type_.scale)
        return _TYPES[type_.kind]

    @property
    def _exact_collation(self) -> str:
        return "utf8mb4_nopad_bin" if self.is_mariadb else "utf8mb4_0900_bin"

    def find(self, session: Session, table: TableName) -> Table | None:
        place = (table.schema, table.name)
        found = session.rows(_TABLE, place)
        if not found:
            self._require_database(session, table)
            return None
        ((kind, engine),) = found
        if kind != "BASE TABLE":
            raise ValueError("a view" if "VIEW" in kind else "no table")
        checks = session.rows(_JSON_CHECKS, place) if self.is_mariadb else []
        json_checks = {str(clause).replace(" ", "").lower() for (clause,) in checks}
        columns = [_column(*each, json_checks=json_checks) for each in session.rows(_COLUMNS, place)]
        indexes: dict[str, list[tuple[str | None, int | None]]] = {}
        for index, name, part in session.rows(_UNIQUE, place):
            indexes.setdefault(index, []).append((name, part))
        whole = [each for each in indexes.values() if all(name and part is None for name, part in each)]
        partly = [each for each in indexes.values() if each not in whole]
        return Table(
            columns,
            [frozenset(str(name) for name, _ in each) for each in whole],
            [frozenset(str(name) for name, _ in each if name) for each in partly],
            folds_case=True,
            engine=engine,
        )

    def _require_database(self, session: Session, table: TableName) -> None:
        if table.schema is None and session.rows("SELECT DATABASE()") == [(None,)]:
            raise ValueError("in no database: name one in the URL, or write `database.table`")

    def copy_shape(self, session: Session, table: TableName, columns: Sequence[str], made: TableName) -> None:
        session.run(f"CREATE TABLE {qualified(self, made)} LIKE {qualified(self, table)}")
        found = self.find(session, made)
        assert found is not None
        others = [self.quoted(each.name) for each in found.columns if each.name not in columns]
        if others:
            dropped = ", ".join(f"DROP COLUMN {name}" for name in others)
            session.run(f"ALTER TABLE {qualified(self, made)} {dropped}")

    def load(
        self, session: Session, table: TableName, columns: Sequence[Column], rows: Rows, unique_key: Sequence[str]
    ) -> None:
        names = [column.name for column in columns]
        tail = self._on_duplicate(names, unique_key) if unique_key else ""
        head = insert_head(self, table, names)
        load_by_statements(session, head, len(names), rows, tail, most_values=_MOST_VALUES)

    def _on_duplicate(self, names: Sequence[str], unique_key: Sequence[str]) -> str:
        others = [self.quoted(name) for name in names if name not in unique_key]
        if not others:
            same = self.quoted(unique_key[0])
            return f" ON DUPLICATE KEY UPDATE {same} = {same}"
        if self.is_mariadb:
            return f" ON DUPLICATE KEY UPDATE {', '.join(f'{name} = VALUES({name})' for name in others)}"
        return f" AS given ON DUPLICATE KEY UPDATE {', '.join(f'{name} = given.{name}' for name in others)}"

    def trouble(self, error: Exception) -> Trouble:
        code = error.args[0] if error.args else None
        if type(error).__name__ == "InterfaceError" or code in _PASSING:
            return "passing"
        if code in _OF_VALUES or type(error).__name__ in ("DataError", "IntegrityError"):
            return "value"
        return "lasting"


def _key_characters(keys: int) -> int:
    return min(_MOST_KEY_CHARACTERS, _INDEX_CHARACTERS // keys)


def _varchar(keys: int) -> str:
    return f"VARCHAR({_key_characters(keys)})"


def _decimal(precision: int | None, scale: int | None) -> str:
    """65 digits at most, 30 of them behind the point."""
    behind = min(scale if scale is not None else 20, 30)
    return f"DECIMAL({min(max(precision or 65, behind + 1), 65)}, {behind})"


def _column(
    name: str, kind: str, written: str, nullable: str, default: Any, extra: str, characters: int | None,
    octets: int | None, precision: int | None, scale: int | None, collation: str | None, generated: str | None,
    *, json_checks: set[str],
) -> Column:  # fmt: skip
    kind, extra, written = str(kind).lower(), (extra or "").lower(), _text(written)
    family = _FAMILIES.get(kind, "other")
    if written.startswith("tinyint(1)"):
        family = "boolean"
    if f"json_valid(`{name.lower()}`)" in json_checks:
        family = "json"
    least = most = None
    if family == "integer":
        bits = _INTEGER_BITS[kind]
        unsigned = "unsigned" in written
        least, most = (0, (1 << bits) - 1) if unsigned else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    is_computed = bool(generated) or "generated" in extra.replace("default_generated", "")
    has_default = "auto_increment" in extra or (default is not None and _text(default) != "NULL")
    is_moment = kind == "timestamp"
    return Column(
        name, family, written, nullable == "YES", has_default, is_computed,
        least=least, most=most,
        length=_length(family, characters, octets),
        precision=precision if kind == "decimal" else None,
        scale=scale if kind == "decimal" else None,
        zoned=is_moment,
        folds=collation if collation is not None and not _is_exact(collation) else None,
    )  # fmt: skip


def _length(family: Family, characters: int | None, octets: int | None) -> int | None:
    """Characters of a VARCHAR; of TEXT, which is bounded in bytes, the same number is never too few: the server has
    the last word."""
    return octets if family == "bytes" else characters


def _is_exact(collation: str) -> bool:
    """Whether different texts are never equal. `…_bin` without `nopad` takes `a` and `a ` for the same."""
    return collation.endswith("_nopad_bin") or collation in ("utf8mb4_0900_bin", "binary")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
