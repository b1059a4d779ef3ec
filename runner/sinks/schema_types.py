"""The type of a column whose values a JSON Schema describes.

Owns   `type_of_schema`. Knows  JSON Schema 2020-12 and the types of columns; no records.

None is said of a schema that allows values of any kind: what there is then shows only in the records. A closed object
is a mapping whose fields have types; an open one may hold names that nobody declared, and is a mapping without any.

    integer          integer; a wide one where its bounds pass 64 bits
    number           number
    string           string; date and datetime (in UTC) by `format: date` and `date-time`
    boolean, null    themselves
    array            list of the type of its `items`, where all have one schema
    enum, const      what their values have in common
    anyOf, oneOf     what their types have in common
    allOf            the first type that one of its parts tells
    $ref             what it names; a schema that holds itself is JSON there

A `time` may have an offset and a `duration` months, which the types of those names do not have: both stay texts.

Source: JSON Schema 2020-12, validation, sections 6.1 and 7.3; RFC 3339, sections 5.6 and appendix A.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

from runner.catalog.schema_references import REFERENCES, References, SchemaPath
from runner.column_types import (
    BOOLEAN,
    DATE,
    INTEGER,
    JSON,
    LIST,
    MAPPING,
    NULL,
    NUMBER,
    STRING,
    WIDE_INTEGER,
    ColumnType,
    type_of,
)

DATETIME_UTC = ColumnType("datetime", zone="UTC")
_FORMATS: Mapping[Any, ColumnType] = {"date": DATE, "date-time": DATETIME_UTC}
_INT64 = 1 << 63
_LOWER, _UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")


def type_of_schema(schema: Any) -> ColumnType | None:
    """What the values of a schema have in common; None where that may be anything."""
    return _Reading(schema).type_of(schema, ())


def type_of_field(schema: Mapping[str, Any], name: str) -> ColumnType | None:
    """The same of one field of an object, which may have others that the schema does not name."""
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        return _Reading(schema).type_of(properties[name], ())
    return None


class _Reading:
    """One schema being read. `within` are the references that were followed on the way to a part of it."""

    def __init__(self, root: Any) -> None:
        self._references = References(root)

    def type_of(self, schema: Any, within: tuple[SchemaPath, ...]) -> ColumnType | None:
        if not isinstance(schema, Mapping):
            return None  # true: anything; false: nothing, so there is no value that could not be
        found = self._referred(schema, within) or _of_values(schema) or self._of_types(schema, within)
        if found is not None:
            return found
        for keyword in ("anyOf", "oneOf"):
            if isinstance(schema.get(keyword), list):
                return _joined([self.type_of(part, within) for part in schema[keyword]])
        parts = schema.get("allOf")
        told = [self.type_of(part, within) for part in parts] if isinstance(parts, list) else []
        return next((found for found in told if found is not None), None)

    def _referred(self, schema: Mapping[str, Any], within: tuple[SchemaPath, ...]) -> ColumnType | None:
        reference = next((schema[keyword] for keyword in REFERENCES if isinstance(schema.get(keyword), str)), None)
        place = self._references.place(reference) if reference is not None else None
        if place is None:
            return None
        if place in within:
            return JSON
        return self.type_of(self._references.at(place), (*within, place))

    def _of_types(self, schema: Mapping[str, Any], within: tuple[SchemaPath, ...]) -> ColumnType | None:
        names = schema.get("type")
        if names is None:
            return None
        listed = [names] if isinstance(names, str) else names
        return _joined([self._of_type(name, schema, within) for name in listed])

    def _of_type(self, name: str, schema: Mapping[str, Any], within: tuple[SchemaPath, ...]) -> ColumnType | None:
        match name:
            case "integer":
                return WIDE_INTEGER if _is_wide(schema) else INTEGER
            case "string":
                return _FORMATS.get(schema.get("format"), STRING)
            case "array":
                return self._list(schema, within)
            case "object":
                return self._mapping(schema, within)
        return _SIMPLE.get(name)

    def _list(self, schema: Mapping[str, Any], within: tuple[SchemaPath, ...]) -> ColumnType:
        item = self.type_of(schema.get("items"), within) if "prefixItems" not in schema else None
        return LIST if item is None else ColumnType("list", item=item)

    def _mapping(self, schema: Mapping[str, Any], within: tuple[SchemaPath, ...]) -> ColumnType:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or not properties or not _is_closed(schema):
            return MAPPING
        fields = [(name, self.type_of(part, within) or JSON) for name, part in properties.items()]
        return ColumnType("mapping", fields=tuple(fields))


_SIMPLE = {"number": NUMBER, "boolean": BOOLEAN, "null": NULL}


def _of_values(schema: Mapping[str, Any]) -> ColumnType | None:
    """What the values that a schema lists have in common."""
    if "const" in schema:
        return _deep(schema["const"])
    values = schema.get("enum")
    return _joined([_deep(value) for value in values]) if isinstance(values, Sequence) and values else None


def _deep(value: Any) -> ColumnType:
    return JSON if isinstance(value, Mapping | list) else type_of(value)


def _joined(types: Iterable[ColumnType | None]) -> ColumnType | None:
    found = list(types)
    if not found or None in found:
        return None
    return reduce(ColumnType.join, [each for each in found if each is not None])


def _is_closed(schema: Mapping[str, Any]) -> bool:
    closed = schema.get("additionalProperties") is False or schema.get("unevaluatedProperties") is False
    return closed and "patternProperties" not in schema


def _is_wide(schema: Mapping[str, Any]) -> bool:
    """Whether a bound that the schema sets lies beyond 64 bits; one without bounds is taken for an everyday integer."""
    bounds = [schema.get(name) for name in (*_LOWER, *_UPPER)]
    return any(isinstance(bound, int | float) and not -_INT64 <= bound <= _INT64 for bound in bounds)
