"""Which type a JSON Schema gives a column."""

from __future__ import annotations

from typing import Any

import pytest

from runner.column_types import JSON, ColumnType
from runner.sinks.schema_types import type_of_field, type_of_schema


def told(schema: Any) -> str | None:
    found = type_of_schema(schema)
    return None if found is None else str(found)


@pytest.mark.parametrize(
    ("schema", "type_"),
    [
        ({"type": "string"}, "string"),
        ({"type": "integer"}, "integer"),
        ({"type": "number"}, "number"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "null"}, "null"),
        ({"type": ["integer", "null"]}, "integer"),
        ({"type": ["integer", "number"]}, "number"),
        ({"type": ["integer", "string"]}, "string"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": ["string", "null"], "format": "date-time"}, "datetime(UTC)"),
        ({"type": "string", "format": "time"}, "string"),
        ({"type": "string", "format": "duration"}, "string"),
        ({"type": "string", "format": "email"}, "string"),
        ({"type": "string", "enum": ["a", "b"]}, "string"),
        ({"enum": [1, 2, None]}, "integer"),
        ({"enum": ["a", 1]}, "string"),
        ({"enum": [True, {"a": 1}]}, "json"),
        ({"const": 1.5}, "number"),
        ({"type": "array", "items": {"type": "string"}}, "list(string)"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}, "list(list(integer))"),
        ({"type": "array"}, "list"),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}}, "list"),
        ({"type": "object"}, "mapping"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer"),
        ({"oneOf": [{"type": "string", "format": "date"}, {"type": "string"}]}, "string"),
        ({"anyOf": [{"type": "integer"}, {}]}, None),
        ({"allOf": [{"minimum": 1}, {"type": "integer"}]}, "integer"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "boolean"}}}, "boolean"),
        ({"$ref": "#/$defs/a"}, None),
        ({}, None),
        (True, None),
        (False, None),
        ({"minLength": 3}, None),
    ],
)
def test_a_schema_tells_a_type(schema: Any, type_: str | None) -> None:
    assert told(schema) == type_


@pytest.mark.parametrize(
    ("bounds", "wide"),
    [({}, False), ({"maximum": 10}, False), ({"maximum": 1 << 70}, True), ({"exclusiveMinimum": -1e30}, True)],
)
def test_an_integer_is_wide_where_its_bounds_are(bounds: Any, wide: bool) -> None:
    assert type_of_schema({"type": "integer", **bounds}) == ColumnType("integer", wide=wide)


def test_a_closed_object_has_fields_and_an_open_one_has_none() -> None:
    properties = {"a": {"type": "integer"}, "b": {}, "c": {"type": "string", "format": "date"}}
    closed = type_of_schema({"type": "object", "properties": properties, "additionalProperties": False})
    assert closed is not None
    assert closed.fields is not None
    assert [(name, str(type_)) for name, type_ in closed.fields] == [("a", "integer"), ("b", "json"), ("c", "date")]
    assert type_of_schema({"type": "object", "properties": properties}) == ColumnType("mapping")
    named = {"type": "object", "properties": properties, "additionalProperties": False, "patternProperties": {"x": {}}}
    assert type_of_schema(named) == ColumnType("mapping")


def test_a_schema_that_holds_itself_is_json_where_it_does() -> None:
    tree = {"type": "object", "properties": {"below": {"$ref": "#"}}, "additionalProperties": False}
    found = type_of_schema(tree)
    assert found is not None
    assert found.fields is not None
    ((_, below),) = found.fields
    assert dict(below.fields or ()) == {"below": JSON}
    assert type_of_schema({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}) == JSON


def test_a_field_is_known_where_others_may_be_there_too() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "integer"}}}
    assert type_of_field(schema, "a") == ColumnType("integer")
    assert type_of_field(schema, "b") is None
    assert type_of_field({}, "b") is None
