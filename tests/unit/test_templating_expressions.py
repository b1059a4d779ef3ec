"""One expression: the same sandbox, a value instead of text."""

from __future__ import annotations

from typing import Any

import pytest

from runner.templating import ColumnUse, Expression, TemplateFailure, TemplateSet

ROW: dict[str, Any] = {"stars": "2", "photo": b"\x00png", "history": [{"role": "user"}], "null": None, "tags": "a,b"}


def evaluate(text: str, *, null_safe: bool = False, **context: Any) -> Any:
    return Expression(text, "where", null_safe=null_safe).evaluate({"row": ROW} | context)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('row.stars != "" and row.stars | int < 3', True),
        ("row.stars", "2"),
        ("row.photo", b"\x00png"),
        ("row.history", [{"role": "user"}]),
        ("row.null", None),
        ("[row.stars | int, 1.5]", [2, 1.5]),
        ("{'a': row.stars}", {"a": "2"}),
        ("row.tags | split(',') | map('upper')", ["A", "B"]),
        ("row.stars ~ row.null", "2"),
        ("'x' if row.stars == '2'", "x"),
        ("'x' if row.stars == '3'", None),
        ("row.typo is defined", False),
        ("range(3) | sum", 3),
        ("\n row.stars \n", "2"),
    ],
)
def test_an_expression_gives_a_value(text: str, value: Any) -> None:
    assert evaluate(text) == value


def test_a_value_passes_as_it_is() -> None:
    history = ROW["history"]
    assert evaluate("row.history") is history


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row.typo", "no column `typo`"),
        ("[row.typo]", "no column `typo`"),
        ("{'a': [row.typo]}", "no column `typo`"),
        ("nothing", "`nothing` is not defined"),
        ("row.null.x", "null has no item"),
        ("range", "a function, macro or namespace"),
        ("namespace(a=1)", "a function, macro or namespace"),
        ("9 ** (9 ** 9)", "whole number"),
        ("row.stars.__class__", "no item"),
    ],
)
def test_an_expression_that_fails_says_where(text: str, message: str) -> None:
    with pytest.raises(TemplateFailure) as caught:
        Expression("\n" + text, "jobs/x.yaml#dataset.where").evaluate({"row": ROW})
    assert message in caught.value.message
    assert (caught.value.template, caught.value.line) == ("jobs/x.yaml#dataset.where", 2)


@pytest.mark.parametrize(
    "text", ["", "  ", "row.", "a b", "{{ row.x }}", "row.x }}", "x = 1", "row.x | uper", "1 is od", "a; b"]
)
def test_what_is_no_expression_is_refused_when_it_is_made(text: str) -> None:
    with pytest.raises(TemplateFailure) as caught:
        Expression(text, "where")
    assert caught.value.template == "where"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("output.label", None),
        ("output.items[0]", None),
        ("output['a']['b'].c", None),
        ("output", None),
        ("row.null.x", None),
        ("row.history[5]", None),
        ("row.history[5].role", None),
        ("row.history[0].role", "user"),
    ],
)
def test_a_field_of_null_is_null_where_that_is_asked_for(text: str, value: Any) -> None:
    assert evaluate(text, null_safe=True, output=None) == value


@pytest.mark.parametrize(
    ("text", "message"), [("output.x", "no item `x`"), ("outptu.x", "not defined"), ("row.typo", "`typo`")]
)
def test_an_unknown_name_is_an_error_all_the_same(text: str, message: str) -> None:
    with pytest.raises(TemplateFailure, match=message):
        evaluate(text, null_safe=True, output={"label": 1})


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("{{ row.pdf }}", "row.pdf"),
        ("{{row.pdf}}", "row.pdf"),
        ("  {{ row.pdf }}\n", "row.pdf"),
        ("{{- row.pdf -}}", "row.pdf"),
        ("{{ '}}' }}", "'}}'"),
        ("{{ {'a': {}} }}", "{'a': {}}"),
        ("{{ row.a\n | trim }}", "row.a\n | trim"),
        ("{{ row.a }}{{ row.b }}", None),
        ("{{ row.a }} {{ row.b }}", None),
        ("a {{ row.a }}", None),
        ("{{ row.a }}.", None),
        ("{% if x %}{{ a }}{% endif %}", None),
        ("{# c #}{{ a }}", None),
        ("{{ a }}{# c #}", None),
        ("{{ unfinished", None),
        ("{{ '}}", None),
        ("{{ ( }}", None),
        ("text", None),
        ("", None),
    ],
)
def test_a_text_that_is_exactly_one_expression_is_recognised(text: str, inner: str | None) -> None:
    assert Expression.whole(text) == inner


def test_an_expression_tells_what_it_looks_up() -> None:
    expression = Expression("row.a > 1 and\n row['b'] and vars.x and row.c is defined", "where")
    assert expression.columns() == (
        ColumnUse("a", "where", 1),
        ColumnUse("b", "where", 2),
        ColumnUse("c", "where", 2, optional=True),
    )
    assert expression.columns("vars") == (ColumnUse("x", "where", 2),)
    assert expression.names() == {"row", "vars"}


def test_a_set_makes_expressions_under_its_bounds() -> None:
    made = TemplateSet.from_sources({})
    assert made.expression("row.a.b", "columns.x", null_safe=True).evaluate({"row": {"a": None}}) is None
