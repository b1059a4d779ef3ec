"""Batch mode's part of a pass: its engine and its tracker, made from a run, and what a deadline makes of both.

Owns   which settings and facts of a run become which arguments; the note that the point of no return has passed.
Knows  the engines of batch mode, the ledger and the run. What is sent when is theirs.

A run that has passed its point of no return stays past it (`past_deadline` in the ledger's meta): rows that are
answered afterwards would move it back, and the run would begin with batches again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeGuard

from msgspec import Struct
from msgspec.structs import replace

from runner.clock import to_rfc3339
from runner.engines import BatchBook, Feed, StopReason
from runner.engines.batch import BatchEngine
from runner.engines.deadline import Deadline, requests_per_batch
from runner.engines.halt import Halt
from runner.engines.outage import Outage
from runner.engines.packing import BatchSizes
from runner.engines.parallel import Price
from runner.engines.polling import PollIntervals
from runner.engines.tracking import Tracker
from runner.errors import SetupError
from runner.events import Warned
from runner.execution.in_time import assumed_row_rate
from runner.execution.under_way import Advance, Drained
from runner.planning import mode
from runner.providers import BatchProvider, Provider
from runner.types import Mode, Request, Usage

STAGING = "packed"
"""The folder, in the run's, where the bodies of batches wait to be sent."""


class BatchPlan(Struct, frozen=True):
    """What one pass needs of the ledger, read before the writer's thread has it."""

    mark: str
    """The random mark that every custom id of the run begins with."""
    sizes: BatchSizes
    deadline: Deadline | None
    primes: bool


def plan_of(run: Advance, *, with_deadline: bool = True) -> BatchPlan:
    """Read what a pass in batches, or following them, needs."""
    deadline, most = deadline_of(run) if with_deadline else None, run.settings.batch_max_requests
    if deadline is not None:
        most = min(most, requests_per_batch(deadline, run.ledger.counts().asking))
    sizes = BatchSizes(
        max_requests=most,
        max_bytes=run.settings.batch_max_bytes,
        queue_requests=run.settings.batch_queue_requests,
    )
    meta = run.ledger.meta
    return BatchPlan(str(meta["mark"]), sizes, deadline, bool(meta.get("priming")))


async def drain(
    run: Advance,
    plan: BatchPlan,
    provider: BatchProvider,
    feed: Feed,
    book: BatchBook,
    halt: Halt,
    outage: Outage,
    *,
    detach: bool,
) -> Drained:
    """One pass in batches; with `detach` it looks once at what is at the API, and leaves it there."""
    async with tracking(run, plan, provider, book, halt, outage) as tracker:
        engine = BatchEngine(
            provider,
            feed,
            book,
            tracker,
            mark=plan.mark,
            sizes=plan.sizes,
            staging=run.folder / STAGING,
            clock=run.clock,
            observer=run.observer,
            halt=halt,
            prime=_always if plan.primes else None,
            known_ids=run.known_ids,
            detach=detach,
        )
        stopped_by = told_honestly(await engine.drain(), outage)
        return Drained(stopped_by, tracker.deadline_passed, engine.held)


@asynccontextmanager
async def tracking(
    run: Advance, plan: BatchPlan, provider: BatchProvider, book: BatchBook, halt: Halt, outage: Outage
) -> AsyncIterator[Tracker]:
    """What follows the run's batches at the API; ended with the block, while they stay there.

    As long as some are there an outage stops nothing that was answered before: the API goes on working at them, and
    they are asked after for ever.
    """
    tracker = Tracker(
        provider,
        book,
        mark=plan.mark,
        clock=run.clock,
        observer=run.observer,
        halt=halt,
        price=_price(run),
        judge=run.judge,
        intervals=PollIntervals(run.settings.batch_poll_first_s, run.settings.batch_poll_longest_s),
        retry=run.retry,
        deadline=plan.deadline,
        model_of=run.asking.other_model_of,
        one_sample=run.samples == 1,
    )
    try:
        with outage.waiting_while(lambda: tracker.open > 0):
            yield tracker
    finally:
        await tracker.aclose()


def told_honestly(stopped_by: StopReason | None, outage: Outage) -> StopReason | None:
    """Why a run stops: that work waits at the API is not known where nothing there has answered."""
    if stopped_by is not None and stopped_by.kind == "waiting" and outage.is_deaf:
        return outage.reason()
    return stopped_by


def batches_of(provider: Provider) -> BatchProvider:
    """The provider as one of batches. Raises SetupError where it has none."""
    if not _has_batches(provider):
        raise SetupError(
            "the run is in batch mode, which this API does not have",
            code="no-batches",
            hint="set the address that the run began with",
        )
    return provider


def _has_batches(provider: Provider) -> TypeGuard[BatchProvider]:
    return provider.capabilities.batches


def can_fall_back(run: Advance) -> bool:
    """Whether what a batch leaves over could be sent in parallel."""
    return mode.can_fall_back(run.job)


def _always(_request: Request) -> bool:
    return True


def _price(run: Advance) -> Price:
    """A reply is priced as the model that was asked for, as in parallel mode: the reply may name it by its dated id."""
    asked, others, cost = run.compiled.model, frozenset(run.asking.models), run.prices.cost

    def price(named: str, usage: Usage, mode: Mode) -> int | None:
        return cost(named if named in others else asked, usage, mode)

    return price


# -- the deadline ------------------------------------------------------------------------------------------------------


def is_too_late(run: Advance) -> bool:
    """Whether the point of no return has passed: what is open goes out in parallel. Noted, so that it stays so."""
    deadline = deadline_of(run)
    if deadline is None:
        return False
    if run.ledger.meta.get("past_deadline") is None:
        if run.clock.now() < deadline.point_of_no_return(run.ledger.counts().open_asking):
            return False
        note_too_late(run)
    return True


def note_too_late(run: Advance) -> None:
    if run.ledger.meta.get("past_deadline") is None:
        run.ledger.set_meta({"past_deadline": to_rfc3339(run.clock.now())})
        message = "the deadline leaves no more time for batches: what they have not answered goes out in parallel"
        run.observer.notify(Warned("past-deadline", f"{message}, at full price"))


def deadline_of(run: Advance) -> Deadline | None:
    """The run's deadline; one whose point of no return was passed lies wholly in the past."""
    at = run.deadline_at
    if at is None or not can_fall_back(run):
        return None
    rate, open_rows = assumed_row_rate(run.job), run.ledger.counts().open_asking
    deadline = Deadline(at, run.created_at, rate, open_rows)
    return deadline if run.ledger.meta.get("past_deadline") is None else replace(deadline, at=run.created_at)
