"""Stand-ins that keep the engines' contracts: a loop in virtual time, a scripted provider, a book in memory.

`run_virtual` runs a coroutine on an event loop whose clock jumps to the next timer whenever nothing else can happen,
so waits of minutes take no time and a test that would hang fails at once instead.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from msgspec.structs import replace

from runner.engines import Decision, Prepared
from runner.engines.retry import RetryPolicy
from runner.events import Event
from runner.message import parse_reply
from runner.providers import Sent
from runner.types import Capabilities, Failure, Mode, Outcome, Prefix, Request, Step, Usage
from support.idle_time import PassingTime, run_by

T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Deadlock(AssertionError):
    """Nothing can ever happen any more, and the coroutine has not ended."""


class _VirtualSelector(PassingTime):
    """A selector that turns the time it was asked to wait into time that has passed."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("the loop would wait for ever")
        if timeout > 0:
            self.now += timeout
        return super().select(0)


def run_virtual(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time. Raises Deadlock instead of hanging."""
    return run_by(_VirtualSelector, coroutine)


class VirtualClock:
    """The clock of the running virtual loop."""

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class HandClock:
    """A clock that a test turns by hand; whoever decides by it must not sleep."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.time)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing may sleep here, but something wants {seconds} s")


def body_of(text: str = "ok", *, output_tokens: int = 5, input_tokens: int = 10) -> bytes:
    return (
        b'{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"%s"}],'
        b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":%d,"output_tokens":%d}}'
        % (text.encode(), input_tokens, output_tokens)
    )


def replied(text: str = "ok", **usage: int) -> Sent:
    body = body_of(text, **usage)
    return Sent(parse_reply(body, "req_1"), None, body, "req_1", {})


def prepared(
    row: int,
    *,
    prefix: bytes = b"",
    prefixes: tuple[Prefix, ...] = (),
    bound: int | None = 100,
    attempts: int = 0,
    tries: int = 0,
) -> Prepared:
    """A step whose request has these prefixes, or one with this digest."""
    prefixes = prefixes or ((Prefix(prefix, 10_000, "5m"),) if prefix else ())
    request = Request(
        hash=row.to_bytes(32),
        prefix=prefixes[-1].digest if prefixes else b"",
        body=b'{"row":%d}' % row,
        model="m",
        max_tokens=10,
        input_bound=10,
        prefixes=prefixes,
    )
    return Prepared(Step(row), request, attempts, bound, tries)


@dataclass
class Act:
    """What the provider does with one try: takes `seconds`, begins its reply after `begins`, ends as `sent` (or
    raises)."""

    sent: Sent | BaseException
    seconds: float = 1.0
    begins: float | None = None


@dataclass
class ScriptedProvider:
    """Plays `script[row]`, act by act; the last act repeats, and rows without a script are answered."""

    script: Mapping[int, Sequence[Act]] = field(default_factory=dict)
    default: Act = field(default_factory=lambda: Act(replied()))
    sent: list[tuple[int, float, bool]] = field(default_factory=list)
    """(row, when, streamed) of every try, in order."""
    in_flight: int = 0
    most_in_flight: int = 0
    lost: int = 0
    """Tries that were canceled."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(batches=False, count_tokens=False, models=False)

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        row = int.from_bytes(request.hash)
        tries = sum(1 for entry in self.sent if entry[0] == row) if row in self.script else 0
        acts = self.script.get(row, (self.default,))
        act = acts[min(tries, len(acts) - 1)]
        self.sent.append((row, asyncio.get_running_loop().time(), on_begin is not None))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            begins = act.begins if act.begins is not None else act.seconds / 2
            await asyncio.sleep(begins)
            if on_begin is not None and (
                (isinstance(act.sent, Sent) and act.sent.reply is not None) or act.begins is not None
            ):
                on_begin()
            await asyncio.sleep(max(0.0, act.seconds - begins))
        except asyncio.CancelledError:
            self.lost += 1
            raise
        finally:
            self.in_flight -= 1
        if isinstance(act.sent, BaseException):
            raise act.sent
        return act.sent

    async def count_tokens(self, request: Request) -> int | Failure:
        return 0

    async def models(self) -> list[Mapping[str, Any]] | Failure:
        return []

    async def aclose(self) -> None:
        pass


class ListFeed:
    """A feed over a list; `seconds` is how long each take lasts."""

    def __init__(self, steps: Iterable[Prepared], *, seconds: float = 0.0) -> None:
        self._steps = iter(steps)
        self._next = next(self._steps, None)
        self._seconds = seconds
        self.taken = 0
        self.followed: list[Step] = []

    async def take(self, limit: int) -> Sequence[Prepared]:
        await asyncio.sleep(self._seconds)
        taken: list[Prepared] = []
        while self._next is not None and len(taken) < limit:
            taken.append(self._next)
            self._next = next(self._steps, None)
        self.taken += len(taken)
        return taken

    def add(self, step: Prepared) -> None:
        """One more step, at the end."""
        self._steps = iter((*self._steps, step))
        if self._next is None:
            self._next = next(self._steps)

    async def peek_is_empty(self) -> bool:
        return self._next is None

    def follow_up(self, step: Step) -> None:
        """A step that was opened: it comes at the end."""
        self.followed.append(step)
        self.add(replace(prepared(step.row), step=step))


class MemoryBook:
    """A book that keeps the contract in memory and checks what the engine owes it.

    `seconds` is how long each call lasts. Everything it is told is kept, for a test to look at.
    """

    def __init__(self, retry: RetryPolicy, *, cap: int | None = None, seconds: float = 0.001) -> None:
        self._retry = retry
        self._cap = cap
        self._seconds = seconds
        self.leased: dict[Step, int] = {}
        self.reserved = 0
        self.attempts: Counter[Step] = Counter()
        self.most_leased = 0
        self.spent = 0
        self.doubtful = 0
        self.highest_claim = 0
        self.outcomes: list[Outcome] = []
        self.status: dict[Step, str] = {}
        self.released: list[Step] = []
        self.lease_calls = 0
        self._recording: list[asyncio.Event] = []
        """One for each call that records, until it has."""
        self.breaks_at: int | None = None
        """The record call (from 1) that raises."""

    @property
    def claim(self) -> int:
        return self.spent + self.doubtful + self.reserved

    async def lease(self, prepared: Sequence[Prepared]) -> int:
        before = tuple(self._recording)
        await asyncio.sleep(self._seconds)
        for recorded in before:  # it takes effect behind them
            await recorded.wait()
        self.lease_calls += 1
        assert prepared, "a lease of nothing"
        for count, item in enumerate(prepared):
            assert item.step not in self.leased, "leased twice"
            assert self.status.get(item.step, "open") == "open", "a decided step is leased"
            bound = item.bound_pico or 0
            if self._cap is not None and self.claim + bound > self._cap:
                return count
            self.leased[item.step] = bound
            self.reserved += bound
            self.most_leased = max(self.most_leased, len(self.leased))
            self.highest_claim = max(self.highest_claim, self.claim)
        return len(prepared)

    async def record(self, outcome: Outcome) -> Decision:
        (decision,) = await self.record_all((outcome,))
        return decision

    async def record_all(self, outcomes: Sequence[Outcome]) -> Sequence[Decision]:
        recorded = asyncio.Event()
        self._recording.append(recorded)
        try:
            await asyncio.sleep(self._seconds)
            return [self._recorded(outcome) for outcome in outcomes]
        finally:
            self._recording.remove(recorded)
            recorded.set()

    def _recorded(self, outcome: Outcome) -> Decision:
        assert (outcome.reply is None) != (outcome.failure is None)
        if self.breaks_at is not None and len(self.outcomes) + 1 >= self.breaks_at:
            raise OSError("no space left")
        bound = self.leased.pop(outcome.step)
        assert self.status.get(outcome.step, "open") == "open", "decided twice"
        self.attempts[outcome.step] += 1
        assert outcome.attempt >= self.attempts[outcome.step]
        self.reserved -= bound
        self.outcomes.append(outcome)
        self.spent += outcome.cost_pico or 0
        failure = outcome.failure
        if failure is None:
            self.status[outcome.step] = "succeeded"
            return Decision("succeeded")
        if failure.may_be_billed:
            self.doubtful += bound
        again = failure.scope == "job" or self._retry.allows(failure, outcome.tries)
        self.status[outcome.step] = "open" if again else "failed"
        return Decision("open" if again else "failed", failure)

    async def release(self, steps: Sequence[Step]) -> None:
        await asyncio.sleep(self._seconds)
        for step in steps:
            self.reserved -= self.leased.pop(step)
        self.released.extend(steps)


class Listener:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def notify(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]


def output_price(model: str, usage: Usage, mode: Mode) -> int | None:
    """A pico-dollar a token."""
    return usage.output_tokens + usage.prompt_tokens
