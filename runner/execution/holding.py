"""What held a run back, in few words, and for how long.

Owns   the words, which the display and the summary share, what several processes of one run say as one, and the sums
       of seconds.
Knows  events, the job's limits and a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import ClassVar

from runner.clock import Clock
from runner.events import Event, HeldBack
from runner.spec.job import Limits

_TELLING_SHARE = 0.2
"""Of a run's time: what held it back for less is not worth a word at its end."""

_UNITS = {"requests": "requests", "input_tokens": "input tokens", "output_tokens": "output tokens"}


def held_words(event: HeldBack) -> str:
    """What holds a run back; empty where nothing does."""
    if event.by is None:
        return ""
    if event.by == "busy":
        return "the API is busy"
    if event.by == "pause":
        return "waiting as the API asked"
    if event.by == "unreachable":
        return "nothing answers at the API's address"
    many = f"{event.limit:,}" if event.limit is not None else "so many"
    if event.by == "connections":
        who = "`limits.max_concurrency`" if event.own else "the API"
        return f"limited by {who}: {many} requests at a time"
    who = f"`limits.{event.by}_per_minute`" if event.own else "the API"
    return f"limited by {who}: {many} {_UNITS[event.by]} a minute"


def held_of_all(told: Sequence[HeldBack], limits: Limits) -> HeldBack:
    """What holds a run of several processes back: what most of those say that are held at all.

    Each knows its own part of the job's `limits`, and its own width; what is told is the whole. How many at a time the
    API allows is known only where all of them say it.
    """
    held = [event for event in told if event.by is not None]
    if not held:
        return HeldBack(None)
    (by, own), _ = Counter((event.by, event.own) for event in held).most_common(1)[0]
    numbers = [event.limit for event in held if (event.by, event.own) == (by, own)]
    if own:
        limit = limits.max_concurrency if by == "connections" else getattr(limits, f"{by}_per_minute")
    elif by == "connections":
        parts = [number for number in numbers if number is not None]
        limit = sum(parts) if len(parts) == len(told) else None
    else:
        limit = numbers[0]
    return HeldBack(by, limit, own)


class HeldTime:
    """An observer that sums up what held a run back."""

    hears_each_row: ClassVar[bool] = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_at = clock.monotonic()
        self._now: HeldBack | None = None
        self._since = self._began_at
        self._seconds: dict[HeldBack, float] = {}

    def notify(self, event: Event) -> None:
        if isinstance(event, HeldBack):
            self._count()
            self._now = event

    def words(self) -> str | None:
        """What held it back most; None where nothing did for long."""
        self._count()
        held = [(seconds, event) for event, seconds in self._seconds.items() if event.by is not None]
        longest_s, most = max(held, key=itemgetter(0), default=(0.0, None))
        telling_s = _TELLING_SHARE * (self._clock.monotonic() - self._began_at)
        return held_words(most) if most is not None and longest_s >= telling_s else None

    def _count(self) -> None:
        now = self._clock.monotonic()
        if self._now is not None and (self._now in self._seconds or len(self._seconds) < _MOST_KINDS):
            self._seconds[self._now] = self._seconds.get(self._now, 0.0) + now - self._since
        self._since = now


_MOST_KINDS = 100
"""A width that changes all the time is another limit each time: what is remembered stays small."""
