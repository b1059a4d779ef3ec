"""Passes: the open steps of a run, sent one pass after another until none is open, or the run has to stop.

Owns   what one pass is: a writer, a feeder and an engine, started and ended; which engine it uses; when there is no
       further pass.
Knows  the parts by their contracts. `batching` makes those of batch mode.

A run of parallel mode has parallel passes only. In one of batch mode what replies ask for again is the next pass's; and
it sends a pass in parallel where only few steps are left that were asked before, and where its deadline leaves no time
for another batch; never what has not been asked for once while there is time for it, because that costs twice as much.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec import Struct

from runner.catalog.prices import Prices
from runner.deferred import deferred
from runner.engines import Book, Engine, Feed, Prepared, StopReason
from runner.engines.halt import Halt
from runner.engines.heeding import HeedingBatches, HeedingFiles
from runner.engines.outage import Outage
from runner.engines.parallel import ParallelEngine
from runner.errors import LedgerError
from runner.events import Observer, StepEnded, Warned
from runner.execution import doubt
from runner.execution.composing import Composer
from runner.execution.feeder import BATCH_WINDOW_BYTES, WINDOW_BYTES, Feeder
from runner.execution.loop import on_loop
from runner.execution.outages import outage_of
from runner.execution.signals import signals
from runner.execution.standing import at_api, open_batches
from runner.execution.summary import SIGNALLED
from runner.execution.tool_rounds import ToolRounds, calling
from runner.execution.under_way import Advance, Drained
from runner.execution.uploads import Uploads, files_of
from runner.execution.warming import warm_up_of
from runner.execution.worker_count import how_many
from runner.execution.workers import GivenRulings, Workers
from runner.execution.writer import Writer
from runner.ledger import Batch, Counts, Ledger, OpenStep, Rule, Ruling
from runner.planning.estimate import least_prefix_bytes
from runner.planning.requests import CompiledJob
from runner.providers import Provider
from runner.spec.values import Share
from runner.types import Mode, Outcome, Request

if TYPE_CHECKING:
    from runner.execution import batching
else:
    batching = deferred("runner.execution.batching")  # 9 ms that a run of parallel mode does not need

TOLERATED_FROM_ROWS = 100
"""A share of failures says nothing about fewer finished rows (docs/job.md, `max_failures`)."""


def send_all(run: Advance) -> StopReason | None:
    """Send what is open and follow what is at the API; why the run has to stop, or None where nothing is left."""
    return on_loop(_sent(run))


async def _sent(run: Advance) -> StopReason | None:
    halt = Halt()
    connection = _Connection(run)
    try:
        with signals(halt, run.clock):
            return await _Passes(run, connection, halt, outage_of(run)).drain()
    finally:
        await connection.aclose()


class _Connection:
    """The provider of this process, made when it is first asked for: workers have their own."""

    def __init__(self, run: Advance) -> None:
        self._run = run
        self._provider: Provider | None = None

    @property
    def provider(self) -> Provider:
        if self._provider is None:
            self._provider = self._run.connect()
        return self._provider

    async def aclose(self) -> None:
        if self._provider is not None:
            await self._provider.aclose()


class _Standing(Struct, frozen=True):
    """Where a run stands between two passes: one that changes nothing of it would be followed by the same again."""

    counts: Counts
    batches: tuple[tuple[int, str, int], ...]
    mode: Mode
    progress: object
    """Moves with each outcome: one that cost nothing, and opened a next step, changes no count."""

    @property
    def is_done(self) -> bool:
        return not self.counts.open and not self.batches


class _Passes(Struct, frozen=True):
    run: Advance
    connection: _Connection
    halt: Halt
    outage: Outage

    @property
    def provider(self) -> Provider:
        return self.connection.provider

    async def drain(self) -> StopReason | None:
        """One pass over the open steps after another.

        A limit that the last rows passed stops nothing: they are all there, and the run ends as any other.
        """
        sitting = self.run.sitting
        if sitting.resend:
            doubt.require_late_enough(self.run, self.provider)
        told = {batch.number for batch in open_batches(self.run.ledger)}
        if sitting.resend and not told:
            self.run.observer.notify(
                Warned("nothing-to-resend", "no batch of this run is open, so --resend has nothing to send again")
            )
        looks_first = sitting.resend  # once, without waiting for anything: what is found need not be sent again
        before: _Standing | None = None
        while not (standing := self._standing()).is_done:
            if standing == before:
                raise LedgerError(
                    f"{standing.counts.open} rows of run {self.run.run_id} stay open though nothing waits", code="stuck"
                )
            before = standing
            drained = await self._pass(standing.mode, detach=sitting.detach or looks_first)
            stopped_by = drained.stopped_by
            if stopped_by is None:
                continue
            if sitting.resend and not drained.held and doubt.give_up(self.run, stopped_by, told):
                looks_first = False
                continue
            if stopped_by.kind == "waiting" and looks_first and not sitting.detach:
                looks_first, before = False, None
                continue
            return stopped_by if stopped_by.kind in SIGNALLED or not self._standing().is_done else None
        return None

    def _standing(self) -> _Standing:
        ledger = self.run.ledger
        batches = open_batches(ledger)
        stands = tuple((batch.number, batch.state, batch.settled) for batch in batches)
        return _Standing(ledger.counts(), stands, self._mode(batches), ledger.progress())

    def _mode(self, batches: Sequence[Batch]) -> Mode:
        """Which engine the next pass uses, with these batches open."""
        if self.run.mode == "parallel":
            return "parallel"
        if batching.is_too_late(self.run):
            # What the API has is taken back first; what is in doubt cannot be, and no other row waits for it.
            waits = bool(self.run.ledger.open_steps(None, 1))
            return "batch" if at_api(batches) or (batches and not waits) else "parallel"
        return "parallel" if self._are_few_left() else "batch"

    def _are_few_left(self) -> bool:
        """Whether all that waits was asked before, is little, and may be paid at the full price."""
        most = self.run.settings.batch_resend_rows
        waiting = self.run.ledger.open_steps(None, most + 1)
        few = 0 < len(waiting) <= most and all(step.attempts or step.step.round for step in waiting)
        return few and batching.can_fall_back(self.run) and self._is_affordable(waiting)

    def _is_affordable(self, waiting: Sequence[OpenStep]) -> bool:
        """Whether the cap admits all of these in parallel; in a batch they would cost half."""
        cap_pico = self.run.job.limits.max_cost_pico
        if cap_pico is None:
            return True
        run = self.run
        composer = Composer(run.compiled_for("parallel"), run.judge)
        bound, most = bound_of(run.prices, "parallel"), 0
        for waits in waiting:
            request = composer.request(run.ledger, waits.step, run.ledger.row(waits.step.row))
            if not isinstance(request, Request):
                continue
            bound_pico = bound(request)
            if bound_pico is None:
                return False
            most += bound_pico
        money = self.run.ledger.money()
        return most <= cap_pico - money.spent - money.reserved - money.doubtful

    async def _pass(self, mode: Mode, *, detach: bool) -> Drained:
        """Send, or follow, once; nothing but the writer's thread touches the ledger meanwhile."""
        if mode == "parallel":
            compiled = self.run.compiled_for(mode)
            workers = how_many(self.run, compiled)
            if workers > 1:
                return Drained(await self._by_workers(workers, compiled))
            warm_up, provider = warm_up_of(self.run, compiled), self.provider
            async with self._at_work(compiled) as (feeder, writer):
                engine = parallel_engine(self.run, provider, feeder, writer, self.halt, self.outage, warm_up)
                return Drained(await engine.drain())
        plan = batching.plan_of(self.run)
        batches = HeedingBatches(batching.batches_of(self.provider), self.outage, self.halt)
        async with self._at_work(self.run.compiled_for(mode)) as (feeder, writer):
            drained = await batching.drain(
                self.run, plan, batches, feeder, writer, self.halt, self.outage, detach=detach
            )
        if drained.too_late:
            batching.note_too_late(self.run)
        return drained

    async def _by_workers(self, count: int, compiled: CompiledJob) -> StopReason | None:
        """Send in parallel by so many processes."""
        run, rulings, warm_up = self.run, GivenRulings(self.run.rule), warm_up_of(self.run, compiled)
        least = least_prefix_bytes(run.facts)
        one_first = any(prefix.size_bytes >= least for prefix in compiled.shared_prefixes)
        writer = sender_of(run, self.halt, rulings)
        writer.start()
        try:
            workers = Workers(run, writer, rulings, self.halt, count=count, one_first=one_first, warm_up=warm_up)
            return await workers.drain()
        finally:
            await writer.close()

    @asynccontextmanager
    async def _at_work(self, compiled: CompiledJob) -> AsyncIterator[tuple[Feeder, Writer]]:
        run = self.run
        writer = sender_of(run, self.halt)
        async with (
            uploading(run, compiled, lambda: self.provider, self.halt, self.outage) as uploads,
            calling(run, writer.keep_results) as tools,
        ):
            feeder = self._feeder(compiled, writer, uploads, tools)
            writer.start()
            try:
                feeder.start()
                try:
                    yield feeder, writer
                    if tools is not None:
                        await tools.land(self.halt)
                finally:
                    await feeder.close()
            finally:
                await writer.close()

    def _feeder(
        self, compiled: CompiledJob, writer: Writer, uploads: Uploads | None, tools: ToolRounds | None
    ) -> Feeder:
        run = self.run
        return Feeder(
            run.folder,
            compiled,
            writer,
            judge=run.judge,
            bound=bound_of(run.prices, compiled.mode),
            open_earlier=run.open_earlier,
            clock=run.clock,
            observer=run.observer,
            least_prefix_bytes=least_prefix_bytes(run.facts),
            window_bytes=BATCH_WINDOW_BYTES if compiled.mode == "batch" else WINDOW_BYTES,
            uploads=uploads,
            tools=tools,
        )


@asynccontextmanager
async def uploading(
    run: Advance, compiled: CompiledJob, provider: Callable[[], Provider], halt: Halt, outage: Outage
) -> AsyncIterator[Uploads | None]:
    """What gets the ids of files that the job uploads, for one pass; None where it uploads none. Raises SetupError."""
    if not compiled.uploads:
        yield None
        return
    files = HeedingFiles(files_of(provider()), outage, halt)
    uploads = Uploads(run.upload_plan(compiled.mode), files, clock=run.clock, observer=run.observer, halt=halt)
    try:
        yield uploads
    finally:
        await uploads.aclose()


def parallel_engine(
    run: Advance, provider: Provider, feed: Feed, book: Book, halt: Halt, outage: Outage, warm_up: Prepared | None
) -> Engine:
    """The engine of one pass in parallel, here or in a worker."""
    return ParallelEngine(
        provider,
        feed,
        book,
        clock=run.clock,
        observer=run.observer,
        halt=halt,
        retry=run.retry,
        max_concurrency=run.job.limits.max_concurrency,
        limits=run.make_limits(run.observer),
        outage=outage,
        price=run.prices.cost,
        least_prefix_bytes=least_prefix_bytes(run.facts),
        warm_up=warm_up,
    )


def sender_of(run: Advance, halt: Halt, rule: Rule | None = None) -> Writer:
    """The writer of one pass; `rule` where it is not the run's own."""
    return _writer(run, _failure_limit(run.ledger, run.job.limits.max_failures, halt), rule)


def follower_of(run: Advance) -> Writer:
    """The writer for what only follows batches to their end: nothing more is sent, so no number of failures stops
    it."""
    return _writer(run, lambda: None)


def _writer(run: Advance, after_group: Callable[[], None], rule: Rule | None = None) -> Writer:
    return Writer(
        run.ledger,
        rule or run.rule,
        cap_pico=run.job.limits.max_cost_pico,
        clock=run.clock,
        on_posted=_tell(run.observer),
        after_group=after_group,
        on_settled=run.on_settled,
    )


def bound_of(prices: Prices, mode: Mode) -> Callable[[Request], int | None]:
    def bound(request: Request) -> int | None:
        return prices.bound(request.model, request.input_bound, request.max_tokens, request.cache_ttl, mode)

    return bound


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
