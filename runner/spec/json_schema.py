"""Is this a JSON Schema? Asked of the schemas that users write, with the place of what is wrong.

Owns   the check of a schema's own form: the keywords' values, local references, patterns.
Knows  nodes. Whether a reply fits a schema is `replies.schema`'s to say; what the API takes of it is
       `catalog.schema_subset`'s.

Why not the metaschema: the library that checks with it costs 0.1 s of import, names no place in the file, and does
not look whether a `$ref` leads anywhere.
Source: JSON Schema 2020-12, core sections 8 and 10, validation sections 6 to 9.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from runner.errors import Problem
from runner.spec.hints import choice_hint
from runner.spec.node import ListNode, MapNode, Node, Path, ScalarNode, find, plain

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")

_SCHEMA = frozenset(
    {"items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames", "unevaluatedItems"}
    | {"unevaluatedProperties"}
)
_SCHEMA_LIST = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
_SCHEMA_MAP = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
_COUNT = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_NUMBER = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_TEXT = frozenset({"title", "description", "format", "$ref", "$schema", "$id", "$comment", "$anchor", "pattern"})
_ANY = frozenset({"default", "const", "examples", "deprecated", "readOnly", "writeOnly", "uniqueItems"})
KEYWORDS = _SCHEMA | _SCHEMA_LIST | _SCHEMA_MAP | _COUNT | _NUMBER | _TEXT | _ANY | {"type", "enum", "required"}


def schema_problems(root: Node) -> list[Problem]:
    """All that is wrong with the form of a schema, in file order."""
    return list(_schema(root, root))


def _schema(node: Node, root: Node) -> Iterator[Problem]:
    if isinstance(node, ScalarNode) and isinstance(node.value, bool):
        return
    if not isinstance(node, MapNode):
        yield _bad(node, "a schema is a mapping, true or false")
        return
    for name, entry in node.entries.items():
        value = entry.value
        if name in _SCHEMA:
            yield from _schema(value, root)
        elif name in _SCHEMA_LIST:
            yield from _schemas(name, value, root)
        elif name in _SCHEMA_MAP:
            yield from _named_schemas(name, value, root)
        elif name in _CHECKS:
            yield from _CHECKS[name](name, value)
        if name == "$ref":
            yield from _reference(value, root)
        if name == "pattern":
            yield from _pattern(value)


def _schemas(name: str, node: Node, root: Node) -> Iterator[Problem]:
    if not isinstance(node, ListNode) or not node.items:
        yield _bad(node, f"`{name}` is a list of schemas")
        return
    for item in node.items:
        yield from _schema(item, root)


def _named_schemas(name: str, node: Node, root: Node) -> Iterator[Problem]:
    if not isinstance(node, MapNode):
        yield _bad(node, f"`{name}` is a mapping of names to schemas")
        return
    for entry in node.entries.values():
        yield from _schema(entry.value, root)


def _type(_name: str, node: Node) -> Iterator[Problem]:
    names = node.items if isinstance(node, ListNode) and node.items else (node,)
    for item in names:
        value = item.value if isinstance(item, ScalarNode) else None
        if value not in TYPES:
            shown = "null" if value is None and isinstance(item, ScalarNode) else plain(item)
            hint = 'put it in quotes: "null"' if value is None else choice_hint(str(value), TYPES, "Types")
            yield _bad(item, f"`{shown}` is no type", hint)


def _enum(_name: str, node: Node) -> Iterator[Problem]:
    if not isinstance(node, ListNode) or not node.items:
        yield _bad(node, "`enum` is a list of values")


def _required(_name: str, node: Node) -> Iterator[Problem]:
    values = plain(node)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        yield _bad(
            node, "`required` is a list of property names", "an optional property is one that is not in the list"
        )
    elif len(set(values)) < len(values):
        yield _bad(node, "`required` names a property twice")


def _count(name: str, node: Node) -> Iterator[Problem]:
    value = plain(node)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        yield _bad(node, f"`{name}` is a whole number of at least 0")


def _number(name: str, node: Node) -> Iterator[Problem]:
    value = plain(node)
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield _bad(node, f"`{name}` is a number")


def _text(name: str, node: Node) -> Iterator[Problem]:
    if not isinstance(plain(node), str):
        yield _bad(node, f"`{name}` is text")


_CHECKS: Mapping[str, Callable[[str, Node], Iterator[Problem]]] = {
    "type": _type,
    "enum": _enum,
    "required": _required,
    **dict.fromkeys(_COUNT, _count),
    **dict.fromkeys(_NUMBER, _number),
    **dict.fromkeys(_TEXT, _text),
}


def _reference(node: Node, root: Node) -> Iterator[Problem]:
    """Only references inside the schema work: nothing is ever fetched."""
    value = plain(node)
    if not isinstance(value, str):
        return
    if not value.startswith("#"):
        yield _bad(node, f"`{value}` leads out of this schema", "copy what it names under `$defs`: `#/$defs/…`")
        return
    parts = value.removeprefix("#").removeprefix("/")
    path: Path = tuple(part.replace("~1", "/").replace("~0", "~") for part in parts.split("/")) if parts else ()
    if find(root, path) is None:
        yield _bad(node, f"`{value}` is not in this schema")


def _pattern(node: Node) -> Iterator[Problem]:
    value = plain(node)
    if isinstance(value, str):
        try:
            re.compile(value)
        except re.error as error:
            yield _bad(node, f"`pattern` is no regular expression: {error}")


def _bad(node: Node, message: str, hint: str | None = None) -> Problem:
    return Problem("bad-schema", message, node.span.location(), hint)
