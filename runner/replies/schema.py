"""The local check of structured output.

Owns   checking a value against the user's own JSON Schema (2020-12), compiled once a run: its formats asserted
       (`replies.formats`), its patterns read as ECMA-262 and searched for in a time that is bounded
       (`spec.patterns`), decimals multiplied as they are written. What is wrong is said by `replies.mismatches`.
Knows  JSON Schema by way of `jsonschema`. References stay inside the schema: nothing is ever fetched.

The API does constrain what it generates, but to its subset of JSON Schema, not under refusal or truncation, and
without a promise for the case of enum values; so every reply is checked here, against the whole schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from runner.catalog.schema_references import (
    HOLDS_LIST,
    HOLDS_NAMED,
    HOLDS_SCHEMA,
    REFERENCES,
    References,
    SchemaPath,
    schemas_in,
)
from runner.replies.formats import FORMATS
from runner.replies.mismatches import messages
from runner.spec.patterns import BadPattern, compile_pattern

MAX_PROBLEMS = 5
"""A reply that is quite wrong has hundreds of errors; the first few say it."""


class Check:
    """A compiled schema. `problems` is empty for a value that fits."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = {name: value for name, value in schema.items() if name != "$schema"}
        self._by_name = _has_patterned_names(self._schema)
        if self._by_name:
            self._schema = _with_anchors(self._schema)
        self._validator = None if self._by_name else _validator(self._schema)

    def problems(self, value: Any) -> list[str]:
        """At most five short messages, each led by the JSON pointer of the place.

        A value that breaks the checker (nested too deeply, a number beyond floats) has a problem as well: the ledger
        rules on every reply again at each opening, so an exception here would stop the run for good.
        """
        try:
            validator = self._validator or _validator(_with_names(self._schema, _names(value)))
            told = (told for error in validator.iter_errors(value) for told in messages(error))
            return list(islice(dict.fromkeys(islice(told, 4 * MAX_PROBLEMS)), MAX_PROBLEMS))
        except (RecursionError, OverflowError, BadPattern, Unresolvable) as error:
            return [f"/: it cannot be checked ({error})"]


def _validator(schema: Mapping[str, Any]) -> Any:
    return _Validator(schema, registry=Registry(), format_checker=_FORMAT_CHECKER)


def _has_patterned_names(schema: Mapping[str, Any]) -> bool:
    return any("patternProperties" in part for _, part in schemas_in(schema))


def _with_anchors(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with references by anchor where they lead through `patternProperties`: the names there, which are part
    of a pointer, are others for each value."""
    anchored = deepcopy(dict(schema))
    references = References(anchored)
    schemas: dict[SchemaPath, Any] = dict(schemas_in(anchored))
    for number, part in enumerate(schemas.values()):
        for keyword in part.keys() & REFERENCES:
            path = references.place(part[keyword])
            if path is not None and "patternProperties" in path and path in schemas:
                # No author's anchor has a colon.
                part[keyword] = "#" + schemas[path].setdefault("$anchor", f"pattern:{number}")
    return anchored


def _with_names(schema: Any, names: frozenset[str]) -> Any:
    """The schema with each pattern of `patternProperties` made the list of those of these names that it matches: the
    library searches for patterns by itself there, and a search for names as they are has no ways to choose from."""
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in HOLDS_SCHEMA:
            made[keyword] = _with_names(value, names)
        elif keyword in HOLDS_LIST and isinstance(value, list):
            made[keyword] = [_with_names(part, names) for part in value]
        elif keyword in HOLDS_NAMED and isinstance(value, Mapping):
            made[keyword] = {
                _matched(name, number, names) if keyword == "patternProperties" else name: _with_names(part, names)
                for number, (name, part) in enumerate(value.items())
            }
        else:
            made[keyword] = value
    return made


def _matched(pattern: str, number: int, names: frozenset[str]) -> str:
    """`number` tells patterns apart that match the same names."""
    search = compile_pattern(pattern).search
    listed = "|".join(re.escape(name) for name in sorted(names) if search(name))
    return rf"\A(?:{listed})\Z(?#{number})" if listed else f"(?!)(?#{number})"


def _names(value: Any) -> frozenset[str]:
    """All property names in a value."""
    names: set[str] = set()
    pending = [value]
    while pending:
        match pending.pop():
            case dict() as mapping:
                names.update(mapping)
                pending.extend(mapping.values())
            case list() as items:
                pending.extend(items)
            case _:
                pass
    return frozenset(names)


def _pattern(_validator: Any, pattern: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not compile_pattern(pattern).search(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


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
_Validator: Any = _extended(Draft202012Validator, {"multipleOf": _multiple_of, "pattern": _pattern})
