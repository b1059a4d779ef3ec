"""The whole check of a reply: take the output, hold it to the schema, ask the rules."""

from __future__ import annotations

from typing import Any

import pytest

from runner.replies.extract import Answer
from runner.replies.passages import JsonPassage
from runner.replies.reply_check import ReplyCheck
from runner.replies.rules import Rule, Rules
from runner.replies.schema import Check
from runner.types import Reply, Row, Usage

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
RULES = Rules([Rule("output.n < 3"), Rule("output.n != 1", "one is odd", "warn")], {})


def reply(text: str) -> Reply:
    return Reply("msg_1", "req_1", "claude-haiku-5-5", "end_turn", [{"type": "text", "text": text}], Usage())


def test_what_is_sound_has_no_problems() -> None:
    assert ReplyCheck(Check(SCHEMA), JsonPassage(True), RULES).problems(reply('Here: {"n": 2}')) == []
    assert ReplyCheck(Check(SCHEMA), None, RULES).problems(reply('{"n": 2}')) == []


def test_rules_are_asked_of_outputs_that_fit_the_schema_only() -> None:
    check = ReplyCheck(Check(SCHEMA), None, RULES)
    assert [problem.partition(":")[0] for problem in check.problems(reply('{"n": "2"}'))] == ["/n"]
    assert check.problems(reply('{"n": 4}')) == ["/n: the rule `output.n < 3` does not hold; found n: 4"]


def test_text_without_an_output_is_one_problem() -> None:
    assert ReplyCheck(None, JsonPassage(True)).problems(reply("no")) == ["the reply has no JSON object or list"]
    (problem,) = ReplyCheck(Check(SCHEMA)).problems(reply("no"))
    assert problem.startswith("the reply is not JSON: ")


def test_rules_alone_see_the_text() -> None:
    check = ReplyCheck(rules=Rules([Rule("output | length < 5 and output == text")], {}))
    assert not check.structured
    assert check.problems(reply("yes")) == []
    assert len(check.problems(reply("by no means"))) == 1


def test_an_answer_is_the_output_and_the_raw_text() -> None:
    check = ReplyCheck(None, JsonPassage(True))
    assert check.answer([{"type": "text", "text": "So: [1]"}]) == Answer([1], "So: [1]")
    assert check.answer([{"type": "text", "text": "So"}]) == Answer(None, "So")


def test_warnings_are_told_of_a_sound_reply() -> None:
    check = ReplyCheck(Check(SCHEMA), None, RULES)
    answer: Any = check.answer([{"type": "text", "text": '{"n": 1}'}])
    assert check.problems(reply('{"n": 1}')) == []
    (warning,) = check.warnings(answer, reply('{"n": 1}'), Row("k", 0, {}))
    assert warning == ("output.n != 1", "/n: one is odd (the rule `output.n != 1` does not hold); found n: 1")


def test_a_row_is_looked_up_for_rules_that_need_it_only() -> None:
    assert not ReplyCheck(Check(SCHEMA), None, RULES).needs_row
    assert ReplyCheck(rules=Rules([Rule("output == row.a")], {})).needs_row


def test_the_json_of_all_text_blocks_is_the_output() -> None:
    blocks = [{"type": "text", "text": '{"a"'}, {"type": "thinking"}, {"type": "text", "text": ": 1}"}]
    assert ReplyCheck(Check({})).answer(blocks) == Answer({"a": 1}, '{"a": 1}')
    assert ReplyCheck(Check({})).answer([{"type": "text", "text": str(2**70)}]).output == 2**70


@pytest.mark.parametrize("words", ['{"a": ', "", "NaN", "sorry", "[" * 100_000])
def test_text_that_is_no_json_is_kept_beside_no_output(words: str) -> None:
    assert ReplyCheck(Check({})).answer([{"type": "text", "text": words}]) == Answer(None, words)
