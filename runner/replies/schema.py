"""The local check of structured output.

Owns   checking a value against the user's own JSON Schema (2020-12), compiled once a run. Of the formats, those are
       asserted that jsonschema checks by itself: date, email, ipv4, ipv6, regex, uuid and the internationalised ones.
Knows  JSON Schema by way of `jsonschema`. References stay inside the schema: nothing is ever fetched.

The API does constrain what it generates, but to its subset of JSON Schema, not under refusal or truncation, and
without a promise for the case of enum values; so every reply is checked here, against the whole schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry

MAX_PROBLEMS = 5
"""A reply that is quite wrong has hundreds of errors; the first few say it."""
_MAX_SHOWN = 80
"""Characters of a wrong value that a message shows: enough to know it by."""


class Check:
    """A compiled schema. `problems` is empty for a value that fits."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = Draft202012Validator(
            dict(schema), registry=Registry(), format_checker=Draft202012Validator.FORMAT_CHECKER
        )

    def problems(self, value: Any) -> list[str]:
        """At most five short messages, each led by the JSON pointer of the place.

        A value that breaks the checker (nested too deeply, a number beyond floats) has a problem as well: the ledger
        rules on every reply again at each opening, so an exception here would stop the run for good.
        """
        try:
            return [_message(error) for error in islice(self._validator.iter_errors(value), MAX_PROBLEMS)]
        except (RecursionError, OverflowError) as error:
            return [f"/: it cannot be checked ({error})"]


def _message(error: ValidationError) -> str:
    return f"{_pointer(error.absolute_path)}: {_shortened(error.message)}"


def _pointer(path: Iterable[str | int]) -> str:
    """RFC 6901, with `/` alone for the whole value, which reads better than nothing."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in path]
    return "/" + "/".join(parts)


def _shortened(message: str) -> str:
    """jsonschema puts the value's repr in front of what is wrong with it; only its middle is dispensable."""
    if len(message) <= 2 * _MAX_SHOWN:
        return message
    return f"{message[:_MAX_SHOWN]}…{message[-_MAX_SHOWN:]}"
