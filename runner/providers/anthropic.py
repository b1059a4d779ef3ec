"""Anthropic's API through its own SDK: one try at a time, bytes in and bytes out.

Owns   the SDK's client: the only import of `anthropic` in the house.
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
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, cast

import aiohttp
import anthropic
import httpx2

from runner.clock import Clock, SystemClock
from runner.errors import SetupError
from runner.providers import Sent, failures
from runner.providers.arrival import (
    CONNECT_TIMEOUT_S,
    DEADLINE_S,
    EVENTS,
    MAX_UNSTREAMED_TOKENS,
    Arrivals,
    deadline_of,
    media_type,
    with_stream,
)
from runner.providers.calls import STALL_S
from runner.providers.credentials import Credentials, check_address, find_credentials, parse_custom_headers
from runner.providers.endpoints import Endpoints
from runner.types import Request

_SPARE_CONNECTIONS = 8
"""For the calls beside the messages: counting tokens, listing models."""

_TRANSPORT_ERRORS = (anthropic.APIConnectionError, httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError)
CREDENTIAL_ERRORS: tuple[type[Exception], ...] = (anthropic.CredentialsError, anthropic.WorkloadIdentityError)


class AnthropicProvider(Endpoints):
    """Sends through one SDK client, on one event loop."""

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
        super().__init__(
            SdkWire(client, uploads),
            address=str(client.base_url).rstrip("/"),
            workspace=workspace,
            secrets=secrets,
            clock=clock,
            deadline_s=deadline_s,
            stall_s=stall_s,
        )
        self._client = client
        self._uploads = uploads
        self._arrivals = Arrivals(clock, secrets)
        self._credential_errors = CREDENTIAL_ERRORS

    @classmethod
    def connect(
        cls, environ: Mapping[str, str], *, max_concurrency: int, clock: Clock | None = None
    ) -> AnthropicProvider:
        """See `connect` below: what `runner.providers.transport` makes a provider by."""
        return connect(environ, max_concurrency=max_concurrency, clock=clock)

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        """POST one Messages request, once; see the contract."""
        deadline_s = deadline_of(request, self._deadline_s)
        if on_begin is not None or request.max_tokens > MAX_UNSTREAMED_TOKENS:
            return await self._within(deadline_s, self._streamed(request, on_begin, deadline_s))
        return await self._within(deadline_s, self._unstreamed(request, deadline_s))

    async def aclose(self) -> None:
        await self._uploads.close()
        await self._client.close()

    # -- one message -----------------------------------------------------------------------------------------------

    async def _unstreamed(self, request: Request, deadline_s: float) -> Sent:
        response = await self._post(request.body, request.betas, deadline_s)
        return self._arrivals.whole(response.content, response.status_code, failures.told_headers(response.headers))

    async def _streamed(self, request: Request, on_begin: Callable[[], None] | None, deadline_s: float) -> Sent:
        response = await self._post(with_stream(request.body), request.betas, deadline_s, stream=True)
        try:
            headers = failures.told_headers(response.headers)
            sent = await self._events(response, headers, on_begin)
            if sent is not None:
                return sent
            await response.aread()
            # A gateway that does not stream answers with the whole message.
            sent = self._arrivals.whole(response.content, response.status_code, headers)
            if sent.reply is not None and on_begin is not None:
                on_begin()
            return sent
        finally:
            await response.aclose()

    async def _events(
        self, response: httpx2.Response, headers: Mapping[str, str], on_begin: Callable[[], None] | None
    ) -> Sent | None:
        """A response that streams, read to its end; None for one that does not."""
        if media_type(headers) != EVENTS:
            return None
        return await self._arrivals.streamed(response.aiter_bytes(), response.status_code, headers, on_begin)

    async def _post(
        self, body: bytes, betas: tuple[str, ...], deadline_s: float, *, stream: bool = False
    ) -> httpx2.Response:
        options = call_options(betas, deadline_s)
        # `stream` makes the SDK leave the body unread; with this `cast_to` it hands out the response itself in either
        # case.
        return await self._client.post(
            "/v1/messages", content=body, cast_to=httpx2.Response, options=options, stream=stream
        )

    async def _within(self, deadline_s: float, call: Coroutine[Any, Any, Sent]) -> Sent:
        """Await a call within its deadline; whatever the API, the network or the credential does to it is a failed
        `Sent`."""
        try:
            async with asyncio.timeout(deadline_s) as deadline:
                return await call
        except anthropic.APIStatusError as error:
            response = error.response
            return self._arrivals.refused(response.content, error.status_code, failures.told_headers(response.headers))
        except _TRANSPORT_ERRORS as error:
            return self._arrivals.too_late(deadline_s) if deadline.expired() else self._arrivals.lost(error)
        except self._credential_errors as error:
            return self._arrivals.no_credential(error)


class SdkWire:
    """Batch calls through the SDK's client, creates through `uploads`: see `runner.providers.exchange.Wire`."""

    errors: tuple[type[Exception], ...] = _TRANSPORT_ERRORS
    credential_errors: tuple[type[Exception], ...] = CREDENTIAL_ERRORS

    def __init__(self, client: anthropic.AsyncAnthropic, uploads: anthropic.AsyncAnthropic) -> None:
        self._client = client
        self._uploads = uploads

    async def post(
        self,
        path: str,
        headers: Mapping[str, str],
        timeout_s: float,
        content: AsyncIterable[bytes] | bytes | None = None,
        *,
        follow: bool = False,
    ) -> httpx2.Response:
        # The SDK's type asks for an iterator; its transport takes what it asks for once.
        body = cast("AsyncIterator[bytes] | bytes | None", content)
        options = _options(headers, timeout_s, follow=follow)
        client = self._client if content is None or isinstance(content, bytes) else self._uploads
        return await any_status(client.post(path, content=body, cast_to=httpx2.Response, options=options))

    async def get(
        self, path: str, headers: Mapping[str, str], timeout_s: float, *, follow: bool = False
    ) -> httpx2.Response:
        options = _options(headers, timeout_s, follow=follow)
        return await any_status(self._client.get(path, cast_to=httpx2.Response, options=options))

    async def delete(self, path: str, headers: Mapping[str, str], timeout_s: float) -> httpx2.Response:
        options = _options(headers, timeout_s)
        return await any_status(self._client.delete(path, cast_to=httpx2.Response, options=options))

    async def open(self, path: str, headers: Mapping[str, str], timeout_s: float) -> httpx2.Response:
        options = _options(headers, timeout_s)
        return await any_status(self._client.get(path, cast_to=httpx2.Response, options=options, stream=True))


def call_options(betas: tuple[str, ...], deadline_s: float) -> anthropic.RequestOptions:
    """The options of one message's call."""
    options: anthropic.RequestOptions = {"timeout": anthropic.Timeout(deadline_s, connect=CONNECT_TIMEOUT_S)}
    if betas:
        options["headers"] = {"anthropic-beta": ",".join(betas)}
    return options


def _options(headers: Mapping[str, str], timeout_s: float, *, follow: bool = False) -> anthropic.RequestOptions:
    headers = dict(headers)
    content_type = headers.get("content-type", "")
    if content_type.startswith("multipart/"):
        # The SDK would put together a form of its own (`_base_client.py`, `_build_request`) and not take ours. White
        # space before a value is no part of it (RFC 9110, 5.5), but hides it from that.
        headers["content-type"] = f" {content_type}"
    return {
        "headers": headers,
        "timeout": anthropic.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
        "follow_redirects": follow,
        "max_retries": 0,
    }


async def any_status(call: Coroutine[Any, Any, httpx2.Response]) -> httpx2.Response:
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
    tls = httpx2.create_ssl_context()  # it reads the certificates, which takes some 50 ms: once for both
    try:
        client = anthropic.AsyncAnthropic(
            **_credential_arguments(credentials),
            base_url=credentials.address,
            default_headers=header_arguments(credentials.headers),
            max_retries=0,
            http_client=http_client(max_concurrency, tls),
        )
    except anthropic.AnthropicError as error:
        raise SetupError(
            failures.scrub(f"the credential cannot be used: {error}", credentials.secrets), code="bad-credential"
        ) from error
    check_address(str(client.base_url))  # a profile may bring its own
    workspace = credentials.workspace or client.default_headers.get("anthropic-workspace-id")
    return AnthropicProvider(
        client,
        uploads=client.copy(http_client=http_client(None, tls)),
        secrets=credentials.secrets,
        workspace=workspace if isinstance(workspace, str) else None,
        clock=clock or SystemClock(),
        deadline_s=deadline_s,
        stall_s=stall_s,
    )


def http_client(max_concurrency: int | None, tls: ssl.SSLContext | None = None) -> Any:
    """Connections for so many messages at once; None: for the creates of batches.

    A connection that was kept open and is dropped at the very moment of a create would leave a small batch in doubt:
    creates open their own.
    """
    if max_concurrency is None:
        limits = httpx2.Limits(max_connections=_SPARE_CONNECTIONS, keepalive_expiry=0.0)
    else:
        most = max_concurrency + _SPARE_CONNECTIONS
        limits = httpx2.Limits(max_connections=most, max_keepalive_connections=most)
    return anthropic.DefaultAioHttpClient(limits=limits, verify=tls or httpx2.create_ssl_context())


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


def header_arguments(own: Mapping[str, str]) -> dict[str, str]:
    """The given environment's custom headers. The SDK adds the process's own: those are left out by name."""
    inherited = parse_custom_headers(os.environ.get("ANTHROPIC_CUSTOM_HEADERS", ""))
    headers: dict[str, Any] = dict.fromkeys(inherited, anthropic.omit)
    headers.update(own)
    return headers
