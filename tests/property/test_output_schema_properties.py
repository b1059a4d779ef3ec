"""For schemas made by hypothesis-jsonschema, and for richer ones made here:

* what is sent is inside the API's subset, as the stand-in's independent check has it;
* every instance that the full schema accepts is accepted by what is sent, or the author has been told;
* the local check accepts exactly what another validator (`jsonschema-rs`, in Rust) accepts.

hypothesis-jsonschema knows JSON Schema up to draft 7, so it makes what that and 2020-12 have in common: schemas as
instances of a schema of schemas, and instances of those. The words of 2020-12 come from strategies of our own.
"""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from runner.catalog.schema_subset import outside_subset
from runner.catalog.schema_weakening import Weakened, weakened
from runner.replies.schema import Check
from runner.simulator.instances import Draws, instance
from runner.simulator.output_schema import check_schema
from support.schema_strategies import instances_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAMES = ["a", "b", "c"]
TYPES = ["string", "number", "integer", "boolean", "null", "object", "array"]
SCALAR: dict[str, Any] = {"enum": [None, True, False, 0, 1, 2, -1, 0.5, "", "a", "bb"]}


def schema_of_schemas(depth: int) -> dict[str, Any]:
    """A JSON Schema whose instances are JSON Schemas, so many levels deep."""
    count = {"type": "integer", "minimum": 0, "maximum": 3}
    words: dict[str, Any] = {
        "type": {
            "anyOf": [{"enum": TYPES}, {"type": "array", "items": {"enum": TYPES}, "minItems": 1, "uniqueItems": True}]
        },
        "enum": {"type": "array", "items": SCALAR, "minItems": 1, "maxItems": 3, "uniqueItems": True},
        "const": SCALAR,
        "minimum": {"type": "integer", "minimum": -2, "maximum": 2},
        "exclusiveMaximum": {"type": "integer", "minimum": -2, "maximum": 2},
        "multipleOf": {"enum": [1, 2, 0.5]},
        "minLength": count,
        "maxLength": count,
        "pattern": {"enum": ["^a", "b$", "[0-9]", "^$"]},
        "minItems": count,
        "maxItems": count,
        "uniqueItems": {"type": "boolean"},
        "minProperties": count,
        "title": {"enum": ["T"]},
        "description": {"enum": ["What it is."]},
        "default": SCALAR,
    }
    if depth:
        inner = schema_of_schemas(depth - 1)
        several = {"type": "array", "items": inner, "minItems": 1, "maxItems": 3}
        words |= {
            "properties": {"type": "object", "properties": dict.fromkeys(NAMES, inner), "additionalProperties": False},
            "required": {"type": "array", "items": {"enum": NAMES}, "uniqueItems": True, "maxItems": 2},
            "additionalProperties": {"anyOf": [{"type": "boolean"}, inner]},
            "items": inner,
            "contains": inner,
            "anyOf": several,
            "oneOf": several,
            "allOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
        }
    return {"type": "object", "properties": words, "additionalProperties": False, "maxProperties": 4}


made_schemas = instances_of(schema_of_schemas(2))


def closed(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    required = [name for name in required if name in properties]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


# What authors write: typed, closed, with the words of 2020-12 and references.
leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from(TYPES[:5]).map(lambda kind: {"type": kind}),
    st.sampled_from(
        [{"type": "integer", "minimum": 0}, {"type": "string", "maxLength": 1}, {"type": ["string", "null"]}]
    ),
    st.sampled_from([{"type": "string", "pattern": "^a"}, {"type": "number", "multipleOf": 0.1}, {"const": "a"}]),
    st.lists(st.sampled_from([None, True, 0, 1, "a", [], [1], {"a": 1}, {}]), min_size=1, max_size=3).map(
        lambda v: {"enum": v}
    ),
    st.sampled_from(["#/$defs/one", "#two", "#/$defs/three", "#/$defs/more/properties/a"]).map(
        lambda ref: {"$ref": ref}
    ),
    st.just({"$dynamicRef": "#two"}),
)
authored = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            closed,
            st.dictionaries(st.sampled_from(NAMES), inner, min_size=1),
            st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
        ),
        st.builds(
            lambda one, rest: {"type": "array", "prefixItems": [one], "items": rest}, inner, inner | st.booleans()
        ),
        inner.map(lambda part: {"type": "array", "items": part, "minItems": 2}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"oneOf": parts}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"allOf": parts}),
        st.builds(
            lambda part, names: {**part, "anyOf": [{"required": [name]} for name in names]},
            inner,
            st.lists(st.sampled_from(NAMES), min_size=1, max_size=2),
        ),
        st.builds(lambda part, other: {**part, "not": other}, inner, inner),
        st.builds(lambda part: {**part, "dependentRequired": {"a": ["b"]}}, inner),
    ),
    max_leaves=6,
)
DEFINITIONS = {
    "one": closed({"a": {"type": "string"}, "b": {"type": "integer"}}, ["a"]),
    "second": {"$dynamicAnchor": "two", "type": "array", "items": {"$ref": "#/$defs/one"}},
    "three": {"type": "object", "properties": {"a": {"type": "boolean"}}, "unevaluatedProperties": False},
    "more": closed({"a": {"enum": ["a", None]}}, []),
}
rooted = authored.map(lambda schema: {**closed({"a": schema}, ["a"]), "$defs": DEFINITIONS})

values = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 2, -1, 0.5, 0.3, 1.0, "", "a", "ab", "bb", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)


def fitting(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Instances of the schema; none where it has words that hypothesis-jsonschema does not know."""
    return st.nothing() if "$defs" in schema else instances_of(schema)


generous = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """What a second validator says; it knows no `multipleOf` of decimals other than as we do."""
    return bool(jsonschema_rs.validator_for({"$schema": DIALECT, **schema}).is_valid(value))


DIALECT = "https://json-schema.org/draft/2020-12/schema"


def told(made: Weakened) -> bool:
    return bool(made.refused or made.narrowed)


@generous
@given(made_schemas | rooted)
def test_what_is_sent_is_inside_the_api_s_subset(schema: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    made = weakened(schema)
    assert schema == before
    assert bool(made.schema) != bool(made.refused)
    if made.schema:
        check_schema(made.schema, "schema")
        assert outside_subset(made.schema) == []


@generous
@given(st.data(), made_schemas | rooted)
def test_every_value_that_the_schema_accepts_can_be_said(data: st.DataObject, schema: dict[str, Any]) -> None:
    made = weakened(schema)
    assume(not told(made))
    value = data.draw(values | fitting(schema))
    if accepts(schema, value) and not accepts(made.schema, value):
        # All that is left of a difference are properties that the schema does not name.
        assert accepts(made.schema, named_only(value, made.schema, made.schema)), (made.schema, value)


def named_only(value: Any, schema: Any, root: Any) -> Any:
    """The value without properties that the schema names nowhere."""
    names = set(re.findall(r'"([abc])"', json.dumps(root)))
    if isinstance(value, dict):
        return {name: named_only(item, schema, root) for name, item in value.items() if name in names}
    return [named_only(item, schema, root) for item in value] if isinstance(value, list) else value


@generous
@given(st.data(), made_schemas | rooted)
def test_the_local_check_accepts_what_another_validator_accepts(data: st.DataObject, schema: dict[str, Any]) -> None:
    value = data.draw(values | fitting(schema))
    assert (Check(schema).problems(value) == []) == accepts(schema, value)


@generous
@given(rooted, st.text(max_size=5))
def test_what_the_stand_in_says_within_what_is_sent_is_judged_by_the_whole_schema(
    schema: dict[str, Any], seed: str
) -> None:
    made = weakened(schema)
    assume(made.schema)
    said = instance(made.schema, Draws(seed), "echo")
    assert accepts(made.schema, said)
    problems = Check(schema).problems(said)
    assert (problems == []) == accepts(schema, said)
    assert all(problem.startswith("/") for problem in problems)
