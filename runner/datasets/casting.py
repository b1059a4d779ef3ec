"""Columns made of another type: `types` of a dataset.

Owns   what each type takes, and what is said of a value that it does not.
Knows  any dataset by its contract. A value itself is never told: it may be private.

An empty text is null, whatever the type but `string`; a null stays one. White space around a text is no part of the
value. A value that already is of the type stays as it is; nothing is rounded or cut off.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from msgspec import Struct, field

from runner.column_types import (
    BOOLEAN,
    DATE,
    DATETIME,
    INTEGER,
    JSON,
    NULL,
    NUMBER,
    STRING,
    TIME,
    ColumnType,
    type_of,
)  # fmt: skip
from runner.datasets import Dataset, SourceRow, declared_types
from runner.datasets.problems import Enough, ProblemList, data_problem
from runner.encoding import decode, encode_text
from runner.errors import InputError, Problem, closest
from runner.values import json_form, text_form


class _NotCastable(Exception):
    """Why a value cannot be made one of a type, after `the column 'x' is …`."""


class CastDataset(Struct):
    """A dataset with some columns cast. `types` names a type of `CASTS` for each."""

    dataset: Dataset
    types: Mapping[str, str]
    _found: dict[str, ColumnType] = field(default_factory=dict)

    def columns(self) -> tuple[str, ...] | None:
        return self.dataset.columns()

    def column_types(self) -> Mapping[str, ColumnType] | None:
        """What the dataset declares, with what the cast values seen so far are."""
        declared = declared_types(self.dataset)
        if declared is None:
            return None
        return {name: self._type_of(name, found) for name, found in declared.items()}

    def _type_of(self, name: str, declared: ColumnType) -> ColumnType:
        if name not in self.types:
            return declared
        return self._found.get(name, CASTS[self.types[name]].type)

    def rows(self) -> Iterator[SourceRow]:
        """All rows with these columns cast. Raises InputError with the first problems; no row after them is yielded."""
        found = ProblemList()
        missing = set(self.types)
        seen: Mapping[str, Any] | None = None
        try:
            for source in self.dataset.rows():
                values = self._cast(source, found)
                if missing:
                    missing -= values.keys()
                seen = source.values
                if found:
                    found.look_on()
                else:
                    yield SourceRow(values, source.file, source.line)
            if missing and seen is not None:
                found.add(*(_no_column(name, seen, source.file) for name in sorted(missing)))
        except InputError as error:
            found.take(error)
        except Enough:
            pass
        found.raise_any()

    def _cast(self, source: SourceRow, found: ProblemList) -> Mapping[str, Any]:
        values = dict(source.values)
        for name, wanted in self.types.items():
            value = values.get(name)
            if value is None:
                continue
            cast = CASTS[wanted]
            try:
                made = values[name] = cast.make(value)
            except _NotCastable as error:
                found.add(
                    data_problem(
                        "not-castable", f"the column {name!r} {error}", source.file, source.line, hint=cast.hint
                    )
                )
                continue
            if cast.is_looked_at:
                self._found[name] = self._found.get(name, NULL).join(type_of(made))
        return values


def cast_by(dataset: Dataset, types: Mapping[str, str] | None) -> Dataset:
    """The dataset with the types that a job names, where it names any."""
    return CastDataset(dataset, types) if types else dataset


def _no_column(name: str, columns: Mapping[str, Any], file: str) -> Problem:
    near = closest(name, list(columns))
    hint = f"did you mean `{near}`?" if near else f"its columns: {', '.join(columns)}"
    return data_problem("unknown-column", f"no row has the column {name!r}, which `types` casts", file, hint=hint)


# -- The types


def _text(value: Any) -> str | None:
    """A text without what stands around it, None where it is empty; raises for what is no text."""
    if not isinstance(value, str):
        raise _not(value)
    return value.strip() or None


def _not(value: Any, why: str = "") -> _NotCastable:
    return _NotCastable(f"is {_kind(value)}{why}")


def _kind(value: Any) -> str:
    for kind, word in _WORDS:
        if isinstance(value, kind):
            return word
    return f"a {type(value).__name__}"


_WORDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (Decimal, "a decimal"),
    (str, "a text"),
    (bytes, "bytes"),
    (dt.datetime, "a datetime"),
    (dt.date, "a date"),
    (dt.time, "a time"),
    (dt.timedelta, "a duration"),
    (list, "a list"),
    (dict, "a mapping"),
)

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MAX_DIGITS = 4_000
"""Of a whole number: Python reads no text of more than 4,300 (`sys.int_info.default_max_str_digits`)."""


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        raise _not(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float | Decimal):
        if not math.isfinite(value) or value != int(value):
            raise _not(value, " that is not whole")
        return int(value)
    text = _text(value)
    if text is None:
        return None
    if not _INTEGER.fullmatch(text) or len(text) > _MAX_DIGITS:
        raise _not(value, " that is no whole number")
    return int(text)


def _number(value: Any) -> float | None:
    if isinstance(value, float):
        return value
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise _not(value, " too large for a float") from None
    text = _text(value)
    if text is None:
        return None
    made = float(text) if _NUMBER.fullmatch(text) else math.inf
    if math.isinf(made):
        raise _not(value, " that is no number")
    return made


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _not(value, " that is not finite")
        return Decimal(repr(value))
    text = _text(value)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise _not(value, " that is no number")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise _not(value, " that is no number") from None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    text = str(value) if isinstance(value, int) else _text(value)
    if text is None:
        return None
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise _not(value, " that is neither true nor false") from None


def _date(value: Any) -> dt.date | None:
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None or value.time() != dt.time():
            raise _not(value, " with a time of day or a zone")
        return value.date()
    if isinstance(value, dt.date):
        return value
    made: dt.date | None = _iso(value, dt.date.fromisoformat, "date")
    return made


def _datetime(value: Any) -> dt.datetime | None:
    if isinstance(value, dt.datetime):
        return value
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a date has no zone
    made: dt.datetime | None = _iso(value, dt.datetime.fromisoformat, "datetime")
    return made


def _time(value: Any) -> dt.time | None:
    return value if isinstance(value, dt.time) else _iso(value, dt.time.fromisoformat, "time")


def _iso(value: Any, read: Callable[[str], Any], what: str) -> Any:
    text = _text(value)
    if text is None:
        return None
    try:
        return read(text)
    except ValueError:
        raise _not(value, f" that is no {what}") from None


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return encode_text(json_form(value))
    try:
        return text_form(value)
    except TypeError:
        raise _not(value) from None


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return decode(value)
    except ValueError:
        raise _not(value, " that is no JSON") from None


class Cast(Struct, frozen=True):
    """How values become one type. `type` is the narrowest that all of its values have; where they may say more (how
    large, which zone), they are looked at."""

    make: Callable[[Any], Any]
    type: ColumnType
    hint: str
    is_looked_at: bool = False


_OR = "leave it empty, or cast to `string`"
CASTS: Mapping[str, Cast] = {
    "string": Cast(_string, STRING, "texts, numbers, dates, lists and mappings have a text; bytes have none"),
    "integer": Cast(_integer, INTEGER, f"write digits alone (`1200`), {_OR} or `number`", is_looked_at=True),
    "number": Cast(_number, NUMBER, f"write a number with a point (`12.5`, `1e3`), {_OR}"),
    "decimal": Cast(_decimal, ColumnType("decimal"), f"write digits with a point (`12.50`), {_OR}", is_looked_at=True),
    "boolean": Cast(_boolean, BOOLEAN, f"write true or false (also yes, no, 1, 0), {_OR}"),
    "date": Cast(_date, DATE, f"write it as 2026-01-31, {_OR}"),
    "datetime": Cast(
        _datetime, DATETIME, f"write it as 2026-01-31T12:00:00 (with a zone: …+02:00, …Z), {_OR}", is_looked_at=True
    ),
    "time": Cast(_time, TIME, f"write it as 12:30 or 12:30:00, {_OR}"),
    "json": Cast(_json, JSON, f"write strict JSON, {_OR}", is_looked_at=True),
}
"""By the name in `types`."""
