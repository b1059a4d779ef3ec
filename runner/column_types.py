"""What all values of a column are: `ColumnType`, and the type that two have in common.

    null ─┬─ boolean ─────────────────────────────┐
          ├─ integer ─┬─ decimal ── number ───────┤
          │           └─ number                   │
          ├─ date ── datetime (without a zone) ───┼─ string ─┐
          ├─ datetime (with a zone) ──────────────┤          │
          ├─ time, duration ──────────────────────┘          ├─ json
          ├─ bytes ──────────────────────────────────────────┤
          └─ list, mapping ──────────────────────────────────┘

Owns   the types, their joins, and what a single value says of its column's type.
Knows  the standard library only.

Invariants
  * `join` is associative, commutative and idempotent, and `null` is its neutral element: a column's type does not
    depend on the order of the rows.
  * Every value of a column can be written as its type says without losing more than that type: in a column of type
    `string` a date is its text (`values.text_form`), in one of type `json` any value is its JSON form.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, get_args

from msgspec import Struct
from msgspec.structs import replace

Kind = Literal[
    "null", "boolean", "integer", "number", "decimal", "string", "bytes", "date", "datetime", "time", "duration",
    "list", "mapping", "json",
]  # fmt: skip

INT64_DIGITS = 19
"""Digits of 2**63."""


class ColumnType(Struct, frozen=True):
    """A column's type; nulls may stand in every column. Of the other fields each belongs to one kind.

    `json` is any JSON value: a column whose values have nothing else in common.
    """

    kind: Kind
    wide: bool = False
    """Of an integer: there may be values that 64 bits with a sign do not hold."""
    precision: int | None = None
    """Of a decimal: digits in all; None where they are not bounded."""
    scale: int | None = None
    """Of a decimal: digits behind the point, at most; None where they are not bounded."""
    zone: str | None = None
    """Of a datetime: None where it is naive, else the name or offset of its zone; `UTC` where there are several."""
    item: ColumnType | None = None
    """Of a list: the type of its items, where the source declares it."""
    fields: tuple[tuple[str, ColumnType], ...] | None = None
    """Of a mapping: its names and their types in order, where the source declares them."""

    def __str__(self) -> str:
        match self.kind:
            case "decimal" if self.precision is not None:
                return f"decimal({self.precision}, {self.scale or 0})"
            case "datetime" if self.zone is not None:
                return f"datetime({self.zone})"
            case "list" if self.item is not None:
                return f"list({self.item})"
        return self.kind

    def join(self, other: ColumnType) -> ColumnType:
        """The narrowest type that holds the values of both."""
        return self if self == other else _join(self, other)

    def to_json(self) -> dict[str, Any]:
        """As a run's folder keeps it: what `of_json` reads."""
        found: dict[str, Any] = {"kind": self.kind}
        for name in ("wide", "precision", "scale", "zone"):
            value = getattr(self, name)
            if value is not None and value is not False:
                found[name] = value
        if self.item is not None:
            found["item"] = self.item.to_json()
        if self.fields is not None:
            found["fields"] = [[name, each.to_json()] for name, each in self.fields]
        return found

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> ColumnType:
        """Raises ValueError for a kind that this version does not know."""
        known = dict(value)
        if known.get("kind") not in get_args(Kind):
            raise ValueError(f"{known.get('kind')!r} is no type of a column")
        if "item" in known:
            known["item"] = cls.of_json(known["item"])
        if "fields" in known:
            known["fields"] = tuple((name, cls.of_json(each)) for name, each in known["fields"])
        return cls(**known)


NULL = ColumnType("null")
BOOLEAN = ColumnType("boolean")
INTEGER = ColumnType("integer")
WIDE_INTEGER = ColumnType("integer", wide=True)
NUMBER = ColumnType("number")
STRING = ColumnType("string")
BYTES = ColumnType("bytes")
DATE = ColumnType("date")
DATETIME = ColumnType("datetime")
TIME = ColumnType("time")
DURATION = ColumnType("duration")
LIST = ColumnType("list")
MAPPING = ColumnType("mapping")
JSON = ColumnType("json")

_TEXTUAL = frozenset({"boolean", "integer", "number", "decimal", "string", "date", "datetime", "time", "duration"})
"""Kinds whose values have a text: two that differ are both texts."""


def _join(one: ColumnType, other: ColumnType) -> ColumnType:
    if one.kind == "null":
        return other
    if other.kind == "null":
        return one
    if one.kind == other.kind:
        return _alike(one, other)
    match frozenset((one.kind, other.kind)):
        case kinds if kinds <= {"integer", "number", "decimal"}:
            if "number" in kinds:
                return NUMBER
            return _decimals(_as_decimal(one), _as_decimal(other))
        case kinds if kinds == {"date", "datetime"}:
            return DATETIME if one.zone is other.zone else STRING
        case kinds if kinds <= _TEXTUAL:
            return STRING
    return JSON


def _alike(one: ColumnType, other: ColumnType) -> ColumnType:
    match one.kind:
        case "integer":
            return WIDE_INTEGER
        case "decimal":
            return _decimals(one, other)
        case "datetime":
            if one.zone is None or other.zone is None:
                return STRING
            return replace(one, zone="UTC")
        case "list":
            return LIST if one.item is None or other.item is None else replace(one, item=one.item.join(other.item))
        case "mapping":
            return _mappings(one, other)
    return one


def _as_decimal(type_: ColumnType) -> ColumnType:
    if type_.kind == "decimal":
        return type_
    return ColumnType("decimal", precision=None if type_.wide else INT64_DIGITS, scale=0)


def _decimals(one: ColumnType, other: ColumnType) -> ColumnType:
    scale = None if one.scale is None or other.scale is None else max(one.scale, other.scale)
    if scale is None or one.precision is None or other.precision is None:
        return ColumnType("decimal", scale=scale)
    whole = max(one.precision - (one.scale or 0), other.precision - (other.scale or 0))
    return ColumnType("decimal", precision=whole + scale, scale=scale)


def _mappings(one: ColumnType, other: ColumnType) -> ColumnType:
    if one.fields is None or other.fields is None:
        return MAPPING
    there = dict(other.fields)
    joined = {name: each.join(there.pop(name, NULL)) for name, each in one.fields} | there
    return ColumnType("mapping", fields=tuple(sorted(joined.items())))


def type_of(value: Any) -> ColumnType:
    """What one value, as a row holds it, says of its column. Of lists and mappings only that they are."""
    found = _PLAIN.get(type(value))
    if found is not None:
        return found
    match value:
        case int():
            return INTEGER if -(1 << 63) <= value < 1 << 63 else WIDE_INTEGER
        case Decimal():
            return _type_of_decimal(value)
        case dt.datetime():
            return ColumnType("datetime", zone=zone_name(value))
        case Mapping():
            return MAPPING
        case list() | tuple():
            return LIST
    return JSON


def _type_of_decimal(value: Decimal) -> ColumnType:
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):  # NaN and infinity
        return ColumnType("decimal", precision=1, scale=0)
    scale = max(-exponent, 0)
    return ColumnType("decimal", precision=max(len(digits) + max(exponent, 0), scale, 1), scale=scale)


def zone_name(value: dt.datetime) -> str | None:
    """The name of a datetime's zone, or its offset (`+02:00`); `UTC` for that, None where it is naive."""
    if value.tzinfo is None:
        return None
    name = getattr(value.tzinfo, "key", None)
    if name is not None:
        return str(name)
    offset = value.isoformat()[-6:] if value.utcoffset() is not None else "+00:00"
    return "UTC" if offset == "+00:00" else offset


_PLAIN: Mapping[type, ColumnType] = {
    type(None): NULL,
    bool: BOOLEAN,
    float: NUMBER,
    str: STRING,
    bytes: BYTES,
    dt.date: DATE,
    dt.time: TIME,
    dt.timedelta: DURATION,
    dict: MAPPING,
    list: LIST,
}
