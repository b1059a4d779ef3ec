from __future__ import annotations

from typing import Any

import pytest

from runner.simulator.refusal import Refused
from runner.simulator.validation import check_count, check_create, check_size

NEWER, OLDER = "2026-10-21", "2023-06-01"
MODEL = "claude-haiku-5-5"


def request(**changes: Any) -> dict[str, Any]:
    body = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Why?"}]} | changes
    return {name: value for name, value in body.items() if value is not ...}


def user(*blocks: Any) -> dict[str, Any]:
    return request(messages=[{"role": "user", "content": list(blocks)}])


def text(words: str = "Why?", **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def mark(ttl: str = "5m") -> dict[str, Any]:
    return {"type": "ephemeral", "ttl": ttl}


def output(schema: Any = None, **more: Any) -> dict[str, Any]:
    schema = schema or {"type": "object", "properties": {}, "additionalProperties": False}
    return {"format": {"type": "json_schema", "schema": schema}, **more}


TOOL = {"name": "a", "input_schema": {"type": "object"}}
ASSISTANT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because"}]
PDF = {"type": "document", "source": {"type": "url", "url": "https://example.com/x.pdf"}}


def refusal(body: Any, version: str = NEWER, betas: str = "") -> Refused:
    with pytest.raises(Refused) as caught:
        check_create(body, version, betas)
    return caught.value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "valid dictionary"),
        (request(max_tokens=...), "max_tokens: Field required"),
        (request(messages=...), "messages: Field required"),
        (request(model=...), "model: Field required"),
        (request(max_tokens="9"), "max_tokens: Input should be a valid integer"),
        (request(max_tokens=True), "max_tokens: Input should be a valid integer"),
        (request(max_tokens=-1), "max_tokens: Input should be greater than or equal to 0"),
        (request(max_tokens=128_001), "max_tokens: 128001 > 128000, which is the maximum"),
        (request(model="claude-haiku-4-5", max_tokens=64_001), "max_tokens: 64001 > 64000"),
        (request(temperature=1), "^temperature: Extra inputs are not permitted"),
        (request(top_p=1), "^top_p: Extra inputs are not permitted"),
        (request(top_k=1), "^top_k: Extra inputs are not permitted"),
        (request(betas=["x"]), "^betas: Extra inputs are not permitted"),
        (request(nonsense=1), "^nonsense: Extra inputs are not permitted"),
        (request(metadata={"name": "x"}), "^metadata.name: Extra inputs are not permitted"),
        (request(stream="yes"), "stream: Input should be a valid boolean"),
        (request(service_tier="best"), "service_tier"),
        (request(stop_sequences="x"), "stop_sequences"),
        (request(stop_sequences=[" "]), "stop_sequences"),
        (request(speed="fast"), "speed: 'fast' is not supported"),
        (request(messages=[]), "at least one message"),
        (request(messages=[{"role": "bot", "content": "x"}]), "messages.0.role: Input should be"),
        (request(messages=[{"role": "user"}]), "messages.0.content: Field required"),
        (request(messages=[{"role": "user", "content": "x", "name": "y"}]), "messages.0.name: Extra inputs"),
        (request(messages=[{"role": "user", "content": ""}]), "text content blocks must be non-empty"),
        (request(messages=[{"role": "user", "content": []}]), "must have non-empty content"),
        (request(messages=[{"role": "assistant", "content": "x"}]), "prefill|first message must use"),
        (request(messages=ASSISTANT), "does not support assistant message prefill"),
        (user(text("")), "text content blocks must be non-empty"),
        (user(text(" \n")), "must contain non-whitespace text"),
        (user(text("", cache_control=mark())), "cache_control cannot be set for empty text blocks"),
        (user(text(colour="red")), "messages.0.content.0.text.colour: Extra inputs"),
        (user({"type": "poem", "text": "x"}), "does not match any of the expected tags"),
        (user({"type": "image"}), "messages.0.content.0.image.source: Field required"),
        (user({"type": "image", "source": {"type": "base64", "data": "x"}}), "media_type: Field required"),
        (user({"type": "image", "source": {"type": "path", "data": "x"}}), "does not match any of the expected tags"),
        (request(system=[text("")]), "text content blocks must be non-empty"),
        (request(system=[{"type": "image", "source": {}}]), "system.0.type: Input should be 'text'"),
        (request(system=[text(cache_control={"type": "forever"})]), "cache_control.type"),
        (request(system=[text(cache_control={"type": "ephemeral", "ttl": "2h"})]), "ttl: Input should be '5m' or '1h'"),
        (user(*[text(cache_control=mark())] * 5), "A maximum of 4 blocks with cache_control may be provided. Found 5"),
        (user(*[text(cache_control=mark())] * 4) | {"cache_control": mark()}, "Found 5"),
        (user(text(cache_control=mark("5m")), text(cache_control=mark("1h"))), "must not come after a ttl='5m'"),
        (user(text(cache_control=mark("1h"))) | {"cache_control": mark("5m")}, "conflicts"),
        (request(tools=[{"name": "a b", "input_schema": {"type": "object"}}]), "should match pattern"),
        (request(tools=[TOOL, TOOL]), "Tool names must be unique"),
        (request(tools=[{"name": "a"}]), "input_schema: Field required"),
        (request(tool_choice={"type": "auto"}), "only be specified while providing tools"),
        (request(tools=[TOOL], tool_choice={"type": "tool", "name": "b"}), "Tool 'b' not found"),
        (request(tools=[TOOL], tool_choice={"type": "some"}), "tool_choice: Input tag"),
        (request(thinking={"type": "enabled", "budget_tokens": 2000}), "thinking.type: 'enabled' is not supported"),
        (request(thinking={"type": "deep"}), "thinking: Input tag"),
        (request(thinking={"type": "disabled"}, output_config={"effort": "max"}), "not supported at effort 'max'"),
        (request(output_config={"effort": "huge"}), "output_config.effort"),
        (request(output_config={"style": "x"}), "output_config.style: Extra inputs"),
        (request(output_config={"format": {"type": "json"}}), "output_config.format.type"),
        (request(output_config=output({"type": "object"})), "'additionalProperties' must be explicitly set to false"),
        (user({**PDF, "citations": {"enabled": True}}) | {"output_config": output()}, "citations enabled"),
        (request(max_tokens=0, stream=True), "max_tokens: 0 is not supported with stream"),
        (request(max_tokens=0, output_config=output()), "max_tokens: 0 is not supported with output_config.format"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_in_the_apis_words(body: Any, message: str) -> None:
    refused = refusal(body)
    assert refused.status == 400
    with pytest.raises(Refused, match=message):
        raise refused


@pytest.mark.parametrize(
    "body",
    [
        request(),
        request(max_tokens=0),
        request(system="Be brief.", metadata={"user_id": "u"}, service_tier="auto", stop_sequences=["END"]),
        request(messages=[{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]),
        user(text(cache_control=mark("1h")), text(cache_control=mark("5m")), text(cache_control=None)),
        user(*[text(cache_control=mark())] * 3, text()) | {"cache_control": mark()},
        user(PDF, {"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
        request(tools=[TOOL], tool_choice={"type": "any"}),
        request(thinking={"type": "disabled"}),
        request(model="claude-opus-4-5", thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000),
        request(model="claude-opus-4-5", messages=ASSISTANT),
        request(output_config=output(effort="low")),
    ],
)
def test_a_right_request_passes(body: Any) -> None:
    check_create(body, NEWER, "")


@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_the_older_version_takes_sampling_parameters_in_their_range(name: str) -> None:
    check_create(request(**{name: 0.5}), OLDER, "")
    assert "between 0 and 1" in refusal(request(**{name: 1.5}), OLDER).message


def test_the_older_version_takes_documents_in_assistant_turns() -> None:
    turns = [ASSISTANT[0], {"role": "assistant", "content": [PDF]}, ASSISTANT[0]]
    check_create(request(messages=turns), OLDER, "")
    assert "assistant turns" in refusal(request(messages=turns)).message


def test_citations_in_a_users_text_are_refused_by_the_newer_version() -> None:
    cited = user(text(citations=[{"type": "char_location"}]))
    check_create(cited, OLDER, "")
    assert "citations are not permitted" in refusal(cited).message


def test_parameters_in_beta_need_the_header() -> None:
    body = request(context_management={"edits": []})
    assert "Extra inputs" in refusal(body).message
    check_create(body, NEWER, "context-management-2025-06-27")


@pytest.mark.parametrize("model", ["claude-fable-5-1", "claude-mythos-5-1", "claude-opus-5-5", "claude-sonnet-5-5"])
def test_the_newest_models_cannot_be_forced_to_use_a_tool(model: str) -> None:
    body = request(model=model, tools=[TOOL], tool_choice={"type": "any"})
    assert "forced tool use" in refusal(body).message


@pytest.mark.parametrize(
    ("model", "accepted"),
    [
        ("claude-fable-5-2", {"adaptive"}),
        ("claude-opus-5-5", {"adaptive"}),
        ("claude-sonnet-5-5", {"adaptive", "between_tools"}),
        ("claude-haiku-5-5", {"adaptive", "disabled"}),
        ("claude-sonnet-5", {"adaptive", "disabled"}),
        ("claude-sonnet-4-6", {"adaptive", "disabled", "enabled"}),
        ("claude-haiku-4-5", {"disabled", "enabled"}),
    ],
)
def test_each_model_takes_its_own_kinds_of_thinking(model: str, accepted: set[str]) -> None:
    taken = set()
    for kind in ("adaptive", "between_tools", "disabled", "enabled"):
        budget = {"budget_tokens": 1024} if kind == "enabled" else {}
        try:
            check_create(request(model=model, max_tokens=4000, thinking={"type": kind, **budget}), NEWER, "")
        except Refused:
            continue
        taken.add(kind)
    assert taken == accepted


@pytest.mark.parametrize("model", ["claude-mythos-preview", "claude-3-opus-20240229", "gpt"])
def test_unknown_and_retired_models_are_not_found(model: str) -> None:
    assert (refusal(request(model=model)).status, refusal(request(model=model)).kind) == (404, "not_found_error")


def test_counting_takes_no_parameters_of_the_answer() -> None:
    check_count(request(max_tokens=...), NEWER, "")
    with pytest.raises(Refused, match="max_tokens: Extra inputs"):
        check_count(request(), NEWER, "")


def test_a_prompt_longer_than_the_context_is_refused() -> None:
    card = check_create(request(model="claude-haiku-4-5"), NEWER, "")
    check_size(200_000, card)
    with pytest.raises(Refused, match="prompt is too long: 200001 tokens > 200000 maximum"):
        check_size(200_001, card)
