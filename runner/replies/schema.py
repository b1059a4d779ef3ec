"""The local check of structured output.

Owns   checking a value against the user's own JSON Schema (2020-12), compiled once a run: its formats asserted
       (`replies.formats`), its patterns read as ECMA-262 (`spec.patterns`), decimals multiplied as they are written.
       What is wrong is said by `replies.mismatches`.
Knows  JSON Schema by way of `jsonschema`. References stay inside the schema: nothing is ever fetched.

The API does constrain what it generates, but to its subset of JSON Schema, not under refusal or truncation, and
without a promise for the case of enum values; so every reply is checked here, against the whole schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry

from runner.catalog.schema_references import HOLDS_LIST, HOLDS_NAMED, HOLDS_SCHEMA
from runner.replies.formats import FORMATS
from runner.replies.mismatches import Words
from runner.spec.patterns import BadPattern, as_python

MAX_PROBLEMS = 5
"""A reply that is quite wrong has hundreds of errors; the first few say it."""


class Check:
    """A compiled schema. `problems` is empty for a value that fits."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        written: dict[str, str] = {}
        prepared = _prepared({name: value for name, value in schema.items() if name != "$schema"}, written)
        self._validator = _Validator(prepared, registry=Registry(), format_checker=_FORMAT_CHECKER)
        self._words = Words(written)

    def problems(self, value: Any) -> list[str]:
        """At most five short messages, each led by the JSON pointer of the place.

        A value that breaks the checker (nested too deeply, a number beyond floats) has a problem as well: the ledger
        rules on every reply again at each opening, so an exception here would stop the run for good.
        """
        try:
            told = (told for error in self._validator.iter_errors(value) for told in self._words.of(error))
            return list(islice(dict.fromkeys(islice(told, 4 * MAX_PROBLEMS)), MAX_PROBLEMS))
        except (RecursionError, OverflowError) as error:
            return [f"/: it cannot be checked ({error})"]


def _prepared(schema: Any, written: dict[str, str]) -> Any:
    """The schema with its patterns in Python's words; `written` tells each as it was."""
    if not isinstance(schema, Mapping):
        return schema
    prepared: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "pattern" and isinstance(value, str):
            prepared[keyword] = _translated(value, written)
        elif keyword in HOLDS_SCHEMA:
            prepared[keyword] = _prepared(value, written)
        elif keyword in HOLDS_LIST and isinstance(value, list):
            prepared[keyword] = [_prepared(part, written) for part in value]
        elif keyword in HOLDS_NAMED and isinstance(value, Mapping):
            prepared[keyword] = {
                _translated(name, written) if keyword == "patternProperties" else name: _prepared(part, written)
                for name, part in value.items()
            }
        else:
            prepared[keyword] = value
    return prepared


def _translated(pattern: str, written: dict[str, str]) -> str:
    try:
        translated = f"(?a:{as_python(pattern)})"
    except BadPattern:  # `runner check` has refused it before
        return pattern
    written[translated] = pattern
    return translated


def _multiple_of(_validator: Any, divisor: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """0.3 is a multiple of 0.1: as decimals, which is what was written, not as the floats nearest to them."""
    if isinstance(instance, bool) or not isinstance(instance, int | float):
        return
    if (_exact(instance) / _exact(divisor)).denominator != 1:
        yield ValidationError(f"{instance!r} is not a multiple of {divisor}")


def _exact(number: float) -> Fraction:
    return Fraction(number) if isinstance(number, int) else Fraction(Decimal(repr(number)))


def _text_only(check: Callable[[str], bool]) -> Callable[[object], bool]:
    return lambda value: not isinstance(value, str) or check(value)


def _format_checker() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name, (check, _) in FORMATS.items():
        checker.checks(name)(_text_only(check))
    return checker


_FORMAT_CHECKER = _format_checker()
_extended: Any = extend  # its stubs are not typed
_Validator: Any = _extended(Draft202012Validator, {"multipleOf": _multiple_of})
