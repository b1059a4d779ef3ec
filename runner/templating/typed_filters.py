"""Filters that make dates and decimals of texts, so that a template can compare a column with one: `row.day >=
("2026-01-31" | date)`.

Owns   `date`, `datetime` and `decimal`.
Knows  the values that rows hold. What is no such value is refused, never guessed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from runner.templating.failure import Refusal, word_for


def to_date(value: Any) -> dt.date:
    """A date; of a datetime its day, of a text an ISO 8601 date."""
    if isinstance(value, dt.datetime):
        return value.date()
    if isinstance(value, dt.date):
        return value
    found: dt.date = _read("date", dt.date.fromisoformat, value, "2026-01-31")
    return found


def to_datetime(value: Any) -> dt.datetime:
    """A datetime; of a date its first moment, of a text an ISO 8601 date with or without a time and a zone."""
    if isinstance(value, dt.datetime):
        return value
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a date has no zone
    found: dt.datetime = _read("datetime", dt.datetime.fromisoformat, value, "2026-01-31T12:00:00+02:00")
    return found


def to_decimal(value: Any) -> Decimal:
    """A Decimal, exact; of a float its shortest digits."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(repr(value))
    try:
        found: Decimal = _read("decimal", Decimal, value, "12.50")
    except InvalidOperation:
        raise _unreadable("decimal", "12.50") from None
    return found


def _read(name: str, read: Callable[[str], Any], value: Any, example: str) -> Any:
    if not isinstance(value, str):
        raise Refusal(f"filter `{name}`: {word_for(type(value))} is no text", f'give a text like "{example}"')
    try:
        return read(value.strip())
    except ValueError:
        raise _unreadable(name, example) from None


def _unreadable(name: str, example: str) -> Refusal:
    return Refusal(f"filter `{name}`: the text cannot be read", f'it reads texts like "{example}"')


TYPED_FILTERS: Mapping[str, Callable[..., Any]] = {"date": to_date, "datetime": to_datetime, "decimal": to_decimal}
