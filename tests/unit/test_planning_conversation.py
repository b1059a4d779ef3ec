"""Later requests: what is said after a reply, and that they are what they seem to be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.encoding import decode, encode
from runner.planning.conversation import Conversations, Exchange
from runner.planning.identity import request_identity
from runner.planning.pieces import CompiledMessage, TextBlock
from runner.planning.requests import CacheShape, CompiledJob
from runner.rounds import CallTools, GoOn, Longer, NextTurn, OtherModel, Repair, Why
from runner.templating import TemplateSet
from runner.tools import ToolResult
from runner.types import Failure, Reply, Request, Row, Usage

SET = TemplateSet.from_sources(
    {
        "review": "Review: {{ row.text }}",
        "begin": "{{ row.text }}: {",
        "doubt": "{{ row.text }}: why {{ replies[0] }}, {{ replies | length }}?",
        "broken": "{{ replies[7].x }}",
    }
)
FORMAT = {"type": "json_schema", "schema": {"type": "object"}}
SHARED = {"model": "m-1", "max_tokens": 10, "system": [{"type": "text", "text": "Label."}]}


def compiled(*messages: CompiledMessage, turns: Sequence[TextBlock] = ()) -> CompiledJob:
    return CompiledJob(
        name="x",
        mode="parallel",
        shared=SHARED,
        messages=messages,
        betas=("b",),
        context={},
        schema=None,
        cache=CacheShape(0, False, {"parallel": "5m", "batch": "1h"}),
        turns=turns,
        last_format=FORMAT if turns else None,
    )


def block(name: str, *, cached: bool = False) -> TextBlock:
    return TextBlock(name, SET.template(name), "5m" if cached else None)


def fixed(text: str) -> TextBlock:
    return TextBlock(text, text)


USER = compiled(CompiledMessage("user", [fixed("Look."), block("review", cached=True)]))
FIXED = compiled(CompiledMessage("user", [fixed("Look.")]))
PREFILLED = compiled(CompiledMessage("user", [block("review")]), CompiledMessage("assistant", [block("begin")]))
TURNS = compiled(
    CompiledMessage("user", [block("review")]), turns=[block("doubt", cached=True), fixed("Sure?"), block("doubt")]
)
ROW = Row("k", 0, {"text": "x"})


def reply(*blocks: dict[str, Any]) -> Reply:
    return Reply("msg_1", None, "m-1", "end_turn", list(blocks), Usage())


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def made(job: CompiledJob, exchanges: Sequence[Exchange]) -> tuple[Request, dict[str, Any]]:
    request = Conversations(job).request(ROW, exchanges)
    assert not isinstance(request, Failure)
    body: dict[str, Any] = decode(request.body)
    return request, body


texts = st.text(st.characters(codec="utf-8"), max_size=20)
blocks = st.one_of(
    texts.map(text),
    st.builds(lambda thought, mark: {"type": "thinking", "thinking": thought, "signature": mark}, texts, texts),
    st.builds(lambda words: {"type": "text", "text": words, "citations": None}, texts),
)
whys: st.SearchStrategy[Why] = st.one_of(
    st.builds(Repair, texts.filter(lambda words: bool(words.strip()))),
    st.builds(Longer, st.integers(11, 99)),
    st.builds(OtherModel, st.sampled_from(["m-2", "m-3"])),
)
exchanges_ = st.lists(
    st.builds(Exchange, st.lists(blocks, min_size=1).map(lambda found: reply(*found)), whys), max_size=4
)


@pytest.mark.parametrize("job", [USER, FIXED, PREFILLED])
@given(exchanges=exchanges_)
def test_the_identity_is_that_of_what_is_really_said(job: CompiledJob, exchanges: list[Exchange]) -> None:
    request, body = made(job, exchanges)
    assert request.hash == request_identity(body, request.betas)
    assert request.body == encode(body)
    assert (request.model, request.max_tokens) == (body["model"], body["max_tokens"])
    assert request.input_bound is not None
    assert request.input_bound >= len(request.body)


@given(exchanges=exchanges_)
def test_a_later_request_begins_with_what_the_first_one_says(exchanges: list[Exchange]) -> None:
    """So it reads the same cached prefixes, unless another model is asked."""
    first, before = made(USER, [])
    request, body = made(USER, exchanges)
    assert body["messages"][: len(before["messages"])] == before["messages"]
    if request.model == first.model:
        assert request.prefixes == first.prefixes
    else:
        assert request.prefixes != first.prefixes


def test_a_reply_to_be_mended_goes_back_as_it_came_and_what_is_wrong_follows() -> None:
    thinking = {"type": "thinking", "thinking": "", "signature": "sig=="}
    _, body = made(USER, [Exchange(reply(thinking, text("yes"), text(" ")), Repair("No: shorter."))])
    assert body["messages"][1:] == [
        {"role": "assistant", "content": [thinking, text("yes")]},
        {"role": "user", "content": [text("No: shorter.")]},
    ]


def test_a_cut_off_or_refused_reply_is_left_aside() -> None:
    first, _ = made(USER, [])
    request, body = made(USER, [Exchange(reply(text("ye")), Longer(99)), Exchange(reply(text("n")), OtherModel("m-2"))])
    assert (body["max_tokens"], body["model"]) == (99, "m-2")
    assert body["messages"] == decode(first.body)["messages"]
    assert request.hash != first.hash


def test_a_limit_and_a_model_hold_for_what_follows() -> None:
    _, body = made(USER, [Exchange(reply(text("ye")), Longer(99)), Exchange(reply(text("no")), Repair("Again."))])
    assert body["max_tokens"] == 99
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]


def test_a_prefilled_answer_begins_again_after_what_is_wrong() -> None:
    _, body = made(PREFILLED, [Exchange(reply(text('"a": 1]')), Repair("Close it."))])
    beginning = {"role": "assistant", "content": [text("x: {")]}
    assert body["messages"][1:] == [
        beginning,
        {"role": "assistant", "content": [text('"a": 1]')]},
        {"role": "user", "content": [text("Close it.")]},
        beginning,
    ]


def test_half_of_a_surrogate_pair_does_not_go_back() -> None:
    request, body = made(USER, [Exchange(reply(text("smile \ud83d")), Repair("Again."))])
    assert body["messages"][1]["content"] == [text("smile \ufffd")]
    assert request.hash == request_identity(body, request.betas)


def test_a_row_that_cannot_be_rendered_is_its_failure_in_later_rounds_too() -> None:
    exchanges = [Exchange(reply(text("no")), Repair("Again."))]
    for job in (USER, PREFILLED):
        found = Conversations(job).request(Row("k", 0, {}), exchanges)
        assert isinstance(found, Failure)
        assert found.kind == "render_error"


# -- tools -------------------------------------------------------------------------------------------------------------


CALLS = reply(
    {"type": "thinking", "thinking": "", "signature": "s"},
    {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {"name": "Ann"}},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Ann"}},
    {"type": "tool_use", "id": "toolu_2", "name": "find", "input": {"name": "Bob"}},
)


def test_calls_go_back_unchanged_with_all_their_results_in_order() -> None:
    results = {
        "toolu_2": ToolResult("toolu_2", "no Bob", is_error=True),
        "toolu_1": ToolResult("toolu_1", "found"),
        "toolu_9": ToolResult("toolu_9", "of a reply that led nowhere"),
    }
    request, body = made(USER, [Exchange(CALLS, CallTools(), results)])
    assistant, user = body["messages"][-2:]
    assert assistant == {"role": "assistant", "content": CALLS.content}
    assert user == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "found"},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no Bob", "is_error": True},
        ],
    }
    assert request.hash == request_identity(body, ("b",))


def test_a_paused_turn_goes_back_alone_each_time() -> None:
    paused = reply({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}})
    _, body = made(USER, [Exchange(paused, GoOn()), Exchange(paused, GoOn())])
    assert body["messages"][-2:] == [{"role": "assistant", "content": paused.content}] * 2


def test_an_empty_result_has_no_content() -> None:
    assert ToolResult("a", "").block() == {"type": "tool_result", "tool_use_id": "a"}


# -- turns -------------------------------------------------------------------------------------------------------------


def after(*answers: str) -> list[Exchange]:
    """The answers of as many turns."""
    return [Exchange(reply(text(words)), NextTurn(number)) for number, words in enumerate(answers, 1)]


def test_a_turn_is_asked_behind_all_that_was_said() -> None:
    _, body = made(TURNS, after("good", "because"))
    assert body["messages"][1:] == [
        {"role": "assistant", "content": [text("good")]},
        {
            "role": "user",
            "content": [{**text("x: why good, 1?"), "cache_control": {"type": "ephemeral", "ttl": "5m"}}],
        },
        {"role": "assistant", "content": [text("because")]},
        {"role": "user", "content": [text("Sure?")]},
    ]


@given(exchanges=st.lists(blocks, min_size=1).map(lambda found: [Exchange(reply(*found), NextTurn(1))]))
def test_the_identity_of_a_turn_leaves_out_its_breakpoint(exchanges: list[Exchange]) -> None:
    request, body = made(TURNS, exchanges)
    assert request.hash == request_identity(body, request.betas)
    assert request.body == encode(body)


def test_a_conversation_only_grows_so_that_what_is_cached_of_it_stays_readable() -> None:
    bodies = [made(TURNS, after(*["yes"] * turns))[1]["messages"] for turns in range(4)]
    for shorter, longer in pairwise(bodies):
        assert longer[: len(shorter)] == shorter


def test_only_the_last_turn_asks_for_a_form_of_the_reply() -> None:
    formats = [made(TURNS, after(*["yes"] * turns))[1].get("output_config") for turns in range(4)]
    assert formats == [None, None, None, {"format": FORMAT}]
    assert [*made(TURNS, after("a", "b", "c"))[1]] == ["model", "max_tokens", "output_config", "system", "messages"]


def test_a_limit_and_a_model_hold_to_the_end_of_their_turn() -> None:
    said = [Exchange(reply(text("ye")), Longer(99)), Exchange(reply(text("n")), OtherModel("m-2")), *after("yes")]
    _, body = made(TURNS, said)
    assert (body["model"], body["max_tokens"]) == ("m-1", 10)
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]


def test_thinking_goes_back_unchanged_and_a_reply_of_nothing_is_left_out() -> None:
    thinking = {"type": "thinking", "thinking": "", "signature": "sig=="}
    _, body = made(TURNS, [Exchange(reply(thinking, text("yes")), NextTurn(1))])
    assert body["messages"][1]["content"] == [thinking, text("yes")]
    _, body = made(TURNS, [Exchange(reply(text(" ")), NextTurn(1))])
    assert [message["role"] for message in body["messages"]] == ["user", "user"]


def test_a_prefilled_answer_begins_only_the_first_turn() -> None:
    job = compiled(*PREFILLED.messages, turns=[fixed("Why?")])  # type: ignore[arg-type]  # it has no history
    _, body = made(job, after("1}"))
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "assistant", "user"]


def test_a_turn_that_cannot_be_rendered_is_told_with_its_number() -> None:
    job = compiled(CompiledMessage("user", [block("review")]), turns=[block("broken")])
    failure = Conversations(job).request(ROW, after("yes"))
    assert isinstance(failure, Failure)
    assert failure.kind == "render_error"
    assert failure.message.startswith("broken:1: ")
    assert failure.message.endswith("turn 2 of row 'k'")
