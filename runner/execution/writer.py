"""The writer's thread: the only one that writes the ledger and the spool; engines see it as a `Book` or a `BatchBook`.

Owns   grouping. Outcomes that arrive within `LINGER_S` of one another, up to `GROUP`, become durable with one fsync
       and one commit; leases, and all that concerns batches, are latency the engine waits for and go at once. Leases
       that come with outcomes share their commit: in a steady run that is nearly all of them.
Knows  the ledger's contract and the rule. Nothing of what a reply is worth.

Invariants
  * A future is resolved only after what it stands for is durable.
  * A lease takes effect behind the outcomes that were handed over before it, or at the same moment: an engine may
    lease what those make room for. Of a group the outcomes go first, also before calls that came before them: whoever
    made such a call has no answer yet, so nobody has gone by it.
  * After an error (disk full, a damaged ledger) nothing more is written: every waiting and later call raises that
    error.

Source of the group's size: design, section 4.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from runner.clock import Clock
from runner.engines import Decision, Prepared
from runner.errors import LedgerError
from runner.ledger import (
    AcceptedLines,
    Batch,
    BatchFacts,
    BatchState,
    BatchStep,
    Landed,
    Lease,
    Ledger,
    OpenStep,
    Rule,
    Ruling,
    Settled,
)
from runner.tools import ToolResult
from runner.types import Outcome, Step

GROUP = 500
LINGER_S = 0.002
"""Slots wait for their outcomes, and for leases behind them: with 5 ms a run of 20,000 rows, 64 in flight at a server
that answers at once, took 3.5 s, with 2 ms 2.85, at the same processor time; with 1 ms it gained no more."""
BACKLOG = 2_000
"""Posted outcomes that may wait to be written; the feeder's thread blocks beyond."""

T = TypeVar("T")


class _Records(Struct):
    """Outcomes that came together; `future` None: nobody waits for their decisions."""

    outcomes: Sequence[Outcome]
    future: asyncio.Future[Sequence[Decision]] | None


class _Call(Struct):
    """Something to do on the thread, in the order in which it came."""

    act: Callable[[], Any]
    future: asyncio.Future[Any]
    waits: bool = False
    """Whether it can wait for what follows closely, as outcomes do."""
    joins: bool = False
    """Whether it may share a transaction with the outcomes of its group."""


_Command = _Records | _Call
OnPosted = Callable[[Sequence[tuple[Outcome, Ruling]]], None]
"""Called on the loop with outcomes that were posted rather than awaited, once they are durable."""
OnSettled = Callable[[Sequence[int]], None]
"""Called on the writer's thread with rows that may have got their outcome, once that is durable."""


class Writer:
    """A `BatchBook` over one ledger. Start it on the loop that will await it; `close` it before the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        rule: Rule,
        *,
        cap_pico: int | None,
        clock: Clock,
        on_posted: OnPosted,
        after_group: Callable[[], None],
        on_settled: OnSettled | None = None,
    ) -> None:
        self._ledger = ledger
        self._rule = rule
        self._cap_pico = cap_pico
        self._clock = clock
        self._on_posted = on_posted
        self._after_group = after_group
        self._on_settled = on_settled
        self._queue: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._room = threading.BoundedSemaphore(BACKLOG)
        self._gate = threading.Lock()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="runner-writer", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Write what was handed over, then end the thread. Raises the error that stopped it, if one did."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        if self._error is not None:
            raise self._error

    # -- the book, on the loop -------------------------------------------------------------------------------------

    async def lease(self, prepared: Sequence[Prepared]) -> int:
        leases = [Lease(item.step, item.request.hash, item.bound_pico or 0) for item in self._bounded(prepared)]
        return await self.take_leases(leases)

    async def record(self, outcome: Outcome) -> Decision:
        (decision,) = await self.record_all((outcome,))
        return decision

    async def record_all(self, outcomes: Sequence[Outcome]) -> Sequence[Decision]:
        future: asyncio.Future[Sequence[Decision]] = self._loop.create_future()
        self._put(_Records(outcomes, future))
        return await future

    async def release(self, steps: Sequence[Step]) -> None:
        await self._called(lambda: self._ledger.release(steps), waits=True, joins=True)

    async def keep_results(self, step: Step, results: Sequence[ToolResult]) -> None:
        """Make results of calls of the reply to a step durable."""
        await self._called(lambda: self._ledger.keep_tool_results(step, results), waits=True)

    def post(self, outcome: Outcome) -> None:
        """From another thread: hand over an outcome without waiting for it; blocks while too many wait."""
        self._room.acquire()
        self._put(_Records((outcome,), None))

    # -- of workers ------------------------------------------------------------------------------------------------

    async def open_steps(self, after: Step | None, limit: int) -> Sequence[OpenStep]:
        return await self._called(lambda: self._ledger.open_steps(after, limit))

    async def take_leases(self, leases: Sequence[Lease]) -> int:
        """As `lease`, of steps that were prepared elsewhere."""
        return await self._called(lambda: self._ledger.lease(leases, self._cap_pico), joins=True)

    # -- of batches ------------------------------------------------------------------------------------------------

    async def left_pico(self) -> int | None:
        return await self._called(self._left_pico)

    async def intend_batch(
        self, leases: Sequence[Lease], *, body_sha256: bytes, watermark: str | None, priming: bool = False
    ) -> Batch | None:
        return await self._called(
            lambda: self._ledger.intend_batch(
                leases,
                body_sha256=body_sha256,
                watermark=watermark,
                cap_pico=self._cap_pico,
                now=self._clock.now(),
                priming=priming,
            )
        )

    async def mark_batch(self, number: int, state: BatchState, facts: BatchFacts | None = None) -> Batch:
        return await self._called(lambda: self._ledger.mark_batch(number, state, facts))

    async def batches(self) -> Sequence[Batch]:
        return await self._called(self._ledger.batches)

    async def batch_steps(self, number: int, after: Step | None, limit: int) -> Sequence[BatchStep]:
        return await self._called(lambda: self._ledger.batch_steps(number, after, limit))

    async def landing_path(self, number: int) -> Path:
        return await self._called(lambda: self._ledger.landing_path(number))

    async def land(self, number: int) -> Path:
        return await self._called(lambda: self._ledger.land(number))

    async def landed(self, number: int) -> Path | None:
        return await self._called(lambda: self._ledger.landed(number))

    async def settle_batch(self, number: int, lines: Sequence[Landed], accepted: AcceptedLines) -> Settled:
        return await self._called(lambda: self._settle_batch(number, lines, accepted))

    def _settle_batch(self, number: int, lines: Sequence[Landed], accepted: AcceptedLines) -> Settled:
        settled = self._ledger.settle_batch(number, lines, self._rule, self._clock.now(), accepted)
        if self._on_settled is not None:
            self._on_settled([*accepted.rows, *(line.step.row for line in lines)])
        return settled

    def _left_pico(self) -> int | None:
        """May be below zero: a cap that was lowered while the run was open, or prices that were off."""
        if self._cap_pico is None:
            return None
        money = self._ledger.money()
        return self._cap_pico - money.spent - money.reserved - money.doubtful

    # -- handing over ----------------------------------------------------------------------------------------------

    async def _called(self, act: Callable[[], T], *, waits: bool = False, joins: bool = False) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        self._put(_Call(act, future, waits, joins))
        return await future

    def _bounded(self, prepared: Sequence[Prepared]) -> Iterable[Prepared]:
        """The steps up to the first whose cost nothing bounds: a cap can not admit it."""
        return prepared if self._cap_pico is None else takewhile(lambda item: item.bound_pico is not None, prepared)

    def _put(self, command: _Command) -> None:
        with self._gate:  # so that nothing is put behind the last look of `_fail`
            if self._error is not None:
                raise self._error
            self._queue.put(command)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        open_ended = True
        while open_ended:
            commands, open_ended = self._gather()
            try:
                resolutions = self._write(commands)
                self._after_group()
            except BaseException as error:  # noqa: BLE001 - the worker's border: whatever stopped the writing stops the run
                with self._gate:
                    self._error = error
                self._fail(commands, error)
                return
            self._make_room(commands)
            if resolutions:
                self._loop.call_soon_threadsafe(_resolve, resolutions)

    def _gather(self) -> tuple[list[_Command], bool]:
        """Wait for a command and take those that follow closely, or, with one that cannot wait, those that are there;
        False with the last ones."""
        commands: list[_Command] = []
        size = 0
        waits = True
        command = self._queue.get()
        deadline = self._clock.monotonic() + LINGER_S
        while True:
            if command is None:
                return commands, False
            commands.append(command)
            size += len(command.outcomes) if isinstance(command, _Records) else 1
            if size >= GROUP:
                return commands, True
            try:
                waits = waits and (isinstance(command, _Records) or command.waits)
                wait = deadline - self._clock.monotonic() if waits else 0.0
                command = self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
            except queue.Empty:
                return commands, True

    def _write(self, commands: Sequence[_Command]) -> list[tuple[asyncio.Future[Any], Any]]:
        """Outcomes first: they free reservations that a lease of the same group may need."""
        records = [command for command in commands if isinstance(command, _Records)]
        calls = [command for command in commands if isinstance(command, _Call)]
        if not records:
            return _acted(calls)
        outcomes = [outcome for command in records for outcome in command.outcomes]
        if calls and all(call.joins for call in calls):
            with self._ledger.together():
                rulings = self._ledger.record(outcomes, self._rule)
                answers = _acted(calls)
            return self._tell(records, rulings) + answers
        rulings = self._ledger.record(outcomes, self._rule)
        return self._tell(records, rulings) + _acted(calls)

    def _tell(self, records: Sequence[_Records], rulings: Sequence[Ruling]) -> list[tuple[asyncio.Future[Any], Any]]:
        """Tell of outcomes that are durable; returns what the futures of those that are awaited get."""
        if self._on_settled is not None:
            self._tell_settled(records, rulings)
        resolutions: list[tuple[asyncio.Future[Any], Any]] = []
        posted: list[tuple[Outcome, Ruling]] = []
        start = 0
        for command in records:
            own = rulings[start : start + len(command.outcomes)]
            start += len(own)
            if command.future is None:
                posted.extend(zip(command.outcomes, own, strict=True))
            else:
                resolutions.append((command.future, [_decision(ruling) for ruling in own]))
        assert start == len(rulings), "a ruling for each outcome"
        if posted:
            self._loop.call_soon_threadsafe(self._on_posted, posted)
        return resolutions

    def _tell_settled(self, records: Sequence[_Records], rulings: Sequence[Ruling]) -> None:
        outcomes = (outcome for command in records for outcome in command.outcomes)
        assert self._on_settled is not None
        self._on_settled(
            [
                outcome.step.row
                for outcome, ruling in zip(outcomes, rulings, strict=True)
                if ruling.state != "open" and outcome.step.row >= 0
            ]
        )

    def _fail(self, commands: list[_Command], error: BaseException) -> None:
        while True:  # bounded: `_put` refuses from here on
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is not None:
                commands.append(waiting)
        futures = [command.future for command in commands if command.future is not None]
        self._make_room(commands)
        self._loop.call_soon_threadsafe(_reject, futures, error)

    def _make_room(self, commands: Sequence[_Command]) -> None:
        posted = sum(isinstance(command, _Records) and command.future is None for command in commands)
        if posted:
            self._room.release(posted)


def _acted(calls: Sequence[_Call]) -> list[tuple[asyncio.Future[Any], Any]]:
    return [(call.future, call.act()) for call in calls]


_SUCCEEDED = Decision("succeeded")
"""Nearly all decisions: made once."""


def _decision(ruling: Ruling) -> Decision:
    if ruling.state == "succeeded" and ruling.failure is None:
        return _SUCCEEDED
    match ruling.state:
        case "succeeded" | "failed" | "expired" | "canceled" | "open":
            return Decision(ruling.state, ruling.failure, ruling.next_step)
        case "leased" | "answered":
            raise LedgerError(f"a rule may not leave a step {ruling.state}", code="bad-ruling")


def _resolve(resolutions: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, value in resolutions:
        if not future.done():
            future.set_result(value)


def _reject(futures: Sequence[asyncio.Future[Any]], error: BaseException) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
