"""Creating a batch at the API: one POST an intent, and what is certain about it afterwards.

Owns   the order watermark, intent, body, `sending` mark, last chunk, reply (docs/batch.md, "Paid once"), and `fate`:
       what a reply that is no batch proves.
Knows  a provider, the book, a staged body. When to try again is `batch`'s to decide.

Invariants
  * One POST an intent; a POST begins only after its intent is durable.
  * The last chunk of the body leaves only after the `sending` mark is durable: a batch whose intent has no such mark
    was never sent whole, and an incomplete body cannot be accepted.
  * A batch is `rejected` only by a clean 4xx other than 408 and 409. Whatever else comes after the mark leaves it in
    doubt, and nothing in doubt is sent again from here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Literal

from msgspec import Struct

from runner.engines import BatchBook
from runner.engines.staging import Staged
from runner.events import BatchMoved, Observer
from runner.ledger import Batch, BatchFacts, BatchState
from runner.providers import BatchProvider, RemoteBatch
from runner.types import Failure


class Withheld(Exception):
    """The run stopped before the last chunk had left: the rest of the body stays here."""


class Created(Struct, frozen=True):
    """What one try to create a batch came to. `failure` is None for one that was accepted or withheld."""

    batch: Batch
    failure: Failure | None = None


def fate(failure: Failure, mark_written: bool) -> BatchState:
    """What is certain of a batch whose create ended with a failure. Pure; the exactly-once rule in one place.

    Before the mark the whole body cannot have left. After it only the API's own refusal proves anything: 408 and 409
    may come from something on the way that gave up waiting, so they prove nothing.
    """
    if not mark_written:
        return "not_sent"
    status = failure.http_status
    if status is not None and 400 <= status < 500 and status not in (408, 409):
        return "rejected"
    return "in_doubt"


Move = Literal["again", "split", "stop"]
"""`again`: send the same body under a new intent, after a pause. `split`: it is too large as it is."""


def next_move(failure: Failure) -> Move:
    """What to do with a body that certainly was not accepted."""
    if failure.scope == "job":
        return "stop"
    if failure.http_status == 413 or failure.kind in ("too_large", "request_too_large"):
        return "split"
    return "again" if failure.retryable else "stop"


class Sender:
    """`stopped` says that nothing more may leave."""

    def __init__(
        self, provider: BatchProvider, book: BatchBook, observer: Observer, stopped: Callable[[], bool]
    ) -> None:
        self._provider = provider
        self._book = book
        self._observer = observer
        self._stopped = stopped

    async def watermark(self) -> str | Failure | None:
        """The newest batch in the workspace's list; None while there is none."""
        page = await self._provider.list_batches(limit=1)
        if isinstance(page, Failure):
            return page
        return page.batches[0].batch_id if page.batches else None

    async def create(self, staged: Staged, watermark: str | None, intended: Callable[[], None]) -> Created | None:
        """Send a staged batch, once; `intended` is called when its money is reserved. None where the cap does not
        admit it. Raises what the book raises.

        A task that is cancelled meanwhile leaves the batch at its last mark, from which a later sitting knows what is
        certain.
        """
        batch = await self._book.intend_batch(
            staged.leases, body_sha256=staged.sha256, watermark=watermark, priming=staged.priming
        )
        if batch is None:
            return None
        intended()
        self._tell(batch)
        body = _Body(self, staged, batch)
        try:
            async with aclosing(body.chunks()) as chunks:
                reply = await self._provider.create_batch(chunks, staged.size_bytes(batch.number), staged.betas)
        except Withheld:
            return Created(await self.mark(batch, "not_sent", BatchFacts(note="the run stopped before it had left")))
        if isinstance(reply, RemoteBatch):
            if not body.marked:  # a server that accepts what it has not read; it has an id all the same
                await self.mark(batch, "sending")
            return Created(await self.mark(batch, "in_progress", facts_of(reply)))
        state = fate(reply, body.marked)
        return Created(await self.mark(batch, state, BatchFacts(note=reply.message)), reply)

    async def mark(self, batch: Batch, state: BatchState, facts: BatchFacts | None = None) -> Batch:
        """Move a batch, durably, and tell of it."""
        moved = await self._book.mark_batch(batch.number, state, facts)
        self._tell(moved)
        return moved

    def _tell(self, batch: Batch) -> None:
        self._observer.notify(
            BatchMoved(
                batch.number,
                batch.state,
                batch.batch_id,
                batch.steps,
                batch.began_at,
                batch.expires_at,
                batch.priming,
                batch.note,
            )
        )

    @property
    def stopped(self) -> bool:
        return self._stopped()


class _Body:
    """The body of one create, which holds its last chunk back until the mark is durable."""

    def __init__(self, sender: Sender, staged: Staged, batch: Batch) -> None:
        self._sender = sender
        self._staged = staged
        self._batch = batch
        self.marked = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        held: bytes | None = None
        async with aclosing(self._staged.chunks(self._batch.number)) as chunks:
            async for chunk in chunks:
                if held is not None:
                    yield self._checked(held)
                held = chunk
        assert held is not None, "a batch has at least one request"
        self._checked(held)
        self.marked = True  # from here on a crash, or an error of the book, finds the mark or may find it
        await self._sender.mark(self._batch, "sending")
        yield held

    def _checked(self, chunk: bytes) -> bytes:
        if self._sender.stopped:
            raise Withheld
        return chunk


def facts_of(remote: RemoteBatch) -> BatchFacts:
    """What the API's own account of a batch adds to ours."""
    return BatchFacts(batch_id=remote.batch_id, expires_at=remote.expires_at, began_at=remote.created_at)
