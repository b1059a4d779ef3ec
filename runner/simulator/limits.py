"""Rate limits by token bucket, and the headers that tell of them.

Owns   three buckets for each line of models (requests, uncached input, output), the bound on concurrent requests, the
       `anthropic-ratelimit-*` headers and the 429 with its `retry-after`.
Knows  counts only.

Rules (source: the API's rate-limits page, October 2026): buckets refill continuously; input counts uncached tokens and
cache writes, never cache reads; output counts tokens really generated, so `max_tokens` does not matter; models of one
line share a pool. A limit that is not set is shown as a very high one and never refuses. The same page says that
shorter windows than a minute may be enforced, of which the headers tell nothing, and that sharp ramps are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta

from msgspec import Struct

from runner.clock import Clock
from runner.simulator.refusal import Refused

_UNLIMITED = 100_000_000
"""A limit a minute nobody reaches on one machine."""

_PREFIX = "anthropic-ratelimit-"


class _Bucket(Struct):
    """`per_minute` is what the headers call the limit; `capacity` is how much can be used at once."""

    per_minute: int
    capacity: float
    level: float
    filled_at: float

    def refill(self, now: float) -> None:
        self.level = min(self.capacity, self.level + (now - self.filled_at) * self.per_minute / 60)
        self.filled_at = now

    def wait_s(self, wanted: float) -> float:
        """Seconds until `wanted` (at most the capacity) is there."""
        return max(0.0, (min(wanted, self.capacity) - self.level) * 60 / self.per_minute)


class _Pool(Struct):
    requests: _Bucket
    input_tokens: _Bucket
    output_tokens: _Bucket


class _Ramp:
    """Counts by the second."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._second = 0
        self._now = self._before = 0

    def admits(self, now: float) -> bool:
        second = int(now)
        if second != self._second:
            self._before = self._now if second == self._second + 1 else 0
            self._second, self._now = second, 0
        if self._now >= max(self._free, 2 * self._before):
            return False
        self._now += 1
        return True


class Limits:
    """`rpm`, `itpm`, `otpm`: a minute, None for no limit. `burst_s`: seconds' worth that may be used at once;
    `window_s`: the same, of requests, and no header tells of it. `ramp`: requests a second that may always be sent;
    more are refused where they are more than twice those of the second before."""

    def __init__(
        self,
        clock: Clock,
        *,
        rpm: int | None = None,
        itpm: int | None = None,
        otpm: int | None = None,
        burst_s: float = 60.0,
        window_s: float | None = None,
        ramp: int | None = None,
        retry_after: bool = True,
        max_concurrency: int | None = None,
    ) -> None:
        self._clock = clock
        self._per_minute = (rpm, itpm, otpm)
        self._burst_s = burst_s
        self._window_s = window_s
        self._ramp = None if ramp is None else _Ramp(ramp)
        self._retry_after = retry_after
        self._max_concurrency = max_concurrency
        self._pools: dict[str, _Pool] = {}
        self._window: _Bucket | None = None
        self._unlimited = rpm is None and itpm is None and otpm is None
        self._idle_headers: tuple[int, dict[str, str]] = (-1, {})

    def clear(self) -> None:
        self._pools.clear()
        self._window = None

    def admit(self, line: str, input_tokens: int, output_tokens: int, in_flight: int) -> None:
        """Take a request's worth from the pool of a line of models. Raises Refused (429) and takes nothing else.

        Args:
            input_tokens: uncached input and cache writes.
            in_flight: requests under way, this one included.
        """
        if self._max_concurrency is not None and in_flight > self._max_concurrency:
            raise Refused("Number of concurrent connections has exceeded your rate limit.", 429)
        if self._ramp is not None and not self._ramp.admits(self._clock.monotonic()):
            message = "Your traffic has grown too fast."
            raise Refused(message, 429, error_code="ramp_limit_exceeded", headers=self._come_back_in(1.0))
        if self._unlimited:
            return
        pool = self._pool(line)
        waits = (
            ("requests", pool.requests, pool.requests.wait_s(1)),
            ("input tokens", pool.input_tokens, pool.input_tokens.wait_s(input_tokens)),
            ("output tokens", pool.output_tokens, pool.output_tokens.wait_s(1)),
        )
        what, bucket, wait_s = max(waits, key=lambda entry: entry[2])
        if wait_s > 0:
            raise Refused(
                f"This request would exceed your organization's rate limit of {bucket.per_minute:,} {what} per minute.",
                429,
                headers=self._come_back_in(wait_s),
            )
        self._admit_in_window()
        pool.requests.level -= 1
        pool.input_tokens.level -= input_tokens
        pool.output_tokens.level -= output_tokens

    def _admit_in_window(self) -> None:
        rpm = self._per_minute[0]
        if self._window_s is None or rpm is None:
            return
        now = self._clock.monotonic()
        if self._window is None:
            capacity = max(1.0, rpm * self._window_s / 60)
            self._window = _Bucket(rpm, capacity, capacity, now)
        self._window.refill(now)
        wait_s = self._window.wait_s(1)
        if wait_s > 0:
            message = f"This request would exceed your organization's rate limit of {rpm:,} requests per minute."
            raise Refused(message, 429, headers=self._come_back_in(wait_s))
        self._window.level -= 1

    def _come_back_in(self, wait_s: float) -> dict[str, str]:
        return {"retry-after": str(math.ceil(wait_s))} if self._retry_after else {}

    def headers(self, line: str) -> dict[str, str]:
        """The limit headers as they stand, for a response about a model of that line."""
        if self._unlimited:
            return self._headers_of_idle_pool()
        return self._describe(self._pool(line))

    def _headers_of_idle_pool(self) -> dict[str, str]:
        second = int(self._clock.monotonic())
        if self._idle_headers[0] != second:  # nothing changes in them but the time, which has whole seconds
            self._idle_headers = (second, self._describe(self._pool("")))
        return self._idle_headers[1]

    def _pool(self, line: str) -> _Pool:
        now = self._clock.monotonic()
        pool = self._pools.get(line)
        if pool is None:
            make: Callable[[int | None], _Bucket] = lambda limit: self._bucket(limit, now)  # noqa: E731
            pool = self._pools[line] = _Pool(*(make(limit) for limit in self._per_minute))
        for bucket in (pool.requests, pool.input_tokens, pool.output_tokens):
            bucket.refill(now)
        return pool

    def _bucket(self, per_minute: int | None, now: float) -> _Bucket:
        limit = per_minute or _UNLIMITED
        capacity = max(1.0, limit * self._burst_s / 60)
        return _Bucket(limit, capacity, capacity, now)

    def _describe(self, pool: _Pool) -> dict[str, str]:
        headers: dict[str, str] = {}
        now = self._clock.now()
        tightest = min((pool.input_tokens, pool.output_tokens), key=lambda bucket: bucket.level / bucket.capacity)
        for name, bucket, step in (
            ("requests", pool.requests, 1),
            ("tokens", tightest, 1_000),
            ("input-tokens", pool.input_tokens, 1_000),
            ("output-tokens", pool.output_tokens, 1_000),
        ):
            full_at = now + timedelta(seconds=bucket.wait_s(bucket.capacity))
            remaining = max(0, int(bucket.level) // step * step)  # tokens are told to the thousand
            headers[f"{_PREFIX}{name}-limit"] = str(bucket.per_minute)
            headers[f"{_PREFIX}{name}-remaining"] = str(remaining)
            headers[f"{_PREFIX}{name}-reset"] = full_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers
