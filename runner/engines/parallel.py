"""Parallel mode: many single requests at once, each leased before it leaves and durable before it counts.

Owns   the life of a step between the feed and the book: taken, leased, sent, recorded, and sent again where the book
       leaves it open. The parts it is made of decide: `backlog` what is next, `order` who goes first, `limits` how
       many at once, `retry` when again, `halt` and `outage` whether at all.
Knows  contracts only: a provider, a feed, a book, a clock, an observer.

Invariants
  * A request leaves only after its lease is durable; leased and not recorded are, in the book, at most
    2 × max_concurrency at every moment, so that a killed process has at most two paid requests a slot in doubt. What
    the book has been handed it records before, or with, the leases that it is asked for afterwards: so those count as
    recorded when room for leases is looked for (`_lease_room`). At most max_concurrency are in flight.
  * A reply or failure of the provider is recorded exactly once. An exception is a bug, never a row's failure: nothing
    more is admitted, what is in flight is awaited and recorded, and then the exception is raised.
  * A step that an outcome opens is told to the feed, which brings it soon; it is leased like any other.
  * Leases of steps that did not leave are given back. Those of requests that were dropped in flight stay.
  * Memory does not grow with the rows: what is not leased waits in the feed.

One coroutine admits (`_admit`). A request leaves in a task (`_slot`), which goes on with the next one as long as one
may leave: in a steady run there are as many tasks as slots, not as rows. Outcomes of one turn of the loop are recorded
together, in a task of their own, so that a slot need not wait for the disk. Everything runs on one loop, so nothing is
locked.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec.structs import replace

from runner.clock import Clock
from runner.engines import Book, Decision, Feed, Prepared, StopReason
from runner.engines.backlog import Backlog
from runner.engines.halt import Halt, stop_reason
from runner.engines.limits import Limits, Permit
from runner.engines.order import Order
from runner.engines.outage import Outage
from runner.engines.retry import RetryPolicy, counts_as_try
from runner.events import CoolingDown, HeldBack, Observer, StepEnded, StepSent, Stopping, Warned
from runner.providers import Provider, Sent
from runner.types import Failure, Mode, Outcome, Request, Usage

Price = Callable[[str, Usage, Mode], int | None]
"""What a usage of a model costs in pico-dollars; None where the price is unknown."""

_TELL_HELD_S = 1.0

MOST_HELD_BYTES = 256 * 2**20
"""Of the bodies of requests that are at hand or in flight. No more are taken from the feed until some have ended: 200
requests with ten photos each would be several gigabytes. A window of the feed comes on top."""

OUT_OF_BUDGET = StopReason(
    "budget",
    "the cost cap does not admit the next request",
    "raise `limits.max_cost_usd` in the job and run it again (`runner resume` keeps the cap that the run has)",
)

_NO_WARM_UP = "the request that was to fill the cache before the rows failed ({}): the first row fills it"

_Departure = tuple[Prepared, Permit, bool]
"""A step that may leave, its permit, and whether others wait for it."""
_Ended = tuple[Prepared, Outcome]

_NO_USAGE = Usage()


class ParallelEngine:
    """Drains a feed once. `draw` is uniform in [0, 1), for the jitter; `least_prefix_bytes` is the text below which a
    prefix is surely not cached; `warm_up` goes before everything else, where there is something to send."""

    def __init__(
        self,
        provider: Provider,
        feed: Feed,
        book: Book,
        *,
        clock: Clock,
        observer: Observer,
        halt: Halt,
        retry: RetryPolicy,
        max_concurrency: int,
        price: Price,
        limits: Limits | None = None,
        outage: Outage | None = None,
        least_prefix_bytes: float = 0.0,
        warm_up: Prepared | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._provider = provider
        self._feed = feed
        self._book = book
        self._clock = clock
        self._observer = observer
        self._halt = halt
        self._retry = retry
        self._max_concurrency = max_concurrency
        self._price = price
        self._draw = draw
        self._backlog = Backlog(window=2 * max_concurrency)
        self._warm_up = warm_up
        self._limits = limits or Limits(max_concurrency, clock)
        self._outage = outage or Outage(clock, observer)
        self._order = Order(clock, least_prefix_bytes)
        self._ready: deque[Prepared] = deque()
        """Leased, and free to leave as soon as the limits allow."""
        self._unfinished = 0
        """Leased, and neither recorded nor given back."""
        self._handed_over = 0
        """Those among them whose outcome the book has: what it leases from here on comes after."""
        self._settled = 0
        self._cap_blocks = False
        """The cap refused the next step, and nothing has been settled since."""
        self._feed_is_dry = False
        self._held_bytes = 0
        self._taking: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._flight: set[asyncio.Task[None]] = set()
        """The slots that are sending."""
        self._ended: list[_Ended] = []
        """What has ended in this turn of the loop, and is about to be recorded."""
        self._recording: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at: float | None = None
        self._held: tuple[object, ...] | None = None
        self._held_at = float("-inf")
        self._wake = asyncio.Event()
        self._reason: StopReason | None = None
        self._error: BaseException | None = None
        self._book_is_lost = False

    async def drain(self) -> StopReason | None:
        """Send until nothing is left (None) or the run has to stop (the reason). Raises what a bug or the book
        raised."""
        self._loop = asyncio.get_running_loop()
        self._halt.listen(self._notice_halt)
        try:
            await self._admit()
            await self._land()
            await self._give_back()
        finally:
            self._halt.unlisten(self._notice_halt)
            self._limits.close()
            await self._abandon()
        if self._error is not None:
            raise self._error
        return self._reason

    # -- admitting -------------------------------------------------------------------------------------------------

    async def _admit(self) -> None:
        """Keep a window of leased steps ahead of the requests, until all is done or the run stops."""
        while not self._stopping:
            self._wake.clear()
            self._backlog.promote(self._clock.monotonic())
            self._free(self._order.late())
            self._dispatch()
            room = self._lease_room()
            self._take_more(leaving=room)
            if room > 0:
                await self._lease(room)
                continue
            if self._is_drained():
                if await self._feed.peek_is_empty():
                    return
                continue  # it has more by now, which has to be taken: nothing else would wake this up
            self._set_alarm()
            self._tell_held()
            await self._wake.wait()

    def _tell_held(self) -> None:
        """Tell what holds requests back, where that has changed; once a second at most."""
        now = self._clock.monotonic()
        if now < self._held_at + _TELL_HELD_S:
            return
        held = self._limits.held if self._ready else None
        if held != self._held:
            self._held, self._held_at = held, now
            self._observer.notify(HeldBack(*held) if held is not None else HeldBack(None))

    def _lease_room(self) -> int:
        """How many steps to lease now; 0 while the window ahead is still half full, so that leases come in groups.

        Those that wait for a leader are not ahead: while they wait, those behind them may go.
        """
        ahead = len(self._ready)
        if self._cap_blocks or not self._backlog.pending or ahead > self._max_concurrency // 2:
            return 0
        return min(self._max_concurrency - ahead, 2 * self._max_concurrency - self._unfinished + self._handed_over)

    async def _lease(self, room: int) -> None:
        group = self._backlog.first(room)
        settled_before = self._settled
        admitted = await self._book.lease(group)
        self._backlog.remove_first(admitted)
        self._ready.extend(group[:admitted])
        self._unfinished += admitted
        if admitted == len(group) or settled_before != self._settled:
            return
        self._cap_blocks = True
        if self._unfinished == 0:
            self._stop(OUT_OF_BUDGET)

    def _is_drained(self) -> bool:
        """Whether nothing is at hand any more; the feed may still have something."""
        if self._unfinished or not self._backlog.is_empty or not self._feed_is_dry:
            return False
        self._feed_is_dry = False  # what was recorded since may have opened further steps
        return True

    def _take_more(self, *, leaving: int) -> None:
        """Have the next lease's steps at hand when its time comes, `leaving` being those that this one takes."""
        left = max(0, self._backlog.pending - leaving)
        enough = left > self._max_concurrency // 2 or self._backlog.is_full
        enough = enough or self._held_bytes >= MOST_HELD_BYTES
        if self._taking is None and not self._feed_is_dry and not enough:
            self._taking = self._loop.create_task(self._take(self._max_concurrency - left))
            self._taking.add_done_callback(self._taken)

    async def _take(self, limit: int) -> None:
        fresh = await self._feed.take(limit)
        self._feed_is_dry = not fresh
        if fresh and self._warm_up is not None:
            # Not before: where every row has an earlier answer there is nothing to warm up for.
            self._hold([self._warm_up])
            self._backlog.add([self._warm_up])
            self._warm_up = None
        self._hold(fresh)
        self._backlog.add(fresh)

    def _hold(self, steps: Sequence[Prepared]) -> None:
        self._held_bytes += sum([len(step.request.body) for step in steps])

    def _taken(self, task: asyncio.Task[None]) -> None:
        self._taking = None
        self._note_error(task)

    def _set_alarm(self) -> None:
        """Wake up for the next retry, for a leader that takes too long and, where something is ready to leave, for the
        next permit."""
        permit_at = self._limits.resume_at if self._ready else None
        times = [at for at in (self._backlog.next_due, self._order.look_at, permit_at) if at is not None]
        at = min(times, default=None)
        if at == self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = None if at is None else self._loop.create_task(self._ring(at))

    async def _ring(self, at: float) -> None:
        await self._clock.sleep(max(0.0, at - self._clock.monotonic()))
        self._alarm_at = None
        self._wake.set()

    # -- sending ---------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Let leased steps leave, as many as limits and order allow."""
        while (departure := self._next()) is not None:
            task = self._loop.create_task(self._slot(departure))
            self._flight.add(task)
            task.add_done_callback(self._landed)
        if self._ready:
            permit_at = self._limits.resume_at
            if permit_at is not None and (self._alarm_at is None or permit_at < self._alarm_at):
                self._set_alarm()

    def _next(self) -> _Departure | None:
        """The next step that may leave now, counted as having left."""
        while self._ready and self._limits.has_room and not self._stopping:
            prepared = self._ready.popleft()
            place = self._order.place(prepared)
            if place != "wait":
                return prepared, self._limits.enter(prepared.request), place == "lead"
        return None

    async def _slot(self, departure: _Departure | None) -> None:
        """One request after the other."""
        while departure is not None:
            await self._attempt(*departure)
            departure = self._next()
            if self._ready:
                self._dispatch()  # what a grown width or a freed prefix admits besides

    async def _attempt(self, prepared: Prepared, permit: Permit, leads: bool) -> None:
        """One request, from its departure until its outcome is handed over."""
        request = prepared.request
        started_at = self._clock.now()
        self._observer.notify(StepSent(prepared.step, prepared.attempts + 1, self._limits.in_flight))
        try:
            sent = await (self._led(request) if leads else self._provider.send(request))
        finally:
            self._limits.leave()
        if sent.reply is not None:
            self._order.used(request, permit.sent_at)
        self._learn(sent, permit)
        self._hand_over(prepared, self._outcome(prepared, sent, started_at))

    async def _led(self, request: Request) -> Sent:
        """A request that others wait for: they go when its reply has begun, and one of them leads where it fails."""
        begun = False

        def begin() -> None:
            nonlocal begun
            begun = True
            self._free(self._order.begun(request))
            self._dispatch()

        warms_up = request.max_tokens == 0  # so its reply has begun when it is there, and the API refuses to stream it
        sent = await self._provider.send(request, on_begin=None if warms_up else begin)
        if not begun:
            self._free(self._order.begun(request) if sent.reply else self._order.failed(request))
        if warms_up and sent.failure is not None and sent.failure.scope == "row":
            self._observer.notify(Warned("no-warm-up", _NO_WARM_UP.format(sent.failure.kind)))
        return sent

    def _free(self, steps: Sequence[Prepared]) -> None:
        """Steps that waited for a leader may leave, before those that came after them."""
        self._ready.extendleft(reversed(steps))

    def _learn(self, sent: Sent, permit: Permit) -> None:
        failure = sent.failure
        if failure is None:
            self._outage.heard = True
        else:
            self._heed(failure)
        pause_s = self._limits.learn(permit, sent)
        if pause_s is not None and failure is not None:
            self._observer.notify(CoolingDown(pause_s, failure.kind))

    def _heed(self, failure: Failure) -> None:
        """What a failure says of all other requests."""
        if failure.scope == "job":
            self._stop(stop_reason(failure))
        over = self._outage.failed(failure, self._limits.in_flight)
        if over is not None:
            self._stop(over)
        elif self._outage.is_lost:
            self._limits.probe()

    def _outcome(self, prepared: Prepared, sent: Sent, started_at: datetime) -> Outcome:
        reply = sent.reply
        usage = _NO_USAGE if reply is None else reply.usage
        return Outcome(
            prepared.step,
            prepared.attempts + 1,
            "errored" if reply is None else "succeeded",
            "parallel",
            prepared.request.hash,
            started_at,
            self._clock.now(),
            sent.body,
            reply,
            sent.failure,
            usage,
            0 if reply is None else self._price(prepared.request.model, usage, "parallel"),
            sent.request_id,
            None,
            False,
            prepared.tries + counts_as_try(sent.failure, prepared.attempts),
        )

    def _hand_over(self, prepared: Prepared, outcome: Outcome) -> None:
        """Record it together with what else ends in this turn of the loop."""
        if not self._ended:
            self._loop.call_soon(self._record)
        self._ended.append((prepared, outcome))

    def _record(self) -> None:
        ended, self._ended = self._ended, []
        if ended:
            task = self._loop.create_task(self._recorded(ended))
            self._recording.add(task)
            task.add_done_callback(self._landed)
            self._wake.set()  # behind that task: the book gets the leases that follow together with the outcomes

    async def _recorded(self, ended: Sequence[_Ended]) -> None:
        """Until they are durable and decided."""
        self._handed_over += len(ended)
        try:
            decisions = await self._book.record_all([outcome for _, outcome in ended])
        except Exception:
            self._book_is_lost = True
            raise
        self._handed_over -= len(ended)
        for (prepared, outcome), decision in zip(ended, decisions, strict=True):
            self._settle(prepared, outcome, decision)

    def _settle(self, prepared: Prepared, outcome: Outcome, decision: Decision) -> None:
        self._held_bytes -= len(prepared.request.body)
        self._unfinished -= 1
        self._settled += 1
        self._cap_blocks = False
        self._wake.set()
        self._observer.notify(
            StepEnded(
                outcome.step,
                outcome.attempt,
                decision.status,
                decision.failure,
                outcome.usage,
                outcome.cost_pico,
                outcome.reused,
                self._limits.in_flight,
            )
        )
        if decision.next_step is not None:
            self._feed.follow_up(decision.next_step)
            self._feed_is_dry = False
            return
        failure = outcome.failure
        if (
            decision.status == "open"
            and failure is not None
            and failure.scope == "row"
            and self._retry.allows(failure, outcome.tries)
        ):
            delay_s = self._retry.delay_s(outcome.tries, failure.retry_after_s, self._draw())
            self._hold([prepared])
            again = replace(prepared, attempts=outcome.attempt, tries=outcome.tries)
            self._backlog.postpone(again, self._clock.monotonic() + delay_s)

    # -- stopping --------------------------------------------------------------------------------------------------

    @property
    def _stopping(self) -> bool:
        return self._reason is not None or self._error is not None

    def _stop(self, reason: StopReason) -> None:
        if not self._stopping:
            self._reason = reason
            self._observer.notify(Stopping(reason.kind, reason.message))
        self._wake.set()

    def _notice_halt(self) -> None:
        assert self._halt.reason is not None, "a halt is told with its reason"
        self._stop(self._halt.reason)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flight.discard(task)
        self._recording.discard(task)
        self._note_error(task)
        self._wake.set()

    def _note_error(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and self._error is None:
            self._error = task.exception()
        self._wake.set()

    async def _land(self) -> None:
        """Await what is in flight; let go of it when told to drop it, or when nothing can be recorded any more. What
        has ended is recorded in any case."""
        dropped = False
        while self._flight or self._ended or self._recording:
            if not dropped and (self._halt.dropped or self._book_is_lost):
                dropped = True
                for task in self._flight:
                    task.cancel()
            self._wake.clear()
            await self._wake.wait()

    async def _give_back(self) -> None:
        """Release the leases of steps that did not leave."""
        steps = [prepared.step for prepared in (*self._ready, *self._order.clear())]
        if steps and not self._book_is_lost:
            await self._book.release(steps)

    async def _abandon(self) -> None:
        self._record()
        tasks = [task for task in (*self._flight, self._taking, self._alarm) if task is not None]
        for task in tasks:
            task.cancel()
        # What has ended was paid for; where the book is lost this fails at once.
        await asyncio.gather(*tasks, *self._recording, return_exceptions=True)
