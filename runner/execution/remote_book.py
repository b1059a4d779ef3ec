"""The ledger as a worker sees it: a book whose every entry is made by the run's own process, over a channel.

Owns   the worker's questions and the futures that wait for their answers; the open steps that its feeder asks for; the
       bound on outcomes that are handed over without waiting.
Knows  a channel's `send`, the rule, and that answers come through `take`. It writes nothing, and decides nothing.

Invariants
  * An answer is that of the writer on the other side, so what it stands for is durable when it comes.
  * When the book is lost (its ledger fails, or the run has no more use for the worker) every waiting and later call
    raises, on the loop and in the feeder's thread.

What goes out:  lease, record, release, keep, post, more.     What comes back:  done, decided, posted, steps, lost.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any, Protocol

from runner.engines import Decision, Prepared
from runner.errors import LedgerError
from runner.execution.channel import Message
from runner.execution.outcome_tuples import open_steps_of, outcome_tuple, ruling_value, step_of, step_tuple
from runner.ledger import OpenStep, Rule
from runner.tools import ToolResult
from runner.types import Outcome, Step

BACKLOG = 500
"""Outcomes that may be handed over and not yet be durable: of what is reused, and of rows that cannot be rendered. The
feeder's thread waits beyond, so that memory stays flat."""


class Sender(Protocol):
    def __call__(self, *message: Any, urgent: bool = False, size_bytes: int = 0) -> None: ...


class RemoteBook:
    """A `Book` for the engine, and what the feeder needs besides. `under_cap`: the run has a cap, which a step whose
    cost nothing bounds cannot pass. `page`: how many open steps are asked for at once."""

    def __init__(self, send: Sender, rule: Rule, *, under_cap: bool, page: int) -> None:
        self._send = send
        self._rule = rule
        self._under_cap = under_cap
        self._page = page
        self._loop = asyncio.get_running_loop()
        self._calls = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._pages: queue.SimpleQueue[Sequence[OpenStep]] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._posted = 0
        self._error: BaseException | None = None

    # -- the book, on the loop -------------------------------------------------------------------------------------

    async def lease(self, prepared: Sequence[Prepared]) -> int:
        bounded = takewhile(lambda item: item.bound_pico is not None, prepared) if self._under_cap else prepared
        leases = [(step_tuple(item.step), item.request.hash, item.bound_pico or 0) for item in bounded]
        admitted: int = await self._called("lease", leases, urgent=True)
        return admitted

    async def record(self, outcome: Outcome) -> Decision:
        return await self._recorded(outcome)

    async def record_all(self, outcomes: Sequence[Outcome]) -> Sequence[Decision]:
        return await asyncio.gather(*map(self._recorded, outcomes))

    def _recorded(self, outcome: Outcome) -> asyncio.Future[Decision]:
        values, ruling = outcome_tuple(outcome), ruling_value(self._rule, outcome)
        return self._called("record", values, ruling, size_bytes=len(outcome.body))

    async def release(self, steps: Sequence[Step]) -> None:
        await self._called("release", [step_tuple(step) for step in steps])

    async def keep_results(self, step: Step, results: Sequence[ToolResult]) -> None:
        """Make results of calls of the reply to a step durable."""
        values = [(result.id, result.content, result.is_error) for result in results]
        size_bytes = sum(len(result.content) for result in results)
        await self._called("keep", step_tuple(step), values, urgent=True, size_bytes=size_bytes)

    def _called(self, kind: str, *values: Any, urgent: bool = False, size_bytes: int = 0) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._error is not None:
            future.set_exception(self._error)
            return future
        self._calls += 1
        self._waiting[self._calls] = future
        self._send(kind, self._calls, *values, urgent=urgent, size_bytes=size_bytes)
        return future

    # -- for the feeder, in its thread -----------------------------------------------------------------------------

    def post(self, outcome: Outcome) -> None:
        """Hand over an outcome without waiting for it; blocks while too many are not durable yet."""
        values, ruling = outcome_tuple(outcome), ruling_value(self._rule, outcome)
        with self._changed:
            self._changed.wait_for(lambda: self._posted < BACKLOG or self._error is not None)
            self._require_open()
            self._posted += 1
        self._on_loop(lambda: self._send("post", values, ruling, size_bytes=len(outcome.body)))

    def pages(self) -> Iterator[Sequence[OpenStep]]:
        """The open steps that this worker is to send, as many at a time as it asks for. The next are asked for when
        these are taken, so that who is faster takes more."""
        while True:
            with self._changed:
                self._require_open()
            self._on_loop(lambda: self._send("more", self._page, urgent=True))
            page = self._pages.get()
            if not page:
                return
            yield page

    def _require_open(self) -> None:
        if self._error is not None:
            raise self._error

    def _on_loop(self, act: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(act)

    # -- the other side --------------------------------------------------------------------------------------------

    def take(self, message: Message) -> None:
        """An answer has come."""
        match message:
            case ("decided", call, status, failure, following):
                self._resolve(call, Decision(status, failure, None if following is None else step_of(following)))
            case ("done", call, value):
                self._resolve(call, value)
            case ("posted", count):
                with self._changed:
                    self._posted -= count
                    self._changed.notify_all()
            case ("steps", steps):
                self._pages.put(open_steps_of(steps))
            case ("lost", error):
                self.lose(error)
            case _:
                raise ValueError(f"a book does not know what {message[0]!r} means")

    def _resolve(self, call: int, value: Any) -> None:
        future = self._waiting.pop(call)
        if not future.done():  # who waited for it may have been cancelled
            future.set_result(value)

    def lose(self, error: BaseException) -> None:
        """Everybody who waits, and whoever asks from now on, gets this error. Only the first one counts."""
        with self._changed:
            if self._error is not None:
                return
            self._error = error
            self._changed.notify_all()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)
        self._pages.put(())

    def close(self) -> None:
        """Let go of a feeder that waits: nothing more is sent."""
        self.lose(LedgerError("this worker has ended"))
