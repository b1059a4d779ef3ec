"""Requests that go straight to the API, as bytes made beforehand: the way that has to be cheap.

Owns   the head of a request: what is the same for all of a kind is made once, so that a send is one write.
Knows  HTTP/1.1, and connections by their pool. Nothing of messages, proxies or where a redirect leads.

Invariants
  * A request's bytes leave as they were prepared, once, with their length told; no other framing is ever said.
  * The head holds what was configured for this origin, and goes to this origin alone.

Source: RFC 9112 for the syntax.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from yarl import URL

from runner.errors import SetupError
from runner.providers.connection_pool import ConnectionPool
from runner.providers.incoming import Incoming, IncomingStream

MESSAGES = "/v1/messages"
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_FRAMING = frozenset({"content-length", "transfer-encoding", "expect"})
"""Said here and by nobody else: a custom header of these names would make requests that cannot be read."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Direct:
    """Asks one origin; `headers` go along with every request."""

    def __init__(self, origin: URL, headers: Mapping[str, str], pool: ConnectionPool) -> None:
        self._pool = pool
        self._headers = headers
        self._host = origin.host_port_subcomponent or ""

    def head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """What precedes a request's body, but for its length. `path` is encoded; `headers` come to those of every
        request, or in their place."""
        whole = {"host": self._host}
        for name, value in (*self._headers.items(), *headers.items()):
            if name.lower() not in _FRAMING:
                whole[name.lower()] = value
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in whole.items()), ""]
        return "\r\n".join(lines).encode()

    async def post(self, head: bytes, body: bytes) -> Incoming:
        """Send a body, once; returns the whole response. Raises OSError."""
        connection = self._pool.take() or await self._pool.open()
        return await connection.ask(b"%scontent-length: %d\r\n\r\n" % (head, len(body)), body)

    async def stream(self, head: bytes, body: bytes) -> IncomingStream:
        """The same; returns the response when its head is there. Close it."""
        connection = self._pool.take() or await self._pool.open()
        return await connection.open(b"%scontent-length: %d\r\n\r\n" % (head, len(body)), body)

    async def ask(self, head: bytes) -> Incoming:
        """Ask without a body, over a connection that nobody has used: one that was kept may be ending."""
        connection = await self._pool.open()
        return await connection.ask(head + b"\r\n", b"")

    async def aclose(self) -> None:
        await self._pool.aclose()


def of_betas(betas: tuple[str, ...]) -> dict[str, str]:
    """The header that asks for them."""
    return {"anthropic-beta": ",".join(betas)} if betas else {}


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise SetupError where one of them would not stay within its line."""
    for name, value in headers.items():
        if _NAME.fullmatch(name) is None or _CONTROLS.search(value) is not None:
            raise SetupError(
                f"the header {name!r} among ANTHROPIC_CUSTOM_HEADERS holds characters that no header may have",
                code="bad-credential",
                hint="write one `Name: value` a line, without control characters",
            )
