"""One request beside the messages and its response, below what is asked: the wire, and the reading of what came.

Owns   the seam to the transports (`Wire`, `Response`), and how a response or an exception becomes a Failure.
Knows  HTTP. Nothing of batches.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import orjson

from runner.clock import Clock
from runner.providers import failures
from runner.types import Failure

T = TypeVar("T")


class Response(Protocol):
    """What came back: an `httpx2.Response`, or what is like it. Header names are in lower case, or any case is
    found."""

    @property
    def status_code(self) -> int: ...

    @property
    def is_success(self) -> bool: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def content(self) -> bytes:
        """The body, decoded; of a response that has been read."""
        ...

    def aiter_raw(self) -> AsyncIterator[bytes]:
        """The body of a response that has not been read, as it comes, not decoded."""
        ...

    async def aclose(self) -> None: ...


class Wire(Protocol):
    """Sends one request, once, and returns the response whatever its status. No redirect is followed, but with
    `follow`."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What it raises where the network fails."""
        ...

    @property
    def credential_errors(self) -> tuple[type[Exception], ...]:
        """What it raises where no token can be had; nothing was sent then."""
        ...

    async def post(
        self,
        path: str,
        headers: Mapping[str, str],
        timeout_s: float,
        content: AsyncIterable[bytes] | bytes | None = None,
        *,
        follow: bool = False,
    ) -> Response:
        """With a `content` that comes piece by piece, over a connection of its own."""
        ...

    async def get(
        self, path: str, headers: Mapping[str, str], timeout_s: float, *, follow: bool = False
    ) -> Response: ...

    async def delete(self, path: str, headers: Mapping[str, str], timeout_s: float) -> Response: ...

    async def open(self, path: str, headers: Mapping[str, str], timeout_s: float) -> Response:
        """GET; a success comes back unread, to be closed by the caller."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """Responses and exceptions as what they say, or as failures without credentials."""

    wire: Wire
    clock: Clock
    secrets: tuple[str, ...] = field(repr=False)

    def object_of(self, response: Response, read: Callable[[Any], T], *, media_type: str | None = None) -> T | Failure:
        """What a response holds, by `read`, which raises ValueError; with `media_type` it has to say what it is."""
        if not response.is_success:
            return self.refusal(response)
        said = response.headers.get("content-type", "")
        if media_type is not None and media_type_of(response) != media_type:
            return self.bad_reply(response, f"the answer is {said or 'of no type'!r}", response.content)
        try:
            return read(orjson.loads(response.content))
        except ValueError as error:
            return self.bad_reply(response, f"the answer is none of the API's ({error})", response.content)

    def failure_of(self, error: Exception) -> Failure:
        if isinstance(error, self.wire.credential_errors):
            return failures.no_credential(str(error), secrets=self.secrets)
        return failures.from_transport(error, secrets=self.secrets)

    def refusal(self, response: Response) -> Failure:
        """A response that is no success and has been read."""
        headers = failures.redacted(response.headers)
        now = self.clock.now()
        return failures.from_response(response.status_code, headers, response.content, now=now, secrets=self.secrets)

    def bad_reply(self, response: Response, what: str, body: bytes = b"") -> Failure:
        return failures.bad_reply(
            f"{what}: {body[:200]!r}" if body else what,
            response.status_code,
            response.headers.get("request-id"),
            secrets=self.secrets,
        )


def media_type_of(response: Response) -> str:
    said: str = response.headers.get("content-type", "")
    return said.partition(";")[0].strip().lower()
