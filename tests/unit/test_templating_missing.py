"""What a missing name says: where it was looked up, what is there, what to do."""

from __future__ import annotations

from typing import Any

import pytest

from runner.templating import TemplateFailure, TemplateSet

CONTEXT: dict[str, Any] = {
    "row": {"review_id": "r1", "text": "abc", "stars": "4", "meta": None, "nested": {"a": 1}, "list": [1]},
    "vars": {"tone": "strict", "empty": {}},
    "assets": {"examples": [{"q": 1}]},
    "job": {"name": "x"},
}


def fail(text: str, **context: Any) -> TemplateFailure:
    with pytest.raises(TemplateFailure) as caught:
        TemplateSet.from_sources({"review.md.j2": text}).template("review.md.j2").render(CONTEXT | context)
    return caught.value


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{{ row.txet }}", "`row` has no column `txet`", "did you mean `text`? Columns: review_id, text, stars"),
        ("{{ row['txet'] }}", "`row` has no column `txet`", "did you mean `text`?"),
        ("{{ rwo.text }}", "`rwo` is not defined", "did you mean `row`? Names here: row, vars, assets, job"),
        ("{{ vars.tome }}", "`vars` has no item `tome`", "did you mean `tone`? Items: tone, empty"),
        ("{{ assets.zzz }}", "`assets` has no item `zzz`", "Items: examples"),
        ("{{ vars.empty.x }}", "`vars.empty` has no item `x`", "`vars.empty` is empty"),
        ("{{ row.nested.b }}", "`row.nested` has no item `b`", "Items: a"),
        ("{{ assets.examples[0].z }}", "this mapping has no item `z`", "Items: q"),
        ("{{ row.meta.x }}", "null has no item `x`", "is not none"),
        ("{{ row.list[3] }}", "a list of 1 has no item 3", ""),
        ("{{ row.text[9] }}", "text of 3 has no item 9", ""),
        ("{{ row.text.strip() }}", "text has no item `strip`", "use the filter `| trim`"),
        ("{{ row.text.split(',') }}", "text has no item `split`", "use the filter `| split(…)`"),
        ("{{ row.keys() }}", "`row` has no column `keys`", "use the filter `| list`"),
        ("{{ row.get('text') }}", "`row` has no column `get`", "Columns: review_id"),
        ("{{ row.list.append(1) }}", "a list has no item `append`", ""),
        ("{{ row.text() }}", "text cannot be called", "without brackets"),
        ("{{ 1.x }}", "", ""),
        ("{{ lipsum() }}", "`lipsum` is not defined", "write the text out"),
        ("{{ joiner() }}", "`joiner` is not defined", "loop.first"),
        ("{{ row.a.b }}", "`row` has no column `a`", ""),
        ("{{ row.a.b is defined }}", "`row` has no column `a`", ""),
        ("{{ row[vars.nothing] }}", "`vars` has no item `nothing`", ""),
        ("{% if row.typo %}{% endif %}", "`row` has no column `typo`", ""),
        ("{% for x in row.typo %}{% endfor %}", "`row` has no column `typo`", ""),
        ("{{ row.typo == 1 }}", "`row` has no column `typo`", ""),
        ("{{ row.typo ~ 'a' }}", "`row` has no column `typo`", ""),
        ("{{ row.typo + 1 }}", "`row` has no column `typo`", ""),
        ("{{ row.typo * 2 }}", "`row` has no column `typo`", ""),
        ("{{ row.typo[1:] }}", "`row` has no column `typo`", ""),
        ("{{ 'a' in row.typo }}", "`row` has no column `typo`", ""),
        ("{{ '%s' % row.typo }}", "`row` has no column `typo`", ""),
        ("{{ row.typo() }}", "`row` has no column `typo`", ""),
        ("{{ ('a' if false).b }}", "inline `if` without `else`", "add `else`"),
        ("{% for x in row.meta %}{% endfor %}", "null cannot be looped over", "or []"),
        ("{% set row.x = 1 %}", "cannot assign attribute", ""),
    ],
)  # fmt: skip
def test_a_missing_name_says_what_there_is(text: str, message: str, hint: str) -> None:
    failure = fail(text)
    assert message in failure.message
    assert hint in (failure.hint or "")
    assert failure.template == "review.md.j2"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{{ row.stars + 1 }}", "`+` does not work between text and a number", "`| int`"),
        ("{{ row.stars - 1 }}", "`-` does not work between text and a number", "`| int`"),
        ("{{ row.stars ** 2 }}", "`**` does not work between text and a number", "`| int`"),
        ("{{ row.stars < 3 }}", "`<` does not work between text and a number", "csv columns are text"),
        ("{{ row.meta + 1 }}", "`+` does not work between null and a number", "is not none"),
        ("{{ row.list + 1 }}", "`+` does not work between a list and a number", ""),
        ("{{ 1 / 0 }}", "division by zero", "test the divisor"),
        ("{{ {row.list: 1} }}", "unhashable", ""),
    ],
)
def test_values_that_do_not_go_together_are_told_in_a_templates_words(text: str, message: str, hint: str) -> None:
    failure = fail(text)
    assert message in failure.message
    assert hint in (failure.hint or "")


def test_many_columns_are_not_all_listed() -> None:
    failure = fail("{{ row.zzz }}", row={f"column_{n}": n for n in range(500)})
    assert failure.hint is not None
    assert "column_39, … (500 in all)" in failure.hint


@pytest.mark.parametrize(
    "text", ["{{ row.typo is defined }}", "{{ row.typo | default('false') }}", "{{ row.typo is not undefined }}"]
)
def test_asking_whether_a_name_is_there_does_not_fail(text: str) -> None:
    assert TemplateSet.from_sources({"t": text}).template("t").render(CONTEXT) == "false"
