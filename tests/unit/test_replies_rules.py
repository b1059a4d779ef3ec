"""Rules: what must be true of a reply beyond its schema."""

from __future__ import annotations

from typing import Any

import pytest

from runner.replies.rules import Rule, Rules
from runner.spec.texts import RULE
from runner.templating import TemplateFailure
from runner.types import Reply, Row, Usage

REPLY = Reply("msg_1", "req_1", "claude-haiku-5-5", "end_turn", [{"type": "text", "text": "…"}], Usage())
ROW = Row("r-1", 0, {"stars": "2", "text": "Good."})
SHARED = {"vars": {"most": 1}, "assets": {"names": ["a", "b"]}}


def problems(text: str, output: Any, *, message: str | None = None, fields: tuple[str, ...] = ()) -> list[str]:
    rules = Rules([Rule(text, message)], SHARED, fields)
    return list(rules.problems(output, "the text", REPLY, ROW))


@pytest.mark.parametrize(
    "text",
    [
        "output.score <= vars.most",
        "output.name in assets.names",
        "row.stars | int == 2 and key == 'r-1'",
        "text == 'the text' and stop_reason == 'end_turn' and model is not none and content | length == 1",
        "output.missing is none",
    ],
)
def test_a_rule_sees_the_reply_its_row_and_what_the_job_shares(text: str) -> None:
    assert problems(text, {"score": 1, "name": "a"}, fields=("missing",)) == []


def test_every_name_that_a_rule_may_use_is_there() -> None:
    for name in RULE:
        assert problems(f"{name} is defined", {"a": 1}) == []


def test_a_rule_that_does_not_hold_is_named_with_its_field_and_what_was_found() -> None:
    assert problems("output.score <= 1", {"score": 3}) == [
        "/score: the rule `output.score <= 1` does not hold; found score: 3"
    ]


def test_a_message_comes_first() -> None:
    (problem,) = problems("output.score <= 1", {"score": 3}, message="the score is a share of 1")
    assert problem == "/score: the score is a share of 1 (the rule `output.score <= 1` does not hold); found score: 3"


def test_a_rule_over_several_fields_is_about_the_whole() -> None:
    (problem,) = problems("output.low < output.high", {"low": 2, "high": 1})
    assert problem == "/: the rule `output.low < output.high` does not hold; found low: 2, high: 1"


def test_a_rule_that_cannot_be_evaluated_does_not_hold() -> None:
    (problem,) = problems("output.score < 1", {"score": "much"})
    assert problem.startswith("/score: the rule `output.score < 1` cannot be evaluated: ")


@pytest.mark.parametrize("text", ["output.score", "none", "'yes'"])
def test_a_rule_gives_true_or_false(text: str) -> None:
    (problem,) = problems(text, {"score": 1})
    assert "neither true nor false" in problem


def test_what_belongs_to_a_null_is_null() -> None:
    assert problems("output.person.name is none", {"person": None}) == []


def test_long_values_are_shortened() -> None:
    (problem,) = problems("output.a == 'b'", {"a": "x" * 10_000})
    assert len(problem) < 250


def test_a_rule_that_warns_leaves_the_reply_valid() -> None:
    rules = Rules([Rule("output == 'b'", None, "warn"), Rule("output == 'a'")], SHARED)
    assert list(rules.problems("a", "a", REPLY, ROW)) == []
    assert list(rules.warnings("a", "a", REPLY, ROW)) == [
        ("output == 'b'", "/: the rule `output == 'b'` does not hold")
    ]
    assert rules.warns


@pytest.mark.parametrize(
    ("text", "severity", "needs"),
    [
        ("output.a == row.b", "error", True),
        ("key != output", "error", True),
        ("output", "error", False),
        ("output.row == 1", "error", False),
        ("row.a == 1", "warn", False),
    ],
)
def test_a_row_is_needed_by_rules_that_name_it_and_make_a_reply_invalid(text: str, severity: Any, needs: bool) -> None:
    assert Rules([Rule(text, None, severity)], SHARED).needs_row is needs


def test_a_text_that_is_no_expression_is_told() -> None:
    with pytest.raises(TemplateFailure):
        Rules([Rule("output ==")], SHARED)


def test_data_is_never_run_as_an_expression() -> None:
    assert problems("output.a == '{{ 7 * 7 }}'", {"a": "{{ 7 * 7 }}"}) == []
