"""Which JSON Schemas the API takes for structured output.

Owns   the refusals: an object without `additionalProperties: false`, recursion, foreign references, and every keyword
       that the API's subset does not have (bounds on numbers, lengths and items, patterns, `oneOf`, `not`,
       conditionals).
Knows  schemas only. A schema that passes is remembered by its bytes, since all rows of a job send the same one.

Source: the structured-outputs page (October 2026) and the SDK's `lib/_parse/_transform.py` (2.12.0), which rewrites a
schema into this subset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from runner.simulator.refusal import Refused

_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_ANNOTATIONS = frozenset({"$schema", "$id", "$comment", "title", "description", "default", "examples"})
_ANYWHERE = _ANNOTATIONS | {"$defs", "definitions", "$ref", "type", "enum", "const", "anyOf", "allOf"}
_OF_TYPE: Mapping[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems"}),
    "string": frozenset({"format"}),
}
FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")

_MAX_OPTIONAL = 24
_MAX_UNIONS = 16
"""Optional properties and union types in one schema. Source: structured-outputs page, "Schema complexity limits"."""

_REMEMBERED = 1_000
_accepted: set[bytes] = set()


def check_schema(schema: Mapping[str, Any], path: str) -> None:
    """Raise Refused for a schema outside the subset; `path` is where the request holds it."""
    data = orjson.dumps(schema)
    if data in _accepted:
        return
    _Check(schema, path).run()
    if len(_accepted) >= _REMEMBERED:
        _accepted.clear()
    _accepted.add(data)


def resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema that a local `$ref` names, None where there is none."""
    value: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        value = value.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(value, dict) else None
    return value if reference.startswith("#") and isinstance(value, dict) else None


def types_of(schema: Mapping[str, Any]) -> list[str]:
    declared = schema.get("type")
    return declared if isinstance(declared, list) else [declared] if declared is not None else []


class _Check:
    """One pass over one schema; counts what the API bounds."""

    def __init__(self, root: Mapping[str, Any], path: str) -> None:
        self._root = root
        self._path = path
        self._optional = 0
        self._unions = 0

    def run(self) -> None:
        self._check(self._root, ())
        if self._optional > _MAX_OPTIONAL or self._unions > _MAX_UNIONS:
            raise Refused(
                f"{self._path}: Schema is too complex: {self._optional} optional parameters (at most {_MAX_OPTIONAL}), "
                f"{self._unions} parameters with union types (at most {_MAX_UNIONS})"
            )

    def _refuse(self, message: str) -> Refused:
        return Refused(f"{self._path}: {message}")

    def _check(self, schema: Any, open_references: tuple[str, ...]) -> None:
        if not isinstance(schema, dict):
            raise self._refuse("Input should be a valid dictionary")
        types = types_of(schema)
        unknown = [name for name in types if name not in _TYPES]
        if unknown:
            raise self._refuse(f"Invalid type {unknown[0]!r}")
        self._check_keywords(schema, types)
        if "$ref" in schema:
            self._check_reference(schema["$ref"], open_references)
        elif not types and not schema.keys() & {"enum", "const", "anyOf", "allOf"}:
            raise self._refuse("Schema must have a 'type', 'anyOf', 'allOf', 'enum', 'const' or '$ref'")
        if "object" in types:
            self._check_object(schema)
        if "anyOf" in schema or len(types) > 1:
            self._unions += 1
        for inner in _inner_schemas(schema):
            self._check(inner, open_references)

    def _check_keywords(self, schema: Mapping[str, Any], types: list[str]) -> None:
        allowed = _ANYWHERE.union(*(_OF_TYPE.get(name, frozenset()) for name in types))
        unknown = sorted(schema.keys() - allowed)
        if unknown:
            kind = types[0] if types else "any"
            raise self._refuse(f"For '{kind}' type, properties {', '.join(unknown)} are not supported")
        if schema.get("minItems", 0) not in (0, 1):
            raise self._refuse("For 'array' type, 'minItems' values other than 0 or 1 are not supported")
        if schema.get("format", FORMATS[0]) not in FORMATS:
            raise self._refuse(f"For 'string' type, format {schema['format']!r} is not supported")
        if any(isinstance(value, dict | list) for value in schema.get("enum") or ()):
            raise self._refuse("'enum' values must be strings, numbers, booleans or null")
        if "enum" in schema and not schema["enum"]:
            raise self._refuse("'enum' must not be empty")

    def _check_object(self, schema: Mapping[str, Any]) -> None:
        if schema.get("additionalProperties") is not False:
            raise self._refuse("For 'object' type, 'additionalProperties' must be explicitly set to false")
        required = set(schema.get("required") or ())
        missing = required - set(schema.get("properties") or ())
        if missing:
            raise self._refuse(f"'required' names {min(missing)!r}, which is no property")
        self._optional += len(set(schema.get("properties") or ()) - required)

    def _check_reference(self, reference: Any, open_references: tuple[str, ...]) -> None:
        target = resolve(reference, self._root) if isinstance(reference, str) else None
        if target is None:
            raise self._refuse(f"'$ref' {reference!r} is not found; only local references are supported")
        if reference in open_references:
            raise self._refuse(f"Circular reference detected at {reference!r}; recursive schemas are not supported")
        self._check(target, (*open_references, reference))


def _inner_schemas(schema: Mapping[str, Any]) -> Iterator[Any]:
    yield from (schema.get("properties") or {}).values()
    if "items" in schema:
        yield schema["items"]
    for keyword in ("anyOf", "allOf"):
        yield from schema.get(keyword) or ()
