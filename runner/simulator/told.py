"""What a description tells of a value beyond its schema's keywords: `(minimum: 1; maximum: 5)`.

Owns   reading it, drawing numbers and sizes that keep to it, and `broken`, which makes of an answer one that still fits
       the schema as it was sent and no longer what is told: the API promises the one, and no more.
Knows  schemas of the API's subset. Constraints in this form are how clients tell what the subset has no keywords for
       (the SDK's `transform_schema` and ours); a model keeps to them mostly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from math import ceil, floor
from typing import Any, Protocol

from runner.simulator.output_schema import resolve

_TOLD = re.compile(r"([A-Za-z]+): (-?[0-9]+(?:\.[0-9]+)?)(?=[;)])")
_GROUP = re.compile(r"\(([^()]*)\)$")
_WORDS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems"}
    | {"maxItems"}
)
_FEW = 100
"""So many values are drawn from where only one end is told."""


class Source(Protocol):
    def below(self, bound: int) -> int: ...


def told_in(schema: Mapping[str, Any]) -> dict[str, Fraction]:
    """The constraints that a schema's description tells, by keyword."""
    description = schema.get("description")
    group = _GROUP.search(description) if isinstance(description, str) else None
    found = _TOLD.findall(group[0]) if group else ()
    return {word: Fraction(number) for word, number in found if word in _WORDS}


def number_within(kind: str, told: Mapping[str, Fraction], draws: Source) -> float:
    """A number that keeps to what is told."""
    step = told.get("multipleOf", Fraction(1) if kind == "integer" else Fraction(1, 10))
    low, high = _ends(told, step)
    if kind == "number" and low is not None and high is not None and low > high and "multipleOf" not in told:
        # Closer together than the step: what lies between them.
        ends = [told[word] for word in _LOWER + _UPPER if word in told]
        return float(sum(ends) / len(ends))
    if low is None:
        low = high - _FEW if high is not None else 0
    if high is None:
        high = low + _FEW
    value = step * (low + draws.below(max(1, high - low + 1)))
    return int(value) if kind == "integer" or value.denominator == 1 else float(value)


_LOWER = ("minimum", "exclusiveMinimum")
_UPPER = ("maximum", "exclusiveMaximum")


def _ends(told: Mapping[str, Fraction], step: Fraction) -> tuple[int | None, int | None]:
    """The least and the largest multiple of the step."""
    lows = [ceil(told["minimum"] / step)] if "minimum" in told else []
    lows += [floor(told["exclusiveMinimum"] / step) + 1] if "exclusiveMinimum" in told else []
    highs = [floor(told["maximum"] / step)] if "maximum" in told else []
    highs += [ceil(told["exclusiveMaximum"] / step) - 1] if "exclusiveMaximum" in told else []
    return max(lows, default=None), min(highs, default=None)


def text_within(text: str, told: Mapping[str, Fraction]) -> str:
    """The text, made longer or shorter as is told; its end stays where there is room for it."""
    least, most = int(told.get("minLength", 0)), told.get("maxLength")
    if len(text) < least:
        text = (text * (least // max(1, len(text)) + 1))[-least:]
    return text[len(text) - int(most) :] if most is not None and len(text) > most else text


def broken(schema: Mapping[str, Any], value: Any) -> Any:
    """The value with the first constraint that is told within it broken; the value itself where none is told."""
    changed = _broken(schema, schema, value)
    return value if changed is _SOUND else changed


_SOUND = object()


def _broken(schema: Mapping[str, Any], root: Mapping[str, Any], value: Any) -> Any:
    if "$ref" in schema:
        return _broken(resolve(schema["$ref"], root) or {}, root, value)
    for alternative in schema.get("anyOf", ()):
        changed = _broken(alternative, root, value)
        if changed is not _SOUND:
            return changed
    told = told_in(schema)
    if isinstance(value, str):
        return _broken_text(value, told)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _broken_number(value, told)
    if isinstance(value, list):
        return _broken_list(schema, root, value, told)
    if isinstance(value, dict):
        for name, item in value.items():
            changed = _broken(schema.get("properties", {}).get(name, {}), root, item)
            if changed is not _SOUND:
                return {**value, name: changed}
    return _SOUND


def _broken_text(value: str, told: Mapping[str, Fraction]) -> Any:
    if "maxLength" in told:
        return value + "x" * (int(told["maxLength"]) + 1 - len(value))
    least = int(told.get("minLength", 0))
    return value[: least - 1] if least else _SOUND


def _broken_number(value: float, told: Mapping[str, Fraction]) -> Any:
    for word in _UPPER:
        if word in told:
            return _as_given(value, floor(told[word]) + 1)
    for word in _LOWER:
        if word in told:
            return _as_given(value, ceil(told[word]) - 1)
    step = told.get("multipleOf")
    # An integer cannot miss a multiple of 1.
    if step is None or (isinstance(value, int) and step.denominator == 1 and step <= 1):
        return _SOUND
    return value + 1 if isinstance(value, int) and step.denominator == 1 else float(Fraction(value) + step / 2)


def _as_given(value: float, number: int) -> float:
    return number if isinstance(value, int) else float(number)


def _broken_list(
    schema: Mapping[str, Any], root: Mapping[str, Any], value: list[Any], told: Mapping[str, Fraction]
) -> Any:
    if told.get("minItems", 0) > 1:
        return value[:1]
    if "maxItems" in told and value:
        return [*value, *value[:1] * (int(told["maxItems"]) + 1 - len(value))]
    for number, item in enumerate(value):
        changed = _broken(schema.get("items", {}), root, item)
        if changed is not _SOUND:
            return [*value[:number], changed, *value[number + 1 :]]
    return _SOUND
