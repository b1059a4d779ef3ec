"""Steps that are not leased: those that came from the feed, and those that wait for their next try.

Owns   their order. Retries whose time has come go before fresh steps, so that rows finish in about the order they
       began.
Knows  times as numbers; it has no clock and sends nothing.

Memory: the engine takes from the feed only while `is_full` is false, so both parts stay within a few windows.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from itertools import islice

from runner.engines import Prepared


class Backlog:
    """`window` is the number of retries beyond which no fresh steps should be taken."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._pending: deque[Prepared] = deque()
        self._later: list[tuple[float, int, Prepared]] = []
        self._postponed = 0

    @property
    def pending(self) -> int:
        """How many could be leased now."""
        return len(self._pending)

    @property
    def is_full(self) -> bool:
        return len(self._later) >= self._window

    @property
    def is_empty(self) -> bool:
        return not self._pending and not self._later

    @property
    def next_due(self) -> float | None:
        """When the next retry's time comes."""
        return self._later[0][0] if self._later else None

    def add(self, prepared: Sequence[Prepared]) -> None:
        """Take fresh steps, in their order."""
        self._pending.extend(prepared)

    def postpone(self, prepared: Prepared, due: float) -> None:
        """Keep a step until `due`; equal times keep their order."""
        self._postponed += 1
        heapq.heappush(self._later, (due, self._postponed, prepared))

    def promote(self, now: float) -> None:
        """Move retries that are due before the fresh steps."""
        due: list[Prepared] = []
        while self._later and self._later[0][0] <= now:
            due.append(heapq.heappop(self._later)[2])
        self._pending.extendleft(reversed(due))

    def first(self, limit: int) -> Sequence[Prepared]:
        """The next steps to lease, without taking them out."""
        return tuple(islice(self._pending, limit))

    def remove_first(self, count: int) -> None:
        """Take out what was leased."""
        for _ in range(count):
            self._pending.popleft()
