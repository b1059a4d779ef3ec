"""Waiting that ends early when the run stops.

Owns   `Pauses`: growing waits between tries that fail together, for creating and for looking.
Knows  a clock and an event.
"""

from __future__ import annotations

import asyncio
from typing import Any

from runner.clock import Clock
from runner.engines.retry import clamp_retry_after

FIRST_S = 1.0
LONGEST_S = 60.0
"""Reliability 3.6: an API that cannot be reached is asked again within a minute, for ever."""
GROWTH = 2.0


class Pauses:
    """The waits of one thing that is tried again and again; `reset` once it has worked."""

    def __init__(
        self, clock: Clock, stopped: asyncio.Event, first_s: float = FIRST_S, longest_s: float = LONGEST_S
    ) -> None:
        self._clock = clock
        self._stopped = stopped
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def reset(self) -> None:
        self._next_s = self._first_s

    def next_s(self, retry_after_s: float | None = None) -> float:
        """How long the next wait is: what the server asks for, within reason, or the growing interval."""
        own, self._next_s = self._next_s, min(self._next_s * GROWTH, self._longest_s)
        return max(own, clamp_retry_after(retry_after_s))

    async def wait(self, seconds: float, *events: asyncio.Event) -> bool:
        """Wait, at most until one of the events; False where the run stopped meanwhile."""
        await first_of(self._clock.sleep(seconds), self._stopped.wait(), *(event.wait() for event in events))
        return not self._stopped.is_set()


async def first_of(*coroutines: Any) -> None:
    """Run some waits until the first is over, and end the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
