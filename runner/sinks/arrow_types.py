"""Columns in Arrow: the type that stands for a `ColumnType`, and arrays made of a record's values.

Owns   `arrow_schema`, and `ArrowColumn`: many values of one column to one array, quickly where all are what the column
       holds, and one by one where some are not.
Knows  pyarrow, which is imported when a table is written and not before; nothing of files.

    integer                     int64; decimal128(38, 0) where 64 bits do not hold all of them
    number                      double
    decimal                     decimal128 or decimal256 by its precision; a text where that is not bounded
    date, time, duration        date32, time64[us], duration[us]
    datetime                    timestamp[us], with the column's zone
    list, mapping               list, struct; the text of their JSON where it is not known what they hold
    json                        the text of its JSON

Parquet has no structs without fields, so a mapping that never has any is the text of its JSON too.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any

from runner.column_types import ColumnType
from runner.encoding import encode_text, printable
from runner.sinks.fitting import Misfit, fitter

if TYPE_CHECKING:
    import pyarrow as pa

MAX_PRECISION = 76
"""Digits of the widest decimal there is in Arrow."""
_DECIMAL128, _WIDE = 38, 38


def arrow_schema(types: Mapping[str, ColumnType]) -> pa.Schema:
    """The schema of a table with these columns."""
    import pyarrow as pa

    return pa.schema([(name, arrow_type(type_)) for name, type_ in types.items()])


def arrow_type(type_: ColumnType) -> pa.DataType:
    """The Arrow type that stands for a column's."""
    import pyarrow as pa

    match type_.kind:
        case "integer":
            return pa.decimal128(_WIDE, 0) if type_.wide else pa.int64()
        case "decimal" if type_.precision is not None and type_.precision <= MAX_PRECISION:
            make = pa.decimal128 if type_.precision <= _DECIMAL128 else pa.decimal256
            return make(type_.precision, type_.scale or 0)
        case "datetime":
            return pa.timestamp("us", tz=type_.zone)
        case "list" if type_.item is not None:
            return pa.list_(arrow_type(type_.item))
        case "mapping" if type_.fields:
            return pa.struct([(name, arrow_type(each)) for name, each in type_.fields])
    simple: Mapping[str, Callable[[], pa.DataType]] = {
        "boolean": pa.bool_,
        "number": pa.float64,
        "bytes": pa.binary,
        "date": pa.date32,
        "time": lambda: pa.time64("us"),
        "duration": lambda: pa.duration("us"),
    }
    return simple.get(type_.kind, pa.string)()


class ArrowColumn:
    """Makes arrays of one column's values."""

    def __init__(self, type_: ColumnType, arrow: pa.DataType) -> None:
        self._arrow = arrow
        self._quick = _QUICK.get(type_.kind, _NONE)
        self._parsed = type_.kind == "date" or (type_.kind == "datetime" and type_.zone == "UTC")
        self._has_zone = type_.zone is not None if type_.kind == "datetime" else None
        self._convert = _converter(type_)

    def array(self, values: list[Any]) -> tuple[pa.Array, Mapping[int, str]]:
        """The values as an array, with null for each that does not fit, and the places of those with the reasons."""
        import pyarrow as pa

        kinds = set(map(type, values))
        with suppress(pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
            if self._is_quick(kinds, values):
                return pa.array(values, self._arrow), _ALL_FIT
            if self._parsed and kinds <= _TEXTS:
                return pa.array(values, pa.string()).cast(self._arrow), _ALL_FIT
        return self._one_by_one(values)

    def _is_quick(self, kinds: set[type], values: list[Any]) -> bool:
        if not kinds <= self._quick:
            return False
        if self._has_zone is None:
            return True
        return all(value is None or (value.tzinfo is not None) is self._has_zone for value in values)

    def _one_by_one(self, values: list[Any]) -> tuple[pa.Array, Mapping[int, str]]:
        import pyarrow as pa

        made: list[Any] = []
        misfits: dict[int, str] = {}
        for place, value in enumerate(values):
            try:
                made.append(None if value is None else self._convert(value))
            except Misfit as misfit:
                misfits[place] = str(misfit)
                made.append(None)
        with suppress(pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            return pa.array(made, self._arrow), misfits
        for place, value in enumerate(made):  # values of the right kind that the type is too narrow for
            try:
                pa.array([value], self._arrow)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                misfits[place] = f"{str(value)[:60]} does not fit {self._arrow}: {error}"
                made[place] = None
        return pa.array(made, self._arrow), misfits


_ALL_FIT: Mapping[int, str] = {}
_NONE: frozenset[type] = frozenset()
_TEXTS = frozenset({str, NoneType})
_QUICK: Mapping[str, frozenset[Any]] = {
    "boolean": frozenset({bool, NoneType}),
    "integer": frozenset({int, NoneType}),
    "number": frozenset({float, int, NoneType}),
    "decimal": frozenset({Decimal, NoneType}),
    "string": _TEXTS,
    "bytes": frozenset({bytes, NoneType}),
    "date": frozenset({dt.date, NoneType}),
    "datetime": frozenset({dt.datetime, NoneType}),
    "duration": frozenset({dt.timedelta, NoneType}),
}
"""Python types whose values Arrow takes as a column of this kind holds them. Others it would take too, and change: it
makes an integer of 2.5, a date of a datetime."""


def _converter(type_: ColumnType) -> Callable[[Any], Any]:
    """What is given to Arrow for a value. Raises Misfit."""
    fits, finish = fitter(type_), _finish(type_)
    return fits if finish is None else lambda value: finish(fits(value))


def _finish(type_: ColumnType) -> Callable[[Any], Any] | None:
    """What Arrow needs beyond what the column holds: JSON as text, texts without halves of surrogate pairs."""
    match type_.kind:
        case "string" | "null":
            return printable
        case "decimal" if type_.precision is None or type_.precision > MAX_PRECISION:
            return str
        case "list" if type_.item is not None:
            item = _finish(type_.item)
            return None if item is None else lambda values: [None if each is None else item(each) for each in values]
        case "mapping" if type_.fields:
            finishes = {name: finish for name, each in type_.fields if (finish := _finish(each)) is not None}
            return (lambda values: _finished(values, finishes)) if finishes else None
        case "list" | "mapping" | "json":
            return _json_text
    return None


def _finished(values: dict[str, Any], finishes: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    for name, finish in finishes.items():
        if values[name] is not None:
            values[name] = finish(values[name])
    return values


def _json_text(value: Any) -> str:
    return printable(encode_text(value))
