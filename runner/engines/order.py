"""The order around a shared cached prefix: one request goes first, the others follow when its reply has begun.

Owns   which prefixes are being written, which can be read, and who waits for which.
Knows  steps and their prefixes. It sends nothing and knows no limits.

A cache entry can be read only once the reply that writes it has begun, so N requests sent at once buy N writes (1.25
to 2 times the price of the input) where one write and N-1 reads would do. A leader that fails before its reply begins
wrote nothing: the next of those that wait becomes the leader. An entry lives for its time-to-live from the last
request that used it; after that the next request leads again. Source: the API's prompt caching page.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Literal

from runner.clock import Clock
from runner.engines import Prepared
from runner.types import Request

_MAX_WARM = 4_096
"""Prefixes remembered as readable. Forgetting one costs a wait, never a wrong answer, and memory stays flat."""

_TTL_S = {"5m": 300.0, "1h": 3_600.0, None: 300.0}

Place = Literal["lead", "follow", "wait"]


class WarmUp:
    """One per run. `worth_waiting` says for which requests the prefix is long enough to be cached at all."""

    def __init__(self, clock: Clock, worth_waiting: Callable[[Request], bool]) -> None:
        self._clock = clock
        self._worth_waiting = worth_waiting
        self._readable_until: OrderedDict[bytes, float] = OrderedDict()
        self._waiting: dict[bytes, deque[Prepared]] = {}
        """By prefix, for those that have a leader on its way."""

    @property
    def waiting(self) -> int:
        """How many steps wait for a leader."""
        return sum(len(steps) for steps in self._waiting.values())

    def place(self, prepared: Prepared) -> Place:
        """Whether this step goes first, may go, or has to wait; one that waits is kept here until it is given back."""
        request = prepared.request
        prefix = request.prefix
        if not prefix or not self._worth_waiting(request):
            return "follow"
        steps = self._waiting.get(prefix)
        if steps is not None:
            steps.append(prepared)
            return "wait"
        now = self._clock.monotonic()
        if self._readable_until.get(prefix, now) <= now:
            self._waiting[prefix] = deque()
            return "lead"
        self._remember(request, now)
        return "follow"

    def begun(self, request: Request) -> Sequence[Prepared]:
        """The leader's reply has begun; returns those that may go now, in their order. Telling it twice changes
        nothing."""
        if request.prefix not in self._waiting:
            return ()
        self._remember(request, self._clock.monotonic())
        return self._waiting.pop(request.prefix)

    def failed(self, request: Request) -> Sequence[Prepared]:
        """The leader failed before it began; returns those that waited, the first of which will lead."""
        return self._waiting.pop(request.prefix, ())

    def clear(self) -> Sequence[Prepared]:
        """Give back everything that waits, since the run stops."""
        steps = [prepared for waiting in self._waiting.values() for prepared in waiting]
        self._waiting.clear()
        return steps

    def _remember(self, request: Request, now: float) -> None:
        self._readable_until[request.prefix] = now + _TTL_S[request.cache_ttl]
        self._readable_until.move_to_end(request.prefix)
        if len(self._readable_until) > _MAX_WARM:
            self._readable_until.popitem(last=False)
