"""For any schema of closed objects: what is sent is inside the subset, and takes nothing away."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from runner.catalog.schema_subset import api_subset, outside_subset

scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["", "a", "bb", "ccc"]))
names = st.sampled_from(["a", "b", "c", "d"])

bounds: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"minimum": st.integers(-3, 3)}),
    st.fixed_dictionaries({"maxLength": st.integers(0, 3), "pattern": st.sampled_from(["^a", "b$"])}),
    st.fixed_dictionaries({"description": st.just("What it is.")}),
    st.fixed_dictionaries({"default": scalars}),
)
leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(
        lambda kind, more: {"type": kind, **more}, st.sampled_from(["string", "integer", "boolean", "null"]), bounds
    ),
    st.builds(lambda values: {"enum": values}, st.lists(scalars, min_size=1, max_size=3)),
    st.builds(lambda value: {"const": value}, scalars),
    st.just({"type": ["string", "null"]}),
)


def _objects(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(names, children, min_size=1, max_size=3).flatmap(
        lambda properties: st.lists(st.sampled_from(sorted(properties)), unique=True).map(
            lambda required: {
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": False,
            }
        )
    )


def _containers(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    arrays = st.builds(
        lambda items, least: {"type": "array", "items": items, "minItems": least, "maxItems": 4},
        children,
        st.integers(0, 3),
    )
    unions = st.builds(
        lambda word, parts: {word: parts},
        st.sampled_from(["anyOf", "oneOf"]),
        st.lists(children, min_size=1, max_size=2),
    )
    return st.one_of(_objects(children), arrays, unions)


schemas = st.recursive(leaves, _containers, max_leaves=6)
values = st.recursive(
    scalars,
    lambda children: st.one_of(st.lists(children, max_size=3), st.dictionaries(names, children, max_size=3)),
    max_leaves=6,
)


@given(schema=schemas)
def test_what_is_sent_is_inside_the_subset(schema: dict[str, Any]) -> None:
    assert outside_subset(api_subset(schema)) == []


@given(schema=schemas)
def test_sending_what_is_sent_changes_nothing(schema: dict[str, Any]) -> None:
    sent = api_subset(schema)
    assert api_subset(sent) == sent


@given(schema=schemas, value=values)
def test_every_value_that_the_schema_accepts_may_be_said(schema: dict[str, Any], value: Any) -> None:
    if Draft202012Validator(schema).is_valid(value):
        assert Draft202012Validator(api_subset(schema)).is_valid(value)
