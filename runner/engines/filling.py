"""From the feed into staged batches: one batch at a time, ahead of the one that is being sent.

Owns   the steps that were taken from the feed and are in no batch yet, and what becomes of a request that is too large
       for any batch.
Knows  the feed, the book and the staging folder. It sends nothing.

Memory: besides the batch in the making (its leases, about 50 bytes a request) at most `TAKE` prepared steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from runner.clock import Clock
from runner.engines import BatchBook, Feed, Prepared
from runner.engines.packing import BatchSizes
from runner.engines.staging import Staged, Stager
from runner.events import Observer, Packed, StepEnded
from runner.types import Failure, Outcome, Request, Step

TAKE: Final = 256
"""Steps taken from the feed at a time."""


class Filler:
    """Makes the next batch. `wants_alone` says whether the first request is to go alone, to prime the cache."""

    def __init__(
        self,
        feed: Feed,
        book: BatchBook,
        *,
        mark: str,
        sizes: BatchSizes,
        staging: Path,
        clock: Clock,
        observer: Observer,
        wants_alone: Callable[[Request], bool],
    ) -> None:
        self._feed = feed
        self._book = book
        self._mark = mark
        self._sizes = sizes
        self._staging = staging
        self._clock = clock
        self._observer = observer
        self._wants_alone = wants_alone
        self._taken: deque[Prepared] = deque()
        self._dry = False
        self._files = 0

    async def is_dry(self) -> bool:
        """Whether nothing is left to be packed."""
        if self._taken:
            return False
        if self._dry and not await self._feed.peek_is_empty():
            self._dry = False  # what was recorded since has opened further steps
        return self._dry

    async def has_more(self) -> bool:
        """Whether something is left, waiting for the feed where it cannot say yet."""
        await self._take()
        return bool(self._taken)

    async def next_batch(self, number: int, left_pico: int | None) -> Staged | None:
        """Pack and stage until the batch is full, the money is used up, or the feed is. None where nothing fits.

        `number` is what the batch will probably be called; it is for the display only.
        """
        await self._take()
        if not self._taken:
            return None
        alone = self._wants_alone(self._taken[0].request)
        sizes = replace(self._sizes, max_requests=1) if alone else self._sizes
        self._files += 1
        stager = await Stager.begin(self._staging / f"batch-{self._files:06}", self._mark, sizes, left_pico)
        try:
            await self._fill(stager, number)
            if not stager.pack.requests:
                await stager.abandon()
                return None
            return await stager.seal(priming=alone)
        except BaseException:
            stager.close()
            raise

    async def refuse(self, step: Step, request_hash: bytes, attempts: int, tries: int, message: str) -> None:
        """Record a request that no batch can hold; it was never sent."""
        now = self._clock.now()
        failure = Failure("too_large", message)
        outcome = Outcome(
            step, attempts + 1, "errored", "batch", request_hash, now, now, failure=failure, tries=tries + 1
        )
        decision = await self._book.record(outcome)
        self._observer.notify(
            StepEnded(
                step, outcome.attempt, decision.status, decision.failure, outcome.usage, outcome.cost_pico, False, None
            )
        )

    async def _fill(self, stager: Stager, number: int) -> None:
        while self._taken:
            verdict = stager.offer_all(self._taken)
            self._observer.notify(Packed(number, stager.pack.requests, stager.pack.size_bytes))
            if verdict == "too_large":
                await self._too_large(self._taken.popleft())
            elif verdict != "added":
                return
            await stager.flush()
            await self._take()

    async def _too_large(self, prepared: Prepared) -> None:
        size, limit = len(prepared.request.body), self._sizes.max_bytes
        message = f"the request has {size:,} bytes, which no batch of at most {limit:,} bytes can hold"
        await self.refuse(prepared.step, prepared.request.hash, prepared.attempts, prepared.tries, message)

    async def _take(self) -> None:
        if self._taken or self._dry:
            return
        fresh: Sequence[Prepared] = await self._feed.take(TAKE)
        self._dry = not fresh
        self._taken.extend(fresh)
