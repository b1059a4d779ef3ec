"""The part of JSON Schema that structured outputs take.

Owns   `api_subset`, which makes of a user's schema the one that is sent, and `outside_subset`, which says what in a
       schema the API would refuse.
Knows  schemas only. A reply is always checked against the user's own schema (`replies.schema`): what is taken out
       here still holds there, and stands in the description, so that the model can keep to it.

Source: platform.claude.com build-with-claude/structured-outputs, "JSON Schema limitations", read November 2026. Taken:
the basic types (also as a list of types), `enum` and `const` of scalars, `anyOf`, local `$ref` with `$defs` or
`definitions`, `properties`, `required`, `additionalProperties: false` (demanded on every object), `items`, `minItems`
0 or 1, ten string formats, `title`, `description`. Not taken: bounds, lengths, recursion and all else. `pattern` and
`allOf` are taken in part; which part is not written down, so they are told and not sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.encoding import encode_text

STRING_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
MAX_OPTIONAL_PROPERTIES = 24
MAX_UNIONS = 16
"""Properties that are not required, and schemas with `anyOf` or several types: limits of one request (same page)."""

SchemaPath = tuple[str | int, ...]

_DEFINITIONS = ("$defs", "definitions")
_SILENT = frozenset(
    {"$schema", "$id", "$comment", "$anchor", "additionalProperties", "default", "deprecated", "examples", "readOnly"}
    | {"writeOnly"}
)
"""Neither sent nor told: they put no demand on a reply, or (`additionalProperties`) are always sent as false."""
_SENT = frozenset(
    {"$ref", *_DEFINITIONS, "type", "enum", "const", "anyOf", "properties", "required", "additionalProperties", "items"}
    | {"minItems", "format", "title", "description"}
)


def api_subset(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema to send: `schema` with what the API refuses taken out and told in descriptions. Order is kept.

    Objects become closed, because the API takes no others; a schema whose objects are closed already accepts nothing
    that the result does not accept. What cannot be said at all (recursion, maps with free keys) stays for
    `outside_subset` to find.
    """
    schema = _unwrapped(schema)
    sent: dict[str, Any] = {key: _each(schema[key]) for key in _DEFINITIONS if key in schema}
    if "$ref" in schema:
        # The SDK's own transformation sends a reference without its siblings.
        return {**sent, "$ref": schema["$ref"]}
    told: dict[str, Any] = {}
    for key, value in schema.items():
        _take(key, value, sent, told)
    if _may_be_object(schema):
        sent.setdefault("properties", {})
        sent["additionalProperties"] = False
    if told:
        words = "; ".join(f"{key}: {encode_text(value)}" for key, value in told.items())
        before = f"{sent['description']} " if "description" in sent else ""
        sent["description"] = f"{before}({words})"
    return sent


def _unwrapped(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """`allOf` with a single part is that part with more said about it, as schema generators write it around a
    `$ref`."""
    parts = schema.get("allOf")
    if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], Mapping):
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        if not rest.keys() & parts[0].keys():
            return {**rest, **parts[0]}
    return schema


def _take(key: str, value: Any, sent: dict[str, Any], told: dict[str, Any]) -> None:
    """Put one keyword where it belongs: among what is sent, among what is told, or nowhere."""
    if key in _SILENT or key in _DEFINITIONS:
        return
    if key == "properties":
        sent[key] = _each(value)
    elif key == "items" and isinstance(value, Mapping):
        sent[key] = api_subset(value)
    elif key in ("anyOf", "oneOf") and "anyOf" not in sent:
        # `oneOf` asks for exactly one, which the API cannot; that part is checked here when the reply arrives.
        sent["anyOf"] = [api_subset(part) if isinstance(part, Mapping) else part for part in value]
    elif key == "minItems" and isinstance(value, int) and value > 1:
        sent[key] = 1
        told[key] = value
    elif _is_taken(key, value):
        sent[key] = value
    else:
        told[key] = value


def _is_taken(key: str, value: Any) -> bool:
    if key == "enum":
        return bool(value) and all(_is_scalar(item) for item in value)
    if key == "const":
        return _is_scalar(value)
    if key == "format":
        return value in STRING_FORMATS
    return key in _SENT and key not in ("items", "anyOf")


def _each(schemas: Mapping[str, Any]) -> dict[str, Any]:
    return {name: api_subset(part) if isinstance(part, Mapping) else part for name, part in schemas.items()}


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _may_be_object(schema: Mapping[str, Any]) -> bool:
    types = schema.get("type", "object" if "properties" in schema else None)
    return types == "object" or (isinstance(types, list) and "object" in types)


def outside_subset(schema: Mapping[str, Any]) -> list[tuple[SchemaPath, str]]:
    """What the API would refuse in a schema that is to be sent: (path, reason) pairs, none when all is well."""
    problems = [*_problems(schema, ()), *_reference_problems(schema)]
    optional = sum(
        len(part.get("properties", {}).keys() - set(part.get("required", ()))) for _, part in _walk(schema, ())
    )
    if optional > MAX_OPTIONAL_PROPERTIES:
        problems.append(((), f"{optional} properties are not required; the API takes {MAX_OPTIONAL_PROPERTIES}"))
    unions = sum("anyOf" in part or isinstance(part.get("type"), list) for _, part in _walk(schema, ()))
    if unions > MAX_UNIONS:
        problems.append(((), f"{unions} schemas have `anyOf` or several types; the API takes {MAX_UNIONS}"))
    return problems


def _walk(schema: Any, path: SchemaPath) -> Iterator[tuple[SchemaPath, Mapping[str, Any]]]:
    """Every schema in a schema, outermost first."""
    if not isinstance(schema, Mapping):
        return
    yield path, schema
    for key in ("properties", *_DEFINITIONS):
        for name, part in schema.get(key, {}).items():
            yield from _walk(part, (*path, key, name))
    if "items" in schema:
        yield from _walk(schema["items"], (*path, "items"))
    for i, part in enumerate(schema.get("anyOf", ())):
        yield from _walk(part, (*path, "anyOf", i))


def _problems(schema: Mapping[str, Any], path: SchemaPath) -> Iterator[tuple[SchemaPath, str]]:
    for place, part in _walk(schema, path):
        for key in sorted(part.keys() - _SENT):
            yield (*place, key), f"`{key}` is not taken by the API"
        if not part.keys() & {"type", "enum", "const", "anyOf", "$ref"}:
            yield place, "the schema says nothing of its type; the API wants a type, an enum, a const or anyOf"
        if _may_be_object(part):
            if part.get("additionalProperties") is not False:
                yield place, "the API takes closed objects only (`additionalProperties: false`)"
            if not part.get("properties"):
                yield place, "an object without named properties: the API takes no maps with free keys"
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


def _children(part: Mapping[str, Any]) -> Iterator[tuple[SchemaPath, Any]]:
    for key in ("properties", *_DEFINITIONS):
        for name, child in part.get(key, {}).items():
            yield (key, name), child
    for i, child in enumerate(part.get("anyOf", ())):
        yield ("anyOf", i), child
    if "items" in part:
        yield ("items",), part["items"]


def _reference_problems(schema: Mapping[str, Any]) -> Iterator[tuple[SchemaPath, str]]:
    """References that leave the schema, name nothing, or come back to where they are."""
    definitions = {f"#/{key}/{name}": part for key in _DEFINITIONS for name, part in schema.get(key, {}).items()}
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
