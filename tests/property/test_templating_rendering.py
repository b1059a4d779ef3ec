"""Rendering and analysis agree with plain Python and with each other, whatever the data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runner.templating import Expression, TemplateFailure, TemplateSet

NAMES = st.sampled_from(["a", "b", "items", "keys", "__class__", "format", "x y", "ü", "1"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
PRINT_ALL = TemplateSet.from_sources(
    {"t": "{{ row | tojson }}", "text": "{{ row.x }}", "twice": "{{ row.x }}{{ row.x ~ '' }}"}
)
VALUE = Expression("row", "value")


@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_json_reads_back_as_the_row(row: dict[str, Any]) -> None:
    text = PRINT_ALL.template("t").render({"row": row})
    assert json.loads(text) == row
    assert list(json.loads(text)) == list(row)


@given(st.text())
def test_text_is_printed_as_it_is_and_never_rendered(text: str) -> None:
    assert PRINT_ALL.template("text").render({"row": {"x": text}}) == text


@given(JSON)
def test_printing_and_joining_give_the_same_text(value: Any) -> None:
    text = PRINT_ALL.template("text").render({"row": {"x": value}})
    assert PRINT_ALL.template("twice").render({"row": {"x": value}}) == text * 2


@given(st.dictionaries(NAMES, JSON, max_size=5), NAMES)
def test_an_item_is_looked_up_by_dot_and_by_bracket_alike(row: dict[str, Any], name: str) -> None:
    assume(name.isidentifier())
    for expression in (Expression(f"row.{name}", "x"), Expression(f"row[{name!r}]", "x")):
        if name in row:
            assert expression.evaluate({"row": row}) is row[name]
        else:
            with pytest.raises(TemplateFailure, match=f"no column `{name}`"):
                expression.evaluate({"row": row})


@given(JSON)
def test_a_value_passes_through_an_expression_unchanged(value: Any) -> None:
    assert VALUE.evaluate({"row": value}) is value


PIECES = st.sampled_from([
    "{{ row.a }}", "{{ row['b'] }}", "{% if row.c %}{{ row.d }}{% endif %}", "{{ row.e | default(1) }}",
    "{% if row.f is defined %}{{ row.f }}{% endif %}", "{% for row in [{'g': 1}] %}{{ row.g }}{% endfor %}",
    "{% set r = row %}{{ r.h }}", "{% macro m(r) %}{{ r.i }}{% endmacro %}{{ m(row) }}", "{% include 'part' %}",
    "{{ 'x' if 'k' in row and row.k }}", "{{ row.l.m if row.l is defined else '' }}",
])  # fmt: skip


@given(st.lists(PIECES, max_size=5), st.sets(st.sampled_from("abcdefghijkl")))
def test_rendering_fails_for_a_column_only_if_the_analysis_named_it(pieces: list[str], present: set[str]) -> None:
    template = TemplateSet.from_sources({"t": "".join(pieces), "part": "{{ row.j }}"}).template("t")
    row: dict[str, Any] = {name: {"m": 1} for name in present}
    needed = {use.column for use in template.columns() if not use.optional}
    if needed <= present:
        template.render({"row": row})
    elif needed - present - {"d"}:  # `d` stands in a branch that is not taken without `c`
        with pytest.raises(TemplateFailure, match="no column `[" + "".join(needed - present) + "]`"):
            template.render({"row": row})
