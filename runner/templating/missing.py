"""What stands for a name or item that is not there, and what it says when it is used.

Owns   `Missing`, the strict undefined: testing it with `is defined` and giving it a `default` work, anything else
       fails with the name, what was looked in and the names there are.
Knows  the meter's variables, so that a mapping can be called by the name the author knows it by (`row`, `assets`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined
from jinja2.exceptions import TemplateRuntimeError, UndefinedError
from jinja2.utils import missing as absent

from runner.templating.bounds import active
from runner.templating.failure import Refusal, did_you_mean, word_for

_NOT_HERE = {
    "lipsum": "write the text out",
    "cycler": "use `loop.cycle(…)`",
    "joiner": "use `{% if not loop.first %}, {% endif %}` or the filter `join`",
}
"""Globals of Jinja that this sandbox does not have, and what to use."""

FILTER_FOR_METHOD = {
    "capitalize": "capitalize",
    "center": "center(…)",
    "count": "length",
    "format": "format(…)",
    "isoformat": "string",
    "items": "items",
    "join": "join(…)",
    "keys": "list",
    "ljust": "format(…)",
    "lower": "lower",
    "lstrip": "trim",
    "replace": "replace(…)",
    "reverse": "reverse",
    "rjust": "format(…)",
    "rstrip": "trim",
    "sort": "sort",
    "split": "split(…)",
    "splitlines": 'split("\\n")',
    "strftime": "string",
    "strip": "trim",
    "title": "title",
    "upper": "upper",
    "values": "items",
}
"""Python methods that people reach for, and the filter that does it."""


class Missing(StrictUndefined):
    """A name that is not there. `obj` is what it was looked up in, or nothing for a variable."""

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = absent,
        name: str | int | None = None,
        exc: type[TemplateRuntimeError] = UndefinedError,
    ) -> None:
        super().__init__(hint, obj, name, exc)  # type: ignore[arg-type]  # a list's place is a name too
        # Jinja raises `self._undefined_exception(message)`; a function in its place lets the hint come along.
        self._undefined_exception = self._refusal  # type: ignore[assignment]

    def _refusal(self, _: str = "") -> Refusal:
        if self._undefined_hint:
            return Refusal(self._undefined_hint)
        if self._undefined_obj is absent:
            return unknown_variable(str(self._undefined_name))
        return unknown_item(self._undefined_obj, self._undefined_name)

    def refuse(self) -> None:
        """Raise what is wrong with using this."""
        raise self._refusal()


def unknown_variable(name: str) -> Refusal:
    cure = _NOT_HERE.get(name) or did_you_mean(name, active.get().variables, what="Names here")
    return Refusal(f"`{name}` is not defined", cure, "unknown-name")


def unknown_item(holder: Any, name: Any) -> Refusal:
    """`name` was looked up in `holder`, which does not have it."""
    if isinstance(holder, Mapping):
        label = _label(holder)
        keys = [str(key) for key in holder]
        what, plural = ("column", "Columns") if label == "row" else ("item", "Items")
        place = f"`{label}`" if label else "this mapping"
        nothing = None if keys else f"{place} is empty"
        cure = did_you_mean(str(name), keys, what=plural) or nothing
        if name in FILTER_FOR_METHOD:
            method = f"`a.b` looks up an item, never a method; use the filter `| {FILTER_FOR_METHOD[name]}`"
            cure = f"{method}. {cure}" if cure else method
        return Refusal(f"{place} has no {what} `{name}`", cure, "unknown-column" if label == "row" else "unknown-item")
    if holder is None:
        return Refusal(
            f"null has no item `{name}`", "test it first: `{% if x is not none %}…{% endif %}`", "unknown-item"
        )
    if isinstance(holder, Sequence) and isinstance(name, int) and not isinstance(name, bool):
        return Refusal(f"{word_for(type(holder))} of {len(holder)} has no item {name}", None, "unknown-item")
    return Refusal(
        f"{word_for(type(holder))} has no item `{name}`: `a.b` looks up an item, methods cannot be called",
        f"use the filter `| {FILTER_FOR_METHOD[name]}`" if name in FILTER_FOR_METHOD else None,
        "unknown-item",
    )


def _label(holder: Any) -> str | None:
    """By what name the template knows a mapping: a variable, or an item of one."""
    variables = active.get().variables
    for name, value in variables.items():
        if value is holder:
            return name
    for name, value in variables.items():
        if isinstance(value, Mapping):
            for key, item in value.items():
                if item is holder:
                    return f"{name}.{key}"
    return None
