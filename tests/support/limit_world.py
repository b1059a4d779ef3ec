"""A world in which only limits matter: an API of token buckets with a latency, and runs that send as fast as they may.

Time is a number that jumps from event to event, so that an hour takes a second. The API is the stand-in's own
`Limits`, so that what is asserted here is asserted against the same buckets, headers and refusals as over HTTP.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from runner.engines.limits import Limits
from runner.engines.pacing import Pool
from runner.providers import Sent
from runner.simulator.limits import Limits as ApiLimits
from runner.simulator.refusal import Refused
from runner.types import Failure, Reply, Request, Usage

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LINE = "haiku"


class WorldClock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.time)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


@dataclass
class Run:
    """One run that always has another row to send, `rows` in all."""

    limits: Limits
    rows: int
    starts_at: float = 0.0
    sent: int = 0
    done: int = 0
    refused: int = 0
    again: int = 0
    """Rows that were refused and wait to be sent again."""
    accepted_at: list[float] = field(default_factory=list)
    """When the API took each request."""
    wakes_at: float | None = None

    def rate(self, start: float, end: float) -> float:
        """Requests a second that the API took in this time."""
        return sum(start <= at < end for at in self.accepted_at) / (end - start)

    @property
    def ended_at(self) -> float:
        """When the last of them was taken."""
        return self.accepted_at[-1]

    @property
    def share_refused(self) -> float:
        return self.refused / max(1, self.sent)


@dataclass
class World:
    """`latency_s` draws how long a reply takes; `usage` what the row costs: (body bytes, usage)."""

    api: ApiLimits
    clock: WorldClock
    latency_s: Callable[[], float]
    usage: Callable[[], tuple[int, Usage]] = lambda: (300, Usage(100, 40))
    headers: bool = True
    refusal_s: float = 0.02

    def __post_init__(self) -> None:
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.others_sent = 0

    def at(self, time: float, act: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, act))

    def others(self, per_s: float, start: float = 0.0, end: float = 1e9, *, input_tokens: int = 100) -> None:
        """Somebody else who uses the key, at random moments, and does not care for refusals."""
        draw = random.Random(7)

        def send() -> None:
            try:
                self.api.admit(LINE, input_tokens, 40, 1)
                self.others_sent += 1
            except Refused:
                pass
            if self.clock.time < end and any(run.done < run.rows for run in self.runs):
                self.at(self.clock.time + draw.expovariate(per_s), send)

        self.at(start, send)

    def go(self, *runs: Run, until: float = 1e9) -> None:
        """Until every run is done."""
        self.runs = runs
        for run in runs:
            self.at(run.starts_at, lambda run=run: self._dispatch(run))  # type: ignore[misc]
        while self._events and any(run.done < run.rows for run in runs):
            time, _, act = heapq.heappop(self._events)
            if time > until:
                return
            self.clock.time = max(self.clock.time, time)
            act()

    def _dispatch(self, run: Run) -> None:
        limits = run.limits
        while (run.again or run.sent - run.refused < run.rows) and limits.has_room:
            if run.again:
                run.again -= 1
            size, usage = self.usage()
            request = Request(b"", b"", b"x" * size, "m", 100, None)
            permit = limits.enter(request)
            run.sent += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            sent, seconds = self._answer(usage)
            if sent.reply is not None:
                run.accepted_at.append(self.clock.time)
            self.at(self.clock.time + seconds, lambda p=permit, s=sent: self._land(run, p, s))  # type: ignore[misc]
        wake = limits.resume_at
        if wake is not None and wake != run.wakes_at:
            run.wakes_at = wake
            self.at(wake, lambda: self._dispatch(run))

    def _answer(self, usage: Usage) -> tuple[Sent, float]:
        counted = usage.input_tokens + usage.cache_creation_input_tokens
        try:
            self.api.admit(LINE, counted, usage.output_tokens, self.in_flight)
        except Refused as refused:
            wait = refused.headers.get("retry-after")
            failure = Failure(
                "rate_limit_error",
                refused.message,
                retryable=True,
                retry_after_s=float(wait) if wait else None,
                http_status=429,
                code=refused.error_code,
            )
            self.in_flight -= 1
            return Sent(None, failure, headers=self._headers()), self.refusal_s
        reply = Reply("m", None, "m", "end_turn", (), usage)
        return Sent(reply, None, b"", None, self._headers()), self.latency_s()

    def _headers(self) -> dict[str, str]:
        if not self.headers:
            return {}
        return {"date": format_datetime(self.clock.now(), usegmt=True), **self.api.headers(LINE)}

    def _land(self, run: Run, permit: Any, sent: Sent) -> None:
        self.in_flight -= sent.reply is not None  # who is refused holds no connection
        run.limits.leave()
        run.limits.learn(permit, sent)
        if sent.reply is None:
            run.refused += 1
            run.again += 1
        else:
            run.done += 1
        self._dispatch(run)


def world(
    *,
    latency_s: float = 1.0,
    spread: float = 0.0,
    seed: int = 0,
    usage: Callable[[], tuple[int, Usage]] | None = None,
    headers: bool = True,
    **limits: Any,
) -> World:
    """An API with these limits (the arguments of the stand-in's `Limits`); `spread` is the latency's
    sigma."""
    clock, draw = WorldClock(), random.Random(seed)
    made = World(
        ApiLimits(clock, **limits),
        clock,
        lambda: latency_s * draw.lognormvariate(0, spread),
        headers=headers,
    )
    if usage is not None:
        made.usage = usage
    return made


def run_in(world: World, rows: int, max_concurrency: int, *, pool: Pool | None = None, **more: Any) -> Run:
    starts_at = more.pop("starts_at", 0.0)
    return Run(Limits(max_concurrency, world.clock, pool=pool, **more), rows, starts_at)
