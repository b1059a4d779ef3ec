"""Does a record fit the columns of its table? Asked by every sink whose target has types.

Owns   `fit`, which makes of a value what its column's type holds or says why it cannot; `Fitting`, which asks that for
       each record and remembers, in bounded memory, which did not fit; `agreed`, what `contract` means for a table that
       is there already.
Knows  values and types of columns; no format and no database.

    contract: evolve    the table follows the job: new columns are added, and a type widens until every value fits
    contract: freeze    the table stays as it is, or as declared where there is none: a column that it lacks is an
                        error before anything is paid, and a record with a value that does not fit is left out and told

Nothing is changed to make it fit that would lose something: 2.0 is an integer and 2.5 is not, a text is no number, and
a datetime no date. A text holds everything (what has a text stands as that, all else as JSON); a JSON column too.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from msgspec import Struct, field

from runner.column_types import ColumnType
from runner.encoding import encode_text, printable
from runner.sinks import Refused
from runner.values import TEXT_FORMS, json_form

Contract = Literal["evolve", "freeze"]

MAX_TOLD = 20
"""Records that are named one by one; the others are counted."""
_INT64 = 1 << 63
_SHOWN = 60
"""Characters of a value that a note shows."""


class Misfit(Exception):
    """Why a value does not fit: `"x" is no integer`."""


class Fitting:
    """Which records fit columns of these types."""

    def __init__(self, types: Mapping[str, ColumnType]) -> None:
        self.types = dict(types)
        self._fits = [(name, fitter(type_)) for name, type_ in types.items()]

    def cells(self, key: str, cells: Sequence[Any]) -> list[Any] | Refused:
        """What the columns hold of a record, in their order; or why it does not fit, told of its first such column."""
        found = []
        for (name, fits), value in zip(self._fits, cells, strict=True):
            if value is not None:
                try:
                    value = fits(value)
                except Misfit as misfit:
                    return Refused(key, f"column {name!r}: {misfit}")
            found.append(value)
        return found


class LeftOut(Struct):
    """The records that one delivery left out: how many, and the first of them."""

    count: int = 0
    first: list[Refused] = field(default_factory=list)

    def add(self, refused: Refused) -> None:
        self.count += 1
        if len(self.first) < MAX_TOLD:
            self.first.append(refused)


class Agreed(Struct, frozen=True):
    """The types that a table has once a delivery is through, by its columns' names; and of these those that are `added`
    to it or `widened` (under `evolve`), and those that the job writes and the table `lacks` (under `freeze`)."""

    types: Mapping[str, ColumnType]
    added: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


def agreed(declared: Mapping[str, ColumnType], there: Mapping[str, ColumnType] | None, contract: Contract) -> Agreed:
    """What becomes of a table whose columns are `there` (None: it is not there yet) when `declared` ones are written.

    Under `freeze` the types are the table's own. Under `evolve` a type that does not hold all that is declared is
    joined with it.
    """
    if there is None:
        return Agreed(dict(declared))
    new = tuple(name for name in declared if name not in there)
    if contract == "freeze":
        return Agreed(dict(there), lacking=new)
    wider = {name: there[name].join(type_) for name, type_ in declared.items() if name in there}
    widened = tuple(name for name, type_ in wider.items() if not holds(there[name], type_))
    types = {**there, **{name: wider[name] for name in widened}, **{name: declared[name] for name in new}}
    return Agreed(types, new, widened)


def holds(type_: ColumnType, other: ColumnType) -> bool:
    """Whether a column of `type_` takes every value of a column of `other`, as `fit` sees it."""
    return type_.kind in ("string", "json") or type_.join(other) == type_


def fit(value: Any, type_: ColumnType) -> Any:
    """What a column of this type holds for a value. Raises Misfit.

    A list, a mapping or a JSON column gets JSON values, unless the types of items and fields are known.
    """
    return value if value is None else fitter(type_)(value)


def fitter(type_: ColumnType) -> Callable[[Any], Any]:
    """`fit` for one type, of values that are not null."""
    match type_.kind:
        case "integer":
            return _wide_integer if type_.wide else _integer
        case "decimal":
            return _decimal(type_)
        case "datetime":
            return _naive if type_.zone is None else _aware
        case "list" if type_.item is not None:
            return _list(type_.item)
        case "mapping" if type_.fields is not None:
            return _mapping(type_.fields)
    return _SIMPLE[type_.kind]


def _no(what: str, value: Any) -> Misfit:
    if isinstance(value, str):
        shown = json.dumps(value[:_SHOWN] + "…" * (len(value) > _SHOWN), ensure_ascii=False)
    else:
        with suppress(TypeError, ValueError):
            value = encode_text(json_form(value))
        shown = str(value)[:_SHOWN]
    return Misfit(f"{printable(shown)} is no {what}")


def _string(value: Any) -> str:
    if type(value) is str:
        return value
    form = TEXT_FORMS.get(type(value))
    if form is not None:
        return form(value)
    made = json_form(value)
    return made if isinstance(made, str) else encode_text(made)


def _boolean(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise _no("boolean", value)


def _wide_integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float | Decimal):
        with suppress(ValueError, OverflowError, InvalidOperation):  # infinity, NaN
            whole = int(value)
            if whole == value:
                return whole
    raise _no("integer", value)


def _integer(value: Any) -> int:
    whole = _wide_integer(value)
    if -_INT64 <= whole < _INT64:
        return whole
    raise _no("integer of 64 bits", value)


def _number(value: Any) -> float:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        with suppress(OverflowError):
            return float(value)
    raise _no("number", value)


def _decimal(type_: ColumnType) -> Callable[[Any], Decimal]:
    whole = None if type_.precision is None else type_.precision - (type_.scale or 0)

    def decimal(value: Any) -> Decimal:
        if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
            raise _no("decimal", value)
        made = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        if not made.is_finite():
            raise _no("decimal", value)
        if whole is not None and made and made.adjusted() >= whole:
            raise _no(str(type_), value)
        if type_.scale is not None and _has_places(made, beyond=type_.scale):
            raise _no(str(type_), value)
        return made

    return decimal


def _has_places(number: Decimal, *, beyond: int) -> bool:
    """Whether it has digits so far behind the point, zeros aside. Not by arithmetic, which has a precision."""
    _, digits, exponent = number.as_tuple()
    count = -int(exponent) - beyond
    return count > 0 and any(digits[-count:])


def _date(value: Any) -> dt.date:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    if isinstance(value, str) and _IS_DATE.fullmatch(value):
        with suppress(ValueError):
            return dt.date.fromisoformat(value)
    raise _no("date", value)


def _moment(value: Any) -> dt.datetime | None:
    if isinstance(value, str) and _IS_DATETIME.match(value):
        with suppress(ValueError):
            return dt.datetime.fromisoformat(value.upper())
    return value if isinstance(value, dt.datetime) else None


def _naive(value: Any) -> dt.datetime:
    moment = _moment(value)
    if moment is None and isinstance(value, dt.date):
        moment = dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the column has no zone
    if moment is None or moment.tzinfo is not None:
        raise _no("datetime without a zone", value)
    return moment


def _aware(value: Any) -> dt.datetime:
    moment = _moment(value)
    if moment is None or moment.tzinfo is None:
        raise _no("datetime with a zone", value)
    return moment


def _time(value: Any) -> dt.time:
    if isinstance(value, dt.time) and value.tzinfo is None:
        return value
    raise _no("time without a zone", value)


def _duration(value: Any) -> dt.timedelta:
    if isinstance(value, dt.timedelta):
        return value
    raise _no("duration", value)


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise _no("bytes", value)


def _list(item: ColumnType) -> Callable[[Any], list[Any]]:
    fits = fitter(item)

    def of_items(value: Any) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise _no("list", value)
        return [None if each is None else fits(each) for each in value]

    return of_items


def _mapping(fields: Sequence[tuple[str, ColumnType]]) -> Callable[[Any], dict[str, Any]]:
    fits = {name: fitter(type_) for name, type_ in fields}

    def of_fields(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _no("mapping", value)
        for name in value:
            if name not in fits:
                raise Misfit(f"it has a field {name!r}, which the column has not")
        found = {name: value.get(name) for name in fits}
        return {name: None if each is None else fits[name](each) for name, each in found.items()}

    return of_fields


def _open_list(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return json_form(value)
    raise _no("list", value)


def _open_mapping(value: Any) -> Any:
    if isinstance(value, Mapping):
        return json_form(value)
    raise _no("mapping", value)


_IS_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_IS_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", re.ASCII)
"""What RFC 3339 allows; Python's own reader takes weeks and basic forms as well."""
_SIMPLE: Mapping[str, Callable[[Any], Any]] = {
    "null": _string,
    "boolean": _boolean,
    "number": _number,
    "string": _string,
    "bytes": _bytes,
    "date": _date,
    "time": _time,
    "duration": _duration,
    "list": _open_list,
    "mapping": _open_mapping,
    "json": json_form,
}
