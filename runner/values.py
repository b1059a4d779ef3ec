"""The values that a row may hold, and the forms they take.

    held         what Python values a row has          None, bool, int, float, str, bytes, Decimal, date, datetime,
                                                       time, timedelta, list, mapping of texts
    text         how one prints, and stands in a key   dates ISO 8601, Decimals plain digits, durations ISO 8601
    JSON         what stands for it in a record        the text; bytes in base64; a Decimal as a number where one holds
                                                       it exactly, else its digits as a text; NaN and infinity as texts
    marked       JSON and where it stands for more     the run's own copy of rows: comes back exactly as it was
    column type  what all values of a column are       `ColumnType`, of which two have a join

Owns   these forms: wherever a value is printed, stored or written, it is by them.
Knows  the standard library only. Values that JSON holds are left as they are, and cost no copy.

A datetime is naive or has a zone; a zone with a name (`Europe/Berlin`) keeps it. Python's times end at microseconds.

Source: ISO 8601 for dates, times and durations; RFC 9557 for a zone's name behind a time; RFC 4648 for base64; the JSON
mapping of Protocol Buffers for NaN and infinity (`"NaN"`, `"Infinity"`, `"-Infinity"`).
"""

from __future__ import annotations

import datetime as dt
import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MAX_PLAIN_DIGITS = 1_000
"""A Decimal of more digits keeps its exponent: `1E+999999999` would print as a gigabyte of zeros."""

_MICROSECOND = dt.timedelta(microseconds=1)

Place = list[str | int]
"""Where a value stands in a row: keys of mappings and positions in lists, from the column on."""
Marks = dict[str, list[Place]]
"""Kind of value to the places where one stands."""


class TypedValues(dict[str, Any]):
    """A row's values with some among them that JSON does not hold: told apart by its type, so that other rows cost no
    look."""


# -- What a row holds


def held(value: Any) -> Any:
    """The value as a row holds it: tuples become lists, buffers bytes, enumerations their values, numpy's and pandas'
    numbers and times Python's own. Raises TypeError for a value that a row cannot hold, and for a key that is no text.
    """
    kind = type(value)
    if kind in _HELD:
        if kind is int and not -_LARGEST < value < _LARGEST:
            raise TypeError("a whole number of more than 4,300 digits cannot stand in a row")
        return value
    if kind is list:
        return [held(item) for item in value]
    if kind.__name__ in _PANDAS_NULLS:
        return None
    if isinstance(value, Mapping):
        return {_name(name): held(item) for name, item in value.items()}
    for base, make in _MADE:
        if isinstance(value, base):
            return make(value)
    if isinstance(value, Sequence):  # a tuple, a row of another library
        return [held(item) for item in value]
    if kind.__module__ == "numpy" and value.dtype.kind in "Mm":
        value = _numpy_time(value)
    for method in ("as_py", "tolist"):  # an Arrow scalar; numpy's scalars and arrays
        convert = getattr(value, method, None)
        if callable(convert) and not isinstance(value, AbstractSet | type):
            made = convert()
            if type(made) is int and getattr(getattr(value, "dtype", None), "kind", None) in ("M", "m"):
                raise TypeError(f"a value of type {value.dtype} is beyond the dates and durations that Python holds")
            if type(made) is not kind:
                return held(made)
    raise TypeError(f"a value of type {kind.__module__}.{kind.__qualname__} cannot stand in a row")


def _numpy_time(value: Any) -> Any:
    """numpy's times in units that Python's own have: it would make mere integers of the others."""
    unit = str(value.dtype).partition("[")[2].rstrip("]")
    if unit in ("ns", "ps", "fs", "as"):
        return value.astype(f"{value.dtype.kind}8[us]")
    if value.dtype.kind == "m" and unit in ("Y", "M"):
        raise TypeError("a span of months or years is no duration, and cannot stand in a row")
    return value


def _name(name: Any) -> str:
    if isinstance(name, str):
        return str(name)
    if name is None or isinstance(name, bytes | Mapping | Sequence):
        raise TypeError(f"a mapping in a row has a key of type {type(name).__name__}, which is no text")
    return text_form(held(name))


def _plain_datetime(value: dt.datetime) -> dt.datetime:
    return dt.datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.tzinfo,
        fold=value.fold,
    )  # fmt: skip


def _enumerated(value: Enum) -> Any:
    return held(value.value)


HELD_BESIDE_JSON = frozenset({bytes, Decimal, dt.date, dt.datetime, dt.time, dt.timedelta})
"""The kinds of single values that a row holds and JSON does not."""
_LARGEST = 10**4300
"""Python reads and writes no longer whole number (`sys.int_info.default_max_str_digits`)."""
_PANDAS_NULLS = frozenset({"NaTType", "NAType"})
_HELD = HELD_BESIDE_JSON | {type(None), bool, int, float, str}
_MADE: Sequence[tuple[Any, Callable[[Any], Any]]] = (
    (Enum, _enumerated),
    (str, str.__str__),
    (bytes | bytearray | memoryview, bytes),
    (int, int),
    (float, float),
    (Decimal, Decimal),
    (dt.datetime, _plain_datetime),
    (dt.date, lambda value: dt.date(value.year, value.month, value.day)),
    (dt.timedelta, lambda value: dt.timedelta(value.days, value.seconds, value.microseconds)),
    (dt.time, lambda value: dt.time.fromisoformat(value.isoformat())),
    (UUID, str),
)
"""Subclasses and relatives, in an order in which the narrower one comes first."""


# -- Text


def text_form(value: Any) -> str:
    """The text of a single value, as templates print it. Raises TypeError for null, bytes, lists and mappings."""
    writer = TEXT_FORMS.get(type(value))
    if writer is None:
        raise TypeError(f"a value of type {type(value).__name__} has no text")
    return writer(value)


def decimal_text(value: Decimal) -> str:
    """Plain digits, as many behind the point as the value has; no exponent."""
    if value.is_finite() and abs(value.adjusted()) < MAX_PLAIN_DIGITS:
        return format(value, "f")
    return str(value)


def duration_text(value: dt.timedelta) -> str:
    """ISO 8601, in days and smaller: `P1DT2H3M4.5S`, `-PT1S`, `PT0S`."""
    sign, value = ("-", -value) if value < dt.timedelta(0) else ("", value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
    days = f"{value.days}D" if value.days else ""
    parts = [f"{hours}H" if hours else "", f"{minutes}M" if minutes else ""]
    if seconds or fraction or not (days or any(parts)):
        parts.append(f"{seconds}{fraction}S")
    clock = "".join(parts)
    return f"{sign}P{days}{'T' + clock if clock else ''}"


TEXT_FORMS: Mapping[type, Callable[[Any], str]] = {
    str: lambda value: value,
    bool: lambda value: "true" if value else "false",
    int: int.__repr__,
    float: float.__repr__,
    Decimal: decimal_text,
    dt.datetime: dt.datetime.isoformat,
    dt.date: dt.date.isoformat,
    dt.time: dt.time.isoformat,
    dt.timedelta: duration_text,
}
"""By type, in an order that also serves subclasses: `bool` before `int`, `datetime` before `date`."""


# -- JSON


def json_form(value: Any) -> Any:
    """The JSON value that stands for a value in records. Raises TypeError for what no row holds."""
    kind = type(value)
    if kind in _JSON_AS_IS:
        return value
    if kind is float:
        return value if math.isfinite(value) else _not_finite(value)
    if kind is bytes:
        return b64encode(value).decode()
    if kind is Decimal:
        return decimal_json(value)
    if kind is list:
        return [json_form(item) for item in value]
    if isinstance(value, dict):
        return {name: json_form(item) for name, item in value.items()}
    if kind in TEXT_FORMS:
        return TEXT_FORMS[kind](value)
    return json_form(held(value))


def decimal_json(value: Decimal) -> int | float | str:
    """A number where one holds the value exactly, as a float of 15 digits does; else the digits as a text."""
    if not value.is_finite():
        return _not_finite(float("nan") if value.is_nan() else float(value))
    if abs(value.adjusted()) >= MAX_PLAIN_DIGITS:
        return str(value)
    if value == value.to_integral_value():
        return int(value)
    number = float(value)
    return number if Decimal(repr(number)) == value else format(value, "f")


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


_JSON_AS_IS = frozenset({type(None), bool, int, str})


# -- JSON with marks


def marked(values: Mapping[str, Any]) -> tuple[dict[str, Any], Marks]:
    """A row's values as JSON, and where a JSON value stands for another kind. Raises TypeError for what a row cannot
    hold."""
    marks: Marks = {}
    return {name: _marked(value, [name], marks) for name, value in values.items()}, marks


def _marked(value: Any, here: Place, marks: Marks) -> Any:
    kind = type(value)
    if kind in _JSON_AS_IS:
        return value
    form = _MARKED.get(kind)
    if form is not None:
        mark, write = form
        marks.setdefault(mark, []).append(here)
        return write(value)
    if kind is float:
        if math.isfinite(value):
            return value
        marks.setdefault("number", []).append(here)
        return repr(value)
    if kind is list:
        return [_marked(item, [*here, place], marks) for place, item in enumerate(value)]
    if isinstance(value, dict):
        return {(name := _name(key)): _marked(item, [*here, name], marks) for key, item in value.items()}
    return _marked(held(value), here, marks)


def unmarked(values: dict[str, Any], marks: Mapping[str, Sequence[Place]]) -> TypedValues:
    """The values that `marked` was given; changes `values`. Raises LookupError for a mark that is not known."""
    for mark, places in marks.items():
        read = _UNMARKED[mark]
        for place in places:
            if len(place) == 1:
                name = place[0]
                values[name] = read(values[name])  # type: ignore[index]  # the first part names a column
                continue
            *above, last = place
            holder: Any = values
            for part in above:
                holder = holder[part]
            holder[last] = read(holder[last])
    return TypedValues(values)


def _datetime_text(value: dt.datetime) -> str:
    zone = getattr(value.tzinfo, "key", None)
    return f"{value.isoformat()}[{zone}]" if zone else value.isoformat()


def _datetime(text: str) -> dt.datetime:
    moment, _, zone = text.partition("[")
    value = dt.datetime.fromisoformat(moment)
    if zone:
        with suppress(ZoneInfoNotFoundError, ValueError):  # another machine may not know the zone: the offset stays
            return _in_zone(value, ZoneInfo(zone[:-1]))
    return value


def _in_zone(value: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """The same hour in a zone that has this offset at it; the same moment where another machine's zone has not."""
    for fold in (0, 1):
        local = value.replace(tzinfo=zone, fold=fold)
        if local.utcoffset() == value.utcoffset():
            return local
    return value.astimezone(zone)


_MARKED: Mapping[type, tuple[str, Callable[[Any], Any]]] = {
    bytes: ("bytes", lambda value: b64encode(value).decode()),
    Decimal: ("decimal", str),
    dt.date: ("date", dt.date.isoformat),
    dt.datetime: ("datetime", _datetime_text),
    dt.time: ("time", dt.time.isoformat),
    dt.timedelta: ("duration", lambda value: value // _MICROSECOND),
}
_UNMARKED: Mapping[str, Callable[[Any], Any]] = {
    "bytes": b64decode,
    "decimal": Decimal,
    "number": float,
    "date": dt.date.fromisoformat,
    "datetime": _datetime,
    "time": dt.time.fromisoformat,
    "duration": lambda value: dt.timedelta(microseconds=value),
}
