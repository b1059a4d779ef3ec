"""Advancing one run: from open steps to delivered records.

Owns   the order of things while a run is under way: threads and engine started and ended, signals, what stops it,
       delivery.
Knows  the parts by their contracts. Everything here may be cut off at any line; the ledger is what the next attempt
       reads.

    open ─▶ rendered (feeder) ─▶ leased and sent (engine) ─▶ durable and ruled on (writer) ─▶ records (delivery)
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from runner.catalog.models import ModelFacts
from runner.catalog.prices import Prices
from runner.clock import Clock
from runner.engines import StopReason
from runner.engines.halt import INTERRUPTED, Halt
from runner.engines.parallel import ParallelEngine
from runner.engines.retry import RetryPolicy
from runner.errors import LedgerError, Problem
from runner.events import Observer, Observers, RunEnded, RunStarted, StepEnded, Warned
from runner.execution.delivery import Target, deliver
from runner.execution.earlier import Earlier
from runner.execution.enrolment import no_rows
from runner.execution.feeder import Feeder
from runner.execution.judging import make_judge, make_rule
from runner.execution.log import RunLog
from runner.execution.outputs import note_in
from runner.execution.records import RecordMaker
from runner.execution.summary import SIGNALLED, Summary, stop_note, summarise, tolerance_note
from runner.execution.writer import Writer
from runner.ledger import Ledger, Rule, Ruling
from runner.planning.estimate import tokens_in
from runner.planning.requests import CompiledJob
from runner.providers import Provider
from runner.replies.schema import Check
from runner.spec.job import Job
from runner.spec.values import Share
from runner.types import Mode, Outcome, Request, Usage

if sys.platform == "win32":
    _new_event_loop = asyncio.new_event_loop
else:
    from uvloop import new_event_loop as _new_event_loop

DRAIN_S = 30.0
"""How long the first Ctrl-C waits for what is in flight (interface, section 3)."""
TOLERATED_FROM_ROWS = 100
"""A share of failures says nothing about fewer finished rows (interface, section 2)."""

_TERMINATED = StopReason("terminated", "terminated by SIGTERM", INTERRUPTED.hint)


@dataclass(frozen=True, slots=True)
class Advance:
    """All that one run needs to go on. The ledger is open for writing; `connect` makes the provider on the loop that
    uses it."""

    run_id: str
    folder: Path
    ledger: Ledger
    job: Job
    compiled: CompiledJob
    check: Check | None
    prices: Prices
    connect: Callable[[], Provider]
    open_earlier: Callable[[], Earlier | None]
    make_targets: Callable[[], Sequence[Target]]
    """Called when there is something to deliver: what was exported while the run went on is known then."""
    records: RecordMaker
    observer: Observer
    clock: Clock
    facts: ModelFacts | None
    warnings: Sequence[Problem]
    """What is worth saying about the job before anything is sent."""
    resumed: bool

    @property
    def mode(self) -> Mode:
        mode: Mode = self.ledger.meta["mode"]
        return mode

    @property
    def retry(self) -> RetryPolicy:
        retry = self.job.retry
        return RetryPolicy(
            retry.max_attempts, retry.initial_interval, retry.backoff_coefficient, retry.maximum_interval
        )

    @property
    def rule(self) -> Rule:
        return make_rule(make_judge(self.check), self.retry)


def advance(run: Advance) -> Summary:
    """Send what is open, deliver when nothing is, and say how the run stands. Raises LedgerError and SetupError."""
    with closing(RunLog(run.folder / "log.jsonl", run.clock)) as log:
        return _advance(replace(run, observer=Observers(run.observer, log)))


def _advance(run: Advance) -> Summary:
    started = run.clock.monotonic()
    run.ledger.settle_answered(run.rule)
    if run.ledger.meta.get("stopped_by"):
        run.ledger.set_meta(stop_note(None))
    counts = run.ledger.counts()
    cap_pico = run.job.limits.max_cost_pico
    spent_pico = run.ledger.money().spent
    run.observer.notify(
        RunStarted(run.run_id, run.job.name, run.mode, counts.total, counts.open, cap_pico, run.resumed, spent_pico)
    )
    warnings = [_told(problem, run.observer) for problem in (*run.warnings, *([] if counts.total else [no_rows()]))]
    stopped_by = _send_all(run) if counts.open else None
    if stopped_by is None:
        records = run.records.records(run.ledger)
        note = note_in(run.ledger, run.folder)
        deliver(records, run.make_targets(), run.folder / "staged", run.observer, note=note)
    elapsed_s = float(run.ledger.meta.get("elapsed_s", 0.0)) + run.clock.monotonic() - started
    state = "open" if stopped_by else "finished"
    notes = {**stop_note(stopped_by), **tolerance_note(run.job.limits.allow_failures)}
    run.ledger.set_meta({"elapsed_s": elapsed_s, "state": state, **notes})
    summary = summarise(run.ledger, stopped_by=stopped_by, warnings=warnings)
    run.observer.notify(RunEnded(run.run_id, summary.status))
    return summary


def _told(problem: Problem, observer: Observer) -> str:
    place = f"{problem.where}: " if problem.where is not None else ""
    text = f"{place}{problem.message}" + (f"; {problem.hint}" if problem.hint else "")
    observer.notify(Warned(problem.code, text))
    return text


def _send_all(run: Advance) -> StopReason | None:
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        return runner.run(_drain(run))


async def _drain(run: Advance) -> StopReason | None:
    """One pass over the open steps after another until none is open, or the run has to stop.

    A limit that the last rows passed stops nothing: they are all there, and the run ends as any other.
    """
    halt = Halt()
    provider = run.connect()
    try:
        with _signals(halt, run.clock):
            while (before := run.ledger.counts()).open:
                stopped_by = await _pass(run, provider, halt)
                after = run.ledger.counts()
                if stopped_by is not None:
                    return stopped_by if after.open or stopped_by.kind in SIGNALLED else None
                if after == before:
                    raise LedgerError(
                        f"{after.open} rows of run {run.run_id} stay open though nothing waits", code="stuck"
                    )
        return None
    finally:
        await provider.aclose()


async def _pass(run: Advance, provider: Provider, halt: Halt) -> StopReason | None:
    limits = run.job.limits
    writer = Writer(
        run.ledger,
        run.rule,
        cap_pico=limits.max_cost_pico,
        clock=run.clock,
        on_posted=_tell(run.observer),
        after_group=_failure_limit(run.ledger, limits.max_failures, halt),
    )
    feeder = Feeder(
        run.folder,
        run.compiled,
        writer,
        bound=_bound(run),
        open_earlier=run.open_earlier,
        clock=run.clock,
        observer=run.observer,
    )
    engine = ParallelEngine(
        provider,
        feeder,
        writer,
        clock=run.clock,
        observer=run.observer,
        halt=halt,
        retry=run.retry,
        max_concurrency=limits.max_concurrency,
        price=_price(run.prices),
        warm_prefixes=_may_be_cached(run),
    )
    writer.start()
    try:
        feeder.start()
        try:
            return await engine.drain()
        finally:
            await feeder.close()
    finally:
        await writer.close()


def _bound(run: Advance) -> Callable[[Request], int | None]:
    prices, mode = run.prices, run.mode

    def bound(request: Request) -> int | None:
        return prices.bound(request.model, request.input_bound, request.max_tokens, request.cache_ttl, mode)

    return bound


def _may_be_cached(run: Advance) -> Callable[[Request], bool]:
    """Whether a request waits for the first one of its prefix: only where the prefix can be long enough to be cached.

    A guess of tokens from bytes may be off; it errs towards waiting, which costs one reply's time, not a write a
    request.
    """
    minimum = run.facts.cache_minimum if run.facts is not None else None
    shape = run.compiled.cache
    tokens = 2 * tokens_in(shape.shared_prefix_bytes, run.facts)
    worthwhile = shape.row_breakpoint or minimum is None or tokens >= minimum
    return lambda _: worthwhile


def _price(prices: Prices) -> Callable[[str, Usage, Mode], int | None]:
    return prices.cost


def _tell(observer: Observer) -> Callable[[Sequence[tuple[Outcome, Ruling]]], None]:
    """Tell of outcomes that never passed the engine: earlier answers, rows that cannot be rendered."""

    def tell(posted: Sequence[tuple[Outcome, Ruling]]) -> None:
        for outcome, ruling in posted:
            status = ruling.state if ruling.state in ("succeeded", "failed", "expired", "canceled") else "open"
            observer.notify(
                StepEnded(
                    outcome.step,
                    outcome.attempt,
                    status,
                    ruling.failure,
                    outcome.usage,
                    outcome.cost_pico,
                    outcome.reused,
                    None,
                )
            )

    return tell


def _failure_limit(ledger: Ledger, max_failures: Share | None, halt: Halt) -> Callable[[], None]:
    """What the writer asks after each group: have too many rows failed?"""
    if max_failures is None:
        return lambda: None

    def check() -> None:
        counts = ledger.counts()
        finished = counts.total - counts.open
        if max_failures.fraction is not None and finished < TOLERATED_FROM_ROWS:
            return
        if max_failures.exceeded_by(counts.failed, finished):
            kinds = ", ".join(
                f"{number} {kind}" for kind, number in sorted(counts.failures.items(), key=lambda item: -item[1])
            )
            halt.stop(
                StopReason(
                    "max_failures",
                    f"{counts.failed} of {finished} finished rows failed ({kinds}); "
                    f"limits.max_failures is {max_failures}",
                    "look at them with `runner show latest`; raise limits.max_failures to go on",
                )
            )

    return check


@contextmanager
def _signals(halt: Halt, clock: Clock) -> Iterator[None]:
    """The first SIGINT or SIGTERM drains for a while, the second drops; only where this thread may take signals."""
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    loop = asyncio.get_running_loop()
    drains: list[asyncio.Task[None]] = []

    async def drop_later() -> None:
        await clock.sleep(DRAIN_S)
        halt.drop()

    def interrupt(reason: StopReason) -> None:
        if not drains:  # the run may have stopped by itself, and drain already
            halt.stop(reason)
            drains.append(loop.create_task(drop_later()))
        else:
            halt.drop(reason)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, reason in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, _TERMINATED)):
        loop.add_signal_handler(number, interrupt, reason)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)  # the loop would leave Python's own, not the caller's
        for task in drains:
            task.cancel()
