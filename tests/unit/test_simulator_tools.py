"""Tools as the stand-in plays them: definitions, pairs of calls and results, its own tools and their pauses."""

from __future__ import annotations

from typing import Any

import pytest

from runner.simulator.answers import Answer, answer
from runner.simulator.bill import cost_pico
from runner.simulator.models import card_of
from runner.simulator.prompt import read_prompt
from runner.simulator.refusal import Refused
from runner.simulator.validation import check_create
from runner.types import Usage

MODEL = "claude-haiku-5-5"
VERSION = "2026-10-21"
FIND = {
    "name": "find",
    "description": "Find.",
    "input_schema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}


def body(text: str, *tools: dict[str, Any], **params: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "max_tokens": 2_000,
        "messages": [{"role": "user", "content": text}],
        "tools": list(tools),
        **params,
    }


def asked(request: dict[str, Any]) -> Answer:
    card = check_create(request, VERSION, "")
    return answer(request, read_prompt(request, card), card, 40)


def refusal_of(request: dict[str, Any]) -> str:
    with pytest.raises(Refused) as caught:
        check_create(request, VERSION, "")
    return str(caught.value)


def kinds(reply: Answer) -> list[str]:
    return [block["type"] for block in reply.content if block["type"] != "thinking"]


def calls(reply: Answer) -> list[dict[str, Any]]:
    return [block for block in reply.content if block["type"] == "tool_use"]


def with_results(request: dict[str, Any], reply: Answer) -> dict[str, Any]:
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "found"} for call in calls(reply)]
    return {
        **request,
        "messages": [
            *request["messages"],
            {"role": "assistant", "content": reply.content},
            {"role": "user", "content": results},
        ],
    }


def continued(request: dict[str, Any], reply: Answer) -> dict[str, Any]:
    return {**request, "messages": [*request["messages"], {"role": "assistant", "content": reply.content}]}


def test_it_calls_as_often_as_the_text_says_and_then_answers() -> None:
    request = body("Who is Ann? [rounds 3] [calls 2]", FIND)
    seen = []
    while (reply := asked(request)).stop_reason == "tool_use":
        assert len(calls(reply)) == 2
        seen += [call["id"] for call in calls(reply)]
        request = with_results(request, reply)
    assert reply.stop_reason == "end_turn"
    assert len(seen) == len(set(seen)) == 6
    assert f"[echo {read_prompt(request, card_of(MODEL)).echo}]" in reply.content[-1]["text"]


def test_the_echo_is_that_of_the_turn_and_not_of_results() -> None:
    request = body("Who is Ann? [rounds 1]", FIND)
    before = read_prompt(request, card_of(MODEL)).echo
    assert read_prompt(with_results(request, asked(request)), card_of(MODEL)).echo == before


def test_a_text_can_say_which_call_it_wants() -> None:
    reply = asked(body('Do it. [call other {"x": 1}]', FIND))
    assert [(call["name"], call["input"]) for call in calls(reply)] == [("other", {"x": 1})]


def test_a_forced_choice_calls_for_ever_and_none_never() -> None:
    request = body("Who is Ann? [rounds 1]", FIND, tool_choice={"type": "any"})
    for _ in range(3):
        reply = asked(request)
        assert reply.stop_reason == "tool_use"
        request = with_results(request, reply)
    assert asked(body("Who?", FIND, tool_choice={"type": "none"})).stop_reason == "end_turn"


def test_one_call_at_a_time_where_parallel_use_is_off() -> None:
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert len(calls(asked(body("Who? [calls 3] [rounds 1]", FIND, tool_choice=choice)))) == 1


def test_its_own_tools_are_used_within_the_reply_and_billed() -> None:
    reply = asked(body("What is new? [searches 2] [pauses 0]", SEARCH))
    assert kinds(reply) == ["server_tool_use", "web_search_tool_result"] * 2 + ["text"]
    assert (reply.searches, reply.stop_reason) == (2, "end_turn")
    assert reply.read_tokens > 0
    priced = cost_pico(MODEL, Usage(web_search_requests=reply.searches))
    assert priced == 2 * 10**10


def test_it_uses_a_tool_no_oftener_than_it_may() -> None:
    assert asked(body("What is new? [searches 9] [pauses 0]", SEARCH)).searches == 3


def test_a_long_turn_pauses_and_goes_on_from_what_it_is_given_back() -> None:
    request = body("What is new? [pauses 2]", SEARCH)
    for _ in range(2):
        reply = asked(request)
        assert reply.stop_reason == "pause_turn"
        assert "text" not in kinds(reply)
        request = continued(request, reply)
    assert asked(request).stop_reason == "end_turn"


def test_its_own_tool_begun_beside_a_call_is_finished_in_the_next_reply() -> None:
    request = body("What is new? [rounds 1] [pauses 0]", SEARCH, FIND)
    first = asked(request)
    assert kinds(first)[0] == "server_tool_use"
    assert first.stop_reason == "tool_use"
    assert kinds(asked(with_results(request, first)))[0] == "web_search_tool_result"


def test_results_have_to_answer_the_calls_before_them() -> None:
    request = body("Who is Ann? [rounds 1] [calls 2]", FIND)
    reply = asked(request)
    whole = with_results(request, reply)
    results = whole["messages"][2]["content"]
    for spoiled, words in (
        (results[:1], "`tool_use` ids were found without `tool_result` blocks"),
        ([*results, {**results[0], "tool_use_id": "toolu_other"}], "unexpected `tool_use_id`"),
        ([{"type": "text", "text": "here"}, *results], "must come first"),
        ([{"type": "text", "text": "here"}], "`tool_use` ids were found without"),
    ):
        messages = [*whole["messages"][:2], {"role": "user", "content": spoiled}]
        assert words in refusal_of({**request, "messages": messages})
    assert "without `tool_result`" in refusal_of(continued(request, reply))


def test_definitions_are_checked() -> None:
    for tool, words in (
        ({**FIND, "name": "find it"}, "String should match pattern"),
        ({**FIND, "timeout": 3}, "Extra inputs are not permitted"),
        ({"name": "find"}, "input_schema: Field required"),
        ({"type": "web_serach", "name": "web_search"}, "does not match any of the expected tags"),
        ({**SEARCH, "name": "search"}, "Input should be 'web_search'"),
        ({**SEARCH, "allowed_domains": ["a"], "blocked_domains": ["b"]}, "Only one of"),
    ):
        assert words in refusal_of(body("Who?", tool))
    assert "must be unique" in refusal_of(body("Who?", FIND, FIND))
