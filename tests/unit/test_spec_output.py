from __future__ import annotations

from typing import Any

import pytest

from runner.spec.output import fields_path, fields_schema, labels_schema
from runner.spec.source import parse_yaml


def field(text: str) -> Any:
    schema, problems = fields_schema(parse_yaml(f"x: {text}", "j"))
    assert not problems
    return schema["properties"]["x"]


@pytest.mark.parametrize("name", ["string", "number", "integer", "boolean"])
def test_a_type_is_that_type(name: str) -> None:
    assert field(name) == {"type": name}
    assert field(f"optional {name}") == {"type": [name, "null"]}


def test_a_list_holds_the_values() -> None:
    assert field("[good, bad]") == {"type": "string", "enum": ["good", "bad"]}
    assert field("[1, 2, 3]") == {"type": "integer", "enum": [1, 2, 3]}
    assert field("[good, null]") == {"type": ["string", "null"], "enum": ["good", None]}
    assert field("[good, 1]") == {"enum": ["good", 1]}
    assert field("[only]") == {"type": "string", "enum": ["only"]}


def test_a_list_of_one_type_is_a_list_of_that() -> None:
    assert field("[string]") == {"type": "array", "items": {"type": "string"}}
    assert field("[{name: string}]")["items"]["properties"] == {"name": {"type": "string"}}


@pytest.mark.parametrize("name", ["date", "date-time", "time", "duration", "email", "uri", "uuid"])
def test_a_format_of_texts_is_a_type(name: str) -> None:
    assert field(name) == {"type": "string", "format": name}
    assert field(f"optional {name}") == {"type": ["string", "null"], "format": name}
    assert field(f"[{name}]") == {"type": "array", "items": {"type": "string", "format": name}}


def test_a_list_may_be_said_in_words_and_be_optional() -> None:
    assert field("list of integer") == field("[integer]")
    assert field("optional list of date") == {
        "type": ["array", "null"],
        "items": {"type": "string", "format": "date"},
    }


@pytest.mark.parametrize(
    ("word", "meant"), [("str", "string"), ("INT", "integer"), ("bool", "boolean"), ("datetime", "date-time")]
)
def test_what_other_languages_call_a_type_has_a_hint(word: str, meant: str) -> None:
    _, problems = fields_schema(parse_yaml(f"x: {word}", "j"))
    assert f"did you mean `{meant}`?" in str(problems[0].hint)


def test_a_place_in_the_schema_leads_to_the_field() -> None:
    fields = parse_yaml("a: [{b: string, c: [x, y]}]\nd: {type: object, properties: {e: {type: string}}}", "j")
    assert fields_path(fields, ("properties", "a", "items", "properties", "b")) == ("a", 0, "b")
    assert fields_path(fields, ("properties", "d", "properties", "e")) == ("d", "properties", "e")
    assert fields_path(fields, ("required", 0)) == ()


def test_a_mapping_is_an_object_with_all_its_fields_required() -> None:
    assert field("{street: string, zip: optional string}") == {
        "type": "object",
        "properties": {"street": {"type": "string"}, "zip": {"type": ["string", "null"]}},
        "required": ["street", "zip"],
        "additionalProperties": False,
    }


def test_a_mapping_of_keywords_is_a_schema() -> None:
    schema = {"type": "string", "description": "The day", "format": "date"}
    assert field("{type: string, description: The day, format: date}") == schema


def test_a_field_called_type_is_a_field() -> None:
    assert field("{type: string, name: string}")["required"] == ["type", "name"]
    assert field("{type: [a, b]}")["properties"] == {"type": {"type": "string", "enum": ["a", "b"]}}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("strnig", "1:4"),
        ("5", "1:4"),
        ("", "1:3"),
        ("[]", "1:4"),
        ("[[a], b]", "1:4"),
        ("{}", "1:4"),
        ("[a, b, a]", "1:11"),
    ],
)
def test_what_is_no_field_is_told_at_its_place(text: str, place: str) -> None:
    _, problems = fields_schema(parse_yaml(f"x: {text}", "j"))
    assert [(problem.code, str(problem.where)) for problem in problems] == [("bad-field", f"j:{place}")]


def test_true_and_one_are_different_values() -> None:
    assert field("[1, true]") == {"enum": [1, True]}


def test_labels_that_are_no_list_of_texts_are_told_with_the_job_s_other_values() -> None:
    for text in ("3", "spam", "{a: b}", "[]", "[1, 2]", "[spam, null]"):
        assert labels_schema(parse_yaml(text, "j")) == ({}, [])


def test_labels_are_one_field() -> None:
    schema, problems = labels_schema(parse_yaml("[spam, ham]", "j"))
    assert not problems
    assert schema["properties"] == {"label": {"type": "string", "enum": ["spam", "ham"]}}
    assert schema["required"] == ["label"]
