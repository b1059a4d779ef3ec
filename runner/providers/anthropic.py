"""Anthropic's API through its own SDK: one try at a time, bytes in and bytes out.

Owns   the SDK's client (the only import of `anthropic` in the house), the deadline of an attempt, and when a reply is
       streamed.
Knows  requests as bytes. Nothing of rows, retries or limits: a call is made once and whatever happens comes back as a
       value.

Invariants
  * The request's bytes leave as they were prepared; a reply's bytes are kept as they came and decoded once.
  * No attempt outlives its deadline, whatever the server does.
  * No credential is in an error, a message or a representation.

Source: SDK 2.12 `_base_client.py` (`post(content=…)` sends bytes, `cast_to=httpx2.Response` builds no models, a
status that is no success raises `APIStatusError`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import aiohttp
import anthropic
import httpx2
import orjson

from runner.clock import Clock, SystemClock
from runner.encoding import encode
from runner.errors import SetupError
from runner.message import parse_reply
from runner.providers import BatchLine, BatchPage, RemoteBatch, Sent, failures
from runner.providers.batches import STALL_S, Batches
from runner.providers.credentials import Credentials, check_address, find_credentials, parse_custom_headers
from runner.providers.results import read_result
from runner.providers.stream import StreamBroken, StreamedMessage
from runner.types import Capabilities, Failure, Request

MAX_UNSTREAMED_TOKENS = 21_333
"""Above this `max_tokens` a reply may take longer than idle connections live, so it is streamed: the SDK's own bound
(`_calculate_nonstreaming_timeout`: 3,600 s for 128,000 tokens, at most 600 s without a stream)."""

DEADLINE_S = 600.0
"""How long one attempt may take in all; the SDK's default timeout, which there bounds each read only. Requests that
may write more than MAX_UNSTREAMED_TOKENS get the SDK's estimate of the longest answer instead: 3,600 s for 128,000
tokens."""
_S_PER_OUTPUT_TOKEN = 3_600 / 128_000

CONNECT_TIMEOUT_S = 5.0
"""The SDK's default."""

_SPARE_CONNECTIONS = 8
"""For the calls beside the messages: counting tokens, listing models."""

_COUNTED = (
    "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control", "mcp_servers",
)  # fmt: skip
"""The keys that count_tokens takes (SDK `types/message_count_tokens_params.py` and its beta form); it refuses the
others."""

_MODELS_PAGE = 1_000
_MAX_MODEL_PAGES = 20
"""Far beyond what the API lists: a server whose pages never end is not followed."""

_TRANSPORT_ERRORS = (anthropic.APIConnectionError, httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError)
_CREDENTIAL_ERRORS = (anthropic.CredentialsError, anthropic.WorkloadIdentityError)

T = TypeVar("T")


class AnthropicProvider:
    """Sends through one SDK client, on one event loop. `address` and `workspace` say whose answers these are."""

    def __init__(
        self,
        client: anthropic.AsyncAnthropic,
        *,
        uploads: anthropic.AsyncAnthropic,
        secrets: tuple[str, ...],
        workspace: str | None,
        clock: Clock,
        deadline_s: float,
        stall_s: float = STALL_S,
    ) -> None:
        self._client = client
        self._uploads = uploads
        self._batches = Batches(
            SdkWire(client, uploads), clock=clock, secrets=secrets, reply_s=deadline_s, stall_s=stall_s
        )
        self._secrets = secrets
        self._clock = clock
        self._deadline_s = deadline_s
        self.address = str(client.base_url).rstrip("/")
        self.workspace = workspace

    @classmethod
    def connect(
        cls, environ: Mapping[str, str], *, max_concurrency: int, clock: Clock | None = None
    ) -> AnthropicProvider:
        """See `connect` below: what a job's `provider` is made by."""
        return connect(environ, max_concurrency=max_concurrency, clock=clock)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(batches=True, count_tokens=True, models=True)

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        """POST one Messages request, once; see the contract."""
        deadline_s = max(self._deadline_s, request.max_tokens * _S_PER_OUTPUT_TOKEN)
        if on_begin is not None or request.max_tokens > MAX_UNSTREAMED_TOKENS:
            return await self._within(deadline_s, self._streamed(request, on_begin, deadline_s))
        return await self._within(deadline_s, self._unstreamed(request, deadline_s))

    async def count_tokens(self, request: Request) -> int | Failure:
        """Ask what the prompt counts; the API ignores caching here."""
        body = orjson.loads(request.body)
        counted = encode({key: body[key] for key in _COUNTED if key in body})
        answer = await self._ask(self._post("/v1/messages/count_tokens", counted, request.betas, self._deadline_s))
        if isinstance(answer, Failure):
            return answer
        tokens = answer.get("input_tokens")
        if not isinstance(tokens, int):
            return failures.bad_reply("a token count without `input_tokens`", 200, None)
        return tokens

    async def models(self) -> list[Mapping[str, Any]] | Failure:
        """All models that the Models API lists, newest first."""
        found: dict[str, Mapping[str, Any]] = {}
        after: str | None = None
        for _ in range(_MAX_MODEL_PAGES):
            query = urlencode({"limit": _MODELS_PAGE, **({"after_id": after} if after else {})})
            page = await self._ask(self._client.get(f"/v1/models?{query}", cast_to=httpx2.Response))
            if isinstance(page, Failure):
                return page
            listed = page.get("data")
            if not isinstance(listed, list) or not all(isinstance(model, dict) and "id" in model for model in listed):
                return failures.bad_reply("a list of models without their ids", 200, None)
            found.update((str(model["id"]), model) for model in listed)
            last = page.get("last_id")
            if not page.get("has_more") or not isinstance(last, str) or last == after:
                break
            after = last
        return list(found.values())

    async def create_batch(
        self, chunks: AsyncIterable[bytes], size_bytes: int, betas: Sequence[str] = ()
    ) -> RemoteBatch | Failure:
        return await self._batches.create(chunks, size_bytes, betas)

    async def retrieve_batch(self, batch_id: str) -> RemoteBatch | Failure:
        return await self._batches.retrieve(batch_id)

    async def list_batches(self, *, after_id: str | None = None, limit: int = 100) -> BatchPage | Failure:
        return await self._batches.list(after_id, limit)

    async def cancel_batch(self, batch_id: str) -> RemoteBatch | Failure:
        return await self._batches.cancel(batch_id)

    async def download_results(self, batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        return await self._batches.download(batch_id, write)

    def read_result(self, line: bytes) -> BatchLine:
        return read_result(line, self._secrets)

    async def aclose(self) -> None:
        await self._uploads.close()
        await self._client.close()

    # -- one message -----------------------------------------------------------------------------------------------

    async def _unstreamed(self, request: Request, deadline_s: float) -> Sent:
        response = await self._post("/v1/messages", request.body, request.betas, deadline_s)
        headers = failures.redacted(response.headers)
        if not _is_type(headers, "application/json"):
            return self._bad_reply(_wrong_type(response, headers), response.status_code, headers)
        return self._message(response.content, response.status_code, headers)

    async def _streamed(self, request: Request, on_begin: Callable[[], None] | None, deadline_s: float) -> Sent:
        response = await self._post("/v1/messages", _with_stream(request.body), request.betas, deadline_s, stream=True)
        try:
            headers = failures.redacted(response.headers)
            if _is_type(headers, "text/event-stream"):
                return await self._assembled(response, headers, on_begin)
            await response.aread()
            if not _is_type(headers, "application/json"):
                return self._bad_reply(_wrong_type(response, headers), response.status_code, headers)
            # A gateway that does not stream answers with the whole message.
            sent = self._message(response.content, response.status_code, headers)
            if sent.reply is not None and on_begin is not None:
                on_begin()
            return sent
        finally:
            await response.aclose()

    async def _assembled(
        self, response: httpx2.Response, headers: Mapping[str, str], on_begin: Callable[[], None] | None
    ) -> Sent:
        message = StreamedMessage()
        try:
            async for chunk in response.aiter_bytes():
                message.feed(chunk)
                if on_begin is not None and message.begun:
                    on_begin()
                    on_begin = None
            if message.error is None:
                return self._message(message.body(), response.status_code, headers)
        except StreamBroken as error:
            return self._bad_reply(str(error), response.status_code, headers)
        failure = failures.from_stream_event(message.error, headers.get("request-id"), secrets=self._secrets)
        return Sent(None, failure, request_id=failure.request_id, headers=headers)

    def _message(self, body: bytes, status: int, headers: Mapping[str, str]) -> Sent:
        request_id = headers.get("request-id")
        try:
            reply = parse_reply(body, request_id)
        except ValueError as error:
            return self._bad_reply(f"the reply is no message ({error}): {body[:200]!r}", status, headers)
        return Sent(reply, None, body, request_id, headers)

    # -- one call --------------------------------------------------------------------------------------------------

    async def _post(
        self, path: str, body: bytes, betas: tuple[str, ...], deadline_s: float, *, stream: bool = False
    ) -> httpx2.Response:
        options: anthropic.RequestOptions = {"timeout": anthropic.Timeout(deadline_s, connect=CONNECT_TIMEOUT_S)}
        if betas:
            options["headers"] = {"anthropic-beta": ",".join(betas)}
        # `stream` makes the SDK leave the body unread; with this `cast_to` it hands out the response itself in either
        # case.
        return await self._client.post(path, content=body, cast_to=httpx2.Response, options=options, stream=stream)

    async def _ask(self, call: Coroutine[Any, Any, httpx2.Response]) -> dict[str, Any] | Failure:
        """Make a call that is answered with a JSON object."""
        response = await self._within(self._deadline_s, call)
        if isinstance(response, Sent):
            assert response.failure is not None
            return response.failure
        try:
            answer = orjson.loads(response.content)
        except orjson.JSONDecodeError as error:
            return failures.bad_reply(f"the answer is no JSON ({error})", response.status_code, None)
        if not isinstance(answer, dict):
            return failures.bad_reply("the answer is no JSON object", response.status_code, None)
        return answer

    async def _within(self, deadline_s: float, call: Coroutine[Any, Any, T]) -> T | Sent:
        """Await a call within its deadline; whatever the API, the network or the credential does to it is a failed
        `Sent`."""
        try:
            async with asyncio.timeout(deadline_s) as deadline:
                return await call
        except anthropic.APIStatusError as error:
            headers = failures.redacted(error.response.headers)
            failure = failures.from_response(
                error.status_code, headers, error.response.content, now=self._clock.now(), secrets=self._secrets
            )
            return Sent(None, failure, request_id=failure.request_id, headers=headers)
        except _TRANSPORT_ERRORS as error:
            if deadline.expired():
                return Sent(None, failures.deadline_passed(deadline_s))
            return Sent(None, failures.from_transport(error, secrets=self._secrets))
        except _CREDENTIAL_ERRORS as error:
            return Sent(None, failures.no_credential(str(error), secrets=self._secrets))

    def _bad_reply(self, what: str, status: int, headers: Mapping[str, str]) -> Sent:
        request_id = headers.get("request-id")
        failure = failures.bad_reply(what, status, request_id, secrets=self._secrets)
        return Sent(None, failure, request_id=request_id, headers=headers)


class SdkWire:
    """Batch calls through the SDK's client, creates through `uploads`: see `runner.providers.exchange.Wire`."""

    errors: tuple[type[Exception], ...] = _TRANSPORT_ERRORS
    credential_errors: tuple[type[Exception], ...] = _CREDENTIAL_ERRORS

    def __init__(self, client: anthropic.AsyncAnthropic, uploads: anthropic.AsyncAnthropic) -> None:
        self._client = client
        self._uploads = uploads

    async def post(
        self, path: str, headers: Mapping[str, str], timeout_s: float, content: AsyncIterable[bytes] | None = None
    ) -> httpx2.Response:
        # The SDK's type asks for an iterator; its transport takes what it asks for once.
        body = cast("AsyncIterator[bytes] | None", content)
        options = _options(headers, timeout_s)
        client = self._client if content is None else self._uploads
        return await _any_status(client.post(path, content=body, cast_to=httpx2.Response, options=options))

    async def get(self, path: str, headers: Mapping[str, str], timeout_s: float) -> httpx2.Response:
        return await _any_status(self._client.get(path, cast_to=httpx2.Response, options=_options(headers, timeout_s)))

    async def open(self, path: str, headers: Mapping[str, str], timeout_s: float) -> httpx2.Response:
        options = _options(headers, timeout_s)
        return await _any_status(self._client.get(path, cast_to=httpx2.Response, options=options, stream=True))


def _options(headers: Mapping[str, str], timeout_s: float) -> anthropic.RequestOptions:
    return {
        "headers": dict(headers),
        "timeout": anthropic.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
        "follow_redirects": False,
        "max_retries": 0,
    }


async def _any_status(call: Coroutine[Any, Any, httpx2.Response]) -> httpx2.Response:
    try:
        return await call
    except anthropic.APIStatusError as error:
        return error.response


def connect(
    environ: Mapping[str, str],
    *,
    max_concurrency: int,
    clock: Clock | None = None,
    deadline_s: float = DEADLINE_S,
    stall_s: float = STALL_S,
) -> AnthropicProvider:
    """Make a provider from an environment, by the SDK's names and order of precedence; call it on the loop that will
    send.

    Raises SetupError, naming every place that was looked in, where there is no usable credential, and for an address
    that would carry it in the clear.
    """
    credentials = find_credentials(environ)
    limits = httpx2.Limits(
        max_connections=max_concurrency + _SPARE_CONNECTIONS,
        max_keepalive_connections=max_concurrency + _SPARE_CONNECTIONS,
    )
    tls = httpx2.create_ssl_context()  # it reads the certificates, which takes some 50 ms: once for both
    try:
        client = anthropic.AsyncAnthropic(
            **_credential_arguments(credentials),
            base_url=credentials.address,
            default_headers=_headers(credentials),
            max_retries=0,
            http_client=anthropic.DefaultAioHttpClient(limits=limits, verify=tls),
        )
    except anthropic.AnthropicError as error:
        raise SetupError(
            failures.scrub(f"the credential cannot be used: {error}", credentials.secrets), code="bad-credential"
        ) from error
    check_address(str(client.base_url))  # a profile may bring its own
    workspace = credentials.workspace or client.default_headers.get("anthropic-workspace-id")
    # A connection that was kept open and is dropped at the very moment of a create would leave a small batch in doubt:
    # creates open their own.
    own = httpx2.Limits(max_connections=_SPARE_CONNECTIONS, keepalive_expiry=0.0)
    return AnthropicProvider(
        client,
        uploads=client.copy(http_client=anthropic.DefaultAioHttpClient(limits=own, verify=tls)),
        secrets=credentials.secrets,
        workspace=workspace if isinstance(workspace, str) else None,
        clock=clock or SystemClock(),
        deadline_s=deadline_s,
        stall_s=stall_s,
    )


def _credential_arguments(credentials: Credentials) -> dict[str, Any]:
    if credentials.kind == "headers":
        return {}
    if credentials.federation is None:
        return {credentials.kind: credentials.value}
    federation = credentials.federation
    token, token_file = federation.token, federation.token_file
    # The file wins over the literal token, as in the SDK: it is the one that is rotated in place.
    identity = anthropic.IdentityTokenFile(token_file) if token_file is not None else lambda: token or ""
    return {
        "credentials": anthropic.WorkloadIdentityCredentials(
            identity_token_provider=identity,
            federation_rule_id=federation.rule_id,
            organization_id=federation.organization_id,
            service_account_id=federation.service_account_id,
            workspace_id=federation.workspace_id,
            scope=federation.scope,
        )
    }


def _headers(credentials: Credentials) -> dict[str, str]:
    """The given environment's custom headers. The SDK adds the process's own: those are left out by name."""
    inherited = parse_custom_headers(os.environ.get("ANTHROPIC_CUSTOM_HEADERS", ""))
    headers: dict[str, Any] = dict.fromkeys(inherited, anthropic.omit)
    headers.update(credentials.headers)
    return headers


def _with_stream(body: bytes) -> bytes:
    """The same JSON object with `stream` set; the body is not decoded for it."""
    return body.rstrip()[:-1] + b',"stream":true}'


def _is_type(headers: Mapping[str, str], media_type: str) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == media_type


def _wrong_type(response: httpx2.Response, headers: Mapping[str, str]) -> str:
    return f"the reply is {headers.get('content-type') or 'of no type'!r}, no message: {response.content[:200]!r}"
