from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from runner.simulator.instances import Draws, instance
from runner.simulator.output_schema import FORMATS, check_schema

# Without `time`: the checker's own is draft 3's, which knows no time zone; the API's is RFC 3339's, which needs one.
CHECKER = FormatChecker(set(FormatChecker().checkers) - {"time"})


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    names = list(properties)
    return {
        "type": "object",
        "properties": properties,
        "required": names[: len(names) // 2],
        "additionalProperties": False,
    }


LEAVES = st.one_of(
    st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(lambda kind: {"type": kind}),
    st.sampled_from(FORMATS).map(lambda name: {"type": "string", "format": name}),
    st.lists(st.one_of(st.text(max_size=4), st.integers(-(2**53), 2**53), st.none()), min_size=1, max_size=3).map(
        lambda values: {"enum": values}
    ),
    st.integers(-(2**53), 2**53).map(lambda value: {"const": value}),
    st.just({"type": ["string", "null"]}),
    st.just({"$ref": "#/$defs/shared"}),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda items: {"type": "array", "items": items, "minItems": 1}),
        st.lists(inner, min_size=1, max_size=3).map(lambda choices: {"anyOf": choices}),
        st.dictionaries(st.sampled_from("abcd"), inner, max_size=4).map(closed),
        inner.map(lambda part: {"allOf": [part]}),
    ),
    max_leaves=6,
)


@given(SCHEMAS, st.text(max_size=8))
def test_an_instance_fits_its_schema(schema: dict[str, Any], seed: str) -> None:
    root = closed({"value": schema}) | {"$defs": {"shared": closed({"n": {"type": "integer"}})}}
    check_schema(root, "schema")
    value = instance(root, Draws(seed), "echo")
    Draft202012Validator(root, format_checker=CHECKER).validate(value)


def test_an_instance_depends_on_the_seed_alone() -> None:
    schema = closed({"a": {"type": "string"}, "b": {"type": "number"}})
    assert instance(schema, Draws("x"), "echo") == instance(schema, Draws("x"), "echo")
    assert len({str(instance(schema, Draws(str(seed)), "echo")) for seed in range(50)}) > 40


def test_free_strings_end_in_the_echo_and_optional_properties_come_last() -> None:
    schema = {
        "type": "object",
        "properties": {"late": {"type": "string"}, "first": {"type": "string"}},
        "required": ["first"],
        "additionalProperties": False,
    }
    values = [instance(schema, Draws(str(seed)), "the-echo") for seed in range(20)]
    assert all(value["first"].endswith("the-echo") for value in values)
    assert {tuple(value) for value in values} == {("first",), ("first", "late")}


@given(st.text(max_size=8), st.integers(min_value=1, max_value=2**32))
def test_draws_stay_below_their_bound(seed: str, bound: int) -> None:
    draws = Draws(seed)
    assert all(0 <= draws.below(bound) < bound for _ in range(20))
    assert 0 <= draws.share() < 1
