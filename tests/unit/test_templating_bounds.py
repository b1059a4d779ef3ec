"""What a template may use is bounded: text, lists, numbers, steps, depth; and memory stays near the bound."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from runner.templating import Bounds, Expression, TemplateFailure, TemplateSet

SMALL = Bounds(output_bytes=64 * 1024, made_chars=2**20, steps=20_000)
"""Tight bounds make the tests quick and the memory they may take small."""

MEMORY = 16 * 2**20
"""Bytes that a refused payload may take at its peak under SMALL bounds; Jinja's plain sandbox takes gigabytes."""


def context() -> dict[str, Any]:
    return {"row": {"text": "word " * 2_000, "big": "x" * 60_000, "list": list(range(1_000)), "n": 7}}


def doubling(start: str, step: str) -> str:
    """Sixty times `ns.s = step`, starting with `start`."""
    turn = "{% for i in range(60) %}{% set ns.s = " + step + " %}{% endfor %}"
    return "{% set ns = namespace(s=" + start + ") %}" + turn + "{{ ns.s }}"


def nested(use: str) -> str:
    """`use` with a list `d` of 512,000 numbers that is short to write."""
    eight = "[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]".format
    return "{% set d = row.list %}" + f"{{% set d = {eight('d')} %}}" * 3 + use


GIGABYTE = "{% for a in range(10000) %}{{ row.big }}{% endfor %}"

PAYLOADS = {
    "text times a number": "{{ 'A' * 400000000 }}",
    "a number times text": "{{ 400000000 * 'A' }}",
    "list times a number": "{{ [1] * 400000000 }}",
    "tuple times a number": "{{ (1,) * 400000000 }}",
    "format filter, width": "{{ '%0400000000d' | format(1) }}",
    "format operator, width": "{{ '%400000000s' % 'a' }}",
    "format operator, precision": "{{ '%.400000000f' % 1.5 }}",
    "format operator, star": "{{ '%*d' % (400000000, 1) }}",
    "format of many uses": "{{ ('%(a)s' * 100) % {'a': row.big} }}",
    "center": "{{ 'a' | center(400000000) }}",
    "indent": "{{ 'a\\nb' | indent(400000000) }}",
    "indent by text": "{{ ('a\\n' * 1000) | indent(row.big) }}",
    "wordwrap": "{{ row.big | wordwrap(400000000) }}",
    "wordwrap of none": "{{ row.big | wordwrap(0) }}",
    "wordwrap of a gap": "{{ ('a' ~ (' ' * 60000) ~ 'b') | wordwrap(1) }}",
    "wordwrap of a word": "{{ row.big | wordwrap(1) }}",
    "wordwrap with long ends": "{{ row.text | wordwrap(5, wrapstring=row.big) }}",
    "slice": "{{ row.list | slice(100000000) | list }}",
    "batch": "{{ row.list | batch(300000000, 0) | list }}",
    "nested ranges": "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
    "a long range": "{{ range(100000000) | list }}",
    "an endless range": "{{ range(0, 10 ** 100, 1) }}",
    "doubling by tilde": doubling("'a'", "ns.s ~ ns.s"),
    "doubling by plus": doubling("'a'", "ns.s + ns.s"),
    "doubling of lists": doubling("[1]", "ns.s + ns.s"),
    "a gigabyte of output": "{% for a in range(10000) %}" + "x" * 1000 + "{% endfor %}",
    "a gigabyte in a set block": "{% set s %}" + GIGABYTE + "{% endset %}",
    "a gigabyte in a macro": "{% macro m() %}" + GIGABYTE + "{% endmacro %}{{ m() }}",
    "a gigabyte in a filter block": "{% filter upper %}" + GIGABYTE + "{% endfilter %}",
    "a gigabyte in a block": "{% if false %}{% block b %}"
    + GIGABYTE
    + "{% endblock %}{% endif %}{% set x = self.b() %}",
    "lipsum": "{{ lipsum(n=9999) }}",
    "a tower of powers": "{{ 9 ** (9 ** 9) }}",
    "a big power": "{{ 2 ** 100000000 }}",
    "squaring": doubling("9", "ns.s * ns.s"),
    "round": "{{ 1.5 | round(100000000, 'ceil') }}",
    "json of nested lists": nested("{{ d | tojson }}"),
    "printing nested lists": nested("{{ d }}"),
    "text of nested lists": nested("{{ d | upper }}"),
    "a test on nested lists": nested("{{ d is lower }}"),
    "format of nested lists": nested("{{ '%s' | format(d) }}"),
    "format of the inside of nested lists": nested("{{ '%r' % (d,) }}"),
    "json indent": "{{ row.list | tojson(indent=100000000) }}",
    "replace by more": "{{ row.big | replace('x', row.big) }}",
    "replace of nothing": "{{ row.big | replace('', row.big) }}",
    "join with a long mark": "{{ row.list | join(row.big) }}",
    "join of long texts": "{{ ([row.big] * 1000) | join }}",
    "sum of lists": "{{ [row.list, row.list] | sum(start=[]) }}",
    "sort of long texts": "{{ ([row.big] * 1000) | sort }}",
    "unique long texts": "{{ ([row.big] * 1000) | unique | list }}",
    "largest of long texts": "{{ ([row.big] * 1000) | max }}",
    "groups of long texts": "{{ ([{'a': row.big}] * 1000) | groupby('a') }}",
    "sorted pairs": "{% for i in range(99) %}{{ {'a': row.big} | dictsort(by='value') | length }}{% endfor %}",
    "filters over long texts": "{{ ([row.big] * 1000) | map('upper') | list }}",
    "slices of long texts": doubling("[]", "ns.s + [row.big[1:]]"),
    "characters": "{% for c in row.big %}{% endfor %}",
    "list of characters": "{{ row.big | list }}",
    "loop filter": "{% for a in range(9000) if a > 5 %}{% for b in range(9000) if b %}{% endfor %}{% endfor %}",
    "lazy filters": "{% for a in range(9000) %}{{ range(9000) | map('abs') | select | list | length }}{% endfor %}",
    "a recursive loop": "{% for a in range(100) recursive %}{{ loop(range(100)) if loop.depth < 9 }}{% endfor %}",
    "macro without end": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "macros that branch": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "blocks without end": "{% block b %}{{ self.b() }}{% endblock %}",
    "include without end": '{% include "t" %}',
    "include that branches": "{% set d = (d | default(0)) + 1 %}{% if d < 40 %}"
    + '{% include "t" %}' * 2
    + "{% endif %}",
    "import without end": '{% import "t" as t %}',
    "xml": "{% for i in range(100) %}{{ row.big | replace('x', '&') | xml_escape }}{% endfor %}",
    "url": "{{ ([row.big] * 1000) | urlencode }}",
    "split": "{% for i in range(10000) %}{% set x = row.big | split('x') %}{% endfor %}",
    "copies of a mapping": "{% for i in range(10000) %}{% set x = dict(row) %}{% set y = namespace(row) %}{% endfor %}",
    "csv": "{% for i in range(1000) %}{% set x = row.list | csv %}{% endfor %}",
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_payload_is_refused_in_little_memory(payload: str) -> None:
    template = TemplateSet.from_sources({"t": payload}, SMALL).template("t")
    data = context()
    tracemalloc.start()
    try:
        with pytest.raises(TemplateFailure) as caught:
            template.render(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.template == "t"
    assert caught.value.line == 1
    assert peak < MEMORY


@pytest.mark.parametrize(
    "text", ["'A' * 400000000", "9 ** (9 ** 9)", "'%0400000000d' | format(1)", "range(10 ** 9) | list"]
)
def test_loading_evaluates_nothing(text: str) -> None:
    TemplateSet.from_sources({"t": "{{ " + text + " }}"})
    Expression(text, "where")


def test_the_bound_on_output_counts_bytes() -> None:
    limit = SMALL.output_bytes
    template = TemplateSet.from_sources({"t": "{{ row.a }}{{ row.b }}"}, SMALL).template("t")
    half = "é" * (limit // 4)
    assert len(template.render({"row": {"a": half, "b": half}}).encode()) == limit
    with pytest.raises(TemplateFailure, match="bytes"):
        template.render({"row": {"a": half, "b": half + "x"}})


def test_the_bounds_are_far_above_what_prompts_need() -> None:
    text = "{% for r in rows %}{{ loop.index }}. {{ r.t | trim | upper | truncate(100) }}\n{% endfor %}"
    rows = [{"t": "x" * 1_000}] * 9_000
    assert TemplateSet.from_sources({"t": text}).template("t").render({"rows": rows}).count("\n") == 9_000


def test_a_long_row_passes_several_filters() -> None:
    row = {"text": "some words & more " * 50_000}
    text = "{{ row.text | trim | xml_escape | replace('more', 'less') | indent(2) | truncate(500000) }}"
    assert len(TemplateSet.from_sources({"t": text}).template("t").render({"row": row})) > 499_000


def test_every_render_starts_with_all_it_may_use() -> None:
    template = TemplateSet.from_sources({"t": "{% for i in range(9000) %}{% endfor %}"}, SMALL).template("t")
    for _ in range(5):
        assert template.render({}) == ""


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5_000 + "1" + ")" * 5_000,
        "1" + "+1" * 20_000,
        "9" * 5_000,
        "[" * 5_000 + "]" * 5_000,
        "not " * 5_000 + "1",
        "a" + ".b" * 5_000,
        "a" + "|abs" * 5_000,
    ],
)
def test_an_expression_that_nests_too_deeply_is_refused_when_it_is_loaded(text: str) -> None:
    with pytest.raises(TemplateFailure):
        Expression(text, "where")
    with pytest.raises(TemplateFailure):
        TemplateSet.from_sources({"t": "{{ " + text + " }}"})


def test_loops_that_nest_too_deeply_are_refused_when_they_are_loaded() -> None:
    with pytest.raises(TemplateFailure, match="nested too deeply"):
        TemplateSet.from_sources({"t": "{% for a in [1] %}" * 120 + "{% endfor %}" * 120})
