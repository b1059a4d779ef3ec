"""The stand-in as the unmodified SDK's clients for the platforms see it: typed calls, streams and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import pytest

from support.api import SimulatedApi
from support.platforms import NAMES, SECRET, Platform

ASK: dict[str, Any] = {"max_tokens": 2000, "messages": [{"role": "user", "content": "Say something."}]}


def client_of(platform: Platform) -> Any:
    """As a user of the SDK makes it."""
    key = platform.api.api_key
    options: dict[str, Any] = {**platform.options, "max_retries": 0}
    bearer: dict[str, Any] = {"default_headers": {"Authorization": f"Bearer {key}"}}
    match platform.name:
        case "bedrock":
            return anthropic.AsyncAnthropicBedrock(aws_access_key=key, aws_secret_key=SECRET, **options)
        case "aws":
            return anthropic.AsyncAnthropicAWS(aws_access_key=key, aws_secret_key=SECRET, **options)
        case "vertex":
            return anthropic.AsyncAnthropicVertex(**bearer, **options)
        case "google_cloud":
            return anthropic.AsyncAnthropicGoogleCloud(**bearer, **options)
    return anthropic.AsyncAnthropicFoundry(api_key=key, **options)


def with_client(platform: Platform, ask: Callable[[Any], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        client = client_of(platform)
        try:
            return await ask(client)
        finally:
            await client.close()

    return asyncio.run(main())


@pytest.mark.parametrize("name", NAMES)
def test_a_message_whole_and_streamed_is_the_same(name: str, api: SimulatedApi) -> None:
    platform = Platform(name, api)

    async def ask(client: Any) -> tuple[Any, Any]:
        whole = await client.messages.create(model=platform.model(), **ASK)
        async with client.messages.stream(model=platform.model(), **ASK) as stream:
            return whole, await stream.get_final_message()

    whole, streamed = with_client(platform, ask)
    assert whole.content[-1].text == streamed.content[-1].text
    assert (whole.stop_reason, whole.usage.output_tokens) == (streamed.stop_reason, streamed.usage.output_tokens)
    assert api.accounts()["requests"] == 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, anthropic.PermissionDeniedError), (429, anthropic.RateLimitError), (400, anthropic.BadRequestError)],
)
def test_errors_are_those_of_the_status(name: str, status: int, kind: type[Exception], api: SimulatedApi) -> None:
    platform = Platform(name, api)
    api.fault(str(status), times=1)
    with pytest.raises(kind):
        with_client(platform, lambda client: client.messages.create(model=platform.model(), **ASK))


@pytest.mark.parametrize("name", ["bedrock", "vertex", "foundry"])
def test_the_clients_lack_what_the_table_says(name: str, api: SimulatedApi) -> None:
    async def create(client: Any) -> Any:
        return await client.messages.batches.create(requests=[])

    with pytest.raises((anthropic.AnthropicError, AttributeError)):
        with_client(Platform(name, api), create)
