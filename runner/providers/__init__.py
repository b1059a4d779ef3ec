"""Providers: who answers a request. This module is the contract of the plugin folder.

A provider makes exactly one try: it never retries, never waits for a limit and never raises for what the API or the
network does. Whatever happens comes back as a `Sent` with a reply or a failure; what raises is a bug.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from runner.types import Capabilities, Failure, Reply, Request


@dataclass(frozen=True, slots=True)
class Sent:
    """What one try brought. Exactly one of `reply` and `failure` is set.

    `body` is the message object as JSON bytes (`b""` on failure); `headers` are the response's, lower-case names,
    empty where there was no response. `request_id` is the API's, also on failures.
    """

    reply: Reply | None
    failure: Failure | None
    body: bytes = b""
    request_id: str | None = None
    headers: Mapping[str, str] | None = None


class Provider(Protocol):
    @property
    def capabilities(self) -> Capabilities: ...

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        """POST one Messages request, once.

        With `on_begin` the request is streamed, and `on_begin` is called when the reply has begun: from then on the
        prefix it wrote can be read from the cache. Requests whose `max_tokens` is above the SDK's non-streaming bound
        are streamed in any case; the reply is the same.
        """
        ...

    async def count_tokens(self, request: Request) -> int | Failure: ...

    async def models(self) -> list[Mapping[str, Any]] | Failure:
        """What the Models API says of each model, as JSON objects; a Failure where the server does not have it."""
        ...

    async def aclose(self) -> None: ...
