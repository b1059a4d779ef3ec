from __future__ import annotations

import pytest

from runner.templating import Expression, TemplateSet


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no variable", set()),
        ("{{ row.text }} and {{ row['n'] | int + 1 }}", {"text", "n"}),
        ("{% if row.a is defined %}{{ row.b.c[row.d] }}{% endif %}", {"a", "b", "d"}),
        ("{{ vars.x }}{% for each in row.list %}{{ each.name }}{% endfor %}", {"list"}),
        ("{{ row | tojson }}", None),
        ("{{ row[vars.name] }}", None),
        ("{% set r = row %}{{ r.text }}", None),
        ("{% for name in row %}{{ name }}{% endfor %}", None),
        ("{{ row.text }}{% if 'x' in row %}y{% endif %}", None),
        ("{% macro m(r) %}{{ r.a }}{% endmacro %}{{ m(row) }}", None),
        ("{% include 'inner' %}{{ row.a }}", {"a", "b"}),
        ("{% include 'whole' %}", None),
        ("{% from 'macros' import m %}{{ m(row.a) }}", {"a"}),
        ("{% extends 'base' %}{% block x %}{{ row.a }}{% endblock %}", {"a", "c"}),
    ],
)
def test_the_items_that_a_template_may_look_at(text: str, expected: set[str] | None) -> None:
    others = {
        "inner": "{{ row.b }}{% include 'inner' ignore missing %}",
        "whole": "{{ row }}",
        "macros": "{% macro m(x) %}{{ x }}{% endmacro %}",
        "base": "{{ row.c }}{% block x %}{% endblock %}",
    }
    templates = TemplateSet.from_sources({"here": text, **others})
    assert templates.template("here").items("row") == expected


def test_the_items_that_an_expression_may_look_at() -> None:
    assert Expression("output.a == row.a and row['b']", "x").items("row") == frozenset(("a", "b"))
    assert Expression("output.a in row.values()", "x").items("row") == frozenset(("values",))
    assert Expression("row", "x").items("row") is None
