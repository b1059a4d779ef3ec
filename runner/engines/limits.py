"""How many requests may be in flight, and when none may leave.

Owns   the count of what is in flight, its width, and the cool-down that all rows share after the API said "not now".
Knows  failures by their kind. Nothing of rows, prefixes or money.

Rules
  * A 429 pauses everything: for its `retry-after` (clamped), else for a backoff that doubles until a reply succeeds.
    It also halves the width, once a pause, and every reply that succeeds widens it again (additive increase,
    multiplicative decrease).
  * A 529 says that the API is busy, not that we are too fast: the width stays, and without a `retry-after`
    it is its own row's backoff, until half of the width has got one with no reply between them.
  * Requests that left before a pause began say nothing new about it.
"""

from __future__ import annotations

from runner.clock import Clock
from runner.engines.retry import clamp_retry_after
from runner.types import Failure

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
"""The pause without a `retry-after` runs from the SDK's initial delay to half the window of a per-minute limit."""

_FEWEST_OVERLOADS = 5
"""A refusal comes at once and a reply takes seconds, so 529s bunch up: against the stand-in with one request in ten
refused, pausing at the second in a row cost most of the throughput."""

_RATE_LIMITED = "rate_limit_error"
_OVERLOADED = "overloaded_error"


class Limits:
    """One per run. `in_flight` counts requests between `enter` and `leave`."""

    def __init__(self, max_concurrency: int, clock: Clock) -> None:
        self._max_concurrency = max_concurrency
        self._clock = clock
        self._width = float(max_concurrency)
        self._resume_at = 0.0
        self._paused_at = float("-inf")
        self._pauses = 0
        self._overloads = 0
        self._overloads_to_pause = max(_FEWEST_OVERLOADS, max_concurrency // 2)
        self.in_flight = 0

    @property
    def has_room(self) -> bool:
        """Whether one more request may leave now."""
        return self.in_flight < int(self._width) and self._clock.monotonic() >= self._resume_at

    @property
    def resume_at(self) -> float | None:
        """When the cool-down ends, on the monotonic clock; None where there is none."""
        return self._resume_at if self._clock.monotonic() < self._resume_at else None

    def enter(self) -> None:
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1

    def succeeded(self) -> None:
        """A reply came: whatever paused the run is over."""
        self._pauses = 0
        self._overloads = 0
        if self._width < self._max_concurrency:
            self._width = min(self._width + 1 / self._width, float(self._max_concurrency))

    def failed(self, failure: Failure, sent_at: float) -> float | None:
        """Take note of a failed request that left at `sent_at`; returns the seconds of a cool-down that it starts."""
        if failure.kind == _OVERLOADED:
            self._overloads += 1
        if failure.kind not in {_RATE_LIMITED, _OVERLOADED} or not failure.retryable:
            return None
        fresh = sent_at >= self._paused_at
        if failure.kind == _RATE_LIMITED and fresh:
            self._width = max(1.0, self._width / 2)
        pause_s = self._pause_s(failure, fresh)
        now = self._clock.monotonic()
        if pause_s <= 0 or now + pause_s <= self._resume_at:
            return None
        self._resume_at = now + pause_s
        if fresh:
            self._paused_at = now
            self._pauses += 1
        return pause_s

    def _pause_s(self, failure: Failure, fresh: bool) -> float:
        if failure.retry_after_s is not None:
            return clamp_retry_after(failure.retry_after_s)
        if not fresh or (failure.kind == _OVERLOADED and self._overloads < self._overloads_to_pause):
            return 0.0
        return float(min(_FIRST_PAUSE_S * 2.0 ** min(self._pauses, 16), _LONGEST_PAUSE_S))
