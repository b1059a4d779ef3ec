"""One batch at the API, from whatever state it is in until it is closed: one step at a time.

Owns   what is done next with a batch: a look, a cancel, an attempt at collecting, giving up results that are gone.
Knows  the provider, the book, the clock, the reading of looks (`polling`) and `Collection`. It starts no task and never
       sleeps: `step` says how long to wait, and whoever follows the batch does.

Every move is durable before it is told. The cause of a cancel is durable before the cancel is sent, so a crash between
the two leaves a batch that is canceled again by whoever looks at it next, never one whose cause nobody knows.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from runner.clock import Clock
from runner.engines import StopReason
from runner.engines.collect import Attempted, Collection, Desk, name_of
from runner.engines.deadline import CANCEL_S
from runner.engines.halt import stop_reason
from runner.engines.polling import NOT_FOUND, SHORTEST_S, Look, PollIntervals, is_past_retention, read_look
from runner.engines.retry import RetryPolicy
from runner.events import BatchSettled, Warned
from runner.ledger import Batch, BatchFacts, BatchState, BatchStep, CancelCause
from runner.providers import RemoteBatch
from runner.types import Failure, Outcome, RowStatus, Step, Usage

ABSENT_LOOKS = 5
"""So many times in a row the API must have no results, past the 29 days, before they are taken for gone: neither this
machine's clock nor a 404 proves it alone."""
BLOCKED_S = 3600.0
"""Between further attempts at results that stay incomplete, while other batches keep the run going."""
LOST_PAGE = 500
"""Steps whose results are gone, recorded at a time."""


class Progress(Struct, frozen=True):
    """What a step changed for the run."""

    reopened: int = 0
    decided: int = 0
    reason: StopReason | None = None


class Manner(Struct, frozen=True):
    """How batches are followed: by which clock, at which intervals; `draw` is uniform in [0, 1). At most as many calls
    are under way as `calls` admits, and as many batches being collected as `collecting` does."""

    clock: Clock
    intervals: PollIntervals
    retry: RetryPolicy
    draw: Callable[[], float]
    calls: asyncio.Semaphore
    collecting: asyncio.Semaphore
    progress: Callable[[Progress], None]


class Follower:
    """One batch that is followed. `step` and `cancel` may be called at the same time: they take turns."""

    def __init__(self, batch: Batch, desk: Desk, manner: Manner) -> None:
        self.batch = batch
        self.blocked: StopReason | None = None
        """Why nothing but time, or a person, can help; None while it is on its way."""
        self.kick = asyncio.Event()
        """Set when there is something to do sooner than was said."""
        self.failures = 0
        """Looks and downloads in a row that came to nothing."""
        self._desk = desk
        self._manner = manner
        self._turn = asyncio.Lock()
        self._looks = 0
        self._canceled_at: float | None = None
        self._must_look = batch.tallies is None
        self._collection = Collection(desk)
        self._told: set[str] = set()

    @property
    def closed(self) -> bool:
        return self.batch.state == "closed"

    @property
    def at_api(self) -> bool:
        """Whether the API may still be working on it."""
        return not self._has_ended()

    def first_wait_s(self, draw: float) -> float:
        """A batch that has just been created is not looked at at once; one from an earlier sitting is."""
        first_s = self._manner.intervals.first_s
        fresh = self.batch.state == "in_progress" and (self._now() - self.batch.created_at).total_seconds() < 60
        return self._manner.intervals.after(1, draw) if fresh and first_s > 0 else 0.0

    async def step(self) -> float:
        """Do what is due, and say after how many seconds there will be more. Raises what the book raises."""
        async with self._turn:
            self.kick.clear()
            match self.batch.state:
                case "closed":
                    return 0.0
                case "archived":
                    await self._give_up()
                    return 0.0
                case "ended" if not self._must_look:
                    async with self._manner.collecting:
                        return await self._collect()
                case _:
                    return await self._look()

    async def cancel(self, cause: CancelCause) -> None:
        """Ask the API to cancel the batch, unless it has ended. The user's cause replaces any other; else the first
        one stays."""
        if self._has_ended():  # and may be in the middle of being collected, which nobody need wait for
            return
        async with self._turn:
            if self._has_ended():
                return
            if self.batch.cause is None or (cause == "user" and self.batch.cause != "user"):
                self.batch = await self._desk.book.mark_batch(
                    self.batch.number, self.batch.state, BatchFacts(cause=cause)
                )
            if self.batch.state == "canceling":  # by an earlier call, which the API has heard
                return
            await self._send_cancel()
            self._looks = 0
        self.kick.set()

    # -- looking ---------------------------------------------------------------------------------------------------

    async def _look(self) -> float:
        async with self._manner.calls:
            answer = await self._desk.provider.retrieve_batch(self._batch_id)
        look = read_look(self.batch, answer, self._now())
        if self.batch.state == "ended":
            return await self._look_at_ended(look)
        return await self._take(look)

    async def _take(self, look: Look) -> float:
        """Follow what a look at a batch that was under way has found."""
        match look.meaning:
            case "refused" | "failed":
                return self._failed(look.failure)
            case "archived" | "ended":
                self._pass()
                self._must_look = False
                self.blocked = None
                await self._move(look.state, look.remote)
                return 0.0
            case "unseen":
                self.failures = 0
                if self.batch.state != "unseen":
                    await self._move("unseen", None)
                await self._tell("batch-unseen", "the API does not know it (yet); it is looked for again and again")
                return self._next_look_s()
            case "stuck" if not self._is_being_canceled():
                self._pass()
                await self._block_as_stuck(look)
                return self._manner.intervals.longest_s
            case "under_way" | "stuck":
                self._pass()
                self.blocked = None
                await self._follow_on(look)
                return self._next_look_s()

    async def _follow_on(self, look: Look) -> None:
        remote, state = look.remote, look.state
        if (
            look.meaning == "stuck"
            or self.batch.state == "canceling"
            or (state == "in_progress" and self.batch.state == "in_progress")
        ):
            state = self.batch.state
        if state != self.batch.state or self.batch.began_at is None or self.batch.expires_at is None:
            await self._move(state, remote)
        if self.batch.cause is not None and remote is not None and remote.status == "in_progress":
            await self._send_cancel()

    def _is_being_canceled(self) -> bool:
        """Whether a cancel was sent so lately that even an overdue batch may be expected to end."""
        return self._canceled_at is not None and self._manner.clock.monotonic() - self._canceled_at < CANCEL_S

    async def _block_as_stuck(self, look: Look) -> None:
        if self.batch.state != "stuck":
            await self._move("stuck", look.remote)
        what = "it should have ended two hours ago and has not; its rows stay with it"
        await self._tell("batch-stuck", what)
        self.blocked = StopReason(
            "stuck",
            f"{name_of(self.batch)}: {what}",
            "`runner resume` looks again; `runner cancel` cancels it and keeps what is finished; "
            "`runner resume --resend` sends its rows again, and may pay for them twice",
        )
        if self.batch.cause is not None and look.remote is not None and look.remote.status == "in_progress":
            await self._send_cancel()

    async def _look_at_ended(self, look: Look) -> float:
        """Look again at a batch that has ended: for its tallies, and whether its results are gone."""
        if look.meaning == "archived":
            await self._move("archived", look.remote)
            return 0.0
        if look.meaning == "refused":
            return self._failed(look.failure)
        if look.meaning == "ended" and look.remote is not None:
            self._must_look = False
            await self._move("ended", look.remote)
            return 0.0
        if self.batch.tallies is not None:
            self._must_look = False  # it was seen to have ended; what the API forgets of it does not matter
            return self._backoff_s(look.failure)
        return self._failed(look.failure)

    async def _send_cancel(self) -> None:
        async with self._manner.calls:
            answer = await self._desk.provider.cancel_batch(self._batch_id)
        if isinstance(answer, Failure):
            # The next look finds it in progress with a cause, and cancels it then.
            if answer.scope == "job":
                self._manner.progress(Progress(reason=stop_reason(answer)))
            return
        if self._canceled_at is None:
            self._canceled_at = self._manner.clock.monotonic()
        look = read_look(self.batch, answer, self._now())
        if look.meaning in ("ended", "archived"):
            self._must_look = False
            await self._move(look.state, answer)
        elif answer.status == "canceling" and self.batch.state != "canceling":
            await self._move("canceling", answer)

    # -- collecting ------------------------------------------------------------------------------------------------

    async def _collect(self) -> float:
        attempted = await self._collection.attempt(self.batch)
        self.batch = attempted.batch
        self._manner.progress(_progress(attempted))
        match attempted.verdict:
            case "closed":
                self.blocked = None
                return 0.0
            case "incomplete":
                self.blocked = attempted.reason
                return BLOCKED_S
            case "again":
                return self._fetch_again_s()
            case "recount":
                self._must_look = True
                return self._fetch_again_s()
            case "absent":
                return await self._await_results(attempted.failure)
            case "failed" | "refused":
                return self._failed(attempted.failure)

    async def _await_results(self, failure: Failure | None) -> float:
        """The API says that the batch has ended and has no results: either not yet, or not any more."""
        await self._tell(
            "results-unseen", "it has ended, but the API has no results of it (yet); they are asked for again"
        )
        self._must_look = True
        wait_s = self._backoff_s(failure)
        if self.failures >= ABSENT_LOOKS and is_past_retention(self.batch, self._now()):
            await self._move("archived", None)
            return 0.0
        return wait_s

    async def _give_up(self) -> None:
        """Record every step without an outcome as lost with its results: it may have been billed, so it is sent again
        on the user's word only."""
        attempted = await self._collection.take_up_landed(self.batch)
        if attempted is not None:
            self._manner.progress(_progress(attempted))
        await self._tell("batch-archived", "its results are kept for 29 days and are gone; its rows end `results_lost`")
        failure = Failure(
            "results_lost",
            f"the results of batch {self._batch_id} are no longer kept by the API",
            may_be_billed=True,
        )
        after: Step | None = None
        while steps := await self._desk.book.batch_steps(self.batch.number, after, LOST_PAGE):
            after = steps[-1].step
            ended_at = self._now()
            outcomes = [self._lost(waiting, failure, ended_at) for waiting in steps]
            decisions = await asyncio.gather(*(self._desk.book.record(outcome) for outcome in outcomes))
            statuses: Counter[RowStatus] = Counter(decision.status for decision in decisions)
            self._desk.observer.notify(BatchSettled(self.batch.number, dict(statuses), Usage(), 0))
            decided = statuses.total() - statuses["open"]
            self._manner.progress(Progress(reopened=statuses["open"], decided=decided))
        await self._move("closed", None)

    def _lost(self, waiting: BatchStep, failure: Failure, ended_at: datetime) -> Outcome:
        return Outcome(
            step=waiting.step,
            attempt=waiting.attempt,
            end="lost",
            mode="batch",
            request_hash=waiting.request_hash,
            started_at=waiting.started_at,
            ended_at=ended_at,
            failure=failure,
            batch_id=self.batch.batch_id,
            tries=waiting.tries,
        )

    # -- the small parts -------------------------------------------------------------------------------------------

    @property
    def _batch_id(self) -> str:
        batch_id = self.batch.batch_id
        assert batch_id is not None, "only a batch with an id is followed"
        return batch_id

    def _has_ended(self) -> bool:
        return self.batch.state in ("ended", "archived", "closed")

    def _now(self) -> datetime:
        return self._manner.clock.now()

    async def _move(self, state: BatchState, remote: RemoteBatch | None) -> None:
        self.batch = await self._desk.move(self.batch, state, _facts(state, remote))

    async def _tell(self, code: str, what: str) -> None:
        if code not in self._told:
            self._told.add(code)
            self.batch = await self._desk.tell(self.batch, code, what)

    def _warn(self, code: str, what: str) -> None:
        """Tell once of what is no property of the batch."""
        if code not in self._told:
            self._told.add(code)
            self._desk.observer.notify(Warned(code, f"{name_of(self.batch)}: {what}"))

    def _pass(self) -> None:
        self.failures = 0

    def _next_look_s(self) -> float:
        self._looks += 1
        return self._manner.intervals.after(self._looks, self._manner.draw())

    def _failed(self, failure: Failure | None) -> float:
        """A call that came to nothing: tell what cannot pass by itself, and wait longer each time."""
        if failure is not None and (failure.scope == "job" or failure.http_status in (401, 403)):
            self._manner.progress(Progress(reason=stop_reason(failure)))
        elif failure is not None and not failure.retryable and failure.http_status not in NOT_FOUND:
            self._warn("batch-look", f"the API refuses to tell of it ({failure.message}); it is asked again")
        return self._backoff_s(failure)

    def _fetch_again_s(self) -> float:
        self.failures += 1
        return max(SHORTEST_S, self._manner.retry.delay_s(self.failures, None, self._manner.draw()))

    def _backoff_s(self, failure: Failure | None) -> float:
        self.failures += 1
        retry_after_s = failure.retry_after_s if failure is not None else None
        return self._manner.intervals.backoff(self.failures, retry_after_s, self._manner.draw())


def _facts(state: BatchState, remote: RemoteBatch | None) -> BatchFacts | None:
    if remote is None:
        return None
    ended = state in ("ended", "archived")
    return BatchFacts(
        began_at=remote.created_at,
        expires_at=remote.expires_at,
        ended_at=remote.ended_at if ended else None,
        tallies=dict(remote.tallies) if ended else None,
    )


def _progress(attempted: Attempted) -> Progress:
    reason = attempted.reason if attempted.verdict != "incomplete" else None
    return Progress(attempted.reopened, attempted.decided, reason)
