"""The part of JSON Schema that structured outputs take, and how much of it.

Owns   the facts of the subset, and `outside_subset`, which says what in a schema the API would refuse.
Knows  schemas only. What of a user's schema is sent is made by `schema_weakening`.

Source: platform.claude.com build-with-claude/structured-outputs, "JSON Schema limitations", read November 2026. Taken:
the basic types (also as a list of types), `enum` and `const` of scalars, `anyOf`, local `$ref` with `$defs` or
`definitions`, `properties`, `required`, `additionalProperties: false` (demanded on every object), `items`, `minItems`
0 or 1, ten string formats, `title`, `description`. Not taken: bounds, lengths, recursion and all else. `pattern` and
`allOf` are taken in part; which part is not written down, so they are told and not sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

STRING_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
MAX_OPTIONAL_PROPERTIES = 24
MAX_UNIONS = 16
"""Properties that are not required, and schemas with `anyOf` or several types: limits of one request (same page)."""

SchemaPath = tuple[str | int, ...]

_DEFINITIONS = ("$defs", "definitions")
_SENT = frozenset(
    {"$ref", *_DEFINITIONS, "type", "enum", "const", "anyOf", "properties", "required", "additionalProperties", "items"}
    | {"minItems", "format", "title", "description"}
)


def is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def outside_subset(schema: Mapping[str, Any]) -> list[tuple[SchemaPath, str]]:
    """What the API would refuse in a schema that is to be sent: (path, reason) pairs, none when all is well."""
    problems = [*_problems(schema), *_reference_problems(schema)]
    return problems or [((), reason) for reason, _ in beyond_limits(schema)]


def beyond_limits(schema: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The limits of a request that a schema of the subset passes, each with what can be done about it. What is
    referred to counts each time: the page does not say that it counts once."""
    optional, unions = _Counts(schema).of(schema)
    told = []
    if optional > MAX_OPTIONAL_PROPERTIES:
        reason = f"{optional} properties are not required; the API takes {MAX_OPTIONAL_PROPERTIES}"
        told.append((reason, "require more of them, with a value that says that nothing is known"))
    if unions > MAX_UNIONS:
        reason = f"{unions} schemas have `anyOf` or several types; the API takes {MAX_UNIONS}"
        told.append((reason, "fewer fields that may be null, or ask for a part of them in a job of its own"))
    return told


class _Counts:
    """Optional properties and unions, with those of definitions wherever they are referred to."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._definitions = _definitions(root)
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, schema: Any) -> tuple[int, int]:
        if not isinstance(schema, Mapping):
            return 0, 0
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference not in self._known:
                self._known[reference] = (0, 0)  # one that comes back to itself is another problem
                self._known[reference] = self.of(self._definitions.get(reference))
            return self._known[reference]
        properties = schema.get("properties", {})
        optional = len(properties.keys() - set(schema.get("required", ())))
        unions = int("anyOf" in schema or isinstance(schema.get("type"), list))
        for part in (*properties.values(), schema.get("items"), *schema.get("anyOf", ())):
            more_optional, more_unions = self.of(part)
            optional, unions = optional + more_optional, unions + more_unions
        return optional, unions


def _definitions(root: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions of a schema by the references to them."""
    return {
        f"#/{keyword}/{name.replace('~', '~0').replace('/', '~1')}": part
        for keyword in _DEFINITIONS
        for name, part in root.get(keyword, {}).items()
    }


def _walk(schema: Any, path: SchemaPath) -> Iterator[tuple[SchemaPath, Mapping[str, Any]]]:
    """Every schema in a schema, outermost first."""
    if not isinstance(schema, Mapping):
        return
    yield path, schema
    for steps, part in _children(schema):
        yield from _walk(part, (*path, *steps))


def _children(part: Mapping[str, Any]) -> Iterator[tuple[SchemaPath, Any]]:
    for key in ("properties", *_DEFINITIONS):
        for name, child in part.get(key, {}).items():
            yield (key, name), child
    for i, child in enumerate(part.get("anyOf", ())):
        yield ("anyOf", i), child
    if "items" in part:
        yield ("items",), part["items"]


def _problems(schema: Mapping[str, Any]) -> Iterator[tuple[SchemaPath, str]]:
    for place, part in _walk(schema, ()):
        for key in sorted(part.keys() - _SENT):
            yield (*place, key), f"`{key}` is not taken by the API"
        if not part.keys() & {"type", "enum", "const", "anyOf", "$ref"}:
            yield place, "the schema says nothing of its type; the API wants a type, an enum, a const or anyOf"
        if _may_be_object(part):
            if part.get("additionalProperties") is not False:
                yield place, "the API takes closed objects only (`additionalProperties: false`)"
            for name in sorted(set(part.get("required", ())) - part.get("properties", {}).keys()):
                yield (*place, "required"), f"{name!r} is required but is no property"
        if part.get("minItems", 0) not in (0, 1):
            yield (*place, "minItems"), "the API takes `minItems` 0 or 1"
        for key in ("enum", "const", "format"):
            if key in part and not _is_taken(key, part[key]):
                yield (*place, key), f"this `{key}` is not taken by the API"
        for step, child in _children(part):
            if not isinstance(child, Mapping):
                yield (*place, *step), "the API takes no `true` or `false` for a schema"


def _is_taken(key: str, value: Any) -> bool:
    if key == "enum":
        return bool(value) and all(is_scalar(item) for item in value)
    return is_scalar(value) if key == "const" else value in STRING_FORMATS


def _may_be_object(schema: Mapping[str, Any]) -> bool:
    types = schema.get("type", "object" if "properties" in schema else None)
    return types == "object" or (isinstance(types, list) and "object" in types)


def _reference_problems(schema: Mapping[str, Any]) -> Iterator[tuple[SchemaPath, str]]:
    """References that leave the schema, name nothing, or come back to where they are."""
    definitions = _definitions(schema)
    uses = {target: _references(part) for target, part in definitions.items()}
    for place, part in _walk(schema, ()):
        target = part.get("$ref")
        if target is None:
            continue
        if target not in definitions:
            yield (*place, "$ref"), f"{target!r} is not a definition of this schema"
        elif _reaches(uses, target, target):
            yield (*place, "$ref"), f"{target!r} refers to itself; the API takes no recursion"


def _references(schema: Any) -> set[str]:
    return {part["$ref"] for _, part in _walk(schema, ()) if "$ref" in part}


def _reaches(uses: Mapping[str, set[str]], start: str, goal: str) -> bool:
    open_, seen = list(uses.get(start, ())), set()
    while open_:
        target = open_.pop()
        if target == goal:
            return True
        if target not in seen:
            seen.add(target)
            open_.extend(uses.get(target, ()))
    return False
