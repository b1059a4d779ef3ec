"""Values as columns hold them.

Owns   what a value becomes in a column of a given family, and why it cannot stand there.
Knows  columns as they were found; of a database only the forms that its driver takes.

A value is cast only where nothing of it is lost: a text of digits stands in a column of integers (all that a csv has
are texts), a text of something else does not. Fractions are rounded as the database rounds them. Halves of surrogate
pairs, which no database stores, become U+FFFD; so does U+0000 where a text cannot hold it. Moments without a zone are
taken to be in UTC where a column wants a zone, and are turned to UTC where it has none.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from runner.encoding import encode_text, printable
from runner.sinks.sql.columns import Column, Family
from runner.values import TEXT_FORMS, json_form, text_form

Fit = Callable[[Any], Any]
"""Raises ValueError that says why not."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")
_SHOWN = 60


def fitter(
    columns: Sequence[Column],
    forms: Mapping[type, Callable[[Any], Any]],
    *,
    holds_nul: bool = True,
    holds_nan: bool = True,
) -> Callable[[Sequence[Any]], list[Any]]:
    """What makes a row of the cells of a record, in the columns' order. Raises ValueError that names the column."""
    fits = [(column, _with_forms(_fit_of(column, holds_nul, holds_nan), forms)) for column in columns]

    def fit(cells: Sequence[Any]) -> list[Any]:
        row: list[Any] = []
        for (column, one), value in zip(fits, cells, strict=True):
            if value is None:
                if not column.nullable:
                    raise ValueError(f"the column {column.name!r} takes no null")
                row.append(None)
                continue
            try:
                row.append(one(value))
            except ValueError as error:
                raise ValueError(f"the column {column.name!r} ({column.written}) {error}") from error
            except OverflowError as error:  # a moment of the first or the last day there is, turned to UTC
                why = f"cannot hold {_shown(value)}: it is out of range"
                raise ValueError(f"the column {column.name!r} ({column.written}) {why}") from error
        return row

    return fit


def _with_forms(fit: Fit, forms: Mapping[type, Callable[[Any], Any]]) -> Fit:
    if not forms:
        return fit

    def formed(value: Any) -> Any:
        fitted = fit(value)
        form = forms.get(type(fitted))
        return fitted if form is None else form(fitted)

    return formed


def _fit_of(column: Column, holds_nul: bool, holds_nan: bool) -> Fit:
    text = _text_of(holds_nul=holds_nul)
    match column.family:
        case "string":
            return _string(column, text)
        case "integer":
            return _integer(column)
        case "decimal":
            return _decimal(column)
        case "datetime":
            return _datetime(zoned=column.zoned)
        case "bytes":
            return _bytes(column)
        case "json":
            return _json(text, holds_nul=holds_nul)
        case "number":
            return _number if holds_nan else _finite
        case "list":
            return lambda value: _list(value, text)
        case "other":
            return lambda value: text(_as_text(value))
    return _PLAIN[column.family]


# -- Texts


def _text_of(*, holds_nul: bool) -> Callable[[str], str]:
    def sound(text: str) -> str:
        if not text.isascii():
            text = printable(text)
        return text if holds_nul or "\0" not in text else text.replace("\0", "\ufffd")

    return sound


def _string(column: Column, text: Callable[[str], str]) -> Fit:
    most = column.length

    def fit(value: Any) -> str:
        found = text(value if type(value) is str else _as_text(value))
        if most is not None and len(found) > most:
            raise ValueError(f"holds {most} characters, and this text has {len(found):,}: {_shown(found)}")
        return found

    return fit


def _as_text(value: Any) -> str:
    """As a template prints it; lists and mappings as JSON, bytes in base64, as records have them."""
    if type(value) in TEXT_FORMS:
        return text_form(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return encode_text(json_form(value))


def _json(text: Callable[[str], str], *, holds_nul: bool) -> Fit:
    def fit(value: Any) -> str:
        encoded = encode_text(json_form(value))
        if not holds_nul and "\\u0000" in encoded:  # JSON has U+0000 as an escape, and jsonb does not take that either
            encoded = encode_text(_without_nul(json_form(value)))
        return text(encoded)

    return fit


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {name.replace("\0", "\ufffd"): _without_nul(each) for name, each in value.items()}
    return [_without_nul(each) for each in value] if isinstance(value, list | tuple) else value


def _shown(value: Any) -> str:
    found = value if isinstance(value, str) else _as_text(value)
    return repr(found if len(found) <= _SHOWN else f"{found[:_SHOWN]}…")


def _list(value: Any, text: Callable[[str], str]) -> Any:
    if not isinstance(value, list | tuple):
        raise _cannot_hold(value)
    return [_list(item, text) if isinstance(item, list | tuple) else _item(item, text) for item in value]


def _item(value: Any, text: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        raise _cannot_hold(value)
    return text(value) if isinstance(value, str) else value


# -- Numbers


def _integer(column: Column) -> Fit:
    least, most = column.least, column.most

    def fit(value: Any) -> int:
        number = value if type(value) is int else _whole(value)
        if (least is not None and number < least) or (most is not None and number > most):
            raise ValueError(f"cannot hold {number}: it is out of range")
        return number

    return fit


def _whole(value: Any) -> int:
    if isinstance(value, int):  # true and false too: a server's BOOLEAN may be an integer
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return int(value)
    raise _cannot_hold(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise _cannot_hold(value)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise _cannot_hold(value) from None
    if isinstance(value, str) and not _is_numeral(value):
        raise _cannot_hold(value)
    return number


def _finite(value: Any) -> float:
    number = _number(value)
    if not math.isfinite(number):
        raise _cannot_hold(value)
    return number


def _is_numeral(text: str) -> bool:
    """Python reads `1_000`, ` 5 ` and `infinity` as numbers; what data means by those is not known."""
    return re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", text) is not None


def _decimal(column: Column) -> Fit:
    whole = column.precision - (column.scale or 0) if column.precision is not None else None

    def fit(value: Any) -> Decimal:
        number = _as_decimal(value)
        if whole is not None and number and number.adjusted() >= whole:
            raise ValueError(f"cannot hold {_shown(value)}: it has more than {whole} digits before the point")
        return number

    return fit


def _as_decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or (isinstance(value, str) and not _is_numeral(value)):
        raise _cannot_hold(value)
    try:
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        raise _cannot_hold(value) from None
    if not number.is_finite():
        raise _cannot_hold(value)
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1) and isinstance(value, int):
        return bool(value)
    if value in ("true", "false"):
        return bool(value == "true")
    raise _cannot_hold(value)


# -- Bytes and times


def _bytes(column: Column) -> Fit:
    most = column.length

    def fit(value: Any) -> bytes:
        if isinstance(value, str):
            value = printable(value).encode()
        if not isinstance(value, bytes):
            raise _cannot_hold(value)
        if most is not None and len(value) > most:
            raise ValueError(f"holds {most} bytes, and these are {len(value):,}")
        return value

    return fit


def _date(value: Any) -> dt.date:
    if isinstance(value, dt.datetime):
        if value.timetz() != dt.time():
            raise _cannot_hold(value)
        return value.date()
    if isinstance(value, dt.date):
        return value
    found: dt.date = _read(dt.date.fromisoformat, value)
    return found


def _datetime(*, zoned: bool) -> Fit:
    def fit(value: Any) -> dt.datetime:
        if isinstance(value, dt.datetime):
            moment = value
        elif isinstance(value, dt.date):
            moment = dt.datetime.combine(value, dt.time())
        else:
            moment = _read(dt.datetime.fromisoformat, value)
        if zoned:
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
        return moment if moment.tzinfo is None else moment.astimezone(dt.UTC).replace(tzinfo=None)

    return fit


def _time(value: Any) -> dt.time:
    return value if isinstance(value, dt.time) else _read(dt.time.fromisoformat, value)


def _duration(value: Any) -> Any:
    """Databases read ISO 8601 durations by themselves."""
    if isinstance(value, dt.timedelta | str):
        return value
    raise _cannot_hold(value)


def _read(read: Callable[[str], Any], value: Any) -> Any:
    if not isinstance(value, str):
        raise _cannot_hold(value)
    try:
        return read(value)
    except ValueError:
        raise _cannot_hold(value) from None


def _cannot_hold(value: Any) -> ValueError:
    return ValueError(f"cannot hold {_shown(value)}")


_PLAIN: Mapping[Family, Fit] = {
    "boolean": _boolean,
    "date": _date,
    "time": _time,
    "duration": _duration,
}
