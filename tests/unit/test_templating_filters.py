"""The filters and tests, and the guard around them."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from runner.templating import TemplateFailure, TemplateSet
from runner.templating.filters import FILTERS, NOT_AVAILABLE, TESTS

ROW: dict[str, Any] = {
    "text": "  Hello, wide World  ",
    "html": "<p>one <b>two</b><!-- <hidden> --> &amp; three</p>",
    "lines": "a\nb\n\nc",
    "list": [3, 1, 2],
    "words": ["b", "A", "c", "a"],
    "rows": [{"k": "x", "n": 1}, {"k": "Y", "n": 2}, {"k": "x", "n": 3}],
    "map": {"b": 1, "a": 2},
    "null": None,
    "number": "41",
}


def render(expression: str, **values: Any) -> str:
    return TemplateSet.from_sources({"t": "{{ " + expression + " }}"}).template("t").render({"row": ROW | values})


RESULTS = [
    ("row.text | trim", "Hello, wide World"),
    ("'xxaxx' | trim('x')", "a"),
    ("row.text | upper | trim", "HELLO, WIDE WORLD"),
    ("row.text | lower | trim", "hello, wide world"),
    ("'hello world' | title", "Hello World"),
    ("'hELLO' | capitalize", "Hello"),
    ("row.text | replace('wide', 'small') | trim", "Hello, small World"),
    ("'aaa' | replace('a', 'b', 2)", "bba"),
    ("7 | replace(7, 8)", "8"),
    ("'a' | center(5) ~ '|'", "  a  |"),
    ("row.lines | indent", "a\n    b\n\n    c"),
    ("row.lines | indent(2, first=true)", "  a\n  b\n\n  c"),
    ("row.lines | indent('> ', true, true)", "> a\n> b\n> \n> c"),
    ("'a b c d' | wordwrap(3)", "a b\nc d"),
    ("'abcdefgh' | wordwrap(3)", "abc\ndef\ngh"),
    ("'abcdefgh ij' | wordwrap(3, break_long_words=false)", "abcdefgh\nij"),
    ("'foo bar baz' | truncate(9, leeway=0)", "foo..."),
    ("'foo bar baz' | truncate(9, true, leeway=0)", "foo ba..."),
    ("'foo bar baz' | truncate(9)", "foo bar baz"),
    ("row.html | striptags", "one two & three"),
    ("'a < b' | striptags", "a < b"),
    ("row.text | wordcount", "3"),
    ("'%s is %d and %.2f' | format(none, 3, 1.239)", " is 3 and 1.24"),
    ("'%(a)s-%(b)s' | format(a=1, b=true)", "1-true"),
    ("'%d%%' % 5", "5%"),
    ("'%s,%s' % (1, [2])", "1,[2]"),
    ("'a, b' | split(', ')", '["a","b"]'),
    ("' a  b ' | split", '["a","b"]'),
    ("'a,b,c' | split(',', 1)", '["a","b,c"]'),
    ("'<&>\"' | escape", "&lt;&amp;&gt;&quot;"),
    ("'<&>' | e", "&lt;&amp;&gt;"),
    ("'<b>' | safe", "<b>"),
    ("'a b/ü' | urlencode", "a%20b/%C3%BC"),
    ("{'a b': 1, 'c': none} | urlencode", "a+b=1&c="),
    ("2048 | filesizeformat(true)", "2.0 KiB"),
    ("'</row>&\"\\'' | xml_escape", "&lt;/row&gt;&amp;&quot;&#39;"),
    ("'plain' | csv", "plain"),
    ("'a,\"b\"\n' | csv", '"a,""b""\n"'),
    ("[1, none, 'a b', 'x,y'] | csv", '1,,a b,"x,y"'),
    ("row.map | csv", "1,2"),
    ("'    a\n      b\n' | dedent", "a\n  b\n"),
    ("'one two three four' | truncate_tokens_approx(100)", "one two three four"),
    ("'one two three four' | truncate_tokens_approx(3)", "one two…"),
    ("'日本語の文章です' | truncate_tokens_approx(4, end='')", "日本語の"),
    ("row.list | sort", "[1,2,3]"),
    ("row.words | sort", '["A","a","b","c"]'),
    ("row.words | sort(case_sensitive=true, reverse=true)", '["c","b","a","A"]'),
    ("row.rows | sort(attribute='n', reverse=true) | map(attribute='n') | list", "[3,2,1]"),
    ("row.rows | sort(attribute='k,n') | map(attribute='n') | list", "[1,3,2]"),
    ("row.words | unique | list", '["b","A","c"]'),
    ("row.rows | groupby('k') | map('length') | list", "[2,2]"),
    ("row.rows | groupby('k') | map(attribute=0) | list", '["x","Y"]'),
    ("row.rows | groupby('absent', default=0) | length", "1"),
    ("row.list | min ~ (row.list | max)", "13"),
    ("row.rows | max(attribute='n')", '{"k":"x","n":3}'),
    ("row.list | sum", "6"),
    ("row.rows | sum(attribute='n', start=10)", "16"),
    ("row.list | first ~ (row.list | last)", "32"),
    ("row.list | reverse", "[2,1,3]"),
    ("'abc' | reverse", "cba"),
    ("row.list | length ~ ('abc' | count)", "33"),
    ("row.list | join('-')", "3-1-2"),
    ("row.rows | join(', ', attribute='k')", "x, Y, x"),
    ("[1, none, true] | join(',')", "1,,true"),
    ("row.list | batch(2, 0) | list", "[[3,1],[2,0]]"),
    ("row.list | slice(2) | list", "[[3,1],[2]]"),
    ("row.map | dictsort", '[["a",2],["b",1]]'),
    ("row.map | dictsort(by='value')", '[["b",1],["a",2]]'),
    ("row.map | items | list", '[["b",1],["a",2]]'),
    ("'abc' | list", '["a","b","c"]'),
    ("row.list | map('string') | join", "312"),
    ("row.list | select('odd') | list", "[3,1]"),
    ("row.list | reject('odd') | list", "[2]"),
    ("row.rows | selectattr('n', '>', 1) | list | length", "2"),
    ("row.rows | rejectattr('k', 'equalto', 'x') | map(attribute='n') | list", "[2]"),
    ("row.number | int + 1", "42"),
    ("' 3.9 ' | int", "3"),
    ("'ff' | int(base=16)", "255"),
    ("3.9 | int", "3"),
    ("true | int", "1"),
    ("'abc' | int(0)", "0"),
    ("none | int(default=7)", "7"),
    ("'2.5' | float", "2.5"),
    ("'x' | float(0)", "0"),
    ("2.567 | round(2)", "2.57"),
    ("2.1 | round(method='ceil') | int", "3"),
    ("(-3) | abs", "3"),
    ("row.typo | default('none')", "none"),
    ("row.null | default('none')", ""),
    ("row.null | default('none', true)", "none"),
    ("row.text is string and row.list is sequence and row.map is mapping and row.null is none", "true"),
    ("row.typo is defined", "false"),
    ("'abc' is lower and 'ABC' is upper", "true"),
    ("4 is divisibleby(2) and 1 in row.list and 'x' is not number", "true"),
    ("'upper' is filter and 'nothing' is not filter", "true"),
]


@pytest.mark.parametrize(("expression", "shown"), RESULTS)
def test_a_filter_gives_what_it_says(expression: str, shown: str) -> None:
    assert render(expression) == shown


REFUSED = [
    ("'abc' | int", "'abc' is no number", "| int(0)"),
    ("'12a' | int", "is no number", None),
    ("'1_000' | int", "is no number", None),
    ("'' | int", "'' is no number", None),
    ("none | int", "null is no number", None),
    ("[1] | int", "a list is no number", None),
    ("('9' * 5000) | int", "is no number", None),
    ("'nan' | int", "is no number", None),
    ("'inf' | float", "is no number", None),
    ("'nan' | float", "is no number", None),
    ("none | float", "null is no number", "| float(0)"),
    ("row.text | round", "takes a number, not text", "float"),
    ("row.text | abs", "takes a number, not text", "float"),
    ("row.words | sum", "adds numbers, not text", 'map("float")'),
    ("[1, 'a'] | sort", "filter `sort`: `<` does not work between text and a number", "| int"),
    ("[1, none] | max", "between", "null"),
    ("none | list", "null cannot be looped over", "or []"),
    ("[] | first", "the list is empty", None),
    ("[] | max", "the list is empty", None),
    ("row.null | length", "filter `length`", None),
    ("row.text | dictsort", "takes a mapping, not text", None),
    ("row.map | dictsort(by='x')", "by 'key' or 'value'", None),
    ("row.list | items", "takes a mapping, not a list", None),
    ("'a' | truncate(1)", "needs a length", None),
    ("'a' | truncate_tokens_approx(0)", "at least 1", None),
    ("'a' | split('')", "not empty", "| list"),
    ("'%d' | format('x')", "does not fit its values", None),
    ("'%s %s' | format(1)", "does not fit its values", None),
    ("'%(a)s' | format(b=1)", "no value named 'a'", None),
    ("'%s' | format(1, a=2)", "by place or by name", None),
    ("'a' | center('x')", "takes a whole number, not text", None),
    ("1.5 | round(2, 'up')", "'common', 'ceil' or 'floor'", None),
    ("'a' | upper(1)", "filter `upper`", None),
    ("row.typo | upper", "no column `typo`", "did you mean"),
    ("row.text | replace(row.typo, 'x')", "no column `typo`", None),
    ("row.typo is none", "no column `typo`", None),
    ("row.typo is string", "no column `typo`", None),
    ("range(1.5)", "takes whole numbers", None),
    ("range('3')", "takes whole numbers, not text", "int"),
    ("range(1, 2, 0)", "step that is not 0", None),
]


@pytest.mark.parametrize(("expression", "message", "hint"), REFUSED)
def test_a_filter_refuses_what_it_cannot_do(expression: str, message: str, hint: str | None) -> None:
    with pytest.raises(TemplateFailure) as caught:
        render(expression, typed=1)
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")
    assert (caught.value.template, caught.value.line) == ("t", 1)


@pytest.mark.parametrize("name", NOT_AVAILABLE)
def test_a_filter_that_is_left_out_says_why_when_it_is_loaded(name: str) -> None:
    with pytest.raises(TemplateFailure, match="not available here") as caught:
        render(f"row.text | {name}")
    assert caught.value.hint == NOT_AVAILABLE[name]


def test_every_filter_and_test_of_jinja_is_here_or_left_out_with_a_reason() -> None:
    plain = jinja2.Environment()
    assert set(plain.filters) - set(FILTERS) - {"aitems"} == set(NOT_AVAILABLE)
    assert set(plain.tests) - set(TESTS) == {"callable", "escaped"}


@given(st.text(alphabet=st.sampled_from("<>/ab &;"), max_size=60))
def test_striptags_agrees_with_the_slow_one(text: str) -> None:
    assert render("row.text | striptags", text=text) == str(Markup(text).striptags())


@given(st.text(max_size=40), st.integers(1, 20))
def test_truncate_tokens_approx_gives_a_beginning(text: str, tokens: int) -> None:
    cut = render(f"row.text | truncate_tokens_approx({tokens}, end='')", text=text)
    assert text.startswith(cut)
    assert len(cut) <= 3 * tokens
