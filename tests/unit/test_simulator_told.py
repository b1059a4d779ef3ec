"""What descriptions tell: answers keep to it, unless they are to break it, and fit the schema as sent either way."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from runner.catalog.schema_weakening import weakened
from runner.replies.schema import Check
from runner.simulator.answers import Answer
from runner.simulator.faults import Faults, Rule
from runner.simulator.instances import Draws, instance
from runner.simulator.misanswers import misanswer

FIELDS: list[dict[str, Any]] = [
    {"type": "integer", "minimum": 1, "maximum": 5},
    {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 3},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "minimum": 0.01, "maximum": 0.02},
    {"type": "number", "maximum": -3},
    {"type": "integer", "minimum": 1000},
    {"type": "integer", "multipleOf": 7},
    {"type": "string", "maxLength": 3, "description": "A code (three letters)."},
    {"type": "string", "minLength": 200},
    {"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 2},
    {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 9},
    {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 2}]},
]


def closed(field: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": field}, "required": ["a"], "additionalProperties": False}


@given(st.sampled_from(FIELDS), st.text(max_size=5))
def test_an_answer_keeps_to_what_is_told(field: dict[str, Any], seed: str) -> None:
    schema = closed(field)
    value = instance(weakened(schema).schema, Draws(seed), "echo")
    assert Check(schema).problems(value) == []


def off_told(schema: dict[str, Any], value: Any) -> Any:
    faults = Faults((), 0)
    faults.add(Rule.from_json({"kind": "off_told"}))
    body = {"max_tokens": 1_000, "output_config": {"format": {"type": "json_schema", "schema": schema}}}
    whole = Answer([{"type": "text", "text": orjson.dumps(value).decode()}], "end_turn", 5)
    reply = misanswer(body, whole, faults.choose("/v1/messages", b"{}"))
    return orjson.loads(reply.content[0]["text"])


@given(st.sampled_from(FIELDS[:-1]), st.text(max_size=5))
def test_an_answer_that_breaks_it_fits_what_was_sent_and_is_the_same_each_time(
    field: dict[str, Any], seed: str
) -> None:
    schema = closed(field)
    sent = weakened(schema).schema
    value = instance(sent, Draws(seed), "echo")
    broken = off_told(sent, value)
    assert Draft202012Validator(sent).is_valid(broken)
    assert Check(schema).problems(broken) != []
    assert off_told(sent, value) == broken


@pytest.mark.parametrize(
    "field", [{"type": "string"}, {"type": "null"}, {"type": "integer", "description": "From 1 to 5."}]
)
def test_where_nothing_is_told_nothing_is_broken(field: dict[str, Any]) -> None:
    sent = weakened(closed(field)).schema
    value = instance(sent, Draws("x"), "echo")
    assert off_told(sent, value) == value
