"""The stand-in as the unmodified SDK sees it: where these hold, a program written for the API sees no difference."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message, TextBlock
from jsonschema import Draft202012Validator

from support.api import SimulatedApi, simulated_api

MODEL = "claude-haiku-5-5"
PATIENCE_S = 2.0
"""After which a client gives up on an answer that never comes. The stand-in must have had its turn by then."""
ASK: dict[str, Any] = {"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": "How are you?"}]}


@pytest.fixture
def client(api: SimulatedApi) -> Iterator[Anthropic]:
    with Anthropic(base_url=api.base_url, api_key=api.api_key, max_retries=0, timeout=20) as client:
        yield client


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


# --- answers


def test_create_returns_a_message_of_the_model_that_was_asked(client: Anthropic) -> None:
    message = client.messages.create(**ASK)
    assert (message.model, message.role, message.stop_reason) == (MODEL, "assistant", "end_turn")
    assert message.id.startswith("msg_")
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0


def test_a_model_that_thinks_by_default_does_not_begin_with_text(client: Anthropic) -> None:
    message = client.messages.create(**ASK)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.usage.output_tokens_details is not None
    assert 0 < message.usage.output_tokens_details.thinking_tokens < message.usage.output_tokens


def test_the_same_request_gets_the_same_answer_and_another_one_another(client: Anthropic) -> None:
    first, again = client.messages.create(**ASK), client.messages.create(**ASK)
    other = client.messages.create(**ASK | {"messages": [{"role": "user", "content": "And you?"}]})
    assert text_of(first) == text_of(again) != text_of(other)
    assert first.id != again.id


def test_a_stream_gives_the_message_that_create_gives(client: Anthropic) -> None:
    whole = client.messages.create(**ASK)
    with client.messages.stream(**ASK) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 1
    assert "".join(pieces) == text_of(final) == text_of(whole)
    assert final.usage.to_dict() == whole.usage.to_dict()
    assert final.stop_reason == whole.stop_reason


def test_stream_events_come_in_the_order_of_the_api(client: Anthropic) -> None:
    with client.messages.create(**ASK, stream=True) as events:
        kinds = [event.type for event in events]
    collapsed = [kind for index, kind in enumerate(kinds) if index == 0 or kinds[index - 1] != kind]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert collapsed == ["message_start", *block, *block, "message_delta", "message_stop"]


def test_the_async_client_creates_and_streams(api: SimulatedApi) -> None:
    async def ask() -> tuple[Message, str]:
        async with AsyncAnthropic(base_url=api.base_url, api_key=api.api_key, max_retries=0) as client:
            created = await client.messages.create(**ASK)
            async with client.messages.stream(**ASK) as stream:
                return created, text_of(await stream.get_final_message())

    created, streamed = asyncio.run(ask())
    assert text_of(created) == streamed


def test_two_hundred_concurrent_async_calls_all_get_their_own_answer(api: SimulatedApi) -> None:
    async def ask() -> list[Message]:
        async with AsyncAnthropic(base_url=api.base_url, api_key=api.api_key, max_retries=0) as client:
            calls = [
                client.messages.create(**ASK | {"messages": [{"role": "user", "content": f"row {row}"}]})
                for row in range(200)
            ]
            return await asyncio.gather(*calls)

    messages = asyncio.run(ask())
    by_id = {entry["message_id"]: entry for entry in api.requests()}
    assert len({text_of(message) for message in messages}) == 200
    assert all(by_id[message.id]["echo"] in text_of(message) for message in messages)
    assert api.accounts()["most_repeated"] == 1


def test_structured_output_fits_the_schema(client: Anthropic) -> None:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["label", "items", "when", "of"],
        "properties": {
            "label": {"enum": ["positive", "negative"]},
            "items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 1},
            "when": {"type": "string", "format": "date"},
            "of": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "note": {"type": ["string", "null"]},
        },
        "$defs": {
            "item": {
                "type": "object",
                "additionalProperties": False,
                "required": ["kind", "score"],
                "properties": {"kind": {"const": "x"}, "score": {"type": "number"}},
            }
        },
    }
    output: Any = {"format": {"type": "json_schema", "schema": schema}}
    for row in range(20):
        message = client.messages.create(
            model=MODEL, max_tokens=1000, messages=[{"role": "user", "content": f"row {row}"}], output_config=output
        )
        Draft202012Validator(schema).validate(json.loads(text_of(message)))


def test_a_reply_that_does_not_fit_max_tokens_is_cut(client: Anthropic) -> None:
    message = client.messages.create(**ASK | {"model": "claude-haiku-4-5", "max_tokens": 5})
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 5
    assert text_of(message)


def test_thinking_can_use_up_max_tokens_before_any_text(client: Anthropic) -> None:
    message = client.messages.create(**ASK | {"max_tokens": 4})
    assert (message.stop_reason, text_of(message)) == ("max_tokens", "")


def test_a_forced_tool_is_used_with_input_that_fits(client: Anthropic) -> None:
    schema: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    message = client.messages.create(
        **ASK | {"model": "claude-sonnet-4-6"},
        tools=[{"name": "weather", "input_schema": schema}],
        tool_choice={"type": "tool", "name": "weather"},
    )
    block = message.content[0]
    assert message.stop_reason == "tool_use"
    assert block.type == "tool_use"
    assert isinstance(block.input["city"], str)


def test_a_refusal_is_a_message_with_its_category(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("refusal", category="bio")
    message = client.messages.create(**ASK)
    assert message.stop_reason == "refusal"
    assert message.stop_details is not None
    assert message.stop_details.category == "bio"


def test_count_tokens_agrees_with_what_is_billed(client: Anthropic) -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=ASK["messages"], system="Be brief.")
    billed = client.messages.create(**ASK, system="Be brief.")
    assert counted.input_tokens == billed.usage.input_tokens


# --- models


def test_models_are_listed_in_pages_without_retired_ones(client: Anthropic) -> None:
    ids = [model.id for model in client.models.list(limit=5)]
    assert ids == list(dict.fromkeys(ids))
    assert MODEL in ids
    assert "claude-mythos-preview" not in ids
    retired = client.models.list(lifecycle=["retired"])
    assert [model.id for model in retired] == ["claude-mythos-preview"]


def test_a_model_is_retrieved_with_its_capabilities(client: Anthropic) -> None:
    model = client.models.retrieve("claude-opus-5-5")
    assert model.max_tokens == 128_000
    assert model.line == "opus"
    assert model.capabilities is not None
    assert model.capabilities.thinking.types.adaptive.supported
    assert not model.capabilities.thinking.types.disabled.supported


def test_an_alias_is_retrieved_under_the_full_id(client: Anthropic) -> None:
    assert client.models.retrieve("claude-haiku-4-5").id == "claude-haiku-4-5-20251001"


# --- headers


def test_raw_responses_carry_identity_and_limits(client: Anthropic) -> None:
    raw = client.messages.with_raw_response.create(**ASK)
    assert raw.request_id is not None
    assert raw.request_id.startswith("req_")
    assert raw.headers["anthropic-organization-id"]
    assert raw.headers["anthropic-workspace-id"].startswith("wrkspc_")
    for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
        for part in ("limit", "remaining", "reset"):
            assert raw.headers[f"anthropic-ratelimit-{kind}-{part}"]
    assert raw.parse()._request_id == raw.request_id


# --- prompt cache


def cached(text: str, ttl: str = "5m") -> Any:
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": ttl}}]


def test_a_shared_block_is_written_once_and_then_read(api: SimulatedApi, client: Anthropic) -> None:
    system = cached("A rule that everybody has to follow. " * 100, "1h")
    first = client.messages.create(**ASK, system=system).usage
    second = client.messages.create(**ASK | {"messages": [{"role": "user", "content": "Else?"}]}, system=system).usage
    assert first.cache_creation is not None
    assert first.cache_creation.ephemeral_1h_input_tokens == first.cache_creation_input_tokens
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.cache_creation_input_tokens == 0
    assert first.cache_creation_input_tokens is not None
    assert first.cache_creation_input_tokens > 512
    api.advance(3700)
    third = client.messages.create(**ASK, system=system).usage
    assert third.cache_read_input_tokens == 0


def test_a_request_for_no_tokens_writes_the_cache_and_answers_nothing(api: SimulatedApi, client: Anthropic) -> None:
    system = cached("A rule that everybody has to follow. " * 100)
    warm_up = client.messages.create(**ASK | {"max_tokens": 0}, system=system)
    assert (warm_up.content, warm_up.stop_reason, warm_up.usage.output_tokens) == ([], "max_tokens", 0)
    (entry,) = api.requests()
    assert entry["ephemeral_5m_input_tokens"] == warm_up.usage.cache_creation_input_tokens
    assert warm_up.usage.cache_creation_input_tokens
    assert entry["cost_pico"] > 0
    usage = client.messages.create(**ASK | {"messages": [{"role": "user", "content": "Else?"}]}, system=system).usage
    assert usage.cache_read_input_tokens == warm_up.usage.cache_creation_input_tokens
    assert usage.cache_creation_input_tokens == 0


@pytest.mark.parametrize(
    "also",
    [
        {"stream": True},
        {"model": "claude-haiku-4-5", "thinking": {"type": "enabled", "budget_tokens": 1024}},
        {
            "output_config": {
                "format": {"type": "json_schema", "schema": {"type": "object", "additionalProperties": False}}
            }
        },
        {
            "model": "claude-haiku-4-5",
            "tools": [{"name": "t", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any"},
        },
    ],
)
def test_a_request_for_no_tokens_is_refused_with_what_wants_an_answer(
    api: SimulatedApi, client: Anthropic, also: dict[str, Any]
) -> None:
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: 0 is not supported"):
        client.messages.create(**ASK | {"max_tokens": 0} | also)
    assert api.accounts()["requests"] == 0


def test_a_block_below_the_models_minimum_is_silently_not_cached(client: Anthropic) -> None:
    usage = client.messages.create(**ASK, system=cached("Short rule.")).usage
    assert usage.cache_creation_input_tokens == usage.cache_read_input_tokens == 0


# --- refusals of a request


def refused(client: Anthropic, **changes: Any) -> anthropic.APIStatusError:
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**ASK | changes)
    return caught.value


def test_sampling_parameters_are_refused_under_the_newer_version_only(api: SimulatedApi, client: Anthropic) -> None:
    error = refused(client, extra_body={"temperature": 0.5})
    assert isinstance(error, anthropic.BadRequestError)
    assert error.api_message == "temperature: Extra inputs are not permitted"
    older = client.with_options(default_headers={"anthropic-version": "2023-06-01"})
    assert older.messages.create(**ASK, extra_body={"temperature": 0.5}).stop_reason == "end_turn"
    assert api.accounts()["requests"] == 1


def test_an_unknown_model_is_not_found(client: Anthropic) -> None:
    error = refused(client, model="claude-nonsense")
    assert isinstance(error, anthropic.NotFoundError)
    assert (error.type, error.api_message) == ("not_found_error", "model: claude-nonsense")


def test_a_wrong_key_is_refused_in_either_header(api: SimulatedApi, client: Anthropic) -> None:
    assert isinstance(refused(client.with_options(api_key="wrong")), anthropic.AuthenticationError)
    headers = {"x-api-key": "wrong", "anthropic-version": "2026-10-21"}
    answer = httpx2.post(api.base_url + "/v1/messages", json=ASK, headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    right = headers | {"x-api-key": api.api_key}
    assert httpx2.post(api.base_url + "/v1/messages", json=ASK, headers=right, trust_env=False).status_code == 200


def test_a_body_above_32_mb_is_too_large(client: Anthropic) -> None:
    error = refused(client, messages=[{"role": "user", "content": "x" * 33_000_000}])
    assert isinstance(error, anthropic.ContentTooLargeError)
    assert error.type == "request_too_large"  # type: ignore[comparison-overlap]  # missing from the SDK's literal


def test_a_failed_request_is_told_with_the_request_id(client: Anthropic) -> None:
    error = refused(client, max_tokens=200_000)
    assert error.request_id is not None
    assert error.body == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": error.api_message},
        "request_id": error.request_id,
    }


# --- every error class, on request


@pytest.mark.parametrize(
    ("kind", "error_class", "error_type"),
    [
        ("400", anthropic.BadRequestError, "invalid_request_error"),
        ("401", anthropic.AuthenticationError, "authentication_error"),
        ("402", anthropic.PaymentRequiredError, "billing_error"),
        ("403", anthropic.PermissionDeniedError, "permission_error"),
        ("404", anthropic.NotFoundError, "not_found_error"),
        ("408", anthropic.RequestTimeoutError, "timeout_error"),
        ("409", anthropic.ConflictError, "conflict_error"),
        ("412", anthropic.PreconditionFailedError, "invalid_request_error"),
        ("413", anthropic.ContentTooLargeError, "request_too_large"),
        ("422", anthropic.UnprocessableEntityError, "invalid_request_error"),
        ("429", anthropic.RateLimitError, "rate_limit_error"),
        ("431", anthropic.RequestHeaderFieldsTooLargeError, "invalid_request_error"),
        ("499", anthropic.ClientClosedRequestError, "invalid_request_error"),
        ("500", anthropic.InternalServerError, "api_error"),
        ("501", anthropic.HTTPNotImplementedError, "api_error"),
        ("502", anthropic.InternalServerError, "api_error"),
        ("503", anthropic.ServiceUnavailableError, "api_error"),
        ("504", anthropic.GatewayTimeoutError, "timeout_error"),
        ("529", anthropic.OverloadedError, "overloaded_error"),
        ("usage_limit", anthropic.BadRequestError, "invalid_request_error"),
    ],
)
def test_each_status_arrives_as_the_sdks_class_and_is_not_billed(
    api: SimulatedApi, client: Anthropic, kind: str, error_class: type[anthropic.APIStatusError], error_type: str
) -> None:
    api.fault(kind)
    error = refused(client)
    assert type(error) is error_class
    assert error.type == error_type
    assert error.request_id is not None
    assert api.accounts()["requests"] == 0


@pytest.mark.parametrize(
    ("kind", "status", "class_name"),
    [
        ("spend_limit", 429, "EnforcedSpendLimitReachedError"),
        ("contract_spend_limit", 429, "ContractSpendLimitReachedError"),
        ("ramp_limit", 429, "RampLimitExceededError"),
        ("on_hold", 400, "OrganizationOnHoldError"),
        ("image_too_large", 400, "ImageDimensionsTooLargeError"),
    ],
)
def test_errors_with_a_code_arrive_as_their_subclass(
    api: SimulatedApi, client: Anthropic, kind: str, status: int, class_name: str
) -> None:
    api.fault(kind)
    error = refused(client)
    assert (type(error).__name__, error.status_code) == (class_name, status)
    assert error.error_code is not None


def test_a_spend_limit_has_no_retry_after_and_a_rate_limit_has(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("spend_limit", times=1)
    assert "retry-after" not in refused(client).response.headers
    api.fault("429", times=1, retry_after="7")
    assert refused(client).response.headers["retry-after"] == "7"


def test_bad_values_of_retry_after_are_sent_as_they_are(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("bad_retry_after")
    seen = [refused(client).response.headers.get("retry-after") for _ in range(4)]
    assert seen == ["-5", "nan", "inf", "1e9"]


# --- the network


def test_a_reset_connection_is_a_connection_error_and_not_billed(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("reset", times=1)
    with pytest.raises(anthropic.APIConnectionError):
        client.messages.create(**ASK)
    assert api.accounts()["requests"] == 0
    assert client.messages.create(**ASK).stop_reason == "end_turn"


@pytest.mark.parametrize("kind", ["reply_lost", "truncated"])
def test_a_reply_lost_on_the_way_is_a_connection_error_and_billed(
    api: SimulatedApi, client: Anthropic, kind: str
) -> None:
    api.fault(kind, times=1)
    with pytest.raises(anthropic.APIConnectionError) as caught:
        client.messages.create(**ASK)
    assert not isinstance(caught.value, anthropic.APITimeoutError)
    totals = api.accounts()
    assert (totals["requests"], totals["delivered"]) == (1, 0)


@pytest.mark.parametrize(("kind", "billed"), [("hang", 0), ("reply_hangs", 1), ("slow", 1)])
def test_an_answer_that_does_not_come_is_a_timeout(
    api: SimulatedApi, client: Anthropic, kind: str, billed: int
) -> None:
    api.fault(kind, times=1)
    with pytest.raises(anthropic.APITimeoutError):
        client.messages.create(**ASK, timeout=PATIENCE_S)
    assert api.accounts()["requests"] == billed


def test_nothing_stays_in_flight_after_clients_have_given_up(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("hang", times=1)
    with pytest.raises(anthropic.APITimeoutError):
        client.messages.create(**ASK, timeout=PATIENCE_S)
    client.messages.create(**ASK)
    assert api.traffic()["in_flight"] == 0


def test_an_error_in_mid_stream_is_a_status_error_of_a_response_with_status_200(
    api: SimulatedApi, client: Anthropic
) -> None:
    api.fault("stream_error")
    with pytest.raises(anthropic.APIStatusError) as caught, client.messages.stream(**ASK) as stream:
        stream.get_final_message()
    assert (caught.value.status_code, caught.value.type) == (200, "overloaded_error")


def test_a_stream_that_is_cut_is_a_raw_protocol_error(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("truncated")
    with pytest.raises(httpx2.RemoteProtocolError), client.messages.stream(**ASK) as stream:
        stream.get_final_message()


def test_a_stream_that_ends_without_its_last_events_looks_complete_to_the_sdk(
    api: SimulatedApi, client: Anthropic
) -> None:
    api.fault("stream_ends")
    with client.messages.stream(**ASK) as stream:
        assert stream.get_final_message().stop_reason is None


def test_the_models_endpoint_can_be_missing(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("404", path="/v1/models")
    with pytest.raises(anthropic.NotFoundError):
        client.models.list()


def test_a_prefix_can_be_read_as_soon_as_the_reply_that_writes_it_has_begun(tmp_path: Path) -> None:
    ask = ASK | {"system": cached("A rule that everybody has to follow. " * 100)}
    with (
        simulated_api(tmp_path, latency="1s") as slow,
        Anthropic(base_url=slow.base_url, api_key=slow.api_key, max_retries=0) as client,
        client.messages.create(**ask, stream=True) as events,
    ):
        assert next(iter(events)).type == "message_start"
        usage = client.messages.create(**ask).usage
    assert usage.cache_read_input_tokens


def test_a_login_page_in_place_of_an_answer_comes_out_as_text(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("html")
    page: object = client.messages.create(**ASK)
    assert isinstance(page, str)
    assert "<html>" in page


def test_a_right_answer_with_a_wrong_content_type_is_still_read_by_the_sdk(
    api: SimulatedApi, client: Anthropic
) -> None:
    api.fault("wrong_type")
    raw = client.messages.with_raw_response.create(**ASK)
    assert raw.headers["content-type"].startswith("text/plain")
    assert raw.parse().stop_reason == "end_turn"


def test_the_sdks_own_retries_are_seen_and_billed_once_each(api: SimulatedApi) -> None:
    api.fault("529", times=1)
    api.fault("reply_lost", times=1)
    with Anthropic(base_url=api.base_url, api_key=api.api_key, max_retries=2) as client:
        assert client.messages.create(**ASK).stop_reason == "end_turn"
    assert api.accounts()["requests"] == 2
    assert api.accounts()["most_repeated"] == 2


def test_a_deprecated_model_answers(client: Anthropic) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert client.messages.create(**ASK | {"model": "claude-sonnet-4-5"}).stop_reason == "end_turn"
