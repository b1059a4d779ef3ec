"""How many requests may be in flight at a time.

Owns   the width of a run: slow start, growth, cuts, and the ceiling that the API's bound on concurrent connections is.
Knows  counts and moments. Nothing of requests or rates.

Rules
  * It starts narrow and grows by `_GAIN` for each reply, so fourfold a round trip, until it is as wide as the job
    allows or something is refused; the API refuses sharp ramps ("acceleration limits", rate-limits page). After that it
    grows by a tenth a round trip.
  * It grows only while it is used: a run that is held back by a rate learns nothing of what width would be healthy.
  * A cut counts once an episode: the caller says which refusals are of requests that left before the last cut.
  * A ceiling is remembered; what lies above it is probed by a fiftieth at a time, and half as often after each failure.
"""

from __future__ import annotations

from typing import Final

FEWEST_AT_START: Final = 32
_GAIN = 3.0
_LATER_GAIN = 0.1
_CUT = 0.5
_RAMP_CUT = 0.8
_RAMP_GAIN = 0.5
_LEAST_GAIN = 0.05
_NUDGE = 0.95
_PROBE_S = 5.0
_LONGEST_PROBE_S = 300.0
_PROBE_SHARE = 0.02


class Width:
    """`most` is the job's own bound; `healthy` is what was healthy for this key lately, if that is known."""

    def __init__(self, most: int, healthy: float | None = None) -> None:
        start = max(FEWEST_AT_START, most / 4)
        self._most = float(most)
        self._value = min(self._most, max(start, healthy or 0.0))
        self._gain = _GAIN
        self.ceiling: float | None = None
        """Above this so many connections at a time were refused."""
        self._floor = 1.0
        self._probe_at = 0.0
        self._probe_s = _PROBE_S
        self.slots = int(self._value)
        """The width as a count."""

    @property
    def is_full(self) -> bool:
        return self._value >= self._most

    def succeeded(self, in_flight: int, now: float) -> None:
        """A reply came, with so many others under way."""
        value = self._value
        if value >= self._most or 2 * in_flight < value:
            return
        if self.ceiling is not None and value >= self.ceiling:
            if now < self._probe_at:
                return
            self._probe_at = now + self._probe_s
            value = self.ceiling = value + max(1.0, value * _PROBE_SHARE)
        else:
            value += self._gain
            if self.ceiling is not None:
                value = min(value, self.ceiling)
        self._set(value)

    def cut(self) -> None:
        """Too many at a time, or too fast: nothing says which."""
        self._gain = min(self._gain, _LATER_GAIN)
        self._set(self._value * _CUT)

    def cut_ramp(self) -> None:
        """Traffic has grown too fast: a little narrower, and slower from now on."""
        self._gain = max(_LEAST_GAIN, min(self._gain * _RAMP_GAIN, 1.0))
        self._set(self._value * _RAMP_CUT)

    def cut_to(self, in_flight: int, now: float, *, fresh: bool) -> None:
        """So many connections at a time are not allowed; `in_flight` are left after the refused one.

        Those that were refused together arrive one after another, and what is left after the last of them is what the
        API holds: each lowers the ceiling, which is then never less than half of what it was before. The first of an
        episode makes probes rarer.
        """
        self._gain = min(self._gain, _LATER_GAIN)
        if fresh:
            self._floor = self._value * (_CUT if self.ceiling is None else _NUDGE)
            self._probe_s = _PROBE_S if self.ceiling is None else min(2 * self._probe_s, _LONGEST_PROBE_S)
        self._probe_at = now + self._probe_s
        self.ceiling = max(1.0, self._floor, min(float(in_flight), self.ceiling or self._most))
        self._set(min(self._value, self.ceiling))

    def _set(self, value: float) -> None:
        self._value = max(1.0, min(value, self._most))
        self.slots = int(self._value)
