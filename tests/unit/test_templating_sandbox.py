"""No template reaches Python: every family of sandbox escapes that is known fails, and so do changes to data."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from runner.templating import TemplateFailure, TemplateSet

LEAKS = re.compile(r"<class|<function|<module|<built-in|<bound|object at 0x|subclasses|os\.py|SECRET|root:x:0")
"""What the output of an escape that works would show."""


class Guarded:
    """An object that a careless caller put into the data."""

    api_key = "SECRET"

    def __repr__(self) -> str:
        return "SECRET"


def context() -> dict[str, Any]:
    return {
        "row": {
            "text": "hello",
            "n": 3,
            "items": "a column",
            "keys": "k",
            "list": [3, 1, 2],
            "map": {"a": 1},
            "null": None,
        },
        "vars": {},
        "other": Guarded(),
        "function": lambda: "SECRET",
        "kind": Guarded,
    }


def render(text: str, **extra: str) -> str:
    return TemplateSet.from_sources({"t": text, **extra}).template("t").render(context())


DUNDER = [
    "{{ row.__class__ }}",
    "{{ row.text.__class__.__mro__ }}",
    "{{ row['__class__'] }}",
    "{{ row.text['__class__'] }}",
    "{{ row.text['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ row.text['\\u005f\\u005fclass\\u005f\\u005f'] }}",
    "{{ row.text['__cla' ~ 'ss__'] }}",
    "{{ row.text[['__class', '__'] | join] }}",
    "{{ row.text | attr('__class__') }}",
    "{{ row.text | attr('__cl' ~ 'ass__') }}",
    "{{ (row.text,) | map(attribute='__class__') | list }}",
    "{{ (row.text,) | map('attr', '__class__') | list }}",
    "{{ [row.text] | selectattr('__class__') | list }}",
    "{{ [row.text, 'x'] | sort(attribute='__class__') }}",
    "{{ [row.text, 'x'] | groupby('__class__') }}",
    "{{ [row.text, 'x'] | groupby(attribute='__class__') | list }}",
    "{{ [row.text, 'x'] | unique(attribute='__class__') | list }}",
    "{{ [row.text, 'x'] | min(attribute='__class__') }}",
    "{{ [row.text, 'x'] | max(attribute='__class__') }}",
    "{{ [row.text] | join(attribute='__class__') }}",
    "{{ [row.text] | sum(attribute='__class__') }}",
    "{{ row.n.real }}",
    "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ ().__class__.__bases__[0].__subclasses__() }}",
    "{{ {}.__class__ }}",
    "{{ (1).__class__ }}",
    "{{ true.__class__ }}",
]

STR_FORMAT = [
    "{{ '{0.__class__}'.format(row) }}",
    "{{ 'x'.format }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{% set f = '{0.__class__}'.format %}{{ f(1) }}",
    "{{ '{0.__class__}' | attr('format')(1) }}",
    "{{ ('{0.__class__}' | safe).format(1) }}",
    "{{ ('{0.__class__}' | escape).format(1) }}",
    "{% for f in ['{0.__class__}'] | map(attribute='format') %}{{ f(1) }}{% endfor %}",
    "{{ ['{0.__class__}'] | map('format', row) | first | attr('x') }}",
    "{{ '{0.api_key}'.format(other) }}",
]

GLOBALS_AND_FRAMES = [
    "{{ lipsum.__globals__ }}",
    "{{ lipsum() }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ cycler('a') }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ joiner(',') }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace(a=1).__init__ }}",
    "{{ namespace(a=1)._Namespace__attrs }}",
    "{{ namespace(a=1)['__class__'] }}",
    "{{ range.__class__ }}",
    "{{ dict.__mro__ }}",
    "{{ dict.fromkeys('ab') }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__dict__ }}",
    "{% block b %}{{ self.b.__init__ }}{% endblock %}",
    "{{ undefined_name.__class__ }}",
    "{{ undefined_name.__init__.__globals__ }}",
    "{{ row.missing._undefined_exception }}",
    "{% macro m() %}{% endmacro %}{{ m._func }}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "{% macro m() %}{% endmacro %}{{ m.__call__.__func__ }}",
    "{% macro m() %}{{ caller._func }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% macro m() %}{{ varargs.__class__ }}{% endmacro %}{{ m(1) }}",
    "{{ (row.list | map('string')).gi_frame }}",
    "{{ (row.list | select).gi_code }}",
    "{{ (row.list | batch(2)).send }}",
    "{% for x in [1] %}{{ loop._iterable }}{% endfor %}",
    "{% for x in [1] %}{{ loop.__init__ }}{% endfor %}",
    "{% for x in [1] %}{{ loop.cycle.__func__ }}{% endfor %}",
    "{% for x in [1] %}{{ loop.changed.__self__ }}{% endfor %}",
    "{% for x in [1] %}{{ loop._undefined }}{% endfor %}",
    "{{ range.__func__ }}",
    "{{ environment }}",
    "{{ context }}",
    "{{ config }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{{ other.api_key }}",
    "{{ other }}",
    "{{ other | tojson }}",
    "{{ [other] }}",
    "{{ other | string }}",
    "{{ other ~ '' }}",
    "{{ '%s' % other }}",
    "{{ '%r' % (other,) }}",
    "{{ other | pprint }}",
    "{{ '%(x)s' % {'x': other} }}",
    "{{ [other] | join }}",
    "{{ other | urlencode }}",
    "{{ other | csv }}",
    "{{ function() }}",
    "{{ kind() }}",
    "{{ kind.api_key }}",
    "{{ [function] | map('string') | list }}",
    "{{ function | default('x') }}",
    "{{ '' | replace('', function) }}",
    "{{ {'f': function}.f() }}",
    "{% set ns = namespace(f=function) %}{{ ns.f() }}",
    "{% call function() %}{% endcall %}",
]

MUTATION = [
    "{{ row.list.append(4) }}",
    "{{ row.clear() }}",
    "{{ row.list.clear() }}",
    "{{ row.update({'a': 1}) }}",
    "{{ row.pop('text') }}",
    "{{ row.list.sort() }}",
    "{% set row.text = 1 %}",
    "{% set vars.x = 1 %}",
    "{% do row.list.append(4) %}",
    "{{ row.list.__setitem__(0, 1) }}",
    "{% for x in [row.list] | map(attribute='clear') %}{{ x() }}{% endfor %}",
]

OTHER_TEMPLATES = [
    '{% include "/etc/passwd" %}',
    '{% include "../../etc/passwd" %}',
    '{% include "/proc/self/environ" %}',
    "{% include row.text %}",
    '{% include "/etc/" ~ "passwd" %}',
    '{% import "/etc/passwd" as p %}',
    '{% from "../x" import y %}',
    '{% extends "/etc/passwd" %}',
    "{% extends row.text %}",
    '{% include ["/etc/passwd", "../x"] %}',
    '{% from "m" import __class__ as c %}{{ c }}',
    '{% from "m" import _body_stream as c %}{{ c }}',
    '{% import "m" as m %}{{ m._body_stream }}',
    '{% import "m" as m %}{{ m.__class__ }}',
    '{% import "m" as m %}{{ m }}',
    '{% import "m" as m %}{{ m.greet }}',
    '{% import "m" as m %}{{ m.greet.__func__ }}',
]

EXTENSIONS = [
    "{% debug %}",
    "{% do 1 %}",
    "{% trans %}x{% endtrans %}",
    "{% for x in [1] %}{% break %}{% endfor %}",
    "{% autoescape true %}{{ '<' }}{% endautoescape %}",
    "{{ _('x') }}",
    "{{ gettext('x') }}",
]

REGRESSIONS = {
    "2016-10745": "{{ '{x.__class__}'.format_map({'x': row}) }}",
    "2019-10906": "{{ ('{0.__class__}' | string).format_map(row) }}",
    "2024-22195": "{{ {'a=1 onload': 'x'} | xmlattr }}",
    "2024-34064": "{{ {'a/>': 'x'} | xmlattr }}",
    "2024-56326": "{% set f = [''] | map('attr', 'format') | first %}{{ f(row) }}",
    "2025-27516": "{{ ('{0.__class__}' | attr('format'))(row) }}",
}

MODULE = "{% macro greet() %}hi{% endmacro %}{% set x = 1 %}"


@pytest.mark.parametrize(
    "payload",
    [*DUNDER, *STR_FORMAT, *GLOBALS_AND_FRAMES, *MUTATION, *OTHER_TEMPLATES, *EXTENSIONS, *REGRESSIONS.values()],
)
def test_an_escape_fails_and_leaks_nothing(payload: str) -> None:
    with pytest.raises(TemplateFailure) as caught:
        render(payload, m=MODULE)
    assert not LEAKS.search(f"{caught.value.message} {caught.value.hint}")


def test_a_name_with_braces_and_quotes_is_only_a_name() -> None:
    # CVE-2024-56201: the name went into a format string of the compiled template.
    name = "{0.__class__}'\"\\"
    made = TemplateSet.from_sources({name: '{% from "m" import nothing %}{{ nothing }}', "m": MODULE})
    with pytest.raises(TemplateFailure, match="does not export") as caught:
        made.template(name).render({})
    assert caught.value.template == name


@pytest.mark.parametrize(
    "payload", ["{{ row | tojson }}", "{{ row.list | sort }}{{ row.list | reverse }}", "{{ row.map | dictsort }}"]
)
def test_rendering_leaves_the_data_as_it_was(payload: str) -> None:
    before = context()
    data = copy.deepcopy(before["row"])
    TemplateSet.from_sources({"t": payload}).template("t").render({"row": data})
    assert data == before["row"]


def test_text_of_a_row_is_never_a_template() -> None:
    row = {"text": "{{ 7 * 7 }}{% include '/etc/passwd' %}"}
    assert TemplateSet.from_sources({"t": "{{ row.text }}"}).template("t").render({"row": row}) == row["text"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{{ row.items }}", "a column"),
        ("{{ row['items'] }}", "a column"),
        ("{{ row.keys }}", "k"),
        ("{{ row.list.0 }}{{ row.list[-1] }}", "32"),
        ("{{ row.text[0] }}{{ row.text[1:3] }}", "hel"),
        ("{{ row.map.a }}", "1"),
        ("{{ row.count is defined }}", "false"),
    ],
)
def test_a_dot_looks_up_the_item_and_nothing_else(text: str, shown: str) -> None:
    assert render(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "{% for x in row.list %}{{ loop.index }}{{ loop.last }}{{ loop.cycle('a', 'b') }} {% endfor %}",
            "1falsea 2falseb 3truea ",
        ),
        ("{% for x in row.list recursive %}{{ x }}{% endfor %}", "312"),
        ("{% set ns = namespace(n=0) %}{% for x in row.list %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}", "6"),
        ("{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "12"),
        ("{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}x{% endcall %}", "<x>"),
        ("{% block b %}x{% endblock %}{{ self.b() }}", "xx"),
        ("{{ range(3) | list }}", "[0,1,2]"),
        ("{{ dict(a=1) }}", '{"a":1}'),
        ("{% import 'm' as m %}{{ m.greet() }}{{ m.x }}", "hi1"),
        ("{% from 'm' import greet as g %}{{ g() }}", "hi"),
        ("{% set x %}a{{ 1 }}{% endset %}{{ x }}", "a1"),
        ("{% filter upper %}a{% endfilter %}", "A"),
        ("{% with a = 1 %}{{ a }}{% endwith %}", "1"),
        ("{{ 'x' if false }}|{{ 'x' if true }}", "|x"),
        ("{% for g in [{'k': 1}, {'k': 1}] | groupby('k') %}{{ g.grouper }}{{ g.list | length }}{% endfor %}", "12"),
        ("{% for k, v in {'a': 1} | items %}{{ k }}{{ v }}{% endfor %}", "a1"),
    ],
)
def test_what_jinja_offers_besides_works(text: str, shown: str) -> None:
    assert render(text, m=MODULE) == shown


def test_an_imported_template_remembers_nothing_of_the_row_before() -> None:
    module = "{% set ns = namespace(n=0) %}{% macro count() %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{% endmacro %}"
    template = TemplateSet.from_sources(
        {"t": "{% import 'm' as m %}{{ m.count() }}{{ m.count() }}", "m": module}
    ).template("t")
    assert [template.render({}), template.render({})] == ["12", "12"]


def test_whitespace_of_blocks_is_not_printed() -> None:
    assert render("a\n  {% if true %}\n  b\n  {% endif %}\nc\n") == "a\n  b\nc"
