"""From Arrow's columns to the values of rows.

Owns   which Python value stands for each of Arrow's types, and which `ColumnType` a column of it has.
Knows  Arrow's types. Nothing of files; whatever gives record batches uses it.

| Arrow | a row's value |
|---|---|
| dictionaries, run ends, extensions | what they stand for (a UUID is its text) |
| timestamps, times and durations with nanoseconds | microseconds: what is finer is cut off, as Python's end there |
| a timestamp with a zone | a datetime in that zone |
| a timestamp before year 1 or after 9999 | an error that names the column and the row |
| a map | a mapping; keys that are no texts are their texts |
| a calendar interval | a mapping of months, days and nanoseconds |
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from runner.column_types import (
    BOOLEAN,
    BYTES,
    DATE,
    DURATION,
    INTEGER,
    JSON,
    MAPPING,
    NULL,
    NUMBER,
    STRING,
    TIME,
    WIDE_INTEGER,
    ColumnType,
)  # fmt: skip
from runner.values import held, text_form

ROWS_AT_A_TIME = 1024
"""Rows that are made Python's values together: enough that a call of Arrow's costs nothing beside them."""


class UnheldValue(Exception):
    """A value that Python cannot hold; `row` counts from the batch's first."""

    def __init__(self, column: str, row: int, why: str) -> None:
        super().__init__(f"the column {column!r} has a value that cannot be read: {why}")
        self.column = column
        self.row = row


class RowMaker:
    """Makes rows of the batches of one schema, of those columns that are named."""

    def __init__(self, schema: pa.Schema, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._columns = [(name, schema.get_field_index(name), *_reading(schema.field(name).type)) for name in names]

    def rows(self, batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
        """Every row of a batch in order. Raises UnheldValue when it comes to that row's group."""
        names = self.names
        for start in range(0, batch.num_rows, ROWS_AT_A_TIME):
            part = batch.slice(start, ROWS_AT_A_TIME)
            if not names:
                yield from ({} for _ in range(part.num_rows))
                continue
            columns = [_values(part.column(place), name, start, cast, fix) for name, place, cast, fix in self._columns]
            for cells in zip(*columns, strict=True):
                yield dict(zip(names, cells, strict=True))


def _values(
    array: pa.Array, name: str, start: int, cast: pa.DataType | None, fix: Callable[[Any], Any] | None
) -> list[Any]:
    if cast is not None:
        try:
            array = array.cast(cast, safe=False)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # a dictionary within a list: `fix` sees to its values
            fix = held
    try:
        values: list[Any] = array.to_pylist()
    except (OverflowError, ValueError) as error:
        raise UnheldValue(name, start + _first_unheld(array), _reason(array.type, error)) from error
    return values if fix is None else [None if value is None else fix(value) for value in values]


def _first_unheld(array: pa.Array) -> int:
    for place in range(len(array)):
        try:
            array[place].as_py()
        except (OverflowError, ValueError):
            return place
    return 0


def _reason(type_: pa.DataType, error: Exception) -> str:
    if pa.types.is_temporal(type_):
        return "it lies before the year 1 or after the year 9999"
    return str(error)


# -- What is done to a column of a type


def _reading(type_: pa.DataType) -> tuple[pa.DataType | None, Callable[[Any], Any] | None]:
    """What a column is cast to before its values are taken, and what is done to each, where anything is."""
    plain = _plain(type_)
    return (None if plain.equals(type_) else plain), _fix(plain)


def _plain(type_: pa.DataType) -> pa.DataType:
    """The nearest type whose values Python has."""
    is_ = pa.types
    if is_.is_dictionary(type_) or is_.is_run_end_encoded(type_):
        return _plain(type_.value_type)
    if is_.is_timestamp(type_) and type_.unit == "ns":
        return pa.timestamp("us", type_.tz)
    if is_.is_time64(type_) and type_.unit == "ns":
        return pa.time64("us")
    if is_.is_duration(type_) and type_.unit == "ns":
        return pa.duration("us")
    if is_.is_struct(type_):
        return pa.struct([field.with_type(_plain(field.type)) for field in type_])
    if is_.is_map(type_):
        return pa.map_(_plain(type_.key_type), _plain(type_.item_type))
    if is_.is_fixed_size_list(type_):
        return pa.list_(type_.value_field.with_type(_plain(type_.value_type)), type_.list_size)
    if is_.is_large_list(type_):
        return pa.large_list(type_.value_field.with_type(_plain(type_.value_type)))
    if is_.is_list(type_):
        return pa.list_(type_.value_field.with_type(_plain(type_.value_type)))
    return type_


def _fix(type_: pa.DataType) -> Callable[[Any], Any] | None:
    """What makes a row's value of what Arrow gives for a type, where that is not one already."""
    is_ = pa.types
    if is_.is_timestamp(type_):
        return _in_utc if _zone(type_.tz) == "UTC" else None
    if is_.is_struct(type_):
        fixes = {field.name: fix for field in type_ if (fix := _fix(field.type)) is not None}
        return (lambda value: _fixed_fields(value, fixes)) if fixes else None
    if is_.is_map(type_):
        key, item = _key_fix(type_.key_type), _fix(type_.item_type) or _itself
        return lambda value: {key(name): None if each is None else item(each) for name, each in value}
    if _is_list(type_):
        inner = _fix(type_.value_type)
        return None if inner is None else lambda value: [None if each is None else inner(each) for each in value]
    if is_.is_interval(type_):
        return lambda value: {name: getattr(value, name) for name in ("months", "days", "nanoseconds")}
    if isinstance(type_, pa.BaseExtensionType) or is_.is_union(type_) or is_.is_float16(type_):
        return held
    return None


def _key_fix(type_: pa.DataType) -> Callable[[Any], str]:
    return _itself if _is_text(type_) else lambda key: text_form(held(key))


def _fixed_fields(value: dict[str, Any], fixes: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
    return {
        name: fixes[name](each) if name in fixes and each is not None else each for name, each in value.items()
    }  # fmt: skip


def _itself(value: Any) -> Any:
    return value


def _in_utc(value: dt.datetime) -> dt.datetime:
    return value.replace(tzinfo=dt.UTC)


# -- What type a column has


def column_type(type_: pa.DataType) -> ColumnType:
    """What a column's values are, by Arrow's type of it."""
    is_ = pa.types
    if is_.is_dictionary(type_) or is_.is_run_end_encoded(type_):
        return column_type(type_.value_type)
    if isinstance(type_, pa.BaseExtensionType):
        return STRING if type_.extension_name == "arrow.uuid" else column_type(type_.storage_type)
    for test, found in _SIMPLE:
        if test(type_):
            return found
    if is_.is_decimal(type_):
        return ColumnType("decimal", precision=max(type_.precision - min(type_.scale, 0), 1), scale=max(type_.scale, 0))
    if is_.is_timestamp(type_):
        return ColumnType("datetime", zone=_zone(type_.tz))
    if is_.is_struct(type_):
        return ColumnType("mapping", fields=tuple((field.name, column_type(field.type)) for field in type_))
    if _is_list(type_):
        return ColumnType("list", item=column_type(type_.value_type))
    return JSON


def _zone(name: str | None) -> str | None:
    return "UTC" if name is not None and name.upper() in _UTC else name


_UTC = frozenset({"UTC", "ETC/UTC", "Z", "ZULU", "+00:00"})


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _is_bytes(type_: pa.DataType) -> bool:
    is_ = pa.types
    return bool(
        is_.is_binary(type_)
        or is_.is_large_binary(type_)
        or is_.is_fixed_size_binary(type_)
        or is_.is_binary_view(type_)
    )


def _is_list(type_: pa.DataType) -> bool:
    is_ = pa.types
    return bool(
        is_.is_list(type_)
        or is_.is_large_list(type_)
        or is_.is_fixed_size_list(type_)
        or is_.is_list_view(type_)
        or is_.is_large_list_view(type_)
    )


_SIMPLE: Sequence[tuple[Callable[[pa.DataType], bool], ColumnType]] = (
    (pa.types.is_null, NULL),
    (pa.types.is_boolean, BOOLEAN),
    (pa.types.is_uint64, WIDE_INTEGER),
    (pa.types.is_integer, INTEGER),
    (pa.types.is_floating, NUMBER),
    (_is_text, STRING),
    (_is_bytes, BYTES),
    (pa.types.is_date, DATE),
    (pa.types.is_time, TIME),
    (pa.types.is_duration, DURATION),
    (pa.types.is_map, MAPPING),
    (pa.types.is_interval, MAPPING),
)
