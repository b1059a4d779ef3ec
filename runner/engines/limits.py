"""Whether one more request may leave now: the width, the pace, and the pauses that all rows share.

Owns   the count of what is in flight, the permits that were taken from the pool of the key, and what is made of each
       reply and each refusal: `width` decides how many at a time, `pacing` how many a second, `costs` what one takes.
Knows  requests by their bytes, failures by their kind. Nothing of rows, prefixes or money.

Rules
  * Until the API has told of its limits, requests leave half a millisecond apart, so that the first refusal finds few.
  * A 429 pauses everything, for its `retry-after` (clamped). Without one: where the API's own headers say what is used
    up, the pace takes care of it; else for a backoff that doubles until a reply succeeds.
  * What else a 429 changes depends on what it is about. A limit a minute that its headers show to be used up: only the
    level is set right, the width did no harm. One that they do not explain: the pace is lowered where it is what holds
    requests back, else the width is halved. Connections at a time: the width falls to what the API still holds. A ramp:
    a little narrower, and slower growth.
  * A 529 says that the API is busy, not that we are too fast: width and pace stay, and without a `retry-after` it is
    its own row's backoff, until half of the width has got one with no reply between them. Other 5xx change nothing.
  * Requests that left before the last change began say nothing new about it.
  * Where nothing answers any more (`probe`), requests leave one by one, after growing pauses, until something does, or
    one of them has been under way for longer than a connection takes to stand.

`has_room` and `enter` stand on the path of each row: while no limit is near they compare two numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from runner.clock import Clock
from runner.engines.costs import Costs, counted_input
from runner.engines.limit_headers import QUANTITIES, Quantity, Told, read_limits
from runner.engines.pacing import LONGEST_WAIT_S, Mark, Pool
from runner.engines.retry import clamp_retry_after
from runner.engines.width import Width
from runner.providers import Sent
from runner.types import Failure, Request

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
"""The pause without a `retry-after` runs from the SDK's initial delay to half the window of a per-minute limit."""

_FEWEST_OVERLOADS = 5
"""A refusal comes at once and a reply takes seconds, so 529s bunch up: against the stand-in with one request in ten
refused, pausing at the second in a row cost most of the throughput."""

_OPENING_PACE = 2_000.0
"""Requests a second until the first reply. A refusal takes some 20 ms, so that a bucket of a second, of which nobody
has told yet, costs about forty of them."""
_BLOCK = 64
"""Permits are taken for so many at least, where the pace allows it: slots come free one by one."""
_READ_EVERY_S = 0.02
"""Headers are read so often at most: fifty readings a second cost less than a thousandth of a core."""
_SILENT_TO_FORGET = 20
"""A gateway may leave the headers out of a single reply, and what is forgotten is forgotten for all who use the key."""
_SHORTEST_WAIT_S = 0.002
"""Permits that become due within this are waited for together."""

_FIRST_PROBE_S = 0.5
_LONGEST_PROBE_S = 15.0
"""Between two requests that leave to see whether anything answers: an API that is back is found within this, and 200
slots do not all knock at a door that is shut."""
_STANDS_AFTER_S = 6.0
"""A connection stands, or has failed, within five seconds (`providers.arrival`); its answer may take minutes, which
nobody need wait for."""

_NOTHING = (0.0, 0.0, 0.0)
_NOTHING_OWED = (0.0,) * 6

_RATE_LIMITED = "rate_limit_error"
_OVERLOADED = "overloaded_error"
_RAMP = "ramp_limit_exceeded"
_CONNECTIONS = re.compile(r"concurren", re.IGNORECASE)
"""The bound on requests at a time has no error code; it was seen as "Number of concurrent connections has exceeded your
rate limit" (SDK issue 496)."""
_INPUT, _OUTPUT = re.compile(r"input tokens?"), re.compile(r"output tokens?")

Holder = Literal["requests", "input_tokens", "output_tokens", "connections", "pause", "busy", "unreachable"]


class Held(NamedTuple):
    """What keeps further requests from leaving. `limit` is a minute's, or how many at a time; None where no number is
    known. `own`: it is the job's own ceiling, not the API's."""

    by: Holder
    limit: int | None = None
    own: bool = False


class Ceilings(Struct, frozen=True):
    """The job's own limits a minute; None for none."""

    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    def pool(self) -> Pool | None:
        """A pool that keeps to them; None where there is none."""
        if not any((self.requests, self.input_tokens, self.output_tokens)):
            return None
        pool = Pool()
        self.apply(pool)
        return pool

    def apply(self, pool: Pool) -> None:
        """Make a new pool keep to them."""
        for gauge, limit in zip(pool.gauges, (self.requests, self.input_tokens, self.output_tokens), strict=True):
            if limit:
                gauge.set_ceiling(limit)


class Permit:
    """A request that has left: when, and what it was expected to take."""

    __slots__ = ("input_tokens", "mark", "output_tokens", "request", "sent_at")

    def __init__(self, request: Request, sent_at: float, mark: Mark, input_tokens: float, output_tokens: float) -> None:
        self.request = request
        self.sent_at = sent_at
        self.mark = mark
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens


class Limits:
    """One per run and process. `in_flight` counts requests between `enter` and `leave`.

    `pool` is that of the key: every process that uses the key may hold the same one. `ceilings` is that of the job.
    """

    def __init__(
        self, max_concurrency: int, clock: Clock, *, pool: Pool | None = None, ceilings: Pool | None = None
    ) -> None:
        self._max_concurrency = max_concurrency
        self._clock = clock
        self._pool = pool or Pool()
        self._ceilings = ceilings
        self._width = Width(max_concurrency, self._pool.healthy_width())
        self._costs = Costs()
        self._allowance = 0.0
        """Requests that may leave without asking the pool; infinite while no limit is known."""
        self._ask_at = -math.inf
        self._opening_at = -math.inf
        self._is_told = False
        """The API has answered, so that whatever limits it tells of are known."""
        self._expected = _NOTHING
        """What the pool has counted for each request of the allowance."""
        self._owed = [0.0] * 6
        self._mark = self._pool.mark(clock.monotonic())
        self._read_at = -math.inf
        self._silent = 0
        """Replies in a row that told of no limit, of those that were read."""
        self._changed_at = -math.inf
        self._pauses = 0
        self._overloads = 0
        self._overloads_to_pause = max(_FEWEST_OVERLOADS, max_concurrency // 2)
        self._busy_until = -math.inf
        self._probe_at: float | None = None
        """When the next request may leave, alone; None while the API answers."""
        self._probe_pause_s = _FIRST_PROBE_S
        self._is_probing = False
        """Such a request has left, and none has failed since."""
        self._blocked_by: Held | None = None
        self.in_flight = 0

    # -- leaving ---------------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether one more request may leave now."""
        if self.in_flight >= self._width.slots:
            return False
        return self._allowance >= 1.0 or self._take()

    @property
    def resume_at(self) -> float | None:
        """When to look again, on the monotonic clock; None where a reply has to come first, or nothing is held.

        It may have come already: a timer that rings a moment early finds `has_room` false, and the time then passes
        before this is asked. Whoever waits must not be left without a timer.
        """
        if self._allowance >= 1.0 or self.in_flight >= self._width.slots or self._ask_at == -math.inf:
            return None
        return self._ask_at

    @property
    def held(self) -> Held | None:
        """What keeps the next request from leaving; None where it may leave."""
        if self.in_flight >= self._width.slots:
            return Held("connections", self._width.slots, own=self._width.is_full)
        if self._allowance >= 1.0:
            return None
        return self._blocked_by

    def enter(self, request: Request) -> Permit:
        """A request leaves; `has_room` said that it may."""
        self.in_flight += 1
        self._allowance -= 1.0
        costs, owed, expected = self._costs, self._owed, self._expected
        input_tokens, output_tokens = costs.expect(request), costs.output
        owed[0] += 1.0 - expected[0]
        owed[1] += input_tokens - expected[1]
        owed[2] += output_tokens - expected[2]
        return Permit(request, self._clock.monotonic(), self._mark, input_tokens, output_tokens)

    def leave(self) -> None:
        self.in_flight -= 1

    def _take(self) -> bool:
        """Ask for permits; False where there is none to be had now."""
        now = self._clock.monotonic()
        if now < self._ask_at:
            return False
        if self._probe_at is not None:
            if self._is_probing:
                self._find(now)
            else:
                return self._take_probe(max(self._probe_at, self._pool.resume_at), now)
        wanted = max(self._width.slots - self.in_flight, _BLOCK)
        costs = (1.0, max(self._costs.input, 1.0), max(self._costs.output, 1.0))
        owed = self._take_owed(now)
        ceilings = self._ceilings
        if ceilings is None and now >= self._pool.resume_at and not self._pool.is_limited:
            if not self._is_told:
                return self._take_opening(owed, now)
            if not self._pool.is_shared:
                return self._take_unlimited(owed, now)
            wanted = _BLOCK  # another process may learn of a limit, or be told to pause
        if ceilings is not None:
            granted = ceilings.take(wanted, costs, _NOTHING_OWED, now)
            if not granted.permits:
                self._pool.settle(owed, now)
                return self._wait(granted.ask_at, granted.by, own=True, now=now)
            wanted = granted.permits
        grant = self._pool.take(wanted, costs, owed, now)
        if ceilings is not None and grant.permits < wanted:
            ceilings.settle([*((grant.permits - wanted) * cost for cost in costs), 0.0, 0.0, 0.0], now)
        self._mark = grant.mark
        if not grant.permits:
            return self._wait(grant.ask_at, grant.by, own=False, now=now)
        self._expected, self._allowance, self._blocked_by = costs, float(grant.permits), None
        return True

    def _take_unlimited(self, owed: Sequence[float], now: float) -> bool:
        """No limit is known, and what changes that is told here: as many as the width allows."""
        self._pool.settle(owed, now)
        self._mark = self._pool.mark(now)
        self._expected, self._blocked_by = _NOTHING, None
        self._allowance = math.inf
        return True

    def _take_opening(self, owed: Sequence[float], now: float) -> bool:
        """No limit is known, and nobody has answered yet: slowly."""
        self._pool.settle(owed, now)
        self._mark = self._pool.mark(now)
        self._expected, self._blocked_by = _NOTHING, None
        if now < self._pool.resume_at:  # another process's pause, which settling has brought to light
            return self._wait(self._pool.resume_at, None, own=False, now=now)
        self._opening_at = max(self._opening_at, now - 10 / _OPENING_PACE)
        if now < self._opening_at:
            return self._wait(self._opening_at, None, own=False, now=now)
        self._allowance = 1.0 + int((now - self._opening_at) * _OPENING_PACE)
        self._opening_at += self._allowance / _OPENING_PACE
        return True

    def _take_probe(self, at: float, now: float) -> bool:
        """One request, to see whether anything answers."""
        if now < at:
            self._ask_at = at
            return False
        self._is_probing = True
        self._ask_at = now + _STANDS_AFTER_S
        self._probe_pause_s = min(2.0 * self._probe_pause_s, _LONGEST_PROBE_S)
        self._expected, self._allowance = _NOTHING, 1.0
        return True

    def _take_owed(self, now: float) -> Sequence[float]:
        """What the pool is owed; the job's own ceilings get theirs at once."""
        owed, self._owed = self._owed, [0.0] * 6
        if self._ceilings is not None:
            self._ceilings.settle(owed, now)
        return owed

    def _wait(self, ask_at: float, by: int | None, *, own: bool, now: float) -> bool:
        if by is not None:
            ask_at = min(ask_at, now + LONGEST_WAIT_S)
        self._ask_at = max(ask_at, now + _SHORTEST_WAIT_S)
        if by is not None:
            pool = self._ceilings if own and self._ceilings is not None else self._pool
            self._blocked_by = Held(QUANTITIES[by], round(pool.gauges[by].limit), own)
        elif now < self._pool.resume_at:
            self._blocked_by = Held("busy" if now < self._busy_until else "pause")
        # Else it is a moment's wait (for the lock, a turn, the opening), and what held requests back still does.
        return False

    # -- learning --------------------------------------------------------------------------------------------------

    def learn(self, permit: Permit, sent: Sent) -> float | None:
        """Take note of how a request ended, after `leave`; returns the seconds of a pause that it starts."""
        now = self._clock.monotonic()
        if sent.reply is not None:
            usage = sent.reply.usage
            self._costs.learn(permit.request, usage)
            self._owed[4] += counted_input(usage) - permit.input_tokens
            self._owed[5] += usage.output_tokens - permit.output_tokens
            self._pauses = self._overloads = 0
            self._width.succeeded(self.in_flight, now)
            self._is_told = True
            if self._probe_at is not None:
                self._find(now)
            if now >= self._read_at and sent.headers is not None:
                told = self._read(sent.headers, permit, now)
                self._silent += not any(told)
                if self._silent >= _SILENT_TO_FORGET and self._pool.is_limited:
                    self._pool.forget()
            return None
        assert sent.failure is not None, "a try brings a reply or a failure"
        if sent.failure.http_status is not None and self._probe_at is not None:
            self._find(now)
        return self._failed(permit, sent.failure, sent.headers or {}, now)

    def probe(self) -> None:
        """A request got no reply, and nothing has answered lately: until something does, requests leave one by one, the
        next after a pause that grows with each of them."""
        now = self._clock.monotonic()
        if self._probe_at is None:
            self._forgo()
            self._probe_at, self._probe_pause_s = now + _FIRST_PROBE_S, _FIRST_PROBE_S
        elif self._is_probing:
            self._probe_at = now + self._probe_pause_s
        self._is_probing = False
        self._ask_at = self._probe_at
        self._blocked_by = Held("unreachable")

    def _find(self, now: float) -> None:
        """Something answers again, or a connection stands."""
        self._forgo()
        self._probe_at = self._blocked_by = None
        self._is_probing = False
        self._ask_at = now

    def close(self) -> None:
        """Give back what was taken and not used, and leave word of the width for the next run."""
        now = self._clock.monotonic()
        self._forgo()
        self._pool.settle(self._take_owed(now), now)
        self._pool.close(self._width.slots)
        if self._ceilings is not None:
            self._ceilings.close(self._width.slots)

    def _read(self, headers: Mapping[str, str], permit: Permit, now: float) -> Sequence[Told | None]:
        told = read_limits(headers)
        self._is_told = True
        self._read_at = now + _READ_EVERY_S
        if not any(told):
            return told
        self._silent = 0
        changed = self._pool.observe(told, permit.mark, self._take_owed(now), now)
        self._mark = self._pool.mark(now)
        if changed or (math.isinf(self._allowance) and (self._pool.is_limited or now < self._pool.resume_at)):
            self._forgo()
        self._ask_at = now  # what was waited for may be there now
        return told

    def _failed(self, permit: Permit, failure: Failure, headers: Mapping[str, str], now: float) -> float | None:
        if failure.kind == _OVERLOADED:
            self._overloads += 1
        if failure.kind not in {_RATE_LIMITED, _OVERLOADED} or not failure.retryable:
            return None
        fresh = permit.sent_at > self._changed_at
        is_explained = False
        if failure.kind == _RATE_LIMITED:
            self._owed[0] -= 1.0
            self._owed[1] -= permit.input_tokens
            self._owed[2] -= permit.output_tokens
            is_explained = self._refused(permit, failure, headers, now, fresh=fresh)
        pause_s = self._pause_s(failure, fresh=fresh, is_explained=is_explained)
        if fresh and (failure.kind == _RATE_LIMITED or pause_s > 0):
            self._changed_at = now
        if pause_s <= 0:
            return None
        is_new = self._pool.pause(now + pause_s)
        # One that another process has set before holds as well.
        self._forgo()
        self._ask_at = max(self._ask_at, self._pool.resume_at)
        if is_new:
            self._pauses += fresh
            if failure.kind == _OVERLOADED:
                self._busy_until = now + pause_s
        self._blocked_by = Held("busy" if now < self._busy_until else "pause")
        return pause_s if is_new else None

    def _refused(
        self, permit: Permit, failure: Failure, headers: Mapping[str, str], now: float, *, fresh: bool
    ) -> bool:
        """Draw the lesson of a 429; returns whether it is explained by what is known of the limits."""
        told = self._read(headers, permit, now)
        if failure.code == _RAMP:
            if fresh:
                self._width.cut_ramp()
                self._pool.end_bursts(now)
            return False
        if _CONNECTIONS.search(failure.message):
            self._width.cut_to(self.in_flight, now, fresh=fresh)
            return True
        needs = (1.0, permit.input_tokens, 1.0)
        if any(
            said and said.remaining is not None and said.remaining < need
            for said, need in zip(told, needs, strict=True)
        ):
            return True
        if fresh and not self._pool.refused(_named(failure), now):
            self._width.cut()
        return False

    def _pause_s(self, failure: Failure, *, fresh: bool, is_explained: bool) -> float:
        if failure.retry_after_s is not None:
            return clamp_retry_after(failure.retry_after_s)
        if is_explained or not fresh:
            return 0.0
        if failure.kind == _OVERLOADED and self._overloads < self._overloads_to_pause:
            return 0.0
        return float(min(_FIRST_PAUSE_S * 2.0 ** min(self._pauses, 16), _LONGEST_PAUSE_S))

    def _forgo(self) -> None:
        """Give back permits that were not used."""
        if math.isfinite(self._allowance):
            self._owed[0] -= self._allowance * self._expected[0]
            self._owed[1] -= self._allowance * self._expected[1]
            self._owed[2] -= self._allowance * self._expected[2]
        self._allowance = 0.0


def _named(failure: Failure) -> int:
    """The quantity that a message speaks of: only a hint, since the wording is not stable."""
    if _OUTPUT.search(failure.message):
        return 2
    return 1 if _INPUT.search(failure.message) else 0


__all__ = ["Ceilings", "Held", "Limits", "Permit", "Quantity"]
