"""How values become text, wherever a template turns one into text."""

from __future__ import annotations

import datetime as dt
from collections import UserDict, UserList
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from runner.templating import Printed, TemplateFailure, TemplateSet


def render(text: str, printed: Printed | None = None, **values: Any) -> str:
    return TemplateSet.from_sources({"t": text}).template("t").render({"row": values}, printed)


class Colour(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not the value"


PRINTED = [
    ("text", "text"),
    ("<a href='x'>&</a>", "<a href='x'>&</a>"),
    ("日本語 é", "日本語 é"),
    (Colour("red"), "red"),
    (None, ""),
    (True, "true"),
    (False, "false"),
    (0, "0"),
    (-12, "-12"),
    (2**70, "1180591620717411303424"),
    (1.5, "1.5"),
    (0.1 + 0.2, "0.30000000000000004"),
    (1e22, "1e+22"),
    (Decimal("1.10"), "1.10"),
    (Decimal("1E+3"), "1000"),
    (Decimal("0.00000001"), "0.00000001"),
    (Decimal("1E+999999999"), "1E+999999999"),
    (dt.date(2026, 11, 22), "2026-11-22"),
    (dt.datetime(2026, 11, 22, 1, 2, 3, tzinfo=dt.UTC), "2026-11-22T01:02:03+00:00"),
    (dt.datetime(2026, 11, 22, 1, 2, 3), "2026-11-22T01:02:03"),
    (dt.time(1, 2, 3), "01:02:03"),
    ([], "[]"),
    ([1, "é", None, True, 1.5], '[1,"é",null,true,1.5]'),
    ((1, 2), "[1,2]"),
    ({"a": {"b": [1, "<&'>"]}}, '{"a":{"b":[1,"<&\'>"]}}'),
    (UserDict({"a": UserList([1])}), '{"a":[1]}'),
    (MappingProxyType({"b": 1, "a": 2}), '{"b":1,"a":2}'),
    (
        [dt.date(2026, 1, 2), Decimal("1.5"), Decimal(3), Decimal("0.1234567890123456789012")],
        '["2026-01-02",1.5,3,"0.1234567890123456789012"]',
    ),
]


@pytest.mark.parametrize(("value", "text"), PRINTED)
def test_a_value_prints_by_the_rules(value: Any, text: str) -> None:
    assert render("{{ row.x }}", x=value) == text


@pytest.mark.parametrize(("value", "text"), PRINTED)
@pytest.mark.parametrize(
    "template", ["{{ row.x ~ '' }}", "{{ row.x | string }}", "{{ [row.x] | join }}", "{{ '%s' | format(row.x) }}"]
)
def test_a_value_becomes_text_by_the_same_rules_everywhere(template: str, value: Any, text: str) -> None:
    if "%s" in template and isinstance(value, float | Decimal) and not isinstance(value, bool):
        return  # numbers go into formats as they are, so that `%.2f` works
    assert render(template, x=value) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ none }}{{ true }}{{ false }}", "truefalse"),
        ("{{ row.l | map('upper') }}", '["A","B"]'),
        ("{{ row.l | batch(1) }}", '[["a"],["b"]]'),
        ("{{ range(3) }}", "[0,1,2]"),
        ("{{ {'a': row.l} }}", '{"a":["a","b"]}'),
        ("{{ [('x' if false)] }}", "[null]"),
    ],
)
def test_what_templates_make_prints_by_the_rules(template: str, text: str) -> None:
    assert render(template, l=["a", "b"]) == text


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), memoryview(b"abc")])
@pytest.mark.parametrize(
    "template", ["{{ row.x }}", "{{ row.x ~ 'a' }}", "{{ row.x | upper }}", "{{ [row.x] | join }}"]
)
def test_bytes_are_an_error(template: str, value: Any) -> None:
    with pytest.raises(TemplateFailure, match="3 bytes cannot be printed") as caught:
        render(template, x=value)
    assert "by value" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ {'a': row.bytes} }}", "bytes cannot be written as JSON"),
        ("{{ [row.object] | tojson }}", "object cannot be written as JSON"),
        ("{{ row.object }}", "type object cannot be printed"),
        ("{{ [row.nan] }}", "NaN"),
        ("{{ range }}", "without being called"),
        ("{% macro m() %}{% endmacro %}{{ m }}", "without being called"),
        ("{{ [row.typo] }}", "no column `typo`"),
    ],
)
def test_what_has_no_text_is_an_error(template: str, message: str) -> None:
    with pytest.raises(TemplateFailure, match=message):
        render(template, bytes=b"x", object=object(), nan=float("nan"))


def test_nulls_that_are_printed_are_counted_over_renders() -> None:
    printed = Printed()
    render("{{ row.x }}{{ row.y }}{{ row.x ~ 'a' }}{{ row.x is none }}", printed, x=None, y=1)
    assert printed.nulls == 2
    render("{{ row.x }}{{ row.x | tojson }}", printed, x=None)
    assert printed.nulls == 3


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ row.x | tojson }}", '{"b":"<a>&\'é\'</a>","a":[1,null]}'),
        ("{{ row.x.a | tojson(indent=2) }}", "[\n  1,\n  null\n]"),
        ("{{ 'a\"b\nc' | tojson }}", '"a\\"b\\nc"'),
        ("{{ none | tojson }}", "null"),
    ],
)
def test_tojson_keeps_markup_order_and_other_alphabets(template: str, text: str) -> None:
    assert render(template, x={"b": "<a>&'é'</a>", "a": [1, None]}) == text
