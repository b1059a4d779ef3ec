"""The types of a result's columns, as PostgreSQL and DuckDB declare them.

Owns   the reading of their names of types. What is not known here is not guessed: then the rows are looked at instead.
Knows  column types.

An instant has no zone of its own in either: rows hold it with the session's offset.

Sources: PostgreSQL 18, "Data Types"; DuckDB, "Data Types".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from runner.column_types import (
    BOOLEAN,
    BYTES,
    DATE,
    DATETIME,
    DURATION,
    INTEGER,
    JSON,
    LIST,
    MAPPING,
    NUMBER,
    STRING,
    TIME,
    WIDE_INTEGER,
    ColumnType,
)

_INSTANT = ColumnType("datetime", zone="UTC")
_SIMPLE: Mapping[str, ColumnType] = {
    **dict.fromkeys(("bool", "boolean"), BOOLEAN),
    **dict.fromkeys(
        (
            "int2",
            "int4",
            "int8",
            "oid",
            "tinyint",
            "smallint",
            "integer",
            "bigint",
            "utinyint",
            "usmallint",
            "uinteger",
        ),
        INTEGER,
    ),
    **dict.fromkeys(("ubigint", "hugeint", "uhugeint", "bignum"), WIDE_INTEGER),
    **dict.fromkeys(("float4", "float8", "float", "double", "real"), NUMBER),
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "uuid", "cidr", "inet", "bit"), STRING),
    **dict.fromkeys(("bytea", "blob"), BYTES),
    "date": DATE,
    **dict.fromkeys(("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"), DATETIME),
    **dict.fromkeys(("timestamptz", "timestamp with time zone"), _INSTANT),
    "time": TIME,
    "interval": DURATION,
    **dict.fromkeys(("json", "jsonb"), JSON),
}
_DECIMAL = re.compile(r"(?:numeric|decimal)(?:\((\d+),\s*(\d+)\))?")


def declared(columns: Sequence[str], names: Sequence[str | None]) -> Mapping[str, ColumnType] | None:
    """The type of each column by the database's name of it; None where one of them is not known."""
    types = [column_type(name) for name in names]
    known = [found for found in types if found is not None]
    return dict(zip(columns, known, strict=True)) if len(known) == len(types) else None


def column_type(name: str | None) -> ColumnType | None:
    """`numeric(10,2)`, `INTEGER[]`, `STRUCT(a INTEGER)`: what such a column holds."""
    if name is None:
        return None
    folded = name.lower()
    array = re.fullmatch(r"(.*)\[\d*\]", folded, re.DOTALL)
    if array is not None:
        return LIST if column_type(array.group(1)) is None else ColumnType("list", item=column_type(array.group(1)))
    if folded.startswith(("struct(", "map(")):
        return MAPPING
    if folded.startswith("enum("):
        return STRING
    decimal = _DECIMAL.fullmatch(folded)
    if decimal is not None and decimal.group(1) is None:
        return None  # any number of digits: what the values have is narrower
    if decimal is not None:
        digits = [int(part) if part else None for part in decimal.groups()]
        return ColumnType("decimal", precision=digits[0], scale=digits[1])
    length = re.fullmatch(r"(varchar|bpchar|bit|timestamp|timestamptz|time)\(\d+\)", folded)
    return _SIMPLE.get(length.group(1) if length else folded)
