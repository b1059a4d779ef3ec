"""How fast requests may leave: one gauge for each quantity that is limited a minute.

Owns   the pace. A gauge follows the API's own bucket (`level`: how much of it is left) and spaces what leaves; a pool
       holds the three gauges of one key and the cool-down that everybody who uses it shares.
Knows  numbers: limits, costs, moments on the monotonic clock. Nothing of requests, headers or files.

The API fills a bucket continuously, and may refuse bursts that the minute's figure would admit (rate-limits page:
60 a minute may be enforced as 1 a second). So:
  * What leaves is spaced evenly: a leaky bucket, whose `debt` is paid off at the pace (ITU-T I.371). A pause of ours
    may be caught up with, for up to CATCH_UP_S, since the API's bucket has filled meanwhile.
  * The pace is the limit itself, not a little less. `remaining` corrects it: below `low` the pace falls with the level,
    so that it settles where the bucket neither empties nor fills; others who use the key are felt in the same way, and
    two who do this share evenly.
  * Above `high` the pace rises up to twice the limit, so that what has gathered is used. The first refusal that
    the level does not explain ends that: then the API counts over shorter windows than it tells of.
  * A refusal that the level does not explain lowers the pace by a twentieth; it recovers within minutes.

What a response says was true when its request was counted. `total` is all that was ever taken, and each request keeps
the total of its departure: what left since then, and what was filled in since then, is known here. So a reply that took
a minute corrects as well as one that took a moment.

A pool's state is a flat row of numbers (`Pool.dump`, `Pool.load`), so that processes can share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from runner.engines.limit_headers import QUANTITIES, Told

CATCH_UP_S = 1.0
"""How long a pause of ours may be caught up with at once. The shortest window that the API's page names is a second."""
BLOCK_S = 0.05
"""Permits are taken for so much time at once: small enough to look even, and 20 accesses a second."""

LONGEST_WAIT_S = 1.0
"""Who waits for the pace asks again after this: levels change."""

_SHORTEST_WINDOW_S = 1.0
"""A bucket holds so much at least, however little of it was left when it was first told of: the shortest window that
the page names."""
_LOW_S = 5.0
"""Below this many seconds' worth the pace falls. Long against the delay with which a level is told (a reply's latency,
mostly below 5 s), short against the minute that a bucket holds."""
_HIGH_SHARE = 0.2
"""Above this share of the bucket the pace may pass the limit: a fifth stays as a cushion for the others of the key."""
_MOST_BOOST = 1.0
_SLOWEST = 0.02
"""The pace never falls below this share: where others take everything, we still ask for our part."""
_CUT = 0.95
_SLOWEST_TRIM = 0.5
_RECOVERY_PER_S = 0.0005
"""A cut of a twentieth is forgotten after 100 s: at a hidden limit this costs a refusal in 5,000 at 50 a second."""
_NO_BURST_S = 3_600.0
_ROUNDING = (1.0, 1_000.0, 1_000.0)
"""To what `remaining` is rounded (rate-limits page)."""
_RISE = 0.5
"""How much of a correction upwards is believed at once; one downwards is believed whole."""
_FOREIGN_WEIGHT = 0.3
_FAR_FROM_FULL = 0.6

_FIELDS = (
    "limit", "capacity", "level", "at", "debt", "still_until", "total", "trim", "trim_at", "no_burst_until",
    "foreign", "seen_at", "seen_level", "seen_total",
)  # fmt: skip
_dump = attrgetter(*_FIELDS)
_NEVER = -1e18
_BOUNDLESS = 1e15


class Mark(NamedTuple):
    """A departure: when, and the totals then."""

    at: float
    totals: tuple[float, float, float]


class Gauge:
    """One limited quantity. `limit` is a minute's, 0 where none is known; `level` was true at `at`."""

    __slots__ = ("cost", "rounding", *_FIELDS)

    def __init__(self, rounding: float) -> None:
        self.rounding = rounding
        self.cost = 0.0
        """What a request takes, as last expected."""
        self.limit = 0.0
        self.capacity = 0.0
        """The most that the bucket was seen to hold."""
        self.level = 0.0
        self.at = 0.0
        self.debt = 0.0
        """What has left beyond what the pace admits; negative: what may be caught up with."""
        self.still_until = _NEVER
        """Nothing is paid off before this."""
        self.total = 0.0
        self.trim = 1.0
        self.trim_at = 0.0
        self.no_burst_until = _NEVER
        self.foreign = 0.0
        """What others take a second."""
        self.seen_at = _NEVER
        self.seen_level = 0.0
        self.seen_total = 0.0
        """The told level that `foreign` was last measured from."""

    @property
    def rate(self) -> float:
        """The limit a second."""
        return self.limit / 60.0

    def set_limit(self, limit: float, level: float, now: float) -> None:
        """Learn a limit, or that it has changed."""
        self.limit = limit
        self.capacity = max(level, self.rate * _SHORTEST_WINDOW_S, 1.0)
        self.level, self.at, self.debt = min(level, self.capacity), now, 0.0
        self.foreign, self.seen_at = 0.0, _NEVER

    def set_ceiling(self, limit: float) -> None:
        """Keep to a limit of one's own: even steps, no bucket behind it."""
        self.limit = limit
        self.capacity = self.level = _BOUNDLESS
        self.at = _NEVER
        self.no_burst_until = -_NEVER

    def dump(self) -> Sequence[float]:
        return _dump(self)

    def load(self, values: Sequence[float]) -> None:
        (
            self.limit, self.capacity, self.level, self.at, self.debt, self.still_until, self.total, self.trim,
            self.trim_at, self.no_burst_until, self.foreign, self.seen_at, self.seen_level, self.seen_total,
        ) = values  # fmt: skip

    def restart(self, now: float) -> None:
        """Begin anew with the limit that is known: a bucket as full as it was seen to be, and nobody else at it."""
        self.level, self.at, self.debt = self.capacity, now, 0.0
        self.trim_at = now
        self.no_burst_until = self.still_until = _NEVER
        self.foreign, self.seen_at = 0.0, _NEVER

    def refill(self, now: float) -> None:
        """Let time pass: the bucket fills, and debt is paid off at the pace of its level."""
        if self.at == _NEVER:
            self.at = now
        if now > self.at:
            pace = self.pace(now)
            paid = (now - max(self.at, self.still_until)) * pace
            # While the level is low, nothing is caught up with.
            credit = 0.0 if self.level < self._low else self._catch_up_s * min(pace, self.rate)
            self.debt = max(self.debt - max(0.0, paid), -credit)
            self.level = min(self.capacity, self.level + (now - self.at) * (self.rate - self.foreign))
            self.at = now
        if self.trim < 1.0 and now > self.trim_at:
            self.trim = min(1.0, self.trim + (now - self.trim_at) * _RECOVERY_PER_S)
            self.trim_at = now

    def pace(self, now: float) -> float:
        """How much may leave a second, at the level of this moment."""
        low = self._low
        pace = (self.rate - self.foreign) * self.trim
        if self.level < low:
            share = self.level / low
        else:
            share = 1.0
            high = max(low, _HIGH_SHARE * self.limit)
            if self.level > high and now >= self.no_burst_until:
                share += _MOST_BOOST * min(1.0, (self.level - high) / (self.limit - high))
        return max(pace * share, _SLOWEST * self.rate)

    def room(self, now: float) -> tuple[int, float]:
        """How many requests may leave now and, if it is none, when to ask again. Call `refill` before."""
        cost, pace = self.cost, self.pace(now)
        ask_at = now + max(0.0, self.debt) / pace
        needed = min(cost, self.capacity)
        if self.level < needed:
            filling = max(self.rate - self.foreign, _SLOWEST * self.rate)
            return 0, max(ask_at, now + (needed - self.level) / filling)
        if self.debt > 0:
            return 0, ask_at
        count = 1 + int(-self.debt / cost)
        return min(count, max(1, int(self.level / cost)), max(1, int(BLOCK_S * pace / cost))), now

    def take(self, amount: float) -> None:
        """Count what leaves; negative where it did not, or was less than thought."""
        self.total += amount
        self.level -= amount
        self.debt += amount

    def correct_cost(self, amount: float) -> None:
        """Those that were answered took so much more than was expected of them when they left.

        Where the API tells what remains, it has told of that already: only the pace is put right.
        """
        self.debt += amount
        if self.seen_at == _NEVER:
            self.total += amount
            self.level -= amount

    def correct(self, remaining: float, total: float, at: float, now: float) -> None:
        """Take note of `remaining`, told by a request that left at `at` when so much had been taken in all."""
        self.refill(now)
        self.capacity = max(self.capacity, remaining)
        self._measure_foreign(remaining, total, at)
        level = remaining - (self.total - total) + (now - at) * (self.rate - self.foreign)
        level = min(level, self.capacity)
        self.level = level if level < self.level else self.level + _RISE * (level - self.level)
        if self.level < self._low:
            self.debt = max(self.debt, 0.0)

    def _measure_foreign(self, remaining: float, total: float, at: float) -> None:
        """What others take: the part of a level's change that is neither ours nor refilling."""
        since = at - self.seen_at
        if since < max(1.0, 4 * self.rounding / self.rate):
            return
        # Of a bucket that is full, and runs over, nothing can be said.
        if since < 60.0 and max(remaining, self.seen_level) < _FAR_FROM_FULL * self.capacity:
            ours = total - self.seen_total
            found = self.rate - (remaining - self.seen_level + ours) / since
            found = min(max(found, 0.0), (1 - _SLOWEST) * self.rate)
            self.foreign += _FOREIGN_WEIGHT * (found - self.foreign)
        else:
            self.foreign = 0.0
        self.seen_at, self.seen_level, self.seen_total = at, remaining, total

    def slow_down(self, now: float) -> None:
        """A request was refused though, by the level, it should not have been."""
        self.trim = max(_SLOWEST_TRIM, self.trim * _CUT)
        self.trim_at = now

    def is_binding(self, now: float) -> bool:
        """Whether this gauge has held requests back within the last moments."""
        return self.limit > 0 and self.debt > -0.5 * self._catch_up_s * min(self.pace(now), self.rate)

    @property
    def _low(self) -> float:
        return min(max(_LOW_S * self.rate, 2 * self.cost), self.capacity / 2)

    @property
    def _catch_up_s(self) -> float:
        return min(CATCH_UP_S, 0.5 * self.capacity / self.rate)


class Grant(NamedTuple):
    """`permits` requests may leave. Where it is 0, `ask_at` is when to ask again and `by` which gauge holds back (its
    place in QUANTITIES; None: the shared cool-down)."""

    permits: int
    ask_at: float
    by: int | None
    mark: Mark


class Pool:
    """The gauges of one key, and the pause that all who use it share. All times are one monotonic clock's."""

    def __init__(self) -> None:
        self.gauges = tuple(Gauge(rounding) for rounding in _ROUNDING)
        self.resume_at = _NEVER

    @property
    def is_limited(self) -> bool:
        """Whether any limit is known."""
        return any(gauge.limit for gauge in self.gauges)

    @property
    def is_shared(self) -> bool:
        """Whether other processes may change it."""
        return False

    def take(self, wanted: int, costs: Sequence[float], owed: Sequence[float], now: float) -> Grant:
        """Take permits for up to `wanted` requests.

        Args:
            costs: what a request is expected to take of each quantity.
            owed: six numbers, settled here. Three: what was expected of those that left, beyond what was taken for
                them (negative: less). Three: what they took beyond that, as their replies say.
        """
        if any(owed):
            self.settle(owed, now)
        if now < self.resume_at:
            return Grant(0, self.resume_at, None, self.mark(now))
        count, ask_at, by = wanted, now, None
        for index, gauge in enumerate(self.gauges):
            if not gauge.limit:
                continue
            gauge.cost = costs[index]
            gauge.refill(now)
            room, at = gauge.room(now)
            if room == 0 and (count or at > ask_at):
                ask_at, by = at, index
            count = min(count, room)
        if count:
            for gauge, cost in zip(self.gauges, costs, strict=True):
                gauge.take(count * cost)
        return Grant(count, ask_at, by, self.mark(now))

    def settle(self, owed: Sequence[float], now: float) -> None:
        """Correct what was taken by what has left, and that by what replies say that it took: see `take`."""
        for gauge, amount, found in zip(self.gauges, owed[:3], owed[3:], strict=True):
            if amount or found:
                if gauge.limit:
                    gauge.refill(now)
                gauge.take(amount)
                gauge.correct_cost(found)

    def mark(self, now: float) -> Mark:
        requests, input_tokens, output_tokens = self.gauges
        return Mark(now, (requests.total, input_tokens.total, output_tokens.total))

    def observe(
        self,
        told: Sequence[Told | None],
        mark: Mark,
        owed: Sequence[float],
        now: float,
    ) -> bool:
        """Take note of what a response tells; `mark` is its request's departure, `owed` is as `take` has it. Returns
        whether a limit changed."""
        self.settle(owed, now)
        changed = False
        for gauge, said, total in zip(self.gauges, told, mark.totals, strict=True):
            if said is None:
                continue
            if said.limit != gauge.limit:
                changed = True
                left = said.limit if said.remaining is None else said.remaining
                gauge.set_limit(said.limit, left, now)
            if said.remaining is not None:
                gauge.correct(said.remaining, total, mark.at, now)
        return changed

    def refused(self, index: int, now: float) -> bool:
        """A request was refused for no reason that is known, perhaps for this quantity; returns whether the pace is
        what holds requests back, and has been lowered."""
        self.end_bursts(now)
        binding = [gauge for gauge in self.gauges if gauge.is_binding(now)]
        if not binding:
            return False
        named = self.gauges[index]
        (named if named in binding else binding[0]).slow_down(now)
        return True

    def end_bursts(self, now: float) -> None:
        """Do not pass any limit for a while, however much has gathered."""
        for gauge in self.gauges:
            gauge.no_burst_until = max(gauge.no_burst_until, now + _NO_BURST_S)

    def healthy_width(self) -> float | None:
        """How many requests at a time were healthy for this key lately; None where that is not known."""
        return None

    def close(self, width: int) -> None:
        """Leave word of the width that was healthy."""

    def pause(self, until: float) -> bool:
        """Let nothing leave before `until`; False where that is so already."""
        if until <= self.resume_at:
            return False
        self.resume_at = until
        for gauge in self.gauges:
            gauge.still_until = until  # a pause that was asked for is not to be caught up with
            gauge.debt = max(gauge.debt, 0.0)
        return True

    def forget(self) -> None:
        """The API does not tell of limits (any more)."""
        for gauge in self.gauges:
            gauge.limit = 0.0

    # -- as a row of numbers ---------------------------------------------------------------------------------------

    def dump(self) -> list[float]:
        values = [self.resume_at]
        for gauge in self.gauges:
            values += gauge.dump()
        return values

    def load(self, values: Sequence[float]) -> None:
        self.resume_at = values[0]
        position = 1
        for gauge in self.gauges:
            gauge.load(values[position : position + len(_FIELDS)])
            position += len(_FIELDS)

    def restart(self, now: float) -> None:
        """What was loaded is of another clock, or of long ago: keep the limits and what is slow to learn."""
        self.resume_at = _NEVER
        for gauge in self.gauges:
            gauge.restart(now)


POOL_NUMBERS: Final = 1 + len(QUANTITIES) * len(_FIELDS)
"""How many numbers `Pool.dump` gives."""
