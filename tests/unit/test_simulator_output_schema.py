from __future__ import annotations

from typing import Any

import pytest
from anthropic import transform_schema

from runner.simulator.output_schema import check_schema
from runner.simulator.refusal import Refused


def closed(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "object", "properties": {}}, "'additionalProperties' must be explicitly set to false"),
        ({"type": "object", "additionalProperties": True}, "'additionalProperties' must be explicitly set to false"),
        (closed({"a": {"type": "object"}}), "'additionalProperties' must be explicitly set to false"),
        (closed({"a": {"type": "integer", "minimum": 1, "maximum": 2}}), "properties maximum, minimum are not"),
        (closed({"a": {"type": "string", "minLength": 1}}), "minLength"),
        (closed({"a": {"type": "string", "pattern": "x"}}), "pattern"),
        (closed({"a": {"type": "string", "format": "color"}}), "format 'color' is not supported"),
        (closed({"a": {"type": "array", "items": {"type": "string"}, "maxItems": 3}}), "maxItems"),
        (closed({"a": {"type": "array", "minItems": 2}}), "minItems"),
        (closed({"a": {"oneOf": [{"type": "string"}]}}), "oneOf"),
        (closed({"a": {}}), "Schema must have"),
        (closed({"a": {"type": "text"}}), "Invalid type 'text'"),
        (closed({"a": {"enum": [{"b": 1}]}}), "'enum' values"),
        (closed({"a": {"enum": []}}), "'enum' must not be empty"),
        (closed({"a": {"$ref": "#/$defs/x"}}), "is not found"),
        (closed({"a": {"$ref": "https://example.com/x.json"}}), "is not found"),
        (closed({}, required=["a"]), "'required' names 'a'"),
        (closed({str(number): {"type": "string"} for number in range(25)}), "too complex: 25 optional"),
        (
            closed({str(n): {"type": ["string", "null"]} for n in range(17)}, required=[str(n) for n in range(17)]),
            "17 parameters with union types",
        ),
        (
            closed({"a": {"$ref": "#/$defs/t"}}, **{"$defs": {"t": closed({"next": {"$ref": "#/$defs/t"}})}}),
            "Circular reference",
        ),
    ],
)  # fmt: skip
def test_what_is_outside_the_subset_is_refused(schema: dict[str, Any], message: str) -> None:
    for _ in range(2):  # a refusal is not remembered as accepted
        with pytest.raises(Refused, match=message):
            check_schema(schema, "output_config.format.schema")


@pytest.mark.parametrize(
    "schema",
    [
        closed({"a": {"type": "integer", "minimum": 1}}),
        closed({"a": {"type": "array", "items": {"type": "string"}, "maxItems": 2}}),
        closed({"a": {"oneOf": [{"type": "string", "minLength": 2}, {"type": "null"}]}}),
        closed({"a": {"type": "string", "format": "color", "pattern": "x"}}),
        {"type": "object", "properties": {"a": {"enum": ["x", 1, None]}}, "additionalProperties": True},
    ],
)  # fmt: skip
def test_what_the_sdk_makes_of_a_schema_is_taken(schema: dict[str, Any]) -> None:
    check_schema(transform_schema(schema), "output_config.format.schema")
