"""Batch mode: open steps are packed, staged and sent as batches, each at most once, and then followed to their end.

Owns   the order of things, and when a drain is over. The parts decide: `filling` and `packing` what goes into a batch,
       `staging` how it waits on disk, `priming` whether one request goes first, `submitting` and `sending` what a
       create comes to, `doubts` and `reconcile` what became of one whose reply never came. The tracker follows what is
       at the API and collects it.
Knows  contracts only: a provider, a feed, a book, a clock, an observer.

Invariants
  * One create is in flight, so at most one is in doubt after a crash; the next batch is packed and staged meanwhile.
  * What is in doubt stays where it is and is never sent again from here. Other steps may go on being sent while one
    batch is in doubt; with two, nothing more is sent until one of them is resolved.
  * Nothing new leaves once the run stops or its deadline's point of no return has come. Batches stay at the API.
  * Memory does not grow with the rows: what is neither staged nor sent waits in the feed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final, Protocol

from runner.clock import Clock
from runner.engines import BatchBook, Feed, StopReason
from runner.engines.doubts import FIRST_S, LONGEST_S, Doubts
from runner.engines.filling import Filler
from runner.engines.halt import Halt, stop_reason, waiting_at_api
from runner.engines.packing import BatchSizes
from runner.engines.parallel import OUT_OF_BUDGET
from runner.engines.pauses import Pauses
from runner.engines.priming import Primer
from runner.engines.purse import Purse
from runner.engines.reconcile import Reconciler
from runner.engines.sending import Sender, facts_of
from runner.engines.staging import empty
from runner.engines.submitting import Submitter
from runner.events import Observer, Stopping
from runner.ledger import Batch, BatchFacts
from runner.providers import BatchProvider, RemoteBatch
from runner.types import Failure, Request

MAX_IN_DOUBT: Final = 2
"""Batches in doubt with which nothing more is sent: an API that loses two replies may lose all of them."""
FULL_AFTER: Final = 5
"""Creates in a row that the API refuses with 429, after which a detached run leaves the rest for its next sitting."""


class Follows(Protocol):
    """The tracker, as far as this engine uses it."""

    @property
    def reopened(self) -> int: ...
    @property
    def open(self) -> int: ...
    @property
    def queued_requests(self) -> int: ...
    @property
    def reason(self) -> StopReason | None: ...
    @property
    def deadline_passed(self) -> bool: ...
    def follow(self, batch: Batch) -> None: ...
    async def changed(self) -> None: ...
    async def look_once(self) -> None: ...


class BatchEngine:
    """Drains a feed once. `prime` says whether a request is worth going first to fill the cache; `known_ids` are the
    batch ids in every ledger of this machine, read from files and so asked for off the loop."""

    def __init__(
        self,
        provider: BatchProvider,
        feed: Feed,
        book: BatchBook,
        tracker: Follows,
        *,
        mark: str,
        sizes: BatchSizes,
        staging: Path,
        clock: Clock,
        observer: Observer,
        halt: Halt,
        prime: Callable[[Request], bool] | None,
        known_ids: Callable[[], AbstractSet[str]],
        detach: bool,
    ) -> None:
        self._book = book
        self._tracker = tracker
        self._sizes = sizes
        self._staging = staging
        self._clock = clock
        self._observer = observer
        self._halt = halt
        self._detach = detach
        self._closed = asyncio.Event()
        """Nothing new may leave any more."""
        self._stopped = asyncio.Event()
        """The run stops: nothing is waited for any more."""
        self._wake = asyncio.Event()
        self._primer = Primer(prime, book, clock, observer, self._alarm)
        self._filler = Filler(
            feed,
            book,
            mark=mark,
            sizes=sizes,
            staging=staging,
            clock=clock,
            observer=observer,
            wants_alone=self._primer.leads,
        )
        self._sender = Sender(
            provider, book, observer, stopped=lambda: self._closed.is_set() or halt.reason is not None
        )
        self._purse = Purse(book)
        self._submitter = Submitter(
            self._sender, self._filler, self._purse, Pauses(clock, self._closed), observer, self._closed,
            accepted=self._follow, doubtful=self._doubt, refused=self._refused, gives_way=self._gives_way,
        )  # fmt: skip
        self._ready = self._submitter.ready
        reconciler = Reconciler(provider, book, mark=mark, known_ids=known_ids)
        looks = Pauses(clock, self._stopped, FIRST_S, LONGEST_S)
        self._doubts = Doubts(reconciler, looks, adopt=self._adopt, refused=self._refused, changed=self._wake.set)
        self._last_number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._packing: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._looked = False
        self._is_full = False
        """The API's queue has no room while it has something of this run, which does not wait for it."""
        self._reason: StopReason | None = None
        self._error: BaseException | None = None

    async def drain(self) -> StopReason | None:
        """Send until nothing is left to send and nothing to wait for (None), until steps have come back open (None:
        they are the next pass's), or until the run has to stop (the reason). Raises what a bug or the book raised."""
        self._halt.listen(self._notice_halt)
        try:
            await empty(self._staging)
            await self._take_up()
            self._spawn(self._watch())
            self._spawn(self._doubts.watch())
            await self._work()
            await self._await_create()
        finally:
            self._halt.unlisten(self._notice_halt)
            await self._abandon()
        if self._error is not None:
            raise self._error
        return self._reason

    @property
    def held(self) -> int:
        """Batches at the API that may be one in doubt, as far as the last look at the list goes."""
        return self._doubts.held if self._doubts else 0

    # -- what an earlier sitting left --------------------------------------------------------------------------------

    async def _take_up(self) -> None:
        batches = await self._book.batches()
        for batch in batches:
            self._last_number = max(self._last_number, batch.number)
            if batch.state == "intent":
                await self._sender.mark(batch, "not_sent", BatchFacts(note="it had not left when the runner ended"))
            elif batch.state in ("sending", "in_doubt"):
                await self._doubt(batch)
            elif batch.state not in ("rejected", "not_sent", "closed"):
                self._tracker.follow(batch)
        self._primer.take_up(batches)

    async def _doubt(self, batch: Batch) -> None:
        """Look for a batch from now on."""
        self._last_number = max(self._last_number, batch.number)
        if batch.state == "sending":
            why = BatchFacts(note="the runner ended before the reply to its create came")
            batch = await self._sender.mark(batch, "in_doubt", why)
        self._doubts.add(batch)
        self._primer.sent(batch)

    def _follow(self, batch: Batch) -> None:
        """A batch was accepted."""
        self._last_number = max(self._last_number, batch.number)
        self._tracker.follow(batch)
        self._primer.sent(batch)

    async def _adopt(self, batch: Batch, remote: RemoteBatch) -> None:
        """A batch in doubt is proven ours."""
        self._follow(await self._sender.mark(batch, "in_progress", facts_of(remote)))

    # -- the loop ----------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            self._heed_tracker()
            if self._is_stopping:
                return
            if self._primer.pending:
                await self._primer.look()
            self._send_next()  # first: the next batch is packed beside the one that is sent, not after it
            await self._pack_ahead()
            if self._packing is None and self._sending is None and await self._is_over():
                self._heed_tracker()  # steps that came back while that was asked may have come with a reason
                return
            await self._wake.wait()

    def _heed_tracker(self) -> None:
        if self._tracker.reason is not None:
            self._stop(self._tracker.reason)
        elif self._tracker.deadline_passed and not self._closed.is_set():
            self._closed.set()
            if self._packing is not None:
                self._packing.cancel()

    def _alarm(self, seconds: float) -> None:
        self._spawn(self._wake_in(seconds))

    async def _wake_in(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._wake.set()

    async def _watch(self) -> None:
        while True:
            await self._tracker.changed()
            self._note_change()

    def _note_change(self) -> None:
        self._purse.note_change()
        self._wake.set()

    async def _is_over(self) -> bool:
        """Whether nothing is left to do. Asked while nothing is being packed or sent."""
        tracker, doubts = self._tracker, self._doubts
        if self._closed.is_set():
            unsent = bool(self._ready) or await self._filler.has_more()
            if not tracker.open and (unsent or tracker.reopened):
                return True  # the rest is for parallel mode
        else:
            unsent = bool(self._ready) or not await self._filler.is_dry()
            if unsent and not self._is_blocked():
                return False
            if tracker.reopened and not unsent:
                return True
        if self._detach:
            return await self._is_detached()
        if tracker.open:
            return False
        if doubts.is_hopeless:
            self._stop(doubts.reason())
        elif not doubts and unsent and self._purse.is_empty:
            self._stop(OUT_OF_BUDGET)
        return self._is_stopping or not (doubts or unsent)

    async def _is_detached(self) -> bool:
        """Leave what is at the API there, after one look at all of it."""
        if not self._looked:
            self._looked = True
            await self._tracker.look_once()
            self._note_change()
            return False
        if not self._doubts.has_looked:
            return False
        count, requests = self._tracker.open, self._tracker.queued_requests
        if count or self._doubts.held:
            hint = "`runner resume` collects what has ended and goes on"
            doubt = "a batch in doubt waits for candidates at the API to end"
            self._stop(waiting_at_api(count, requests, hint) if count else StopReason("waiting", doubt, hint))
            return True
        self._detach = False  # nothing is at the API: end as any drain does
        self._wake.set()
        return False

    # -- packing -----------------------------------------------------------------------------------------------------

    async def _pack_ahead(self) -> None:
        """Keep one batch staged beside the one that is being sent."""
        if self._packing is not None or self._ready or self._purse.is_empty or self._closed.is_set():
            return
        if not await self._filler.is_dry():
            self._packing = self._spawn(self._pack())

    async def _pack(self) -> None:
        changes = self._purse.changes
        left = await self._purse.left_pico()
        number = self._last_number + 1 + (self._sending is not None)
        staged = await self._filler.next_batch(number, left)
        if staged is not None:
            self._ready.append(staged)
        elif not await self._filler.is_dry():
            self._purse.refused(changes)

    # -- sending -----------------------------------------------------------------------------------------------------

    def _send_next(self) -> None:
        if self._sending is None and self._ready and not self._is_blocked() and not self._closed.is_set():
            self._purse.reserve()
            self._sending = self._spawn(self._submitter.send(self._ready.popleft()))

    def _gives_way(self, failure: Failure, in_vain: int) -> bool:
        """A detached run waits for room only where nothing at the API gives it a reason to come back."""
        full = failure.http_status == 429 and in_vain >= FULL_AFTER
        self._is_full = full and self._detach and self._tracker.open > 0
        return self._is_full

    def _is_blocked(self) -> bool:
        """Whether what is to be sent next has to wait for something to come back."""
        if self._purse.is_empty or len(self._doubts) >= MAX_IN_DOUBT or (self._is_full and self._tracker.open):
            return True
        if not self._ready:
            return False
        queued = self._tracker.queued_requests
        has_room = queued == 0 or self._ready[0].requests <= self._sizes.queue_requests - queued
        return self._primer.pending or not has_room

    # -- stopping ----------------------------------------------------------------------------------------------------

    @property
    def _is_stopping(self) -> bool:
        return self._reason is not None or self._error is not None

    def _stop(self, reason: StopReason) -> None:
        if not self._is_stopping:
            self._reason = reason
            if reason.kind != "waiting":
                self._observer.notify(Stopping(reason.kind, reason.message))
        self._stopped.set()
        self._closed.set()
        self._wake.set()

    def _refused(self, failure: Failure) -> None:
        self._stop(stop_reason(failure))

    def _notice_halt(self) -> None:
        assert self._halt.reason is not None, "a halt is told with its reason"
        self._stop(self._halt.reason)

    async def _await_create(self) -> None:
        """Await the create in flight; let go of it when told to: its `sending` mark says what is certain then."""
        while self._sending is not None and not self._halt.dropped:
            self._wake.clear()
            await self._wake.wait()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task is self._packing:
            self._packing = None
        if task is self._sending:
            self._sending = None
        if not task.cancelled() and task.exception() is not None and self._error is None:
            self._error = task.exception()
            self._stopped.set()
            self._closed.set()
        self._wake.set()

    async def _abandon(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await empty(self._staging)
