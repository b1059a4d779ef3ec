"""A network that goes away and comes back, in virtual time, before the providers of other fakes.

    network = Network((10.0, 40.0))      # down from the tenth second to the fortieth
    provider = CutProvider(network=network)

While it is down no connection comes to stand; what was under way when it went down breaks off, and may be billed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from runner.providers import BatchPage, RemoteBatch, Sent
from runner.types import Failure, Request
from support.engine_batches import BatchApi
from support.engine_fakes import ScriptedProvider

REFUSED = Failure("connection_error", "ConnectionRefusedError: connect call failed", retryable=True)
BROKEN = Failure("connection_error", "ConnectionResetError: reset by peer", retryable=True, may_be_billed=True)
REFUSED_AFTER_S = 0.01
FOR_EVER = float("inf")


class Network:
    """Down in each of these spans of the loop's time, which a test may add to."""

    def __init__(self, *down: tuple[float, float]) -> None:
        self.down = list(down)

    @property
    def is_down(self) -> bool:
        now = asyncio.get_running_loop().time()
        return any(start <= now < end for start, end in self.down)

    def breaks_at(self) -> float | None:
        """When it goes down next."""
        now = asyncio.get_running_loop().time()
        return min((start for start, _ in self.down if start > now), default=None)

    async def refuses(self) -> bool:
        """Whether a call that begins now gets no connection; takes a moment then."""
        if not self.is_down:
            return False
        await asyncio.sleep(REFUSED_AFTER_S)
        return True


@dataclass
class CutProvider(ScriptedProvider):
    network: Network = field(default_factory=Network)
    refused_at: list[float] = field(default_factory=list)
    """When requests were tried that no connection came to stand for."""

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        began_at = asyncio.get_running_loop().time()
        if await self.network.refuses():
            self.refused_at.append(began_at)
            return Sent(None, REFUSED)
        try:
            async with asyncio.timeout_at(self.network.breaks_at()):
                return await super().send(request, on_begin=on_begin)
        except TimeoutError:
            return Sent(None, BROKEN)


@dataclass
class CutBatches(BatchApi):
    network: Network = field(default_factory=Network)

    async def create_batch(
        self, chunks: AsyncIterable[bytes], size_bytes: int, betas: Sequence[str] = ()
    ) -> RemoteBatch | Failure:
        return REFUSED if await self.network.refuses() else await super().create_batch(chunks, size_bytes, betas)

    async def retrieve_batch(self, batch_id: str) -> RemoteBatch | Failure:
        return REFUSED if await self.network.refuses() else await super().retrieve_batch(batch_id)

    async def list_batches(self, *, after_id: str | None = None, limit: int = 100) -> BatchPage | Failure:
        if await self.network.refuses():
            return REFUSED
        return await super().list_batches(after_id=after_id, limit=limit)

    async def download_results(self, batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        return REFUSED if await self.network.refuses() else await super().download_results(batch_id, write)
