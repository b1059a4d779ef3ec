"""The writer's thread: the only one that writes the ledger and the spool; engines see it as a `Book`.

Owns   grouping. Outcomes that arrive within `LINGER_S` of one another, up to `GROUP`, become durable with one fsync
       and one commit; leases are latency the engine waits for and go at once.
Knows  the ledger's contract and the rule. Nothing of what a reply is worth.

Invariants
  * A future is resolved only after what it stands for is durable.
  * After an error (disk full, a damaged ledger) nothing more is written: every waiting and later call raises that
    error.

Source of the group's size: design, section 4.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from runner.clock import Clock
from runner.engines import Decision, Prepared
from runner.errors import LedgerError
from runner.ledger import Lease, Ledger, Rule, Ruling
from runner.types import Outcome, Step

GROUP = 500
LINGER_S = 0.005
BACKLOG = 2_000
"""Posted outcomes that may wait to be written; the feeder's thread blocks beyond."""


@dataclass(slots=True)
class _Record:
    outcome: Outcome
    future: asyncio.Future[Decision] | None


@dataclass(slots=True)
class _Lease:
    leases: Sequence[Lease]
    future: asyncio.Future[int]


@dataclass(slots=True)
class _Release:
    steps: Sequence[Step]
    future: asyncio.Future[None]


_Command = _Record | _Lease | _Release
OnPosted = Callable[[Sequence[tuple[Outcome, Ruling]]], None]
"""Called on the loop with outcomes that were posted rather than awaited, once they are durable."""


class Writer:
    """A `Book` over one ledger. Start it on the loop that will await it; `close` it before the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        rule: Rule,
        *,
        cap_pico: int | None,
        clock: Clock,
        on_posted: OnPosted,
        after_group: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._rule = rule
        self._cap_pico = cap_pico
        self._clock = clock
        self._on_posted = on_posted
        self._after_group = after_group
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
        future: asyncio.Future[int] = self._loop.create_future()
        self._put(_Lease(leases, future))
        return await future

    async def record(self, outcome: Outcome) -> Decision:
        future: asyncio.Future[Decision] = self._loop.create_future()
        self._put(_Record(outcome, future))
        return await future

    async def release(self, steps: Sequence[Step]) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        self._put(_Release(steps, future))
        await future

    def post(self, outcome: Outcome) -> None:
        """From another thread: hand over an outcome without waiting for it; blocks while too many wait."""
        self._room.acquire()
        self._put(_Record(outcome, None))

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
        """Wait for a command and take those that follow closely; False with the last ones."""
        commands: list[_Command] = []
        command = self._queue.get()
        deadline = self._clock.monotonic() + LINGER_S
        while True:
            if command is None:
                return commands, False
            commands.append(command)
            if len(commands) >= GROUP:
                return commands, True
            try:
                wait = 0.0 if isinstance(command, _Lease) else deadline - self._clock.monotonic()
                command = self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
            except queue.Empty:
                return commands, True

    def _write(self, commands: Sequence[_Command]) -> list[tuple[asyncio.Future[Any], Any]]:
        """Outcomes first: they free reservations that a lease of the same group may need."""
        records = [command for command in commands if isinstance(command, _Record)]
        resolutions: list[tuple[asyncio.Future[Any], Any]] = []
        if records:
            rulings = self._ledger.record([command.outcome for command in records], self._rule)
            posted: list[tuple[Outcome, Ruling]] = []
            for command, ruling in zip(records, rulings, strict=True):
                if command.future is None:
                    posted.append((command.outcome, ruling))
                else:
                    resolutions.append((command.future, _decision(ruling)))
            if posted:
                self._loop.call_soon_threadsafe(self._on_posted, posted)
        for other in commands:
            if isinstance(other, _Lease):
                resolutions.append((other.future, self._ledger.lease(other.leases, self._cap_pico)))
            elif isinstance(other, _Release):
                self._ledger.release(other.steps)
                resolutions.append((other.future, None))
        return resolutions

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
        posted = sum(isinstance(command, _Record) and command.future is None for command in commands)
        if posted:
            self._room.release(posted)


def _decision(ruling: Ruling) -> Decision:
    match ruling.state:
        case "succeeded" | "failed" | "expired" | "canceled" | "open":
            return Decision(ruling.state, ruling.failure)
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
