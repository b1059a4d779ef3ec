"""The Message Batches API: each call once, and whatever happens as a value.

Owns   the calls on batches: addresses, headers, and what counts as an answer.
Knows  HTTP, through a `Wire`. Nothing of the SDK, of retries or of a batch's states.

Invariants
  * A create is sent once, with its length, and is answered only by a 2xx of JSON that holds a batch. A failure says
    `may_be_billed` wherever the whole body had left and no refusal came back.
  * Results come from this address's own path, whatever `results_url` says, and no call here follows a redirect: no key
    goes elsewhere.
  * No wait is without an end: a download has to move on as a create has.

Source: SDK 2.12 `resources/messages/batches.py` for paths and query. The SDK's own `create` knows no streamed body,
its `results()` sends the key to any host that `results_url` names.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from urllib.parse import urlencode

from runner.clock import Clock
from runner.providers import BatchPage, RemoteBatch, failures
from runner.providers.batch_objects import batch_of, is_batch_id, page_of
from runner.providers.calls import STALL_S, Calls
from runner.providers.download import download
from runner.providers.exchange import Wire
from runner.types import Failure

PATH = "/v1/messages/batches"


class Batches:
    """The calls of `BatchProvider`. `reply_s`: how long the API may think about a body that it has whole."""

    def __init__(
        self, wire: Wire, *, clock: Clock, secrets: tuple[str, ...], reply_s: float, stall_s: float = STALL_S
    ) -> None:
        self._calls = Calls(wire, clock=clock, secrets=secrets, reply_s=reply_s, stall_s=stall_s)
        self._wire = wire

    async def create(
        self, chunks: AsyncIterable[bytes], size_bytes: int, betas: Sequence[str]
    ) -> RemoteBatch | Failure:
        """POST a batch, once; see the contract. Raises WrongSize where `chunks` are not `size_bytes`; to close them is
        the caller's."""
        headers = {"anthropic-beta": ",".join(betas)} if betas else {}
        return await self._calls.send(PATH, headers, chunks, size_bytes, batch_of)

    async def retrieve(self, batch_id: str) -> RemoteBatch | Failure:
        return await self._calls.ask(partial(self._wire.get, _path(batch_id), {}), batch_of)

    async def cancel(self, batch_id: str) -> RemoteBatch | Failure:
        return await self._calls.ask(partial(self._wire.post, f"{_path(batch_id)}/cancel", {}), batch_of)

    async def list(self, after_id: str | None, limit: int) -> BatchPage | Failure:
        query = urlencode({"limit": limit, **({"after_id": after_id} if after_id is not None else {})})
        return await self._calls.ask(partial(self._wire.get, f"{PATH}?{query}", {}), page_of)

    async def download(self, batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        """GET a batch's results; see the contract. What `write` raises is raised."""
        written = 0
        pieces_of = download(self._calls.reading, f"{_path(batch_id)}/results", stall_s=self._calls.stall_s)
        async with aclosing(pieces_of) as pieces:
            async for piece in pieces:
                if isinstance(piece, Failure):
                    return failures.of_question(piece)
                await write(piece)
                written += len(piece)
        return written


def _path(batch_id: str) -> str:
    if not is_batch_id(batch_id):
        raise ValueError(f"not the id of a batch: {batch_id[:80]!r}")
    return f"{PATH}/{batch_id}"
