"""Whether anything answers at all: what calls say of the way to the API, and when a run stops over it.

Owns   the calls in a row that got no reply, for how long that has been so, and the reason for stopping.
Knows  failures by their kind and status, an observer, and a clock. Nothing of rows, and not who calls: one outage is
       shared by all that a process of a run sends, looks at and uploads, and is told of what others hear.

What a call says
  * Whatever came over HTTP is an answer, of any status: an API that refuses or is busy is there.
  * A `connection_error` without a status is none: no such name, refused, no route, TLS, a proxy that lets nothing
    through, a connection that ended before its response.
  * A timeout says neither. A request that was sent and not answered in time may be too much for its deadline, may be
    worked on, and may be billed: it is its own row's, as it always was. (A connection that does not come to stand in
    time is a `connection_error`.)

A run stops only after `IN_A_ROW` calls and a time: 200 requests that break off together are one event, and short
outages are for retries to ride out. Where nothing has answered yet in this sitting the time is short: an address is
mistyped more often than a network comes up that late. It is the long one after all while requests are under way that
may be answered yet. Of the time between two calls at most `LONGEST_GAP_S` counts, so that a machine that slept has
not been without an answer for a night.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runner.clock import Clock
from runner.engines import StopReason
from runner.events import Observer, Warned
from runner.types import Failure

IN_A_ROW = 4
"""Calls without a reply after which the API counts as lost: requests then leave one by one. Few, since one answer is
enough to find it again."""
FIRST_PATIENCE_S = 6.0
"""Before the first answer: four calls, a second apart and then two and four, as batches are created; and longer than
the five seconds that a connection may take to stand."""
PATIENCE_S = 300.0
"""After it: a router that starts again, or a VPN that its user connects again, takes a minute or two."""
LONGEST_GAP_S = 60.0
"""As long as any pause between two calls where nothing answers (`pauses`, `polling`)."""


class Outage:
    """One per process of a run and sitting. `place` and `cure` are for a person; nothing in them is secret."""

    def __init__(
        self,
        clock: Clock,
        observer: Observer,
        *,
        patience_s: float = PATIENCE_S,
        place: str = "the API's address",
        cure: str = "check the network",
    ) -> None:
        self._clock = clock
        self._observer = observer
        self._patience_s = patience_s
        self._place = place
        self._cure = cure
        self.heard = False
        """Set by whoever gets an answer: all that an answered row costs."""
        self._ever = False
        self._told = False
        self._waits: Callable[[], bool] = _never
        self._last: Failure | None = None
        """The last call without a reply; None before the first."""
        self._misses = 0
        self._missed_at = 0.0
        self._lasted_s = 0.0

    @property
    def has_answered(self) -> bool:
        """Whether anything has answered in this sitting."""
        return self._ever or self.heard

    @property
    def is_lost(self) -> bool:
        """Whether nothing has answered lately: what is sent now is sent to find that out."""
        return self._misses >= IN_A_ROW and not self.heard

    @property
    def is_deaf(self) -> bool:
        """Whether something was asked in this sitting and nothing has answered at all."""
        return self._last is not None and not self.has_answered

    def failed(self, failure: Failure, under_way: int = 0) -> StopReason | None:
        """Take note of a call that failed while so many others had left and not ended; why the run has to stop, if it
        has."""
        if failure.http_status is not None:
            self.heard = True
        elif failure.kind == "connection_error":
            self._miss(failure)
            if self._is_over(under_way):
                return self.reason()
        return None

    def answered_elsewhere(self) -> None:
        """Another process of the run was answered: the API is there, and the time begins anew. That calls from here get
        no reply stays as it is: requests go on leaving one by one."""
        self._ever, self._lasted_s = True, 0.0
        self._missed_at = self._clock.monotonic()

    @contextmanager
    def waiting_while(self, waits: Callable[[], bool]) -> Iterator[None]:
        """Within, a run that was answered before is not stopped while `waits` says that it has something to wait
        for."""
        self._waits = waits
        try:
            yield
        finally:
            self._waits = _never

    def reason(self) -> StopReason:
        """Why the run stops; after a call without a reply only."""
        assert self._last is not None
        return StopReason(
            "unreachable",
            f"nothing answers at {self._place}: {self._calls()} got no reply; the last one ended with "
            f"{self._last.message}",
            f"{self._cure}, then go on with the same command",
            self._last,
        )

    def _miss(self, failure: Failure) -> None:
        now = self._clock.monotonic()
        if self.heard:
            self.heard, self._ever = False, True
            self._misses, self._lasted_s = 0, 0.0
        if self._misses:
            self._lasted_s += min(now - self._missed_at, LONGEST_GAP_S)
        self._misses += 1
        self._missed_at, self._last = now, failure
        if self._misses == IN_A_ROW and self._ever and not self._told:
            self._told = True
            self._observer.notify(Warned("no-answer", self._lost_words(failure)))

    def _is_over(self, under_way: int) -> bool:
        if not self.is_lost:
            return False
        if self._ever:
            return self._lasted_s >= self._patience_s and not self._waits()
        first = self._patience_s if under_way else min(FIRST_PATIENCE_S, self._patience_s)
        return self._lasted_s >= first

    def _calls(self) -> str:
        calls = "1 call" if self._misses == 1 else f"{self._misses:,} calls in a row"
        return f"{calls} within {self._lasted_s:.0f} s" if self._lasted_s >= 1 else calls

    def _lost_words(self, failure: Failure) -> str:
        what = f"nothing answers at {self._place} any more ({failure.message})"
        if self._waits():
            return f"{what}: it is asked again and again, and what is at the API stays there"
        return f"{what}: one request at a time is tried, and the run stops after {self._patience_s:g} s without a reply"


def _never() -> bool:
    return False
