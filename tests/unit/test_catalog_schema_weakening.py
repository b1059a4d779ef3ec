"""What is sent of a schema accepts all that the schema accepts, and says the rest in words."""

from __future__ import annotations

from typing import Any

import pytest

from runner.catalog.schema_subset import outside_subset
from runner.catalog.schema_weakening import is_object, weakened


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def sent(schema: dict[str, Any]) -> dict[str, Any]:
    made = weakened(schema)
    assert not made.refused
    assert outside_subset(made.schema) == []
    return made.schema


def field(schema: dict[str, Any], **definitions: Any) -> dict[str, Any]:
    """What is sent of a field's schema."""
    made: dict[str, Any] = sent({**closed(x=schema), **({"$defs": definitions} if definitions else {})})["properties"][
        "x"
    ]
    return made


def told(schema: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    return [(found.path, found.reason) for found in weakened(schema).narrowed]


def refused(schema: dict[str, Any]) -> tuple[tuple[str | int, ...], str]:
    (found,) = weakened(schema).refused
    assert found.hint or found.path
    return found.path, found.reason


def test_a_schema_inside_the_subset_is_sent_as_it_is() -> None:
    schema = closed(
        label={"type": "string", "enum": ["a", "b"], "description": "Which."},
        score={"type": ["number", "null"]},
        tags={"type": "array", "items": {"type": "string"}, "minItems": 1},
        when={"type": "string", "format": "date"},
    )
    assert sent(schema) == schema
    assert list(sent(closed(z={"type": "string"}, a={"type": "string"}))["properties"]) == ["z", "a"]


def test_objects_become_closed() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "string"}}}
    made = sent({"type": "object", "properties": {"a": inner}})
    assert made["additionalProperties"] is made["properties"]["a"]["additionalProperties"] is False
    assert told({"type": "object", "properties": {"a": inner}}) == []


def test_constraints_that_the_api_refuses_are_told_in_the_description() -> None:
    assert field({"type": "integer", "description": "Stars.", "minimum": 1, "maximum": 5}) == {
        "type": "integer",
        "description": "Stars. (minimum: 1; maximum: 5)",
    }
    assert field({"type": "string", "format": "iri"})["description"] == '(format: "iri")'
    assert "description" not in field({"type": "string", "pattern": "a" * 300})


def test_what_puts_no_demand_on_a_reply_is_neither_sent_nor_told() -> None:
    assert field({"type": "string", "default": "x", "examples": ["y"], "$comment": "z"}) == {"type": "string"}


def test_a_longer_list_is_sent_as_one_that_is_not_empty() -> None:
    made = field({"type": "array", "items": {"type": "string"}, "minItems": 3})
    assert (made["minItems"], made["description"]) == (1, "(minItems: 3)")


def test_places_of_a_list_become_items_of_any_of_them() -> None:
    pair = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "items": False}
    assert field(pair)["items"] == {"anyOf": [{"type": "string"}, {"type": "number"}]}
    assert "items" not in field({"type": "array", "prefixItems": [{"type": "string"}]}), "anything may follow"
    assert "items" not in field({"type": "array", "items": {}})


def test_one_of_is_sent_as_any_of() -> None:
    assert field({"oneOf": [{"type": "string"}, {"type": "null"}]}) == {"anyOf": [{"type": "string"}, {"type": "null"}]}


def test_values_that_are_lists_and_objects_become_schemas_of_them() -> None:
    assert field({"enum": [1, [1, 1], {"a": "x"}]}) == {
        "anyOf": [
            {"enum": [1]},
            {"type": "array", "items": {"const": 1}, "minItems": 1},
            closed(a={"const": "x"}),
        ]
    }
    assert field({"type": ["string", "null"], "enum": ["a", None]}) == {"enum": ["a", None]}
    assert field({"type": "string", "enum": ["a", 1]}) == {"type": "string", "enum": ["a"]}


def test_a_reference_is_sent_alone_and_with_the_definitions_that_are_used() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A", "description": "x"}, "b": {"allOf": [{"$ref": "#/$defs/A"}]}},
        "$defs": {"A": {"type": "string", "minLength": 1}, "B": {"not": "sendable"}},
    }
    made = sent(schema)
    assert made["properties"] == {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}}
    assert made["$defs"] == {"A": {"type": "string", "description": "(minLength: 1)"}}


@pytest.mark.parametrize("reference", ["#here", "#/properties/y", "#/$defs/outer/items"])
def test_a_reference_to_another_place_is_what_is_there(reference: str) -> None:
    place = {"$anchor": "here", "type": "string"}
    schema = {**closed(x={"$ref": reference}, y=place), "$defs": {"outer": {"items": {"type": "string"}}}}
    assert sent(schema)["properties"]["x"] == {"type": "string"}


def test_a_dynamic_reference_is_one_within_one_document() -> None:
    assert field({"$dynamicRef": "#n"}, N={"$dynamicAnchor": "n", "type": "integer"}) == {"$ref": "#/$defs/N"}


def test_parts_of_a_whole_are_one_schema() -> None:
    base = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}
    whole = {"allOf": [{"$ref": "#/$defs/Base"}, {"properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}]}
    made = sent({**whole, "unevaluatedProperties": False, "$defs": {"Base": base}})
    assert made["properties"] == {"b": {"type": "string"}, "a": {"type": "integer"}}
    assert made["required"] == ["a"]


def test_a_union_within_a_schema_is_said_with_the_rest_of_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    made = sent({**schema, "description": "Either.", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]})
    assert [part["required"] for part in made["anyOf"]] == [["a"], ["b"]]
    assert made["description"] == "Either."
    assert is_object(made)


def test_a_union_that_cannot_be_said_is_left_out_and_told() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "anyOf": [{"required": ["b"]}, {"required": ["a"]}],
    }
    assert sent(schema)["description"] == '(anyOf: [{"required":["b"]},{"required":["a"]}])'


def test_alternatives_that_would_pass_the_limits_are_left_out() -> None:
    properties = {f"p{i}": {"type": "string"} for i in range(10)}
    schema = {
        "type": "object",
        "properties": properties,
        "anyOf": [{"required": [name]} for name in ("p0", "p1", "p2")],
    }
    assert "anyOf" not in sent(schema)


def test_an_alternative_that_nothing_fits_is_left_out() -> None:
    assert field({"type": "string", "anyOf": [{"type": "integer"}, {"maxLength": 3}]})["type"] == "string"


def test_a_property_that_is_never_there_is_left_out() -> None:
    assert list(sent({"type": "object", "properties": {"a": False, "b": {"type": "null"}}})["properties"]) == ["b"]


def test_what_a_reply_can_no_longer_hold_is_told_where_the_author_allows_it() -> None:
    open_ = {"type": "object", "properties": {"a": {"type": "string"}}}
    for keyword, value in (("additionalProperties", True), ("patternProperties", {"^x": {"type": "string"}})):
        ((path, reason),) = told({**open_, keyword: value})
        assert path == (keyword,)
        assert "sent closed" in reason
    ((path, reason),) = told({**open_, "if": {"required": ["a"]}, "then": {"properties": {"b": {"type": "string"}}}})
    assert (path, reason.split()[0]) == (("then",), "`b`")
    ((path, reason),) = told(closed(n={"minimum": 1}))
    assert (path, reason) == (("properties", "n"), "the schema says nothing of its type and is sent as number")


@pytest.mark.parametrize(
    ("schema", "path", "reason"),
    [
        (closed(a={}), ("properties", "a"), "says nothing of its type"),
        (closed(a=True), ("properties", "a"), "says nothing of its type"),
        (closed(a={"not": {"type": "string"}}), ("properties", "a"), "says nothing of its type"),
        ({"type": "object"}, (), "no maps with free keys"),
        (closed(a={"type": "object", "additionalProperties": {"type": "number"}}), ("properties", "a"), "no maps"),
        (
            {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["b"]},
            ("required", 0),
            "is no property",
        ),
        ({**closed(a={"type": "string"}), "required": ["b"]}, (), "no value fits"),
        (closed(a={"enum": ["a"], "type": "integer"}), (), "no value fits"),
        (closed(a={"$ref": "other.json"}), ("properties", "a", "$ref"), "is not in this schema"),
        (
            {**closed(a={"$ref": "#/$defs/A"}), "$defs": {"A": closed(next={"$ref": "#/$defs/A"})}},
            ("$defs", "A", "properties", "next", "$ref"),
            "`#/$defs/A` refers to itself",
        ),
        (
            {
                **closed(a={"$ref": "#/$defs/A"}),
                "$defs": {"A": closed(b={"$ref": "#/$defs/B"}), "B": closed(a={"$ref": "#/$defs/A"})},
            },
            ("$defs", "B", "properties", "a", "$ref"),
            "refers to itself",
        ),
        (closed(a={"$ref": "#"}), ("properties", "a", "$ref"), "the schema itself refers to itself"),
        (
            closed(a={"allOf": [{"$ref": "#"}, {"type": "object"}]}),
            ("properties", "a", "allOf", 0, "$ref"),
            "refers to",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_place(schema: dict[str, Any], path: Any, reason: str) -> None:
    place, why = refused(schema)
    assert place == path
    assert reason in why


def test_a_schema_that_is_too_large_is_refused_with_what_can_be_done() -> None:
    (found,) = weakened(closed(**{f"u{i}": {"type": ["string", "null"]} for i in range(17)})).refused
    assert (found.code, found.path) == ("schema-too-large", ())
    assert "17 schemas" in found.reason


def test_a_chain_of_references_that_doubles_at_each_step_takes_no_time() -> None:
    links = {f"d{i}": closed(a={"$ref": f"#/$defs/d{i + 1}"}, b={"$ref": f"#/$defs/d{i + 1}"}) for i in range(60)}
    links["d60"] = {"type": "string"}
    assert sent({**closed(x={"$ref": "#/$defs/d0"}), "$defs": links})["properties"] == {"x": {"$ref": "#/$defs/d0"}}


def test_the_users_schema_is_left_alone() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
    weakened(schema)
    assert schema == {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
