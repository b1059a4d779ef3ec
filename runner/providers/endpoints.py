"""Everything that Anthropic's API offers beside sending a message; the same over either transport.

Owns   counting tokens, listing models, and the calls on batches and files by their names in the contract.
Knows  HTTP, through a `Wire`. Nothing of the SDK.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import orjson

from runner.clock import Clock
from runner.encoding import encode
from runner.providers import BatchLine, BatchPage, FilePage, RemoteBatch, RemoteFile, failures
from runner.providers.batches import Batches
from runner.providers.calls import STALL_S
from runner.providers.exchange import Reading, Response, Wire
from runner.providers.files import Files
from runner.providers.results import read_result
from runner.types import Capabilities, Failure, Request

_COUNTED = (
    "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control", "mcp_servers",
)  # fmt: skip
"""The keys that count_tokens takes (SDK `types/message_count_tokens_params.py` and its beta form); it refuses the
others."""

_MODELS_PAGE = 1_000
_MAX_MODEL_PAGES = 20
"""Far beyond what the API lists: a server whose pages never end is not followed."""

T = TypeVar("T")


class Endpoints:
    """The contracts of a `BatchProvider` and a `FileProvider`, but for `send` and `aclose`. `address` and `workspace`
    say whose answers these are."""

    def __init__(
        self,
        wire: Wire,
        *,
        address: str,
        workspace: str | None,
        secrets: tuple[str, ...],
        clock: Clock,
        deadline_s: float,
        stall_s: float = STALL_S,
    ) -> None:
        self._clock = clock
        self._secrets = secrets
        self._deadline_s = deadline_s
        self._stall_s = stall_s
        self.carry_by(wire)
        self.address = address
        self.workspace = workspace

    def carry_by(self, wire: Wire) -> None:
        """Send by this wire from now on."""
        self._wire = wire
        self._reading = Reading(wire, self._clock, self._secrets)
        self._batches = Batches(
            wire, clock=self._clock, secrets=self._secrets, reply_s=self._deadline_s, stall_s=self._stall_s
        )
        self._files = Files(
            wire, clock=self._clock, secrets=self._secrets, reply_s=self._deadline_s, stall_s=self._stall_s
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(batches=True, count_tokens=True, models=True, files=True)

    async def count_tokens(self, request: Request) -> int | Failure:
        """Ask what the prompt counts; the API ignores caching here."""
        counted = encode(counted_of(request))
        headers = {"anthropic-beta": ",".join(request.betas)} if request.betas else {}
        ask = self._wire.post("/v1/messages/count_tokens", headers, self._deadline_s, counted, follow=True)
        return await self._answer(ask, tokens_of)

    async def models(self) -> list[Mapping[str, Any]] | Failure:
        """All models that the Models API lists, newest first."""
        found: dict[str, Mapping[str, Any]] = {}
        after: str | None = None
        for _ in range(_MAX_MODEL_PAGES):
            query = urlencode({"limit": _MODELS_PAGE, **({"after_id": after} if after else {})})
            ask = self._wire.get(f"/v1/models?{query}", {}, self._deadline_s, follow=True)
            page = await self._answer(ask, _models_of)
            if isinstance(page, Failure):
                return page
            listed, more = page
            found.update((str(model["id"]), model) for model in listed)
            if more is None or more == after:
                break
            after = more
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

    async def upload_file(
        self,
        chunks: AsyncIterable[bytes],
        size_bytes: int,
        *,
        filename: str,
        media_type: str,
        expires_in_s: int | None = None,
    ) -> RemoteFile | Failure:
        return await self._files.upload(chunks, size_bytes, filename, media_type, expires_in_s)

    async def retrieve_file(self, file_id: str) -> RemoteFile | Failure:
        return await self._files.retrieve(file_id)

    async def list_files(self, *, page: str | None = None, limit: int = 1_000) -> FilePage | Failure:
        return await self._files.list(page, limit)

    async def delete_file(self, file_id: str) -> str | Failure:
        return await self._files.delete(file_id)

    async def _answer(self, ask: Awaitable[Response], read: Callable[[Any], T]) -> T | Failure:
        try:
            async with asyncio.timeout(self._deadline_s) as deadline:
                response = await ask
        except (*self._wire.errors, *self._wire.credential_errors) as error:
            if deadline.expired():
                return failures.deadline_passed(self._deadline_s)
            return self._reading.failure_of(error)
        return self._reading.object_of(response, read)


def counted_of(request: Request) -> dict[str, Any]:
    """The part of a request that can be counted."""
    body = orjson.loads(request.body)
    return {key: body[key] for key in _COUNTED if key in body}


def tokens_of(answer: Any) -> int:
    tokens = answer.get("input_tokens") if isinstance(answer, dict) else None
    if not isinstance(tokens, int):
        raise ValueError("a token count without `input_tokens`")
    return tokens


def _models_of(page: Any) -> tuple[list[dict[str, Any]], str | None]:
    """A page's models, and where the next one begins."""
    listed = page.get("data") if isinstance(page, dict) else None
    if not isinstance(listed, list) or not all(isinstance(model, dict) and "id" in model for model in listed):
        raise ValueError("a list of models without their ids")
    last = page.get("last_id")
    return listed, last if page.get("has_more") and isinstance(last, str) else None
