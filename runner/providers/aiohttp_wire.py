"""Requests over aiohttp: through a proxy, to where a redirect leads, and with bodies that go or come piece by piece.

Owns   aiohttp's sessions. What goes straight to the API in whole bodies does not come through here
       (`runner.providers.direct`), so that a run in parallel mode does not even import this.
Knows  HTTP and proxies. Nothing of messages.

Invariants
  * The credential goes to the API's own origin alone, and not to where a redirect leads. A proxy for https sees
    nothing of it; one for http, before an address of this machine, passes it on (as with the SDK; NO_PROXY helps).

Sources: httpx2 2.16 `_client.py` for redirects; aiohttp 3.14 `client.py`: the default headers of a session go into the
CONNECT of a proxy as well, `Authorization` as `Proxy-Authorization`, so that no session has any.
"""

from __future__ import annotations

import io
import ssl
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from runner.errors import SetupError
from runner.providers.arrival import CONNECT_TIMEOUT_S
from runner.providers.connection_pool import KEEP_ALIVE_S, keeping_socket
from runner.providers.direct import MESSAGES, REDIRECTS, of_betas
from runner.providers.failures import SECRET_HEADERS
from runner.providers.headers import Headers
from runner.providers.proxies import Proxy, proxy_for
from runner.providers.tls import tls_of
from runner.providers.unfolding import Gzip

SPARE_CONNECTIONS = 8
"""For the calls beside the messages: counting tokens, listing models."""

_MAX_REDIRECTS = 20
"""httpx2's default."""

_CHUNK_BYTES = 16 * 1024

_LARGE_BODY = 2**20
"""From here on a body is written in parts: whole, it would hold up the loop, of which aiohttp warns."""

_NO_TIMEOUT = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S)
"""Deadlines are kept by those who ask: aiohttp's `total` is a timer and a context manager for each request."""

ERRORS = (aiohttp.ClientError, OSError)


class Answer:
    """A response as `runner.providers.exchange` reads it, and as messages are read. `content` is set of one that has
    been read."""

    __slots__ = ("_response", "content", "headers", "status_code")

    def __init__(self, response: aiohttp.ClientResponse, content: bytes = b"") -> None:
        self._response = response
        self.content = content
        self.headers = Headers.of(response.headers.items())
        self.status_code = response.status

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    def aiter_raw(self) -> AsyncIterator[bytes]:
        return self._response.content.iter_chunked(_CHUNK_BYTES)

    async def aclose(self) -> None:
        self._response.close()

    # -- as `runner.providers.wire` reads a message's ----------------------------------------------------------------

    @property
    def status(self) -> int:
        return self.status_code

    @property
    def body(self) -> bytes:
        return self.content

    def chunks(self) -> AsyncIterator[bytes]:
        return self._response.content.iter_any()

    async def read(self) -> bytes:
        return await self._response.read()

    def close(self) -> None:
        self._response.close()


class AiohttpWire:
    """Connections to one API: see `runner.providers.exchange.Wire`. `headers` go to its origin with every request."""

    errors: tuple[type[Exception], ...] = ERRORS
    credential_errors: tuple[type[Exception], ...] = ()

    def __init__(
        self,
        address: URL,
        headers: Mapping[str, str],
        *,
        proxy: Proxy | None,
        tls: ssl.SSLContext | None,
        max_concurrency: int,
    ) -> None:
        self._base = str(address).rstrip("/")
        self._origin = address.origin()
        self._headers = CIMultiDict(headers)
        self._proxy = proxy
        connector = aiohttp.TCPConnector(
            limit=max_concurrency + SPARE_CONNECTIONS,
            keepalive_timeout=KEEP_ALIVE_S,
            ssl=tls or True,
            socket_factory=keeping_socket,
        )
        # A connection that was kept open and is dropped at the very moment of a create would leave a small batch in
        # doubt: creates open their own.
        own = aiohttp.TCPConnector(
            limit=SPARE_CONNECTIONS, force_close=True, ssl=tls or True, socket_factory=keeping_socket
        )
        self._session = _session(connector)
        self._uploads = _session(own)

    # -- messages --------------------------------------------------------------------------------------------------

    async def post_message(self, body: bytes, betas: tuple[str, ...]) -> Answer:
        answer = await self.stream_message(body, betas)
        answer.content = await answer.read()
        return answer

    async def stream_message(self, body: bytes, betas: tuple[str, ...]) -> Answer:
        url = self._url(MESSAGES)
        response = await self._session.post(url, data=_content(body), **self._options(url, of_betas(betas)))
        if response.status in REDIRECTS:
            await response.read()
            followed = await self.follow(
                response.status, response.headers.get(hdrs.LOCATION), "POST", MESSAGES, of_betas(betas), body
            )
            return followed or Answer(response)
        return Answer(response)

    # -- the wire --------------------------------------------------------------------------------------------------

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

    async def delete(self, path: str, headers: Mapping[str, str], timeout_s: float) -> Answer:  # noqa: ARG002
        return await self._read("DELETE", path, headers, None, False, self._session)

    async def open(self, path: str, headers: Mapping[str, str], timeout_s: float) -> Answer:  # noqa: ARG002
        url = self._url(path)
        response = await self._session.get(url, auto_decompress=False, **self._options(url, headers))
        answer = Answer(response)
        if not answer.is_success:
            answer.content = _decoded(await response.read(), answer.headers)
        return answer

    async def follow(
        self,
        status: int,
        location: str | None,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> Answer | None:
        """Go where a redirect leads, as httpx2 does: 307 and 308 as before, the others as a GET without the body. Away
        from the API's origin nothing that was configured goes along. None where it leads nowhere: it is the answer
        itself then. The body of what is returned has not been read."""
        response: aiohttp.ClientResponse | None = None
        url, whole = self._url(path), self._all_headers(headers)
        for _ in range(_MAX_REDIRECTS):
            target = _target(location, url)
            if target is None:
                break
            if status == 303 or (method == "POST" and status in (301, 302)):
                method, body = "GET", None
            if target.origin() != self._origin:
                for name in (*self._headers, *SECRET_HEADERS):
                    if name.lower() not in _HARMLESS:
                        whole.popall(name, None)
            if response is not None:
                await response.read()
            try:
                options = _options(target, whole, proxy_for(target))
                if target.scheme != self._origin.scheme:
                    options["ssl"] = tls_of(target) or True  # the connections of an address in the clear have none
                response = await self._session.request(method, target, data=_content(body), **options)
            except (ValueError, SetupError):  # a host that is no name, a proxy of a kind that is not spoken
                break
            url, status, location = target, response.status, response.headers.get(hdrs.LOCATION)
            if status not in REDIRECTS:
                break
        return None if response is None else Answer(response)

    async def aclose(self) -> None:
        for session in (self._uploads, self._session):
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
        answer = Answer(response, await response.read())
        if follow and response.status in REDIRECTS:
            assert content is None or isinstance(content, bytes)
            location = response.headers.get(hdrs.LOCATION)
            followed = await self.follow(response.status, location, method, path, headers, content)
            if followed is not None:
                followed.content = await followed.read()
                return followed
        return answer

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


def _content(body: bytes | None) -> bytes | io.BytesIO | None:
    return body if body is None or len(body) < _LARGE_BODY else io.BytesIO(body)


_HARMLESS = frozenset({"accept", "accept-encoding", "anthropic-version", "content-type", "user-agent"})
"""What a request says of itself, and of nobody else."""


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=connector, timeout=_NO_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())


def _options(url: URL, headers: CIMultiDict[str], proxy: Proxy | None) -> dict[str, Any]:
    if proxy is None:
        return {"headers": headers, "allow_redirects": False}
    own = {hdrs.PROXY_AUTHORIZATION: proxy.authorization} if proxy.authorization else {}
    if url.scheme != "https":  # the proxy reads the request itself
        headers = CIMultiDict([*headers.items(), *own.items()])
    return {"headers": headers, "allow_redirects": False, "proxy": proxy.url, "proxy_headers": own}


def _target(location: str | None, url: URL) -> URL | None:
    """Where a redirect leads, None where it names no place that can be asked."""
    if location is None:
        return None
    try:
        target = url.join(URL(location))
    except ValueError:
        return None
    if target.scheme not in ("http", "https") or not target.host:
        return None
    return target.with_user(None).with_fragment(None)


def _decoded(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The body of a refusal that was asked for raw; a part of it does."""
    if headers.get("content-encoding", "").strip().lower() != "gzip":
        return body
    try:
        return next(Gzip().parts(body), b"")
    except zlib.error:
        return body
