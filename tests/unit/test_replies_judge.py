"""What a reply is worth: only a whole, unrefused, valid answer is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from anthropic.types import StopReason

from runner.replies.judge import judge_reply
from runner.replies.reply_check import ReplyCheck
from runner.replies.schema import Check
from runner.types import Reply, Usage

CHECK = ReplyCheck(Check({"type": "object", "properties": {"label": {"enum": ["a"]}}, "required": ["label"]}))


def reply(words: str | None, stop_reason: str | None = "end_turn", details: Mapping[str, Any] | None = None) -> Reply:
    content = [{"type": "text", "text": words}] if words is not None else []
    return Reply("msg_1", "req_1", "claude-haiku-5-5", stop_reason, content, Usage(), details)


@pytest.mark.parametrize("stop_reason", ["end_turn", "stop_sequence"])
def test_a_complete_text_is_an_answer(stop_reason: str) -> None:
    assert judge_reply(reply("yes", stop_reason), None) is None


def test_a_valid_output_is_an_answer() -> None:
    assert judge_reply(reply('{"label": "a"}'), CHECK) is None


@pytest.mark.parametrize("stop_reason", ["max_tokens", "model_context_window_exceeded"])
@pytest.mark.parametrize("words", ['{"label": "a"}', '{"label": "b"}', '{"lab', None])
def test_truncation_wins_whatever_the_text(stop_reason: str, words: str | None) -> None:
    failure = judge_reply(reply(words, stop_reason), CHECK)
    assert failure is not None
    assert failure.kind == "truncated"


def test_a_refusal_keeps_its_category_and_explanation() -> None:
    failure = judge_reply(reply("no", "refusal", {"category": "cyber", "explanation": "It could harm."}), CHECK)
    assert failure is not None
    assert (failure.kind, failure.category) == ("refusal", "cyber")
    assert failure.message == "the model refused (cyber): It could harm."


def test_a_refusal_without_details_is_one_too() -> None:
    failure = judge_reply(reply(None, "refusal"), None)
    assert failure is not None
    assert (failure.kind, failure.category, failure.message) == ("refusal", None, "the model refused")


def test_a_refusal_with_details_of_another_shape_is_one_too() -> None:
    failure = judge_reply(reply(None, "refusal", {"category": {"name": "cyber"}, "explanation": 7}), None)
    assert failure is not None
    assert (failure.kind, failure.category, failure.message) == ("refusal", None, "the model refused")


@pytest.mark.parametrize("stop_reason", ["pause_turn", "tool_use", "compaction", "something_new", "", None])
def test_any_other_end_is_never_a_success(stop_reason: str | None) -> None:
    failure = judge_reply(reply('{"label": "a"}', stop_reason), None)
    assert failure is not None
    assert failure.kind == "unexpected_reply"


@pytest.mark.parametrize("words", [None, "", "  \n"])
def test_an_empty_reply_is_never_a_success(words: str | None) -> None:
    for check in (None, CHECK):
        failure = judge_reply(reply(words), check)
        assert failure is not None
        assert (failure.kind, failure.message) == ("unexpected_reply", "the reply has no text")


@pytest.mark.parametrize("words", ["sorry", '{"label": "a"', '{"label": NaN}', "[" * 100_000])
def test_text_that_is_no_json_is_a_mismatch(words: str) -> None:
    failure = judge_reply(reply(words), CHECK)
    assert failure is not None
    assert failure.kind == "schema_mismatch"
    assert failure.message.startswith("the reply is not JSON: ")


def test_an_output_that_does_not_fit_is_a_mismatch_with_its_place() -> None:
    failure = judge_reply(reply('{"label": "A"}'), CHECK)
    assert failure is not None
    assert (failure.kind, failure.message) == ("schema_mismatch", '/label: expected one of "a", found "A"')


def test_every_failure_names_the_request_and_none_is_worth_the_same_again() -> None:
    for words, stop_reason in (("x", "max_tokens"), ("x", "refusal"), ("x", "tool_use"), (None, "end_turn")):
        failure = judge_reply(reply(words, stop_reason), CHECK)
        assert failure is not None
        assert (failure.request_id, failure.retryable, failure.scope) == ("req_1", False, "row")


def test_every_stop_reason_of_the_sdk_has_its_message() -> None:
    for stop_reason in get_args(StopReason):
        failure = judge_reply(reply("x", stop_reason), None)
        assert failure is None or "not known" not in failure.message
