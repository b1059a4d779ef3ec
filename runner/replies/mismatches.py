"""What is wrong with a value that does not fit its schema, in words for people and for the model that is asked again.

Owns   `messages`: an error of `jsonschema` as short messages, each led by the JSON pointer of the place, saying what
       was expected and what was found.
Knows  the keywords of JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from jsonschema.exceptions import ValidationError

from runner.encoding import encode_text
from runner.replies.formats import FORMATS

_MAX_SHOWN = 80
"""Characters of a wrong value that a message shows: enough to know it by."""
_MAX_LISTED = 20
"""Names or values that a message lists."""

_NOUNS = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}


def messages(error: ValidationError) -> Iterator[str]:
    """One message, or a few where the error comes down to others within the value."""
    if error.validator in ("anyOf", "oneOf") and error.context:
        yield from _alternatives(error)
        return
    yield f"{pointer(error.absolute_path)}: {_said(error)}"


def _said(error: ValidationError) -> str:
    if error.validator == "additionalProperties" and error.validator_value is False:
        return _unexpected(error)
    say = _SAID.get(str(error.validator))
    return say(error) if say is not None else _shortened(error.message)


def _unexpected(error: ValidationError) -> str:
    schema: Any = error.schema
    instance: Any = error.instance
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    extra = [name for name in instance if name not in known and not any(re.search(p, name) for p in patterns)]
    several = "are no properties" if len(extra) > 1 else "is no property"
    expected = f"; expected {_listed(known)}" if known else ""
    return f"{_listed(extra)} {several} here{expected}"


def _alternatives(error: ValidationError) -> Iterator[str]:
    """What keeps a value from the alternative that it is nearest to."""
    by_branch: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        by_branch.setdefault(inner.relative_schema_path[0], []).append(inner)
    branches = list(by_branch.values())
    near = [errors for errors in branches if not any(_is_other_type(inner) for inner in errors)]
    if not near:
        kinds: dict[str, None] = {}
        for inner in (inner for errors in branches for inner in errors if _is_other_type(inner)):
            kinds.update(dict.fromkeys(_types(inner)))
        yield f"{pointer(error.absolute_path)}: expected {_either(kinds)}, found {_found(error.instance)}"
        return
    nearest = min(near, key=lambda errors: (any(_is_other_value(inner) for inner in errors), len(errors)))
    told = [message for inner in nearest for message in messages(inner)]
    meant = [errors for errors in near if not any(_is_other_value(inner) for inner in errors)]
    if len(near) == 1 or meant == [nearest]:
        yield from told
    else:
        yield f"{told[0]} (this is one of {len(branches)} forms that it may have, and it has none)"


def _is_other_type(error: ValidationError) -> bool:
    return error.validator == "type" and not error.relative_path


def _is_other_value(error: ValidationError) -> bool:
    return error.validator in ("const", "enum")


def _types(error: ValidationError) -> Sequence[str]:
    declared: Any = error.validator_value
    return [declared] if isinstance(declared, str) else declared


def _expected_type(error: ValidationError) -> str:
    return f"expected {_either(_types(error))}, found {_found(error.instance)}"


def _expected_values(error: ValidationError) -> str:
    values: Any = error.validator_value
    shown = [_shown(value) for value in values[:_MAX_LISTED]] + (["…"] if len(values) > _MAX_LISTED else [])
    return f"expected one of {', '.join(shown)}, found {_shown(error.instance)}"


def _missing(error: ValidationError) -> str:
    required: Any = error.validator_value
    # The error does not say which; there is one for each that is missing, in order.
    name = next((name for name in required if error.message.startswith(f"{name!r} is a required")), None)
    return _shortened(error.message) if name is None else f"`{name}` is missing"


def _wrong_format(error: ValidationError) -> str:
    name = str(error.validator_value)
    return f"expected {FORMATS[name][1]} (format {name}), found {_shown(error.instance)}"


def _sized(word: str, unit: str, units: str) -> Callable[[ValidationError], str]:
    def say(error: ValidationError) -> str:
        size: Any = error.instance
        named = unit if error.validator_value == 1 else units
        return f"expected {word} {error.validator_value} {named}, found {len(size)}: {_shown(error.instance)}"

    return say


def _compared(word: str) -> Callable[[ValidationError], str]:
    return lambda error: f"expected {word} {_shown(error.validator_value)}, found {_shown(error.instance)}"


_SAID: Mapping[str, Callable[[ValidationError], str]] = {
    "type": _expected_type,
    "enum": _expected_values,
    "const": lambda error: f"expected {_shown(error.validator_value)}, found {_shown(error.instance)}",
    "required": _missing,
    "format": _wrong_format,
    "pattern": lambda error: f"expected text that matches {error.validator_value}, found {_shown(error.instance)}",
    "minimum": _compared("at least"),
    "maximum": _compared("at most"),
    "exclusiveMinimum": _compared("more than"),
    "exclusiveMaximum": _compared("less than"),
    "multipleOf": _compared("a multiple of"),
    "minLength": _sized("at least", "character", "characters"),
    "maxLength": _sized("at most", "character", "characters"),
    "minItems": _sized("at least", "item", "items"),
    "maxItems": _sized("at most", "item", "items"),
    "minProperties": _sized("at least", "property", "properties"),
    "maxProperties": _sized("at most", "property", "properties"),
    "uniqueItems": lambda error: f"expected items that all differ, found {_shown(error.instance)}",
    "contains": lambda error: (
        f"expected more or other items, found {_shown(error.instance)}: {_shortened(error.message, 60)}"
    ),
    "not": lambda error: f"{_shown(error.instance)} is excluded by {_shown(error.validator_value)}",
    "oneOf": lambda error: f"{_shown(error.instance)} has more than one of the forms of which it may have one",
    "None": lambda error: f"nothing may be here, found {_shown(error.instance)}",
}


# -- values in words ---------------------------------------------------------------------------------------------------


def pointer(path: Iterable[str | int]) -> str:
    """RFC 6901, with `/` alone for the whole value, which reads better than nothing."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in path]
    return "/" + "/".join(parts)


def _either(types: Iterable[str]) -> str:
    return " or ".join(_NOUNS.get(name, name) for name in types)


def _found(value: Any) -> str:
    match value:
        case bool() | None:
            return _shown(value)
        case str():
            return f"the text {_shown(value)}"
        case int() | float():
            return f"the number {_shown(value)}"
        case list():
            return f"the list {_shown(value)}"
        case _:
            return f"the object {_shown(value)}"


def _shown(value: Any) -> str:
    try:
        return _shortened(encode_text(value))
    except (TypeError, ValueError):  # a number of thousands of digits
        return type(value).__name__


def _listed(names: Iterable[str]) -> str:
    quoted = [f"`{_shortened(name)}`" for name in names]
    return ", ".join(quoted[:_MAX_LISTED]) + (", …" if len(quoted) > _MAX_LISTED else "")


def _shortened(text: str, most: int = _MAX_SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
