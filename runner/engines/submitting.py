"""Staged batches on their way to the API: sent one after the other until the fate of each is known.

Owns   what is staged and in which order it goes; what follows a create that was refused: a pause, a split, the end of
       one request or of the run.
Knows  `sending`, which makes one try; `purse` for the cap. Whether anything may be sent now is `batch`'s to say.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from runner.engines.filling import Filler
from runner.engines.pauses import Pauses
from runner.engines.purse import Purse
from runner.engines.sending import Sender, next_move
from runner.engines.staging import Staged
from runner.events import CoolingDown, Observer
from runner.ledger import Batch
from runner.types import Failure


class Submitter:
    """`accepted` and `doubtful` are told of batches that the API has, or may have; `refused` of what stops the run.
    `gives_way` says, of a failure that may pass and how many came in a row, whether the batch is left for later."""

    def __init__(
        self,
        sender: Sender,
        filler: Filler,
        purse: Purse,
        pauses: Pauses,
        observer: Observer,
        closed: asyncio.Event,
        *,
        accepted: Callable[[Batch], None],
        doubtful: Callable[[Batch], Awaitable[None]],
        refused: Callable[[Failure], None],
        gives_way: Callable[[Failure, int], bool],
    ) -> None:
        self._sender = sender
        self._filler = filler
        self._purse = purse
        self._pauses = pauses
        self._observer = observer
        self._closed = closed
        self._accepted = accepted
        self._doubtful = doubtful
        self._refused = refused
        self._gives_way = gives_way
        self._in_vain = 0
        self.ready: deque[Staged] = deque()
        """Packed and staged, in the order in which they are to be sent."""

    async def send(self, staged: Staged) -> None:
        """Send a staged batch until its fate is known, or the run stops."""
        try:
            while not self._closed.is_set():
                self._purse.reserve()
                watermark = await self._sender.watermark()
                if isinstance(watermark, Failure):
                    if next_move(watermark) != "again":
                        return self._refused(watermark)
                    await self._cool_down(watermark)
                    continue
                changes = self._purse.changes
                created = await self._sender.create(staged, watermark, self._purse.reserved)
                if created is None:
                    return await self._shrink(staged, changes)
                if created.failure is None or created.batch.state == "in_doubt":
                    return await self._part_with(created.batch, staged)
                if not await self._goes_again(staged, created.failure):
                    return None
        finally:
            self._purse.reserved()

    async def _part_with(self, batch: Batch, staged: Staged) -> None:
        """The API has the batch, or may have it, or the run stops before it has."""
        if batch.state == "in_progress":
            self._pauses.reset()
            self._in_vain = 0
            self._accepted(batch)
        elif batch.state == "in_doubt":
            await self._doubtful(batch)
        await staged.discard()

    async def _goes_again(self, staged: Staged, failure: Failure) -> bool:
        """Act on a create that was certainly not accepted; whether the same body is to be sent once more."""
        move = next_move(failure)
        if move == "again":
            self._in_vain += 1
            if self._gives_way(failure, self._in_vain):
                self.ready.appendleft(staged)
                return False
            await self._cool_down(failure)
            return True
        if move == "split":
            await self._split(staged, failure)
        else:
            self._refused(failure)
        return False

    async def _cool_down(self, failure: Failure) -> None:
        seconds = self._pauses.next_s(failure.retry_after_s)
        self._observer.notify(CoolingDown(seconds, failure.kind))
        await self._pauses.wait(seconds)

    async def _split(self, staged: Staged, failure: Failure) -> None:
        """The API finds a batch too large: send it in two, or give up its only request."""
        if staged.requests > 1:
            self.ready.extendleft(reversed(await staged.split(staged.requests // 2)))
            return
        lease = staged.leases[0]
        attempts, tries = staged.leases.tried(0)
        await self._filler.refuse(lease.step, lease.request_hash, attempts, tries, failure.message)
        await staged.discard()

    async def _shrink(self, staged: Staged, changes: int) -> None:
        """The cap admits less than was packed for it: send what fits, keep the rest until something comes back."""
        count = await self._purse.admits(staged)
        if 0 < count < staged.requests:
            self.ready.extendleft(reversed(await staged.split(count)))
            return
        self.ready.appendleft(staged)
        if not count:
            self._purse.refused(changes)
