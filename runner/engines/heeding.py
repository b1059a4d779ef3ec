"""Calls about batches and files that tell the outage how they ended, and stop the run where it is over.

Owns   the telling. Requests in parallel do not come through here: their engine tells it, at no cost a row.
Knows  the contracts of providers, `Outage` and `Halt`. An answer passes through as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from runner.engines.halt import Halt
from runner.engines.outage import Outage
from runner.providers import (
    BatchPage,
    BatchProvider,
    FilePage,
    FileProvider,
    Provider,
    RemoteBatch,
    RemoteFile,
    Sent,
)
from runner.types import Capabilities, Failure, Request

P = TypeVar("P", bound=Provider)
T = TypeVar("T")


class _Heeding(Generic[P]):
    """What any provider has."""

    def __init__(self, provider: P, outage: Outage, halt: Halt) -> None:
        self._provider = provider
        self._outage = outage
        self._halt = halt

    @property
    def capabilities(self) -> Capabilities:
        return self._provider.capabilities

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        return await self._provider.send(request, on_begin=on_begin)

    async def count_tokens(self, request: Request) -> int | Failure:
        return await self._heeded(self._provider.count_tokens(request))

    async def models(self) -> list[Mapping[str, Any]] | Failure:
        return await self._heeded(self._provider.models())

    async def aclose(self) -> None:
        await self._provider.aclose()

    async def _heeded(self, call: Awaitable[T | Failure]) -> T | Failure:
        answer = await call
        if not isinstance(answer, Failure):
            self._outage.heard = True
        elif (reason := self._outage.failed(answer)) is not None:
            self._halt.stop(reason)
        return answer


class HeedingBatches(_Heeding[BatchProvider]):
    """A provider of batches."""

    def __init__(self, provider: BatchProvider, outage: Outage, halt: Halt) -> None:
        super().__init__(provider, outage, halt)
        self.read_result = provider.read_result  # asks nobody, and is called for every line

    async def create_batch(
        self, chunks: AsyncIterable[bytes], size_bytes: int, betas: Sequence[str] = ()
    ) -> RemoteBatch | Failure:
        return await self._heeded(self._provider.create_batch(chunks, size_bytes, betas))

    async def retrieve_batch(self, batch_id: str) -> RemoteBatch | Failure:
        return await self._heeded(self._provider.retrieve_batch(batch_id))

    async def list_batches(self, *, after_id: str | None = None, limit: int = 100) -> BatchPage | Failure:
        return await self._heeded(self._provider.list_batches(after_id=after_id, limit=limit))

    async def cancel_batch(self, batch_id: str) -> RemoteBatch | Failure:
        return await self._heeded(self._provider.cancel_batch(batch_id))

    async def download_results(self, batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        async def written(chunk: bytes) -> None:
            self._outage.heard = True  # one that breaks off later was answered
            await write(chunk)

        return await self._heeded(self._provider.download_results(batch_id, written))


class HeedingFiles(_Heeding[FileProvider]):
    """A provider that keeps files."""

    async def upload_file(
        self,
        chunks: AsyncIterable[bytes],
        size_bytes: int,
        *,
        filename: str,
        media_type: str,
        expires_in_s: int | None = None,
    ) -> RemoteFile | Failure:
        return await self._heeded(
            self._provider.upload_file(
                chunks, size_bytes, filename=filename, media_type=media_type, expires_in_s=expires_in_s
            )
        )

    async def retrieve_file(self, file_id: str) -> RemoteFile | Failure:
        return await self._heeded(self._provider.retrieve_file(file_id))

    async def list_files(self, *, page: str | None = None, limit: int = 1000) -> FilePage | Failure:
        return await self._heeded(self._provider.list_files(page=page, limit=limit))

    async def delete_file(self, file_id: str) -> str | Failure:
        return await self._heeded(self._provider.delete_file(file_id))
