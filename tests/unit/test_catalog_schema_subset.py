"""The API's part of JSON Schema: what is outside of it is found, with its place."""

from __future__ import annotations

from typing import Any

import pytest

from runner.catalog.schema_subset import MAX_OPTIONAL_PROPERTIES, MAX_UNIONS, outside_subset


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def test_a_schema_inside_the_subset_has_no_problems() -> None:
    schema = closed(
        label={"type": "string", "enum": ["a", "b"], "description": "Which."},
        score={"type": ["number", "null"]},
        tags={"type": "array", "items": {"type": "string"}, "minItems": 1},
        when={"type": "string", "format": "date"},
        nothing=closed(),
    )
    assert outside_subset(schema) == []


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


def test_what_is_referred_to_counts_each_time() -> None:
    few = {**closed(**{f"p{i}": {"type": "string"} for i in range(9)}), "required": []}
    schema = closed(**{name: {"$ref": "#/$defs/few"} for name in "abc"}) | {"$defs": {"few": few}}
    assert outside_subset(schema) == [((), "27 properties are not required; the API takes 24")]
