"""Anthropic's API over connections of our own, without the SDK: the hot path, for a credential that does not change.

Owns   the headers of a request, which library carries what, and the one way of a request that has to be cheap: `send`.
Knows  HTTP and where credentials come from. Nothing of rows, retries or limits: a call is made once and whatever
       happens comes back as a value.

What can be made once is made once: the address is parsed, the head of a request is put together, the proxy is chosen
and the certificates are read when the provider is made, and the deadlines of all attempts share a timer. `send` is then
one write, one reading of a response and one decoding, and no object that the reply does not need.

    to the API's own address, whole bodies          `direct`: messages, streamed or not, and all short questions
    through a proxy; where a redirect leads;        `aiohttp_wire`, which is not even loaded before it is needed
    bodies that go or come piece by piece

Invariants
  * The request's bytes leave as they were prepared; a reply's bytes are kept as they came and decoded once.
  * No attempt outlives its deadline, whatever the server does.
  * The credential goes to the API's own origin alone, and not to where a redirect leads.
  * No credential is in an error, a message, a representation or in `Sent.headers`.

Sources: SDK 2.12 `_client.py` (`auth_headers`, `default_headers`), `_base_client.py` (`DefaultAioHttpClient`) for what
both transports have to do alike.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Protocol

from yarl import URL

from runner.catalog.api import API_VERSION
from runner.clock import Clock, SystemClock
from runner.message import parse_reply
from runner.providers import Sent
from runner.providers.arrival import (
    CONNECT_TIMEOUT_S,
    DEADLINE_S,
    EVENTS,
    JSON,
    MAX_UNSTREAMED_TOKENS,
    S_PER_OUTPUT_TOKEN,
    Arrivals,
    deadline_of,
    media_type,
    with_stream,
)
from runner.providers.calls import STALL_S
from runner.providers.connection_pool import ConnectionPool
from runner.providers.credentials import Credentials, find_credentials
from runner.providers.deadlines import Deadlines
from runner.providers.direct import MESSAGES, REDIRECTS, Direct, check_headers, of_betas
from runner.providers.endpoints import Endpoints
from runner.providers.exchange import Response, Wire
from runner.providers.headers import Headers
from runner.providers.incoming import Incoming
from runner.providers.proxies import proxy_for
from runner.providers.tls import tls_of
from runner.types import Request

if TYPE_CHECKING:
    from runner.providers.aiohttp_wire import AiohttpWire, Answer

_DISTRIBUTION = "rowrunner"
"""Its version is this program's: `runner.DISTRIBUTION`, above which nothing here may look."""


class Whole(Protocol):
    """A response that has been read."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> bytes: ...


class Streamed(Protocol):
    """A response whose body is still to come; close it."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    def chunks(self) -> AsyncIterator[bytes]: ...
    async def read(self) -> bytes: ...
    def close(self) -> None: ...


class MessageWire(Wire, Protocol):
    """A wire that carries messages as well. Redirects of theirs are followed."""

    async def post_message(self, body: bytes, betas: tuple[str, ...]) -> Whole: ...
    async def stream_message(self, body: bytes, betas: tuple[str, ...]) -> Streamed: ...
    async def aclose(self) -> None: ...


class WireProvider(Endpoints):
    """Sends over connections of its own, on one event loop."""

    def __init__(
        self,
        wire: MessageWire,
        *,
        address: str,
        workspace: str | None,
        secrets: tuple[str, ...],
        clock: Clock,
        deadline_s: float,
        stall_s: float = STALL_S,
    ) -> None:
        super().__init__(
            wire,
            address=address,
            workspace=workspace,
            secrets=secrets,
            clock=clock,
            deadline_s=deadline_s,
            stall_s=stall_s,
        )
        self._lines = wire
        self._post = wire.post_message
        self._arrivals = Arrivals(clock, secrets)
        self._deadlines = Deadlines(deadline_s)
        self._most_tokens = min(MAX_UNSTREAMED_TOKENS, int(deadline_s / S_PER_OUTPUT_TOKEN))

    @classmethod
    def connect(cls, environ: Mapping[str, str], *, max_concurrency: int, clock: Clock | None = None) -> WireProvider:
        """See `connect` below: what `runner.providers.transport` makes a provider by."""
        return connect(environ, max_concurrency=max_concurrency, clock=clock)

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        """POST one Messages request, once; see the contract."""
        if on_begin is not None or request.max_tokens > self._most_tokens:
            return await self._send_slowly(request, on_begin)
        deadlines = self._deadlines
        task = deadlines.begin()
        try:
            response = await self._post(request.body, request.betas)
            body = response.body
        except BaseException as error:  # noqa: BLE001  # sorted there; what is not the network's is raised again
            return self._lost(error, task)
        deadlines.end(task)
        headers = response.headers
        if response.status != 200 or headers.get("content-type") != JSON:
            return self._other(body, response.status, headers)
        request_id = headers.get("request-id")
        try:
            reply = parse_reply(body, request_id)
        except ValueError:
            return self._other(body, response.status, headers)
        return Sent(reply, None, body, request_id, headers)

    async def aclose(self) -> None:
        self._deadlines.close()
        await self._lines.aclose()

    # -- what is not as usual --------------------------------------------------------------------------------------

    async def _send_slowly(self, request: Request, on_begin: Callable[[], None] | None) -> Sent:
        """A request that is streamed, or has a deadline of its own."""
        deadline_s = deadline_of(request, self._deadline_s)
        streamed = on_begin is not None or request.max_tokens > MAX_UNSTREAMED_TOKENS
        try:
            async with asyncio.timeout(deadline_s) as deadline:
                body = with_stream(request.body) if streamed else request.body
                response = await self._lines.stream_message(body, request.betas)
                try:
                    return await self._taken(response, on_begin)
                finally:
                    response.close()
        except self._lines.errors as error:
            return self._arrivals.too_late(deadline_s) if deadline.expired() else self._arrivals.lost(error)

    async def _taken(self, response: Streamed, on_begin: Callable[[], None] | None) -> Sent:
        status, headers = response.status, response.headers
        if 200 <= status < 300 and media_type(headers) == EVENTS:
            return await self._arrivals.streamed(response.chunks(), status, headers, on_begin)
        # A gateway that does not stream answers with the whole message.
        sent = self._other(await response.read(), status, headers)
        if sent.reply is not None and on_begin is not None:
            on_begin()
        return sent

    def _other(self, body: bytes, status: int, headers: Mapping[str, str]) -> Sent:
        if 200 <= status < 300:
            return self._arrivals.whole(body, status, headers)
        return self._arrivals.refused(body, status, headers)

    def _lost(self, error: BaseException, task: asyncio.Task[object]) -> Sent:
        """What ended an attempt before its reply was whole. Raises what is none of the network's doing."""
        if self._deadlines.end(task):
            # Canceled by the deadline; where somebody else canceled as well, that one is obeyed.
            if task.uncancel() > 0:
                raise error
            return self._arrivals.too_late(self._deadline_s)
        if isinstance(error, self._lines.errors):
            return self._arrivals.lost(error)
        raise error


class _Answer:
    """A whole response as `runner.providers.exchange` reads it."""

    __slots__ = ("content", "headers", "status_code")

    def __init__(self, incoming: Incoming) -> None:
        self.status_code = incoming.status
        self.headers = incoming.headers
        self.content = incoming.body

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        yield self.content

    async def aclose(self) -> None:
        """It has been read."""


class _Heads(dict[tuple[str, ...], bytes]):
    """The heads of messages by their betas: those of the job, so there are few, and each is made once."""

    def __init__(self, make: Callable[[tuple[str, ...]], bytes]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, betas: tuple[str, ...]) -> bytes:
        self[betas] = head = self._make(betas)
        return head


class DirectWire:
    """Straight connections to one API, and aiohttp's for what they do not do."""

    credential_errors: tuple[type[Exception], ...] = ()

    def __init__(
        self, address: URL, headers: Mapping[str, str], *, tls: ssl.SSLContext | None, max_concurrency: int
    ) -> None:
        assert address.host is not None
        assert address.port is not None
        pool = ConnectionPool(address.host, address.port, tls, connect_timeout_s=CONNECT_TIMEOUT_S)
        self._direct = Direct(address.origin(), headers, pool)
        self._path = address.raw_path.rstrip("/")
        self._heads = _Heads(lambda betas: self._direct.head("POST", self._path + MESSAGES, of_betas(betas)))
        self._address = address
        self._headers = headers
        self._tls = tls
        self._max_concurrency = max_concurrency
        self._made: AiohttpWire | None = None

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        return (OSError,) if self._made is None else self._made.errors

    # -- messages --------------------------------------------------------------------------------------------------

    async def post_message(self, body: bytes, betas: tuple[str, ...]) -> Whole:
        response = await self._direct.post(self._heads[betas], body)
        if response.status in REDIRECTS:
            followed = await self._followed(response, "POST", MESSAGES, of_betas(betas), body)
            if followed is not None:
                followed.content = await followed.read()
                return followed
        return response

    async def stream_message(self, body: bytes, betas: tuple[str, ...]) -> Streamed:
        response = await self._direct.stream(self._heads[betas], body)
        if response.status in REDIRECTS:
            response.close()
            return await self._followed(response, "POST", MESSAGES, of_betas(betas), body) or response
        return response

    # -- the wire --------------------------------------------------------------------------------------------------

    async def post(
        self,
        path: str,
        headers: Mapping[str, str],
        timeout_s: float,
        content: AsyncIterable[bytes] | bytes | None = None,
        *,
        follow: bool = False,
    ) -> Response:
        if content is not None and not isinstance(content, bytes):
            return await self._aiohttp.post(path, headers, timeout_s, content, follow=follow)
        response = await self._direct.post(self._direct.head("POST", self._path + path, headers), content or b"")
        return await self._answered(response, "POST", path, headers, content, follow=follow)

    async def get(self, path: str, headers: Mapping[str, str], timeout_s: float, *, follow: bool = False) -> Response:  # noqa: ARG002
        response = await self._direct.ask(self._direct.head("GET", self._path + path, headers))
        return await self._answered(response, "GET", path, headers, None, follow=follow)

    async def delete(self, path: str, headers: Mapping[str, str], timeout_s: float) -> Response:  # noqa: ARG002
        return _Answer(await self._direct.ask(self._direct.head("DELETE", self._path + path, headers)))

    async def open(self, path: str, headers: Mapping[str, str], timeout_s: float) -> Response:
        return await self._aiohttp.open(path, headers, timeout_s)

    async def aclose(self) -> None:
        await self._direct.aclose()
        if self._made is not None:
            await self._made.aclose()

    async def _answered(
        self,
        response: Incoming,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        follow: bool,
    ) -> Response:
        if follow and response.status in REDIRECTS:
            followed = await self._followed(response, method, path, headers, body)
            if followed is not None:
                followed.content = await followed.read()
                return followed
        return _Answer(response)

    async def _followed(
        self, response: Incoming, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer | None:
        location = response.headers.get("location")
        return await self._aiohttp.follow(response.status, location, method, path, headers, body)

    @property
    def _aiohttp(self) -> AiohttpWire:
        if self._made is None:
            from runner.providers.aiohttp_wire import AiohttpWire  # 0.1 s that few runs need

            self._made = AiohttpWire(
                self._address, self._headers, proxy=None, tls=self._tls, max_concurrency=self._max_concurrency
            )
        return self._made


def connect(
    environ: Mapping[str, str],
    *,
    max_concurrency: int,
    clock: Clock | None = None,
    deadline_s: float = DEADLINE_S,
    stall_s: float = STALL_S,
) -> WireProvider:
    """Make a provider from an environment, by the SDK's names and order of precedence; call it on the loop that will
    send.

    Raises SetupError where there is no usable credential, for an address that would carry it in the clear, for a header
    that is none, and for a proxy that cannot be used. The credential has to be a static one:
    `runner.providers.transport` sees to that.
    """
    credentials = find_credentials(environ)
    assert credentials.address is not None, "a static credential never leaves the address to a profile"
    address = URL(credentials.address.rstrip("/"))
    headers = _headers(credentials)
    check_headers(headers)
    return WireProvider(
        _wire(address, headers, max_concurrency),
        address=str(address).rstrip("/"),
        workspace=credentials.workspace or headers.get("anthropic-workspace-id"),
        secrets=credentials.secrets,
        clock=clock or SystemClock(),
        deadline_s=deadline_s,
        stall_s=stall_s,
    )


def _wire(address: URL, headers: Mapping[str, str], max_concurrency: int) -> MessageWire:
    proxy, tls = proxy_for(address), tls_of(address)
    if proxy is None:
        return DirectWire(address, headers, tls=tls, max_concurrency=max_concurrency)
    from runner.providers.aiohttp_wire import AiohttpWire

    return AiohttpWire(address, headers, proxy=proxy, tls=tls, max_concurrency=max_concurrency)


def _headers(credentials: Credentials) -> dict[str, str]:
    """Those of every request, by lower-case names; the user's own win, as with the SDK, but for what replies may be
    compressed with."""
    headers = {
        "accept": JSON,
        # Replies are short, and unfolding one takes longer than the bytes that it saves.
        "accept-encoding": "identity",
        "content-type": JSON,
        "user-agent": _user_agent(),
        "anthropic-version": API_VERSION,
    }
    if credentials.kind in {"api_key", "auth_token"}:
        headers["authorization"] = f"Bearer {credentials.value}"
    own = {name.lower(): value for name, value in credentials.headers.items()}
    # A coding that cannot be unfolded here would make each reply one that was paid for and cannot be read.
    own.pop("accept-encoding", None)
    return headers | own


def _user_agent() -> str:
    try:
        return f"runner/{version(_DISTRIBUTION)}"
    except PackageNotFoundError:  # a checkout that is not installed
        return "runner/0"
