"""Filters over lists, mappings and numbers.

Owns   Jinja's own, written again where its version is unbounded (`sum` of lists, `sort` that makes a lower-case copy
       of every text before anything is counted) or too kind (`int` and `float` that turn what is no number into 0);
       the lazy ones (`map`, `select` …) are Jinja's.
Knows  the printing rules and the meter. Lists arrive counted (`filters.py` sees to it).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from jinja2 import Environment, Undefined, pass_environment
from jinja2.filters import (
    do_batch,
    do_default,
    make_attrgetter,
    make_multi_attrgetter,
    sync_do_map,
    sync_do_reject,
    sync_do_rejectattr,
    sync_do_select,
    sync_do_selectattr,
    sync_do_slice,
)

from runner.templating.bounds import active
from runner.templating.failure import Refusal, word_for
from runner.templating.printing import json_text, text_of

_MAX_DIGITS = 4_300
"""Digits of a text that is read as a whole number: Python's own limit for `int`."""
_MAX_ROUND_PLACES = 308
"""The largest exponent of a float."""
_MAX_JSON_INDENT = 16
_NONE_GIVEN = object()


class Group(NamedTuple):
    """What `groupby` yields: the value, and the items that have it."""

    grouper: Any
    list: list[Any]


def _folded(value: Any) -> Any:
    """The key under which text is compared where case does not count."""
    if isinstance(value, str):
        active.get().text(len(value))
        return value.lower()
    return value


def _key(environment: Environment, attribute: str | int | None, case_sensitive: bool) -> Callable[[Any], Any]:
    return make_attrgetter(environment, attribute, postprocess=None if case_sensitive else _folded)


def batch(value: Iterable[Any], linecount: int, fill_with: Any = None) -> Iterator[list[Any]]:
    active.get().width(linecount, "batch", least=1)
    return do_batch(value, linecount, fill_with)


def slice_(value: Iterable[Any], slices: int, fill_with: Any = None) -> Iterator[list[Any]]:
    active.get().width(slices, "slice", least=1)
    return sync_do_slice(list(value), slices, fill_with)


def dictsort(
    value: Mapping[Any, Any], case_sensitive: bool = False, by: str = "key", reverse: bool = False
) -> list[tuple[Any, Any]]:
    if not isinstance(value, Mapping):
        raise Refusal(f"`dictsort` takes a mapping, not {word_for(type(value))}")
    if by not in ("key", "value"):
        raise Refusal(f"`dictsort` sorts by 'key' or 'value', not {by!r}")
    place = 0 if by == "key" else 1
    return sorted(
        value.items(), key=lambda item: item[place] if case_sensitive else _folded(item[place]), reverse=reverse
    )


@pass_environment
def first(environment: Environment, value: Iterable[Any]) -> Any:
    return next(iter(value), environment.undefined("the list is empty: it has no first item"))


@pass_environment
def last(environment: Environment, value: Iterable[Any]) -> Any:
    items = value if isinstance(value, Sequence) else list(value)
    return items[-1] if items else environment.undefined("the list is empty: it has no last item")


@pass_environment
def groupby(
    environment: Environment,
    value: Iterable[Any],
    attribute: str | int,
    default: Any = None,
    case_sensitive: bool = False,
) -> list[Group]:
    as_it_is = make_attrgetter(environment, attribute, default=default)
    key = make_attrgetter(environment, attribute, postprocess=None if case_sensitive else _folded, default=default)
    groups = (list(items) for _, items in itertools.groupby(sorted(value, key=key), key))
    return [Group(as_it_is(items[0]), items) for items in groups]


def items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Undefined):
        str(value)
        return []
    if not isinstance(value, Mapping):
        raise Refusal(f"`items` takes a mapping, not {word_for(type(value))}")
    return list(value.items())


@pass_environment
def join(environment: Environment, value: Iterable[Any], d: Any = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    separator = text_of(d)
    meter = active.get()
    parts: list[str] = []
    size = 0
    for item in value:
        part = text_of(item)
        parts.append(part)
        size += len(part) + len(separator)
        if size > meter.bounds.output_bytes:
            meter.text(size)
    return separator.join(parts)


def length(value: Any) -> int:
    return len(value)


def list_(value: Iterable[Any]) -> list[Any]:
    made = list(value)
    active.get().items(len(made))
    return made


@pass_environment
def sort(
    environment: Environment,
    value: Iterable[Any],
    reverse: bool = False,
    case_sensitive: bool = False,
    attribute: str | int | None = None,
) -> list[Any]:
    key = make_multi_attrgetter(environment, attribute, postprocess=None if case_sensitive else _folded)
    return sorted(value, key=key, reverse=reverse)


@pass_environment
def unique(
    environment: Environment, value: Iterable[Any], case_sensitive: bool = False, attribute: str | int | None = None
) -> list[Any]:
    key = _key(environment, attribute, case_sensitive)
    seen: dict[Any, Any] = {}
    for item in value:
        seen.setdefault(key(item), item)
    return list(seen.values())


@pass_environment
def min_(environment: Environment, value: Iterable[Any], case_sensitive: bool = False, attribute: Any = None) -> Any:
    return _outermost(min, environment, value, case_sensitive, attribute)


@pass_environment
def max_(environment: Environment, value: Iterable[Any], case_sensitive: bool = False, attribute: Any = None) -> Any:
    return _outermost(max, environment, value, case_sensitive, attribute)


def _outermost(
    choose: Callable[..., Any], environment: Environment, value: Iterable[Any], case_sensitive: bool, attribute: Any
) -> Any:
    empty = environment.undefined("the list is empty: it has no smallest or largest item")
    return choose(value, key=_key(environment, attribute, case_sensitive), default=empty)


@pass_environment
def sum_(environment: Environment, value: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    total = _addend(start)
    for item in value:
        total = total + _addend(item)
    return total


def _addend(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)
    if not isinstance(value, int | float | Decimal):
        raise Refusal(
            f"`sum` adds numbers, not {word_for(type(value))}", '`| map("float") | sum` turns texts into numbers'
        )
    return value


def reverse(value: Any) -> Any:
    return value[::-1] if isinstance(value, str) else list(value)[::-1]


def tojson(value: Any, indent: int | None = None) -> str:
    """JSON with `<>&'` and non-ASCII as they are; compact without `indent`."""
    if indent is not None and not 0 <= indent <= _MAX_JSON_INDENT:
        raise Refusal(f"`tojson` indents by 0 to {_MAX_JSON_INDENT} blanks")
    return json_text(value, indent)


def abs_(value: Any) -> Any:
    if not isinstance(value, int | float | Decimal):
        raise Refusal(
            f"`abs` takes a number, not {word_for(type(value))}", "turn text into a number first: `| float | abs`"
        )
    return abs(value)


def round_(value: Any, precision: Any = 0, method: str = "common") -> float:
    if not isinstance(value, int | float | Decimal):
        raise Refusal(
            f"`round` takes a number, not {word_for(type(value))}", "turn text into a number first: `| float | round`"
        )
    if method not in ("common", "ceil", "floor"):
        raise Refusal("`round` takes the method 'common', 'ceil' or 'floor'")
    if isinstance(precision, bool) or not isinstance(precision, int) or abs(precision) > _MAX_ROUND_PLACES:
        raise Refusal(f"`round` takes a precision from {-_MAX_ROUND_PLACES} to {_MAX_ROUND_PLACES}")
    number = float(value)
    if method == "common":
        return round(number, precision)
    scale = 10.0**precision
    return float((math.ceil if method == "ceil" else math.floor)(number * scale)) / scale


def int_(value: Any, default: Any = _NONE_GIVEN, base: int = 10) -> Any:
    """A whole number; the fraction is cut off. What is no number is an error, or `default` where one is given."""
    try:
        return _whole(value, base)
    except (ValueError, OverflowError, InvalidOperation):
        return _not_a_number(value, default, "int")


def _whole(value: Any, base: int) -> int:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        if "_" in text or len(text) > _MAX_DIGITS:
            raise ValueError
        try:
            return int(text, base)
        except ValueError:
            if base != 10:
                raise
            return int(float(text))
    if isinstance(value, Decimal):
        if value.is_finite() and value.adjusted() > _MAX_DIGITS:
            raise OverflowError
        return int(value)
    if isinstance(value, float):
        return int(value)
    raise ValueError


def float_(value: Any, default: Any = _NONE_GIVEN) -> Any:
    """A float. What is no number (`nan` too) is an error, or `default` where one is given."""
    try:
        if not isinstance(value, int | float | str | Decimal) or (isinstance(value, str) and "_" in value):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        return number
    except (ValueError, OverflowError):
        return _not_a_number(value, default, "float")


def _not_a_number(value: Any, default: Any, name: str) -> Any:
    if default is not _NONE_GIVEN:
        return default
    shown = "null" if value is None else repr(value[:80]) if isinstance(value, str) else word_for(type(value))
    raise Refusal(
        f"{shown} is no number (filter `{name}`)",
        f"say what stands for it: `| {name}(0)`",
        "not-a-number",
    )


LIST_FILTERS: dict[str, Callable[..., Any]] = {
    "batch": batch,
    "dictsort": dictsort,
    "first": first,
    "groupby": groupby,
    "items": items,
    "join": join,
    "last": last,
    "list": list_,
    "map": sync_do_map,
    "max": max_,
    "min": min_,
    "reject": sync_do_reject,
    "rejectattr": sync_do_rejectattr,
    "reverse": reverse,
    "select": sync_do_select,
    "selectattr": sync_do_selectattr,
    "slice": slice_,
    "sort": sort,
    "sum": sum_,
    "unique": unique,
}
"""Their first argument is counted as steps before they see it."""

OTHER_FILTERS: dict[str, Callable[..., Any]] = {
    "abs": abs_,
    "count": length,
    "float": float_,
    "int": int_,
    "length": length,
    "round": round_,
    "tojson": tojson,
}

UNDEFINED_FILTERS: dict[str, Callable[..., Any]] = {"d": do_default, "default": do_default}
"""They may be given a name that is not there."""
