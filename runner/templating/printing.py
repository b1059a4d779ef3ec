"""How a value becomes text: the same rules wherever a template turns a value into text.

    null                     nothing (and is counted)
    true, false              lower case
    whole numbers, floats    digits; the shortest text that reads back as the same float
    Decimal                  plain digits, no exponent
    date, time, datetime     ISO 8601; so do durations
    lists, mappings          compact JSON; non-ASCII and `<>&'` as they are, order kept
    bytes                    an error: what is no text has no place in a prompt's text

Owns   `text_of` (printing, `~`, `| string`, `| join` and every filter on text) and `json_text` (`| tojson`).
Knows  the meter: JSON is measured before it is made, because `[a, a, a]` nested ten deep is short to write and endless
       to print.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from jinja2 import Undefined

from runner.templating.bounds import Meter, active, counted
from runner.templating.failure import Refusal
from runner.values import TEXT_FORMS, json_form


def text_of(value: Any) -> str:
    """The text of a value, by the rules above. Raises Refusal for what has none."""
    writer = _WRITERS.get(type(value))
    return writer(value) if writer is not None else _seldom(value)


def _null(_: None) -> str:
    active.get().nulls += 1
    return ""


def _seldom(value: Any) -> str:
    if isinstance(value, Undefined):
        return str(value)  # raises for an unknown name; an inline `if` without `else` prints nothing
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise Refusal(
            f"{len(value):,} bytes cannot be printed as text",
            'pass bytes to a block by value, `image: "{{ row.photo }}"`, or decode the column in the dataset',
        )
    for kind, writer in _WRITERS.items():
        if isinstance(value, kind):
            return writer(value)
    if isinstance(value, Mapping | Sequence | Iterator):
        return json_text(value)
    raise Refusal(*_unprintable(value))


def _unprintable(value: Any) -> tuple[str, str | None]:
    kind = type(value).__name__
    if kind in {"Macro", "BlockReference"} or callable(value):
        return "a macro or function is printed without being called", "add the brackets: `name()`"
    if kind == "TemplateModule":
        return "an imported template cannot be printed", "use `{% include %}`, or call one of its macros"
    return f"a value of type {kind} cannot be printed", None


def json_text(value: Any, indent: int | None = None) -> str:
    """Compact JSON of a value, or indented. Dates are ISO texts; a Decimal is a number where JSON can hold it."""
    if isinstance(value, Iterator):
        value = list(counted(value))
    meter = active.get()
    _refuse_endless(value, meter, indent or 0)
    encoder = (
        _COMPACT
        if indent is None
        else json.JSONEncoder(ensure_ascii=False, indent=indent, allow_nan=False, default=_json_value)
    )
    try:
        text = encoder.encode(value)
    except ValueError as error:
        raise Refusal("NaN and infinity cannot be written as JSON") from error
    meter.text(len(text))
    return text


def _refuse_endless(value: Any, meter: Meter, indent: int) -> None:
    """Measure what JSON would at least take, and stop as soon as that is too much."""
    limit = meter.bounds.output_bytes
    size = 0
    pending: list[tuple[int, Any]] = [(1, value)]
    while pending:
        depth, item = pending.pop()
        if isinstance(item, str):
            size += len(item) + 2
            continue
        size += 1
        if isinstance(item, Mapping):
            members: Sequence[Any] = list(item.values())
            size += sum(len(key) + 4 if isinstance(key, str) else 4 for key in item)
        elif isinstance(item, list | tuple):
            members = item
        else:
            continue
        size += len(members) * (1 + indent * depth)
        if size > limit:
            meter.text(size)
        pending.extend((depth + 1, member) for member in members)
    if size > limit:
        meter.text(size)


def _json_value(value: Any) -> Any:
    """What the encoder does not know, one level at a time."""
    if isinstance(value, dt.date | dt.time | dt.timedelta | Decimal):
        return json_form(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Undefined):
        str(value)  # raises for an unknown name
        return None
    if isinstance(value, Iterator):
        return list(counted(value))
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return list(value)
    raise Refusal(f"a value of type {type(value).__name__} cannot be written as JSON")


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_json_value)

_WRITERS: dict[type, Callable[[Any], str]] = {
    **TEXT_FORMS,
    type(None): _null,
    dict: json_text,
    list: json_text,
    tuple: json_text,
}
"""By type, in an order that also serves subclasses."""
