"""References within one JSON Schema: what a `$ref` names, by pointer or by anchor.

Owns   `References`, which finds the place in the schema that a reference means, and the schemas in a schema.
Knows  JSON Schema 2020-12 (core, sections 8.2 and 9.2). Nothing is ever fetched: a reference that leads out of the
       schema names nothing.

A schema that is one document has one place for every name. So `$dynamicRef` means what `$ref` would: with several
documents it would depend on how one came to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

SchemaPath = tuple[str | int, ...]

HOLDS_SCHEMA = frozenset(
    {"items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames", "unevaluatedItems"}
    | {"unevaluatedProperties"}
)
HOLDS_LIST = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
HOLDS_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
"""Keywords by what they hold: a schema, a list of schemas, schemas by name (2020-12, core, section 10)."""

ANCHORS = ("$anchor", "$dynamicAnchor")
REFERENCES = ("$ref", "$dynamicRef")


class References:
    """The names in one schema."""

    def __init__(self, root: Any) -> None:
        self._root = root
        identifier = root.get("$id") if isinstance(root, Mapping) else None
        self._base = identifier.rstrip("#") if isinstance(identifier, str) else ""
        self._anchors: dict[str, SchemaPath] = {}
        for path, schema in schemas_in(root):
            for keyword in ANCHORS:
                name = schema.get(keyword)
                if isinstance(name, str):
                    self._anchors.setdefault(name, path)

    def place(self, reference: str) -> SchemaPath | None:
        """Where a reference leads; None where that is not in this schema."""
        base, _, fragment = reference.partition("#")
        if base and base != self._base:
            return None
        fragment = unquote(fragment)
        if not fragment:
            return ()
        if not fragment.startswith("/"):
            return self._anchors.get(fragment)
        return self._pointed(fragment[1:].split("/"))

    def names(self) -> list[str]:
        """What a reference may say: definitions and anchors."""
        definitions = [
            f"#/{keyword}/{name}"
            for keyword in ("$defs", "definitions")
            if isinstance(self._root, Mapping) and isinstance(self._root.get(keyword), Mapping)
            for name in self._root[keyword]
        ]
        return [*definitions, *(f"#{name}" for name in self._anchors)]

    def at(self, path: SchemaPath) -> Any:
        """The schema at a place that `place` gave."""
        value = self._root
        for part in path:
            value = value[part]
        return value

    def _pointed(self, parts: list[str]) -> SchemaPath | None:
        value: Any = self._root
        path: SchemaPath = ()
        for part in parts:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping) and name in value:
                value, path = value[name], (*path, name)
            elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value, path = value[int(name)], (*path, int(name))
            else:
                return None
        return path if isinstance(value, Mapping | bool) else None


def schemas_in(schema: Any, path: SchemaPath = ()) -> Iterator[tuple[SchemaPath, Mapping[str, Any]]]:
    """Every schema in a schema that is a mapping, outermost first. What is no schema (in `enum`, `default`) is none."""
    if not isinstance(schema, Mapping):
        return
    yield path, schema
    for keyword, value in schema.items():
        if keyword in HOLDS_SCHEMA:
            yield from schemas_in(value, (*path, keyword))
        elif keyword in HOLDS_LIST and isinstance(value, list):
            for number, part in enumerate(value):
                yield from schemas_in(part, (*path, keyword, number))
        elif keyword in HOLDS_NAMED and isinstance(value, Mapping):
            for name, part in value.items():
                yield from schemas_in(part, (*path, keyword, name))
