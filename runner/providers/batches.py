"""The Message Batches API: each call once, and whatever happens as a value.

Owns   the calls on batches: addresses, headers, deadlines, and what counts as an answer.
Knows  HTTP, through a `Wire`. Nothing of the SDK, of retries or of a batch's states.

Invariants
  * A create is sent once, with its length, and is answered only by a 2xx of JSON that holds a batch. A failure says
    `may_be_billed` wherever the whole body had left and no refusal came back.
  * Results come from this address's own path, whatever `results_url` says, and no call here follows a redirect: no key
    goes elsewhere.
  * No wait is without an end: a create has a wall deadline and has to move on, so has a download.

Source: SDK 2.12 `resources/messages/batches.py` for paths and query. The SDK's own `create` knows no streamed body,
its `results()` sends the key to any host that `results_url` names.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar
from urllib.parse import urlencode

from runner.clock import Clock
from runner.providers import BatchPage, RemoteBatch, failures
from runner.providers.batch_objects import batch_of, is_batch_id, page_of
from runner.providers.download import download
from runner.providers.exchange import Reading, Response, Wire
from runner.providers.upload import Upload
from runner.types import Failure

PATH = "/v1/messages/batches"

UPLOAD_BYTES_PER_S = 125_000
"""The slowest line that a batch is sent over: 1 Mbit/s, an assumption. 230 MB get half an hour there."""

STALL_S = 120.0
"""How long a transfer may stand still: an assumption, well above what a changed route takes to come back. A piece of
an upload (256 KiB) or 64 KiB of a download have to pass within it, so that a trickle is no progress."""

QUESTION_S = 60.0
"""How long a question (retrieve, list, cancel) may take: an assumption, generous for a few hundred kilobytes."""

T = TypeVar("T")


class Batches:
    """The calls of `BatchProvider`. `reply_s`: how long the API may think about a body that it has whole."""

    def __init__(
        self, wire: Wire, *, clock: Clock, secrets: tuple[str, ...], reply_s: float, stall_s: float = STALL_S
    ) -> None:
        self._wire = wire
        self._reading = Reading(wire, clock, secrets)
        self._reply_s = reply_s
        self._stall_s = stall_s

    async def create(
        self, chunks: AsyncIterable[bytes], size_bytes: int, betas: Sequence[str]
    ) -> RemoteBatch | Failure:
        """POST a batch, once; see the contract. Raises WrongSize where `chunks` are not `size_bytes`; to close them is
        the caller's."""
        headers = {"content-length": str(size_bytes)}
        if betas:
            headers["anthropic-beta"] = ",".join(betas)
        wall_s = size_bytes / UPLOAD_BYTES_PER_S + self._reply_s
        deadline = asyncio.timeout(wall_s)
        upload = Upload(chunks, size_bytes, deadline, stall_s=self._stall_s, reply_s=self._reply_s)
        try:
            async with deadline:
                response = await self._wire.post(PATH, headers, wall_s, upload)
        except (*self._wire.errors, *self._wire.credential_errors) as error:
            answer: RemoteBatch | Failure = self._no_answer(error, upload, deadline)
        else:
            answer = self._reading.object_of(response, batch_of, media_type="application/json")
        finally:
            await upload.close()
        if upload.raised is not None:
            raise upload.raised
        return failures.of_create(answer, whole=upload.whole) if isinstance(answer, Failure) else answer

    async def retrieve(self, batch_id: str) -> RemoteBatch | Failure:
        return await self._ask(self._wire.get, _path(batch_id), batch_of)

    async def cancel(self, batch_id: str) -> RemoteBatch | Failure:
        return await self._ask(self._wire.post, f"{_path(batch_id)}/cancel", batch_of)

    async def list(self, after_id: str | None, limit: int) -> BatchPage | Failure:
        query = urlencode({"limit": limit, **({"after_id": after_id} if after_id is not None else {})})
        return await self._ask(self._wire.get, f"{PATH}?{query}", page_of)

    async def download(self, batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        """GET a batch's results; see the contract. What `write` raises is raised."""
        written = 0
        async with aclosing(download(self._reading, f"{_path(batch_id)}/results", stall_s=self._stall_s)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Failure):
                    return failures.of_batch(piece)
                await write(piece)
                written += len(piece)
        return written

    def _no_answer(self, error: Exception, upload: Upload, deadline: asyncio.Timeout) -> Failure:
        if not deadline.expired():
            return self._reading.failure_of(error)
        if upload.whole:
            return failures.deadline_passed(self._reply_s)
        return failures.stood_still(self._stall_s)

    async def _ask(
        self,
        send: Callable[[str, Mapping[str, str], float], Awaitable[Response]],
        path: str,
        read: Callable[[Any], T],
    ) -> T | Failure:
        """A question that may be asked again: what is asked of one batch buys nothing."""
        deadline_s = min(QUESTION_S, self._reply_s)
        try:
            async with asyncio.timeout(deadline_s) as deadline:
                response = await send(path, {}, deadline_s)
        except (*self._wire.errors, *self._wire.credential_errors) as error:
            passed = deadline.expired()
            return failures.of_batch(
                failures.deadline_passed(deadline_s) if passed else self._reading.failure_of(error)
            )
        answer = self._reading.object_of(response, read)
        return failures.of_batch(answer) if isinstance(answer, Failure) else answer


def _path(batch_id: str) -> str:
    if not is_batch_id(batch_id):
        raise ValueError(f"not the id of a batch: {batch_id[:80]!r}")
    return f"{PATH}/{batch_id}"
