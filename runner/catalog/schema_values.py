"""Values in a schema: the schema of the API's subset that accepts them, and when two of them are the same.

Owns   `schema_of_values`, for `enum` and `const`, which the API takes of scalars only; equality and types of JSON
       values.
Knows  JSON's data model (JSON Schema 2020-12, core section 4.2): `1` and `1.0` are one value, `1` and `true` are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runner.catalog.schema_subset import is_scalar


def schema_of_values(values: Sequence[Any], declared: Sequence[str] | None, *, as_const: bool) -> dict[str, Any]:
    """A schema that accepts these values, of which there is one at least. `declared`: their types as far as they are
    said; `as_const`: a single one is written as `const`."""
    scalars = [value for value in values if is_scalar(value)]
    if len(scalars) < len(values):
        made = [_exactly(value) for value in values if not is_scalar(value)]
        if scalars:
            made.insert(0, {"enum": scalars})
        unlike = [schema for number, schema in enumerate(made) if schema not in made[:number]]
        return unlike[0] if len(unlike) == 1 else {"anyOf": unlike}
    # Several types would count as a union, and say nothing that the values do not.
    said = {"type": declared[0]} if declared is not None and len(declared) == 1 else {}
    if len(values) == 1 and as_const:
        return {**said, "const": values[0]}
    return {**said, "enum": list(values)}


def _exactly(value: Any) -> dict[str, Any]:
    """A schema that accepts a value, and of others as few as the subset can tell apart from it."""
    if isinstance(value, Mapping):
        return {
            "type": "object",
            "properties": {name: _exactly(item) for name, item in value.items()},
            "required": list(value),
            "additionalProperties": False,
        }
    if isinstance(value, list):
        unlike: list[dict[str, Any]] = []
        for item in value:
            made = _exactly(item)
            if made not in unlike:
                unlike.append(made)
        if not unlike:
            return {"type": "array", "items": {"type": "null"}}
        return {"type": "array", "items": unlike[0] if len(unlike) == 1 else {"anyOf": unlike}, "minItems": 1}
    return {"const": value}


def with_integers(types: Sequence[str]) -> set[str]:
    return {*types, *(["integer"] if "number" in types else [])}


def json_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case list():
            return "array"
        case _:
            return "object"


def is_same(one: Any, other: Any) -> bool:
    """Equality of JSON values: `1` and `1.0` are equal, `1` and `true` are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(is_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_same(one[name], other[name]) for name in one)
    return bool(one == other)
