"""Tracking: all batches of a run that are at the API, until each is closed.

Owns   one task a batch, the watch over the deadline, and what the engine waits for: that something has changed.
Knows  `Follower`, which knows what is to be done with one batch; the clock; the halt.

Invariants
  * One call a batch at a time, `MAX_CALLS` in all; batches are collected `MAX_COLLECTING` at a time.
  * What a task raises (the book's error, a bug) is raised by `changed` and `look_once`; nothing is swallowed.
  * Ending the tracker changes nothing at the API: batches stay, and the next tracker goes on from the ledger.
  * Past the point of no return every batch that is followed and has not ended is canceled, also one that is handed over
    later, and after a restart at once: the moment follows from the run's own times.

A batch that only time or a person can help (stuck, results incomplete) does not stop the others. It becomes the reason
for stopping when no other batch is on its way, and none has come for as long as the longest interval: the engine may
still be packing one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from runner.clock import Clock
from runner.engines import BatchBook, Judge, StopReason
from runner.engines.collect import Desk
from runner.engines.deadline import Deadline
from runner.engines.following import Follower, Manner, Progress
from runner.engines.halt import Halt
from runner.engines.landed import ModelOf, no_other_model
from runner.engines.parallel import Price
from runner.engines.polling import PollIntervals
from runner.engines.retry import RetryPolicy
from runner.events import Observer
from runner.ledger import Batch, CancelCause
from runner.providers import BatchProvider

T = TypeVar("T")

MAX_CALLS = 8
"""Calls of all batches under way; far below the API's requests a minute (rate limits page: 1,000 at least)."""
MAX_COLLECTING = 2
"""One is downloaded while another is read and booked; a third would only take memory."""
LONGEST_SLEEP_S = 30.0
"""A machine may sleep while the tracker does: the wall clock is asked this often whether the deadline has come."""
STEPS_ONCE = 12
"""How many steps `look_once` takes with a batch that has ended and whose results are not whole."""
FAILURES_ONCE = 3
"""How often `look_once` asks again where the API does not answer."""


class Tracker:
    """Follows the batches of a run that are at the API, until each is closed. Use it on one loop; `aclose` it.

    `price` is asked for the model that a reply names, which may be the dated form of the one that was asked for: it is
    for the caller, who knows the job, to price it as that one. `model_of` names the model of a step that asks another
    than the job's, and `one_sample` says that no row has several samples.
    """

    def __init__(
        self,
        provider: BatchProvider,
        book: BatchBook,
        *,
        mark: str,
        clock: Clock,
        observer: Observer,
        halt: Halt,
        price: Price,
        judge: Judge,
        intervals: PollIntervals,
        retry: RetryPolicy,
        deadline: Deadline | None,
        model_of: ModelOf = no_other_model,
        one_sample: bool = True,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.reopened = 0
        """Steps that came back open since this tracker was made."""
        self.reason: StopReason | None = None
        """Why the run has to stop, as far as its batches are concerned."""
        self._clock = clock
        self._halt = halt
        self._intervals = intervals
        self._deadline = deadline
        self._draw = draw
        self._desk = Desk(provider, book, mark, price, judge, observer, model_of, one_sample)
        self._manner = Manner(
            clock,
            intervals,
            retry,
            draw,
            asyncio.Semaphore(MAX_CALLS),
            asyncio.Semaphore(MAX_COLLECTING),
            self._take_progress,
        )
        self._followers: dict[int, Follower] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._verdict: asyncio.Task[None] | None = None
        self._decided = 0
        self._point_is_past = False
        self._listening = False
        self._ended = False
        self._error: BaseException | None = None
        self._news = asyncio.Event()

    # -- what the engine sees --------------------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """Batches that are followed and not closed."""
        return sum(not follower.closed for follower in self._followers.values())

    @property
    def queued_requests(self) -> int:
        """Requests in followed batches that have not ended."""
        return sum(follower.batch.steps for follower in self._followers.values() if follower.at_api)

    @property
    def deadline_passed(self) -> bool:
        """Whether the point of no return has come: nothing more is to be sent in batches."""
        if not self._point_is_past and self._deadline is not None:
            self._point_is_past = self._seconds_left() <= 0
        return self._point_is_past

    def follow(self, batch: Batch) -> None:
        """Follow a batch that has an id, from any of its states on. Following it twice changes nothing."""
        if batch.number in self._followers:
            return
        self._listen()
        follower = Follower(batch, self._desk, self._manner)
        self._followers[batch.number] = follower
        self._drop_verdict()
        if not self._is_over:
            self._start(self._follow(follower))
        self._news.set()

    async def changed(self) -> None:
        """Return when anything above has changed since the last call, or the run is halted. Raises what a task
        raised."""
        self._listen()
        await self._news.wait()
        self._news.clear()
        self._raise_error()

    async def look_once(self) -> None:
        """Look at every followed batch once, now, and collect those that have ended, also those that end while others
        are collected. Returns early when the run is halted. Raises what the book raises."""
        self._listen()
        due = self._open_followers()
        while due and not self._is_over:
            looks = [self._start(self._look(follower)) for follower in due]
            await asyncio.wait(looks)
            self._raise_error()
            due = [
                follower
                for follower, look in zip(due, looks, strict=True)
                if not look.cancelled() and look.result() == "under_way" and not (follower.at_api or follower.closed)
            ]
        self._raise_error()
        blocked = self._blocked()
        if blocked is not None:
            self._stop(blocked)

    async def cancel_all(self, cause: CancelCause) -> None:
        """Cancel at the API every followed batch that has not ended; the cause is durable before the call. Doing it
        again changes nothing. A cancel that does not come through is sent again by the next look."""
        await asyncio.gather(*(follower.cancel(cause) for follower in self._open_followers()))
        self._news.set()

    async def aclose(self) -> None:
        """End the tasks; batches stay at the API."""
        self._ended = True
        if self._listening:
            self._halt.unlisten(self._notice_halt)
        tasks = self._cancel_tasks()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- tasks -----------------------------------------------------------------------------------------------------

    async def _follow(self, follower: Follower) -> None:
        wait_s = 0.0 if self.deadline_passed else follower.first_wait_s(self._draw())
        while not follower.closed:
            await self._pause(follower.kick, wait_s)
            wait_s = await self._advance(follower)

    async def _look(self, follower: Follower) -> Literal["under_way", "done"]:
        """`under_way`: the API answered that it still works on it. Its other task may see it end a moment later."""
        for _ in range(STEPS_ONCE):
            wait_s = await self._advance(follower)
            if follower.closed or follower.blocked is not None or self.reason is not None:
                return "done"
            if follower.at_api and not 0 < follower.failures < FAILURES_ONCE:
                return "under_way"
            await self._clock.sleep(wait_s)
        return "done"

    async def _advance(self, follower: Follower) -> float:
        """One step with a batch, and what follows from it for all."""
        if self.deadline_passed and follower.batch.cause is None:
            await follower.cancel("deadline")
        before = follower.batch.state
        wait_s = await follower.step()
        if follower.batch.state != before:
            self._news.set()
        self._reconsider()
        return wait_s

    async def _pause(self, kick: asyncio.Event, seconds: float) -> None:
        """Wait for that long, or until kicked."""
        if seconds <= 0:
            return
        await self._first_of(self._clock.sleep(seconds), kick.wait())

    async def _first_of(self, *awaitables: Coroutine[Any, Any, Any]) -> None:
        tasks = [asyncio.create_task(awaitable) for awaitable in awaitables]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and self._error is None:
            self._error = task.exception()
        self._news.set()

    # -- the deadline ----------------------------------------------------------------------------------------------

    def _watch_deadline(self) -> None:
        if self._deadline is not None and self._watch is None and not self._point_is_past:
            self._watch = self._start(self._await_point())

    async def _await_point(self) -> None:
        while not self.deadline_passed:
            await self._clock.sleep(min(max(self._seconds_left(), 0.0), LONGEST_SLEEP_S))
        self._news.set()
        await self.cancel_all("deadline")

    def _seconds_left(self) -> float:
        assert self._deadline is not None
        unanswered = max(self.queued_requests, self._deadline.rows - self._decided)
        return (self._deadline.point_of_no_return(unanswered) - self._clock.now()).total_seconds()

    # -- what follows from steps -----------------------------------------------------------------------------------

    def _take_progress(self, progress: Progress) -> None:
        self.reopened += progress.reopened
        self._decided += progress.decided
        if progress.reason is not None:
            self._stop(progress.reason)
        self._news.set()

    def _stop(self, reason: StopReason) -> None:
        if self.reason is None:
            self.reason = reason
            self._news.set()

    def _reconsider(self) -> None:
        """Begin or drop the wait after which a run whose batches are all blocked stops."""
        if self._blocked() is None:
            self._drop_verdict()
        elif self._verdict is None and self.reason is None and not self._is_over:
            self._verdict = self._start(self._stop_if_still_blocked())

    async def _stop_if_still_blocked(self) -> None:
        await self._clock.sleep(self._intervals.longest_s)
        blocked = self._blocked()
        if blocked is not None:
            self._stop(blocked)

    def _drop_verdict(self) -> None:
        if self._verdict is not None:
            self._verdict.cancel()
            self._verdict = None

    def _blocked(self) -> StopReason | None:
        """Why no batch is on its way any more; None while one is, or none is left."""
        blocked = [follower.blocked for follower in self._open_followers()]
        return blocked[0] if blocked and None not in blocked else None

    def _open_followers(self) -> list[Follower]:
        return [follower for follower in self._followers.values() if not follower.closed]

    # -- stopping --------------------------------------------------------------------------------------------------

    @property
    def _is_over(self) -> bool:
        return self._ended or self._halt.reason is not None

    def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            self._halt.listen(self._notice_halt)
        if not self._is_over:
            self._watch_deadline()

    def _notice_halt(self) -> None:
        """No more looks. What has landed is read again when the run goes on."""
        self._cancel_tasks()
        self._news.set()

    def _cancel_tasks(self) -> list[asyncio.Task[Any]]:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
