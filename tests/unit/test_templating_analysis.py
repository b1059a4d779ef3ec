"""What a template looks up is found without rendering it, through includes, macros, blocks and aliases."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.templating import ColumnUse, TemplateFailure, TemplateFinder, TemplateSet

OTHERS = {
    "part": "{{ row.in_part }}",
    "macros": "{% macro show(r, other=none) %}\n{{ r.in_macro }}{{ other.x }}{% endmacro %}"
    "{% macro plain(x) %}{{ x }}{% endmacro %}",
    "recursive": "{% macro walk(r, n=0) %}{{ r.a }}{{ walk(r, n + 1) if n < 3 }}{% endmacro %}",
    "with_context": "{% macro show() %}{{ row.in_context }}{% endmacro %}",
    "base": "{{ row.in_base }}{% block one %}{{ row.in_base_one }}{% endblock %}"
    "{% block two %}{{ row.in_base_two }}{% endblock %}",
    "loop": "{{ row.a }}{% include 'loop' %}",
    "sets": "{% set row = {'a': 1} %}{{ row.hidden }}",
}


def columns(text: str, variable: str = "row") -> dict[str, bool]:
    """Column to whether its use is optional."""
    uses = TemplateSet.from_sources({"t": text, **OTHERS}).template("t").columns(variable)
    return {use.column: use.optional for use in uses}


def required(text: str) -> set[str]:
    return {column for column, optional in columns(text).items() if not optional}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ row.a }}{{ row['b'] }}{{ row.c.d[0] }}", {"a", "b", "c"}),
        (
            "{% if row.a %}{{ row.b }}{% elif row.c %}{{ row.d }}{% else %}{{ row.e }}{% endif %}",
            {"a", "b", "c", "d", "e"},
        ),
        (
            "{% for x in row.list if x.y == row.a %}{{ x.z }}{{ row.b }}{% else %}{{ row.c }}{% endfor %}",
            {"list", "a", "b", "c"},
        ),
        ("{{ row.a | replace(row.b, 'x') | upper }}{{ row.c is divisibleby(row.d) }}", {"a", "b", "c", "d"}),
        (
            "{{ row.a ~ row.b + row.c }}{{ -row.d }}{{ row.e[row.f:] }}{{ [row.g, (row.h,)] }}{{ {'k': row.i} }}",
            set("abcdefghi"),
        ),
        ("{% set x %}{{ row.a }}{% endset %}{% filter upper %}{{ row.b }}{% endfilter %}", {"a", "b"}),
        ("{% include 'part' %}", {"in_part"}),
        ("{% include ['absent', 'part'] ignore missing %}", {"in_part"}),
        ("{% include 'part' if row.a else 'loop' %}", {"a", "in_part"}),
        ("{% include 'loop' %}", {"a"}),
        # macros count where they are called, with what they are called with
        ("{% macro m(r) %}{{ r.a }}{% endmacro %}{{ m(row) }}", {"a"}),
        ("{% macro m(r) %}{{ r.a }}{% endmacro %}{{ m(r=row) }}", {"a"}),
        ("{% macro m(r=row) %}{{ r.a }}{% endmacro %}{{ m() }}", {"a"}),
        ("{% macro m() %}{{ row.a }}{% endmacro %}{{ m() }}", {"a"}),
        ("{% macro m() %}{{ row.a }}{% endmacro %}", set()),
        ("{% macro m(r) %}{{ r.a }}{% endmacro %}{{ m(row.b) }}", {"b"}),
        ("{% macro m(row) %}{{ row.a }}{% endmacro %}{{ m({'a': 1}) }}", set()),
        ("{% import 'macros' as m %}{{ m.show(row) }}", {"in_macro"}),
        ("{% import 'macros' as m %}{{ m.show(row.a, other=row) }}", {"a", "x"}),
        ("{% from 'macros' import show as s %}{{ s(row) }}", {"in_macro"}),
        ("{% from 'recursive' import walk %}{{ walk(row) }}", {"a"}),
        ("{% import 'with_context' as m with context %}{{ m.show() }}", {"in_context"}),
        ("{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ row.a }}{% endcall %}", {"a"}),
        ("{% macro a() %}{{ b(row) }}{% endmacro %}{% macro b(r) %}{{ r.x }}{% endmacro %}{{ a() }}", {"x"}),
        # aliases
        ("{% set r = row %}{{ r.a }}", {"a"}),
        ("{% with r = row %}{{ r.a }}{% endwith %}", {"a"}),
        ("{% with row = row.inner %}{{ row.a }}{% endwith %}{{ row.b }}", {"inner", "b"}),
        ("{% set r = row if true else row %}{{ r.a }}", {"a"}),
        # shadowing
        ("{% for row in rows %}{{ row.a }}{% endfor %}{{ row.b }}", {"b"}),
        ("{% for row, x in rows %}{{ row.a }}{% endfor %}", set()),
        ("{% set row = {'a': 1} %}{{ row.a }}", set()),
        ("{% include 'sets' %}{{ row.a }}", {"a"}),
        ("{{ loop.x }}{% for x in [1] %}{{ loop.index }}{% endfor %}", set()),
        # inheritance
        (
            "{% extends 'base' %}{% block one %}{{ row.in_child }}{% endblock %}{{ row.ignored }}",
            {"in_base", "in_child", "in_base_two"},
        ),
        ("{% extends 'base' %}{% block one %}{{ super() }}{% endblock %}", {"in_base", "in_base_one", "in_base_two"}),
        (
            "{% extends 'base' %}{% set r = row %}{% block one %}{{ r.a }}{% endblock %}",
            {"in_base", "a", "in_base_two"},
        ),
        ("{% if row.x %}{% extends 'base' %}{% endif %}", {"x", "in_base", "in_base_one", "in_base_two"}),
        ("{% block b %}{{ row.a }}{% endblock %}{{ self.b() }}", {"a"}),
        ("{% block b %}{{ self.b() }}{{ row.a }}{% endblock %}", {"a"}),
        # what cannot be followed is left out
        ("{{ row[name] }}{{ row | tojson }}{{ (row | items) }}{% for k in row %}{{ k }}{% endfor %}", set()),
        ("{{ [row][0].a }}", set()),
    ],
)
def test_columns_that_rendering_needs_are_found(text: str, expected: set[str]) -> None:
    assert required(text) == expected


@pytest.mark.parametrize(
    ("text", "expected", "needed"),
    [
        ("{{ row.a | default('x') }}{{ row.b | d('x') }}", {"a", "b"}, set()),
        ("{{ row.a is defined }}{{ row.b is undefined }}{{ row.c is not defined }}", {"a", "b", "c"}, set()),
        ("{{ row.a.b | default('x') }}", set(), {"a"}),
        ("{{ row.a | upper | default('x') }}", set(), {"a"}),
        ("{% if row.a is defined %}{{ row.a }}{% endif %}", {"a"}, set()),
        ("{% if row.a is defined %}{{ row.b }}{% endif %}", {"a"}, {"b"}),
        ("{% if row.a is defined and row.a %}{{ row.a }}{% endif %}", {"a"}, set()),
        ("{% if row.a is undefined or row.a == 1 %}{% else %}{{ row.a }}{% endif %}", {"a"}, set()),
        ("{% if row.a is not defined %}{{ row.b }}{% else %}{{ row.a }}{% endif %}", {"a"}, {"b"}),
        ("{% if not row.a is defined %}{% elif row.a %}{{ row.a }}{% endif %}", {"a"}, set()),
        ("{% if 'a' in row %}{{ row.a }}{% endif %}", {"a"}, set()),
        ("{% if 'a' not in row %}{% else %}{{ row.a }}{% endif %}", {"a"}, set()),
        ("{{ row.a if row.a is defined else row.b }}", {"a"}, {"b"}),
        ("{% set r = row %}{% if r.a is defined %}{{ row.a }}{% endif %}", {"a"}, set()),
        ("{% macro m(r) %}{{ r.a }}{% endmacro %}{% if row.a is defined %}{{ m(row) }}{% endif %}", {"a"}, set()),
        ("{% if row.a is defined %}{{ row.a }}{% endif %}\n{{ row.a }}", set(), {"a"}),
        ("{{ row.x | default(row.y) }}", {"x"}, {"y"}),
        ("{{ (row.a if row.b else row.c) | default(1) }}", {"a", "c"}, {"b"}),
        ("{{ row[row.a] is defined }}", set(), {"a"}),
    ],
)
def test_a_use_that_cannot_fail_is_optional(text: str, expected: set[str], needed: set[str]) -> None:
    found = TemplateSet.from_sources({"t": text}).template("t").columns()
    needed_found = {use.column for use in found if not use.optional}
    assert needed_found == needed
    assert {use.column for use in found if use.optional} - needed_found == expected


def test_a_use_has_the_template_and_line_where_it_stands() -> None:
    sources = {"t": "\n{{ row.a }}\n{% include 'p' %}\n{{ row.a }}{{ row.a }}", "p": "\n\n{{ row['b'] }}"}
    assert TemplateSet.from_sources(sources).template("t").columns() == (
        ColumnUse("a", "t", 2),
        ColumnUse("b", "p", 3),
        ColumnUse("a", "t", 4),
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{{ row.a }}{{ vars.b }}{{ assets }}", {"row", "vars", "assets"}),
        ("{{ range(3) }}{{ dict(a=1) }}{% set ns = namespace(a=tone) %}{% set ns.a = 2 %}", {"tone"}),
        ("{% for x in xs %}{{ x }}{{ loop.index }}{% endfor %}{{ x }}", {"xs", "x"}),
        (
            "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{{ caller() }}{% endmacro %}{% call m(1) %}{% endcall %}",
            set(),
        ),
        ("{% import 'macros' as m %}{{ m.plain(1) }}{{ self }}", set()),
        ("{% include 'part' %}", {"row"}),
        ("{% set replies.x = 1 %}", {"replies"}),
        ("{% block b %}{{ super() }}{% endblock %}", set()),
        ("{% call(x) m() %}{{ x }}{% endcall %}", {"m"}),
    ],
)
def test_names_that_come_from_outside_are_found(text: str, names: set[str]) -> None:
    assert TemplateSet.from_sources({"t": text, **OTHERS}).template("t").names() == names


def test_items_of_any_variable_are_found() -> None:
    assert columns("{{ vars.tone }}{{ assets.examples[0].q }}", "vars") == {"tone": False}
    assert columns("{{ vars.tone }}{{ assets.examples[0].q }}", "assets") == {"examples": False}


def test_a_name_that_is_asked_for_first_is_optional() -> None:
    text = "{% if replies is defined %}{{ replies }}{% endif %}{{ row }}"
    uses = TemplateSet.from_sources({"t": text}).template("t").uses.names
    assert {(use.name, use.optional) for use in uses} == {("replies", True), ("row", False)}


def test_templates_that_branch_into_each_other_are_walked_in_no_time() -> None:
    sources = {f"t{n}": f"{{% include 't{n + 1}' %}}" * 3 + f"{{% import 't{n + 1}' as m %}}" * 3 for n in range(30)}
    sources |= {"t30": "{{ row.a }}"}
    assert [use.column for use in TemplateSet.from_sources(sources).template("t0").columns()] == ["a"]


def test_a_template_that_includes_itself_with_a_new_macro_each_time_is_walked_once() -> None:
    macro = "{% macro m(f) %}{{ row.a }}{% macro n() %}{{ m(n) }}{% endmacro %}{{ n() }}{% endmacro %}"
    assert required(macro + "{{ m(1) }}{% include 't' %}") == {"a"}


@pytest.mark.parametrize(
    ("template", "method"),
    [
        ("{{ row.text.upper() }}", "upper"),
        ("{{ row['tags'].split(',') }}", "split"),
        ("{% set r = row %}{{ r.text.strip() }}", "strip"),
        ("{% macro m(r) %}{{ r.items() }}{% endmacro %}{{ m(row) }}", "items"),
        ("{{ vars.a.b[0].lower() }}", "lower"),
    ],
)
def test_a_method_called_on_data_can_work_for_no_row(template: str, method: str) -> None:
    with pytest.raises(TemplateFailure, match=rf"`{method}\(…\)` is called on data") as caught:
        TemplateSet.load(TemplateFinder([], Path()), [], {"t": template})
    assert (caught.value.code, caught.value.template, caught.value.line) == ("unknown-item", "t", 1)


@pytest.mark.parametrize(
    "template",
    [
        "{% for x in row.list %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x) }}{% endfor %}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}x{% endcall %}",
        "{% block b %}x{% endblock %}{{ self.b() }}",
        "{{ range(3) | list }}",
        "{% set ns = namespace(a=1) %}{{ ns.a }}",
    ],
)
def test_what_templates_may_call_is_no_method_on_data(template: str) -> None:
    TemplateSet.load(TemplateFinder([], Path()), [], {"t": template})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ row.q.text }}{{ row['q']['n'] }}", {"text": False, "n": False}),
        ("{% set q = row.q %}{{ q.text }}", {"text": False}),
        ("{% macro m(x) %}{{ x.text }}{% endmacro %}{{ m(row.q) }}", {"text": False}),
        ("{{ row.q.text | default('') }}", {"text": True}),
        ("{% if row.q.text is defined %}{{ row.q.text }}{% endif %}", {"text": True}),
        ("{% if 'text' in row.q %}{{ row.q.text }}{% endif %}{{ row.q.n }}", {"text": True, "n": False}),
        ("{{ row.q.text.more }}", {"text": False}),
        ("{% for x in row.q %}{{ x.text }}{% endfor %}", {}),
        ("{% macro m(x) %}{{ m(x.child) }}{% endmacro %}{{ m(row.q) }}", {"child": False}),
    ],
)
def test_items_of_an_item_are_followed(text: str, expected: dict[str, bool]) -> None:
    uses = TemplateSet.from_sources({"t": text}).template("t").columns("row.q")
    assert {use.column: use.optional for use in uses} == expected


def numbers(text: str) -> dict[int, bool]:
    """Number to whether its use is optional."""
    uses = TemplateSet.from_sources({"t": text, **OTHERS}).template("t").uses.indexes
    return {use.index: use.optional for use in uses if use.variable == "replies"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ replies[0] }}{{ replies[-2] | upper }}{{ replies.3 }}", {0: False, -2: False, 3: False}),
        ("{{ replies[n] }}{{ replies[1:] }}{{ replies['a'] }}{{ replies[1.5] }}{{ replies[true] }}", {}),
        ("{% set said = replies %}{{ said[4] }}", {4: False}),
        ("{% macro m(said) %}{{ said[4] }}{% endmacro %}{{ m(replies) }}", {4: False}),
        ("{% macro m(said) %}{{ said[4] }}{% endmacro %}{% if x %}{{ m(replies) }}{% endif %}", {4: True}),
        ("{% macro m(r) %}{{ r[4] }}{% endmacro %}{% if x %}{{ m(replies) }}{% endif %}{{ m(replies) }}", {4: False}),
        ("{{ replies[4] | default('') }}{{ replies[5] is defined }}", {4: True, 5: True}),
        ("{% if replies[4] %}{{ replies[5] }}{% elif replies[6] %}{% endif %}", {4: False, 5: True, 6: True}),
        ("{% if x %}{% else %}{{ replies[5] }}{% endif %}", {5: True}),
        ("{{ replies[4] if x }}{{ x and replies[5] }}{{ x or replies[6] }}", {4: True, 5: True, 6: True}),
        ("{% for x in replies %}{{ replies[4] }}{% else %}{{ replies[5] }}{% endfor %}", {4: True, 5: True}),
        ("{% if x %}{{ replies[4] }}{% endif %}{{ replies[4] }}", {4: False}),
    ],
)  # fmt: skip
def test_items_that_are_looked_up_by_number_are_found(text: str, expected: dict[int, bool]) -> None:
    assert numbers(text) == expected
