"""What is sent is inside the API's part of JSON Schema, and says the rest in words."""

from __future__ import annotations

from typing import Any

import pytest

from runner.catalog.schema_subset import MAX_OPTIONAL_PROPERTIES, MAX_UNIONS, api_subset, outside_subset


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def test_a_schema_inside_the_subset_is_sent_as_it_is() -> None:
    schema = closed(
        label={"type": "string", "enum": ["a", "b"], "description": "Which."},
        score={"type": ["number", "null"]},
        tags={"type": "array", "items": {"type": "string"}, "minItems": 1},
        when={"type": "string", "format": "date"},
    )
    assert api_subset(schema) == schema
    assert outside_subset(schema) == []


def test_objects_become_closed() -> None:
    sent = api_subset({"properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}})
    assert sent["additionalProperties"] is False
    assert sent["properties"]["a"]["additionalProperties"] is False


def test_constraints_that_the_api_refuses_are_told_in_the_description() -> None:
    sent = api_subset({"type": "integer", "description": "Stars.", "minimum": 1, "maximum": 5})
    assert sent == {"type": "integer", "description": "Stars. (minimum: 1; maximum: 5)"}
    assert api_subset({"type": "string", "maxLength": 5})["description"] == "(maxLength: 5)"


def test_what_puts_no_demand_on_a_reply_is_neither_sent_nor_told() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "string",
        "default": "x",
        "examples": ["y"],
    }
    assert api_subset(schema) == {"type": "string"}


def test_a_longer_list_is_sent_as_one_that_is_not_empty() -> None:
    sent = api_subset({"type": "array", "items": {"type": "string"}, "minItems": 3})
    assert sent["minItems"] == 1
    assert sent["description"] == "(minItems: 3)"


def test_one_of_is_sent_as_any_of() -> None:
    assert api_subset({"oneOf": [{"type": "string"}, {"type": "null"}]}) == {
        "anyOf": [{"type": "string"}, {"type": "null"}]
    }


def test_a_reference_is_sent_alone_and_its_definitions_with_it() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A", "description": "x"}, "b": {"allOf": [{"$ref": "#/$defs/A"}]}},
        "$defs": {"A": {"type": "string", "minLength": 1}},
    }
    sent = api_subset(schema)
    assert sent["properties"] == {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}}
    assert sent["$defs"] == {"A": {"type": "string", "description": "(minLength: 1)"}}
    assert outside_subset(sent) == []


def test_the_order_of_properties_is_kept() -> None:
    assert list(api_subset(closed(z={"type": "string"}, a={"type": "string"}))["properties"]) == ["z", "a"]


def test_the_users_schema_is_left_alone() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
    api_subset(schema)
    assert schema == {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}


@pytest.mark.parametrize(
    ("schema", "path", "reason"),
    [
        (closed(a={}), ("properties", "a"), "says nothing of its type"),
        (closed(a=True), ("properties", "a"), "no `true` or `false`"),
        (closed(a={"type": "string", "pattern": "x"}), ("properties", "a", "pattern"), "not taken"),
        (closed(a={"type": "string", "format": "regex"}), ("properties", "a", "format"), "not taken"),
        (closed(a={"enum": [[]]}), ("properties", "a", "enum"), "not taken"),
        (closed(a={"enum": []}), ("properties", "a", "enum"), "not taken"),
        (closed(a={"const": {}}), ("properties", "a", "const"), "not taken"),
        (closed(a={"type": "array", "minItems": 2}), ("properties", "a", "minItems"), "0 or 1"),
        ({**closed(a={"type": "string"}), "additionalProperties": True}, (), "closed objects only"),
        ({"type": "object", "additionalProperties": False}, (), "no maps with free keys"),
        ({**closed(a={"type": "string"}), "required": ["b"]}, ("required",), "'b' is required but is no property"),
        (closed(a={"$ref": "other.json"}), ("properties", "a", "$ref"), "is not a definition"),
        (
            {**closed(a={"$ref": "#/$defs/A"}), "$defs": {"A": closed(next={"$ref": "#/$defs/A"})}},
            ("properties", "a", "$ref"),
            "refers to itself",
        ),
    ],
)
def test_what_cannot_be_said_is_found_with_its_place(
    schema: dict[str, Any], path: tuple[str, ...], reason: str
) -> None:
    found = outside_subset(schema)
    assert any(place == path and reason in why for place, why in found), found


def test_recursion_over_two_definitions_is_found() -> None:
    schema = {
        **closed(a={"$ref": "#/$defs/A"}),
        "$defs": {"A": closed(b={"$ref": "#/$defs/B"}), "B": closed(a={"$ref": "#/$defs/A"})},
    }
    assert any("refers to itself" in why for _, why in outside_subset(schema))


def test_the_numbers_of_optional_properties_and_unions_are_limited() -> None:
    names = [f"p{i}" for i in range(MAX_OPTIONAL_PROPERTIES + 1)]
    optional = {**closed(**{name: {"type": "string"} for name in names}), "required": []}
    unions = closed(**{f"u{i}": {"type": ["string", "null"]} for i in range(MAX_UNIONS + 1)})
    assert outside_subset(optional) == [((), "25 properties are not required; the API takes 24")]
    assert outside_subset(unions) == [((), "17 schemas have `anyOf` or several types; the API takes 16")]
