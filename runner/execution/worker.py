"""A worker: a process that renders, sends and reads replies for a run that another process holds.

Owns   nothing that outlives it. It reads the run's folder, has a loop, a provider, an engine and a feeder's thread of
       its own, and hands every outcome to the process that holds the run, which alone writes (`execution.workers`).
Knows  the parts by their contracts: neither engine nor feeder knows that their book is a remote one.

Invariants
  * It never outlives the process that holds the run: when the channel ends, however that came about, it ends at once.
    What it had in flight is then in doubt, as with any process that is killed.
  * Ctrl-C is not its business: signals are taken by the process that holds the run, which says what follows.

`python -P -m runner.execution.worker FD`, with one end of a socket pair as descriptor FD, is started by
`execution.workers`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from runner.catalog.models import Catalog
from runner.clock import SystemClock
from runner.engines import Prepared, StopReason
from runner.engines.halt import Halt
from runner.engines.outage import Outage
from runner.errors import RunnerError
from runner.events import Event, StepEnded, StepSent, Stopping
from runner.execution.assemble import Known, assemble
from runner.execution.assignment import Assignment, with_part_of_limits
from runner.execution.channel import Channel, Message
from runner.execution.feeder import WINDOW_STEPS, Feeder
from runner.execution.folders import RunInfo, StateFolder
from runner.execution.limiting import Among, make_limits
from runner.execution.loop import on_loop
from runner.execution.outages import outage_of
from runner.execution.outcome_tuples import step_tuple
from runner.execution.passes import bound_of, parallel_engine, uploading
from runner.execution.remote_book import RemoteBook
from runner.execution.tool_rounds import calling
from runner.execution.under_way import Advance
from runner.execution.uploads import Uploads
from runner.ledger.sqlite import SqliteLedger
from runner.providers import Provider, Sent
from runner.types import Capabilities, Failure, Request

PAGE_STEPS = 256
"""Open steps that a worker takes at once; fewer where it has few requests in flight, so that all of them end at about
the same time."""
LEAST_WINDOW_STEPS = 32


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as end:
        on_loop(_Worker().work(end))


class _Worker:
    """One worker's life. Made on the loop."""

    def __init__(self) -> None:
        self._halt = Halt()
        self._book: RemoteBook | None = None
        self._outage: Outage | None = None
        self._others_heard = False
        """Another worker was answered before this one watched for answers itself."""
        self._channel = Channel(self._take, _end_at_once)

    async def work(self, end: socket.socket) -> None:
        self._assigned: asyncio.Future[Assignment] = asyncio.get_running_loop().create_future()
        await self._channel.open(end)
        try:
            reason = await self._sent(await self._assigned)
        except BaseException as error:  # noqa: BLE001 - the worker's border: raised again where the run is held
            self._channel.send("failed", _portable(error))
        else:
            self._channel.send("ended", reason)
        self._channel.flush()
        await asyncio.get_running_loop().create_future()  # until the other end has heard it, and closes

    def _take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            match message:
                case ("start", assignment):
                    self._assigned.set_result(assignment)
                case ("halt", reason, dropped):
                    (self._halt.drop if dropped else self._halt.stop)(reason)
                case ("answered",):
                    self._others_heard = True
                    if self._outage is not None:
                        self._outage.answered_elsewhere()
                case _:
                    if self._book is not None:  # before it asks, what is told to all is not for it
                        self._book.take(message)

    async def _sent(self, assignment: Assignment) -> StopReason | None:
        """Send what the run has for this worker; why it stopped, or None where there is nothing left."""
        gc.set_threshold(*assignment.collects_after)
        with SqliteLedger.open(assignment.folder, read_only=True) as ledger:
            run = _run_of(assignment, ledger, Relay(self._channel))
            provider = connected = run.connect()
            self._outage = outage = outage_of(run)
            if self._others_heard:
                outage.answered_elsewhere()
            try:
                if assignment.tells_begun:
                    provider = Herald(provider, lambda: self._channel.send("begun", urgent=True))
                compiled = run.compiled_for("parallel")
                async with uploading(run, compiled, lambda: connected, self._halt, outage) as uploads:
                    return await self._drained(run, provider, outage, assignment.warm_up, uploads)
            finally:
                await provider.aclose()

    async def _drained(
        self, run: Advance, provider: Provider, outage: Outage, warm_up: Prepared | None, uploads: Uploads | None
    ) -> StopReason | None:
        compiled, most = run.compiled_for("parallel"), run.job.limits.max_concurrency
        window = min(WINDOW_STEPS, max(LEAST_WINDOW_STEPS, 2 * most))
        self._book = book = RemoteBook(
            self._channel.send,
            run.rule,
            under_cap=run.job.limits.max_cost_pico is not None,
            page=min(PAGE_STEPS, window // 2),
        )
        async with calling(run, book.keep_results) as tools:
            feeder = Feeder(
                run.folder,
                compiled,
                book,
                judge=run.judge,
                bound=bound_of(run.prices, compiled.mode),
                open_earlier=run.open_earlier,
                clock=run.clock,
                observer=run.observer,
                pages=lambda _: book.pages(),
                window_steps=window,
                tools=tools,
                uploads=uploads,
            )
            feeder.start()
            try:
                engine = parallel_engine(run, provider, feeder, book, self._halt, outage, warm_up)
                reason = await engine.drain()
                if tools is not None:
                    await tools.land(self._halt)
                return reason
            finally:
                book.close()
                await feeder.close()


def _run_of(assignment: Assignment, ledger: SqliteLedger, observer: Relay) -> Advance:
    """The run, put together from its folder as for any command, with this worker's part of the limits."""
    settings, state = assignment.settings, StateFolder(assignment.settings.state_dir)
    info = RunInfo(assignment.run_id, assignment.folder, ledger.meta)
    loaded = info.stored_job(settings)
    part = dataclasses.replace(loaded, job=with_part_of_limits(loaded.job, assignment.number, assignment.of))
    run = assemble(
        info,
        ledger,
        part,
        state,
        assignment.api,
        observer,
        SystemClock(),
        resumed=True,
        known=Known(Catalog(), ()),
        to_send=False,
    )
    among = Among(assignment.run_id, assignment.number, assignment.of)
    limits = partial(make_limits, part.job, settings, assignment.api, run.clock, among=among)
    return replace(run, facts=assignment.facts, make_limits=limits)


def _end_at_once() -> None:
    """Nobody is there to hand an outcome to. Threads, and what is in flight, are not waited for."""
    os._exit(0)


def _portable(error: BaseException) -> BaseException:
    """The error as it can cross: runner's own as they are, anything else (a bug) with where it came from in words."""
    if isinstance(error, RunnerError):
        return error
    return RuntimeError("in a worker:\n" + "".join(traceback.format_exception(error)))


class Relay:
    """The worker's observer: what happens is told where the run is held.

    How a step ended is not: it is told there, when it is durable.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def notify(self, event: Event) -> None:
        match event:
            case StepSent(step=step, attempt=attempt):
                self._channel.send("sent", step_tuple(step), attempt)
            case StepEnded():
                pass
            case Stopping(reason=kind, message=message):
                self._channel.send("stopping", StopReason(kind, message), urgent=True)
            case _:
                self._channel.send("told", event)


class Herald:
    """A provider that tells, once, that a reply has begun: what it wrote into the cache can be read from then on."""

    def __init__(self, provider: Provider, tell: Callable[[], None]) -> None:
        self._provider = provider
        self._tell = tell
        self._told = False

    @property
    def capabilities(self) -> Capabilities:
        return self._provider.capabilities

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        if self._told or on_begin is None:
            sent = await self._provider.send(request, on_begin=on_begin)
        else:
            sent = await self._provider.send(request, on_begin=self._telling(on_begin))
        if sent.reply is not None:
            self._begun()
        return sent

    def _telling(self, on_begin: Callable[[], None]) -> Callable[[], None]:
        def begin() -> None:
            self._begun()
            on_begin()

        return begin

    def _begun(self) -> None:
        if not self._told:
            self._told = True
            self._tell()

    async def count_tokens(self, request: Request) -> int | Failure:
        return await self._provider.count_tokens(request)

    async def models(self) -> list[Mapping[str, Any]] | Failure:
        return await self._provider.models()

    async def aclose(self) -> None:
        await self._provider.aclose()


if __name__ == "__main__":
    main()
