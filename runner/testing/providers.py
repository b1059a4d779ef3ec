"""The conformance suite of providers: `check_provider`, over a server that the caller brings.

A provider is made for one event loop, so the suite runs its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from runner.encoding import encode
from runner.providers import Provider, Sent
from runner.types import Failure, Request

Make = Callable[[], Awaitable[Provider]]
"""Makes a provider of the server, on the running loop."""

_MODEL = "claude-haiku-5-5"


class Server(Protocol):
    """What the suite needs of the server behind the provider: how to make the next request fail."""

    def refuse_next(self, status: int) -> None:
        """Answer the next Messages request with this status, in the API's error shape."""
        ...

    def drop_next(self) -> None:
        """Take the next Messages request and close the connection without an answer."""
        ...

    def received(self) -> int:
        """How many Messages requests have arrived so far."""
        ...


def sample_request(text: str = "Say something.", *, max_tokens: int = 64, model: str = _MODEL) -> Request:
    """A small sound request."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": text}],
    }
    encoded = encode(body)
    return Request(
        hash=b"\x00" * 32, prefix=b"", body=encoded, model=model, max_tokens=max_tokens, input_bound=len(encoded)
    )


def check_provider(open_server: Callable[[], AbstractAsyncContextManager[tuple[Server, Make]]]) -> None:
    """Run the whole suite; each part gets a fresh provider."""
    parts = (_answers, _streams, _never_retries, _fails_as_values, _closes_twice, _counts, _lists_models)
    for part in parts:
        asyncio.run(_run(open_server, part))


async def _run(
    open_server: Callable[[], AbstractAsyncContextManager[tuple[Server, Make]]],
    part: Callable[[Server, Provider], Awaitable[None]],
) -> None:
    async with open_server() as (server, make):
        provider = await make()
        try:
            await part(server, provider)
        finally:
            await provider.aclose()


async def _answers(server: Server, provider: Provider) -> None:
    sent = await provider.send(sample_request())
    _check_success(sent)
    assert server.received() == 1, "one send is one request"


async def _streams(_server: Server, provider: Provider) -> None:
    plain = await provider.send(sample_request())
    begun: list[bool] = []
    streamed = await provider.send(sample_request(), on_begin=lambda: begun.append(True))
    assert begun == [True], "on_begin is called once, when the reply has begun"
    _check_success(streamed)
    assert plain.reply is not None and streamed.reply is not None  # noqa: PT018
    assert streamed.reply.content == plain.reply.content, "a streamed reply is the same reply"
    assert streamed.reply.stop_reason == plain.reply.stop_reason
    assert streamed.reply.usage.prompt_tokens == plain.reply.usage.prompt_tokens
    assert streamed.reply.usage.output_tokens == plain.reply.usage.output_tokens
    long = await provider.send(sample_request(max_tokens=32_000))
    assert long.reply is not None, "a request that may write much is answered as well"


async def _never_retries(server: Server, provider: Provider) -> None:
    for status in (500, 529, 429):
        before = server.received()
        server.refuse_next(status)
        sent = await provider.send(sample_request())
        assert server.received() == before + 1, "a provider makes exactly one try"
        assert _failure(sent).retryable, "whether it may be tried again is said, not done"
    before = server.received()
    server.drop_next()
    assert _failure(await provider.send(sample_request())).may_be_billed, "a lost answer may be billed"
    assert server.received() == before + 1, "a dropped connection is not tried again either"


async def _fails_as_values(server: Server, provider: Provider) -> None:
    for status, scope in ((400, "row"), (401, "job"), (403, "job")):
        server.refuse_next(status)
        failure = _failure(await provider.send(sample_request()))
        assert (failure.http_status, failure.scope, failure.retryable) == (status, scope, False)
        assert not failure.may_be_billed, "a clean error reply is not billed"
        server.refuse_next(status)
        begun: list[bool] = []
        failure = _failure(await provider.send(sample_request(), on_begin=lambda: begun.append(True)))  # noqa: B023
        assert failure.http_status == status, "a streamed request fails as the other does"
        assert not begun, "a refused request has not begun"


async def _closes_twice(_server: Server, provider: Provider) -> None:
    await provider.send(sample_request())
    await provider.aclose()


async def _counts(_server: Server, provider: Provider) -> None:
    if not provider.capabilities.count_tokens:
        return
    short = await provider.count_tokens(sample_request("one"))
    long = await provider.count_tokens(sample_request("one " * 200))
    assert isinstance(short, int) and isinstance(long, int), "a count, where the server has it"  # noqa: PT018
    assert 0 < short < long


async def _lists_models(_server: Server, provider: Provider) -> None:
    if not provider.capabilities.models:
        return
    listed = await provider.models()
    assert not isinstance(listed, Failure), "the list, where the server has it"
    assert all(isinstance(model.get("id"), str) for model in listed)


def _check_success(sent: Sent) -> None:
    assert sent.failure is None, f"a sound request failed: {sent.failure}"
    reply = sent.reply
    assert reply is not None, "exactly one of reply and failure is set"
    message = json.loads(sent.body)
    assert message["type"] == "message", "`body` is the message object"
    assert (message["id"], message["content"]) == (reply.message_id, list(reply.content))
    assert reply.usage.output_tokens > 0 and reply.usage.prompt_tokens > 0  # noqa: PT018
    assert sent.request_id == reply.request_id
    assert all(name == name.lower() for name in sent.headers or {}), "header names are in lower case"
    assert "authorization" not in (sent.headers or {})


def _failure(sent: Sent) -> Failure:
    assert sent.reply is None, "a failed request has no reply"
    assert sent.failure is not None, "exactly one of reply and failure is set"
    assert sent.body == b"", "a failed request has no body"
    return sent.failure
