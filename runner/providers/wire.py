"""Anthropic's API over aiohttp, without the SDK: the hot path, for a credential that does not change.

Owns   the connections, the headers of a request, redirects, and the one way of a request that has to be cheap: `send`.
Knows  HTTP and where credentials come from. Nothing of rows, retries or limits: a call is made once and whatever
       happens comes back as a value.

What can be made once is made once: the address is parsed, the headers are built, the proxy is chosen and the
certificates are read when the provider is made, and the deadlines of all attempts share a timer. `send` is then one
call of aiohttp, one decoding, and no object that the reply does not need.

Invariants
  * The request's bytes leave as they were prepared; a reply's bytes are kept as they came and decoded once.
  * No attempt outlives its deadline, whatever the server does.
  * The credential goes to the API's own origin alone, and not to where a redirect leads. A proxy for https sees
    nothing of it; one for http, before an address of this machine, passes it on (as with the SDK; NO_PROXY helps).
  * No credential is in an error, a message, a representation or in `Sent.headers`.

Sources: SDK 2.12 `_client.py` (`auth_headers`, `default_headers`), `_base_client.py` (`DefaultAioHttpClient`), httpx2
2.16 `_client.py` (redirects) for what both transports have to do alike; aiohttp 3.14 `client.py`: the default headers
of a session go into the CONNECT of a proxy as well, `Authorization` as `Proxy-Authorization`, so that a session which
may use a proxy has none.
"""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar, overload

import aiohttp
import httpx2
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy, istr
from yarl import URL

from runner.catalog.api import API_VERSION
from runner.clock import Clock, SystemClock
from runner.errors import SetupError
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
from runner.providers.batches import STALL_S
from runner.providers.credentials import Credentials, find_credentials
from runner.providers.deadlines import Deadlines
from runner.providers.endpoints import Endpoints
from runner.providers.failures import SECRET_HEADERS
from runner.providers.proxies import Proxy, proxy_for
from runner.types import Request, maker_of

KEEP_ALIVE_S = 5.0
"""How long an idle connection is kept: httpx2's default, under what load balancers keep, so that a request seldom meets
a connection that is just being closed."""

_SPARE_CONNECTIONS = 8
"""For the calls beside the messages: counting tokens, listing models."""

_MAX_REDIRECTS = 20
_LARGE_BODY = 2**20
"""From here on a body is written in parts: whole, it would hold up the loop, of which aiohttp warns."""
"""httpx2's default."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_TCP_KEEP_ALIVE_S = 60
"""After so much silence the kernel asks whether the other side is still there, as with the SDK's default client: a long
answer leaves a connection idle for minutes, and what forgets idle connections (NAT) does not forget these."""

_CHUNK_BYTES = 16 * 1024

_NO_TIMEOUT = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S)
"""Deadlines are kept here: aiohttp's `total` is a timer and a context manager for each request."""

_DISTRIBUTION = "rowrunner"
"""Its version is this program's: `runner.DISTRIBUTION`, above which nothing here may look."""

_REQUEST_ID = istr("request-id")
_ERRORS = (aiohttp.ClientError, OSError)
_sent = maker_of(Sent)

T = TypeVar("T")

_MOST_ASKED = 64
_asked: dict[str, istr] = {}
"""Names that were asked for, checked and folded: the same dozen for every reply, in a third of the time."""


class Headers(Mapping[str, str]):
    """A response's headers by their lower-case names, without those that carry credentials; read when asked for. Of one
    that came twice the first counts."""

    __slots__ = ("_all",)

    def __init__(self, headers: CIMultiDictProxy[str]) -> None:
        self._all = headers

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, default: str | T, /) -> str | T: ...
    def get(self, name: str, default: str | T | None = None, /) -> str | T | None:
        """The value, without the exception that a mapping's own `get` takes to miss a name; limits ask for a dozen."""
        asked = _asked.get(name)
        if asked is None:
            if name in SECRET_HEADERS or not name.islower():
                return default
            asked = istr(name)
            if len(_asked) < _MOST_ASKED:
                _asked[name] = asked
        return self._all.get(asked, default)

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys(name.lower() for name in self._all)
        return (name for name in names if name not in SECRET_HEADERS)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


class WireProvider(Endpoints):
    """Sends over connections of its own, on one event loop."""

    def __init__(
        self,
        wire: AiohttpWire,
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
        self._post = wire.messages.post
        self._url = wire.message_url
        self._options = wire.message_options
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
            response = await self._post(self._url, data=_content(request.body), **self._options[request.betas])
            if response.status in _REDIRECTS:
                response = await self._lines.follow_message(response, request.body, request.betas)
            body = await response.read()
        except BaseException as error:  # noqa: BLE001  # sorted there; what is not the network's is raised again
            return self._lost(error, task)
        deadlines.end(task)
        if response.status != 200:
            return self._other(body, response)
        headers = response.headers
        if headers.get(hdrs.CONTENT_TYPE) != JSON:
            return self._other(body, response)
        request_id = headers.get(_REQUEST_ID)
        try:
            reply = parse_reply(body, request_id)
        except ValueError:
            return self._other(body, response)
        return _sent(reply, None, body, request_id, Headers(headers))

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
                response = await self._post(self._url, data=_content(body), **self._options[request.betas])
                try:
                    if response.status in _REDIRECTS:
                        response = await self._lines.follow_message(response, body, request.betas)
                    return await self._taken(response, on_begin)
                finally:
                    response.close()
        except _ERRORS as error:
            return self._arrivals.too_late(deadline_s) if deadline.expired() else self._arrivals.lost(error)

    async def _taken(self, response: aiohttp.ClientResponse, on_begin: Callable[[], None] | None) -> Sent:
        headers = Headers(response.headers)
        if 200 <= response.status < 300 and media_type(headers) == EVENTS:
            chunks = response.content.iter_any()
            return await self._arrivals.streamed(chunks, response.status, headers, on_begin)
        # A gateway that does not stream answers with the whole message.
        sent = self._other(await response.read(), response)
        if sent.reply is not None and on_begin is not None:
            on_begin()
        return sent

    def _other(self, body: bytes, response: aiohttp.ClientResponse) -> Sent:
        headers = Headers(response.headers)
        if 200 <= response.status < 300:
            return self._arrivals.whole(body, response.status, headers)
        return self._arrivals.refused(body, response.status, headers)

    def _lost(self, error: BaseException, task: asyncio.Task[object]) -> Sent:
        """What ended an attempt before its reply was whole. Raises what is none of the network's doing."""
        if self._deadlines.end(task):
            # Canceled by the deadline; where somebody else canceled as well, that one is obeyed.
            if task.uncancel() > 0:
                raise error
            return self._arrivals.too_late(self._deadline_s)
        if isinstance(error, _ERRORS):
            return self._arrivals.lost(error)
        raise error


class _OfBetas(dict[tuple[str, ...], dict[str, Any]]):
    """The options of a message by its betas: those of the job, so there are few, and each is made once."""

    def __init__(self, make: Callable[[tuple[str, ...]], dict[str, Any]]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, betas: tuple[str, ...]) -> dict[str, Any]:
        self[betas] = options = self._make(betas)
        return options


class Answer:
    """A response as `runner.providers.exchange` reads it. `content` is set of one that has been read."""

    __slots__ = ("_response", "content", "headers", "status_code")

    def __init__(self, response: aiohttp.ClientResponse, content: bytes = b"") -> None:
        self._response = response
        self.content = content
        self.headers = Headers(response.headers)
        self.status_code = response.status

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    def aiter_raw(self) -> AsyncIterator[bytes]:
        return self._response.content.iter_chunked(_CHUNK_BYTES)

    async def aclose(self) -> None:
        self._response.close()


class AiohttpWire:
    """Connections to one API: see `runner.providers.exchange.Wire`. `headers` go to its origin with every request.

    `messages`, `message_url` and `message_options` are for the hot path, which posts by itself.
    """

    errors: tuple[type[Exception], ...] = _ERRORS
    credential_errors: tuple[type[Exception], ...] = ()

    def __init__(self, address: URL, headers: CIMultiDict[str], *, max_concurrency: int) -> None:
        self._base = str(address).rstrip("/")
        self._origin = address.origin()
        self._headers = headers
        self._proxy = proxy_for(address)
        tls = _tls(address)
        connector = aiohttp.TCPConnector(
            limit=max_concurrency + _SPARE_CONNECTIONS,
            keepalive_timeout=KEEP_ALIVE_S,
            ssl=tls,
            socket_factory=_socket,
        )
        # A connection that was kept open and is dropped at the very moment of a create would leave a small batch in
        # doubt: creates open their own.
        own = aiohttp.TCPConnector(limit=_SPARE_CONNECTIONS, force_close=True, ssl=tls, socket_factory=_socket)
        self._session = _session(connector)
        self._uploads = _session(own)
        # The default headers of a session are copied in C, those of a call one by one.
        self.messages = self._session if self._proxy else _session(connector, headers, owns=False)
        self.message_url = self._url("/v1/messages")
        self.message_options = _OfBetas(self._message_options)

    async def follow_message(
        self, response: aiohttp.ClientResponse, body: bytes, betas: tuple[str, ...]
    ) -> aiohttp.ClientResponse:
        """Where a redirect of a message leads; the body is still to be read."""
        return await self._followed(response, "POST", self.message_url, self._all_headers(_beta(betas)), body)

    async def post(
        self,
        path: str,
        headers: Mapping[str, str],
        timeout_s: float,  # noqa: ARG002  # who calls keeps the time
        content: AsyncIterable[bytes] | bytes | None = None,
        *,
        follow: bool = False,
    ) -> Answer:
        piecewise = content is not None and not isinstance(content, bytes)
        return await self._read("POST", path, headers, content, follow, self._uploads if piecewise else self._session)

    async def get(self, path: str, headers: Mapping[str, str], timeout_s: float, *, follow: bool = False) -> Answer:  # noqa: ARG002
        return await self._read("GET", path, headers, None, follow, self._session)

    async def open(self, path: str, headers: Mapping[str, str], timeout_s: float) -> Answer:  # noqa: ARG002
        url = self._url(path)
        response = await self._session.get(url, auto_decompress=False, **self._options(url, headers))
        answer = Answer(response)
        if not answer.is_success:
            answer.content = _decoded(await response.read(), answer.headers)
        return answer

    async def aclose(self) -> None:
        for session in (self.messages, self._uploads, self._session):
            await session.close()

    async def _read(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: AsyncIterable[bytes] | bytes | None,
        follow: bool,
        session: aiohttp.ClientSession,
    ) -> Answer:
        url = self._url(path)
        response = await session.request(method, url, data=content, **self._options(url, headers))
        if follow and response.status in _REDIRECTS:
            assert content is None or isinstance(content, bytes)
            response = await self._followed(response, method, url, self._all_headers(headers), content)
        return Answer(response, await response.read())

    def _url(self, path: str) -> URL:
        return URL(f"{self._base}{path}", encoded=True)

    def _all_headers(self, headers: Mapping[str, str]) -> CIMultiDict[str]:
        whole = self._headers.copy()
        for name, value in headers.items():
            whole[name] = value
        return whole

    def _options(self, url: URL, headers: Mapping[str, str]) -> dict[str, Any]:
        """What a call to the API's own origin is made with."""
        return _options(url, self._all_headers(headers), self._proxy)

    def _message_options(self, betas: tuple[str, ...]) -> dict[str, Any]:
        if self._proxy is not None:
            return self._options(self.message_url, _beta(betas))
        return {"allow_redirects": False, **({"headers": CIMultiDict(_beta(betas))} if betas else {})}

    async def _followed(
        self,
        response: aiohttp.ClientResponse,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        body: bytes | None,
    ) -> aiohttp.ClientResponse:
        """Go where a redirect leads, as httpx2 does: 307 and 308 as before, the others as a GET without the body. Away
        from the API's origin nothing that was configured goes along. One that leads nowhere is the answer itself."""
        for _ in range(_MAX_REDIRECTS):
            target = _target(response, url)
            if target is None:
                return response
            if response.status == 303 or (method == "POST" and response.status in (301, 302)):
                method, body = "GET", None
            if target.origin() != self._origin:
                for name in (*self._headers, *SECRET_HEADERS):
                    if name.lower() not in _HARMLESS:
                        headers.popall(name, None)
            await response.read()
            try:
                options = _options(target, headers, proxy_for(target))
                if target.scheme != self._origin.scheme:
                    options["ssl"] = _tls(target)  # the connections of an address in the clear have none
                following = await self._session.request(method, target, data=body, **options)
            except (ValueError, SetupError):  # a host that is no name, a proxy of a kind that is not spoken
                return response
            response, url = following, target
            if response.status not in _REDIRECTS:
                break
        return response


def _content(body: bytes) -> bytes | io.BytesIO:
    return body if len(body) < _LARGE_BODY else io.BytesIO(body)


_HARMLESS = frozenset({"accept", "accept-encoding", "anthropic-version", "content-type", "user-agent"})
"""What a request says of itself, and of nobody else."""


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

    Raises SetupError where there is no usable credential, for an address that would carry it in the clear, and for a
    proxy that cannot be used. The credential has to be a static one: `runner.providers.transport` sees to that.
    """
    credentials = find_credentials(environ)
    assert credentials.address is not None, "a static credential never leaves the address to a profile"
    address = URL(credentials.address.rstrip("/"))
    headers = _headers(credentials)
    return WireProvider(
        AiohttpWire(address, headers, max_concurrency=max_concurrency),
        address=str(address).rstrip("/"),
        workspace=credentials.workspace or headers.get("anthropic-workspace-id"),
        secrets=credentials.secrets,
        clock=clock or SystemClock(),
        deadline_s=deadline_s,
        stall_s=stall_s,
    )


def _headers(credentials: Credentials) -> CIMultiDict[str]:
    """Those of every request; the user's own win, as with the SDK."""
    headers = CIMultiDict({
        "accept": JSON,
        # Replies are short, and unfolding one takes longer than the bytes that it saves.
        "accept-encoding": "identity",
        "content-type": JSON,
        "user-agent": _user_agent(),
        "anthropic-version": API_VERSION,
    })  # fmt: skip
    if credentials.kind in {"api_key", "auth_token"}:
        headers["authorization"] = f"Bearer {credentials.value}"
    for name, value in credentials.headers.items():
        headers[name] = value
    return headers


def _user_agent() -> str:
    try:
        return f"runner/{version(_DISTRIBUTION)}"
    except PackageNotFoundError:  # a checkout that is not installed
        return "runner/0"


def _session(
    connector: aiohttp.TCPConnector, headers: CIMultiDict[str] | None = None, *, owns: bool = True
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        connector_owner=owns,
        headers=headers,
        timeout=_NO_TIMEOUT,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _beta(betas: tuple[str, ...]) -> dict[str, str]:
    return {"anthropic-beta": ",".join(betas)} if betas else {}


def _options(url: URL, headers: CIMultiDict[str], proxy: Proxy | None) -> dict[str, Any]:
    if proxy is None:
        return {"headers": headers, "allow_redirects": False}
    own = {hdrs.PROXY_AUTHORIZATION: proxy.authorization} if proxy.authorization else {}
    if url.scheme != "https":  # the proxy reads the request itself
        headers = CIMultiDict([*headers.items(), *own.items()])
    return {"headers": headers, "allow_redirects": False, "proxy": proxy.url, "proxy_headers": own}


def _target(response: aiohttp.ClientResponse, url: URL) -> URL | None:
    """Where a redirect leads, None where it names no place that can be asked."""
    location = response.headers.get(hdrs.LOCATION)
    if location is None:
        return None
    try:
        target = url.join(URL(location))
    except ValueError:
        return None
    if target.scheme not in ("http", "https") or not target.host:
        return None
    return target.with_user(None).with_fragment(None)


def _tls(url: URL) -> ssl.SSLContext | bool:
    """The SDK's client's own: the system's certificates, or `SSL_CERT_FILE` and `SSL_CERT_DIR`. Reading them takes
    50 ms, so not where nothing is encrypted."""
    return httpx2.create_ssl_context() if url.scheme == "https" else True


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    with suppress(OSError):  # a wish, not a need
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))  # Linux; macOS
        if idle is not None:
            made.setsockopt(socket.IPPROTO_TCP, idle, _TCP_KEEP_ALIVE_S)
    return made


def _decoded(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The body of a refusal that was asked for raw; a part of it does."""
    if headers.get("content-encoding", "").strip().lower() != "gzip":
        return body
    try:
        return zlib.decompressobj(wbits=31).decompress(body, _CHUNK_BYTES)
    except zlib.error:
        return body
