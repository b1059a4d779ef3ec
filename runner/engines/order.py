"""The order around cached prefixes: one request goes first, the others follow when its reply has begun.

Owns   which prefixes are being written, which can be read and until when, and who waits for which.
Knows  steps and their prefixes. It sends nothing and knows no limits.

An entry of the API's cache can be read only once the reply that writes it has begun, so N requests sent at once buy N
writes (1.25 to 2 times the price of the input) where one write and N-1 reads would do. Prefixes are nested: a request
has one for each of its breakpoints, reads the longest that has an entry, and writes the others. So what counts is the
longest that can be read: behind it a request *leads* where nobody writes what it is missing, *waits* where somebody
does, and *follows* where nothing is missing. With a shared system prompt and a document a row the very first request
leads alone; then one for each document, all reading the prompt; then the rest.

A leader that fails before its reply begins wrote nothing: the first of those that wait becomes the leader. One whose
reply takes longer than `PATIENCE_S` to begin is not waited for any longer.

An entry lives for its time-to-live from the start of the last request that used it, as far as we know that it did: one
that got a reply. `_MARGIN_S` before that it counts as gone: the next request leads again, and mostly finds it alive
after all. Source: the API's prompt caching page.

The one prefix that all rows of most jobs share costs such a job next to nothing: rows hold the same tuple of prefixes,
and the last such tuple is known by itself (`_Usual`).
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from runner.clock import Clock
from runner.engines import Prepared
from runner.types import Prefix, Request

PATIENCE_S: Final = 120.0
"""How long a leader's reply may take to begin: far longer than the first token of the longest prompt takes, and far
shorter than the ten minutes after which an attempt is given up. At worst it costs one more write."""

_LOOK_EVERY_S: Final = 30.0
"""Late leaders are looked for at multiples of this, so that not every leader sets an alarm of its own."""

_MARGIN_S: Final = 10.0
"""An entry that ends within this may be gone when a request arrives that leaves now."""

_MAX_WARM: Final = 4_096
"""Prefixes remembered as readable. Forgetting one costs a wait, never a wrong answer, and memory stays flat."""

_TTL_S: Final = {"5m": 300.0, "1h": 3_600.0}

Place = Literal["lead", "follow", "wait"]


class _Lead(NamedTuple):
    """A request that was sent to write prefixes, by their digests, at `sent_at`."""

    writes: tuple[bytes, ...]
    sent_at: float


class Order:
    """One per run. Prefixes with less text than `least_bytes` are surely not cached, and nobody waits for them."""

    def __init__(self, clock: Clock, least_bytes: float = 0.0) -> None:
        self._now: Callable[[], float] = clock.monotonic
        self._least_bytes = least_bytes
        self._readable_until: OrderedDict[bytes, float] = OrderedDict()
        self._waiting: dict[bytes, deque[Prepared]] = {}
        """By prefix, for those that have a leader on its way."""
        self._leads: dict[int, _Lead] = {}
        """By the id of the request, oldest first."""
        self._usual: tuple[Prefix, ...] | None = None
        """The prefixes of the last step that could follow; while it is the same tuple, the two below are the truth."""
        self._usual_until = -math.inf
        self._usual_life_s = 0.0
        self.waiting = 0
        """How many steps wait for a leader."""

    def place(self, prepared: Prepared) -> Place:
        """Whether this step goes first, may go, or has to wait; one that waits is kept here until it is given back."""
        prefixes = prepared.request.prefixes
        if not prefixes:
            return "follow"
        now = self._now()
        if prefixes is self._usual and now < self._usual_until:
            return "follow"
        return self._placed(prepared, prefixes, now)

    def _placed(self, prepared: Prepared, prefixes: tuple[Prefix, ...], now: float) -> Place:
        self._note_usual()
        missing: list[bytes] = []
        writing: deque[Prepared] | None = None
        for prefix in reversed(prefixes):
            if prefix.size_bytes < self._least_bytes:
                break  # those within it are shorter still
            if self._readable_until.get(prefix.digest, now) > now:
                break
            missing.append(prefix.digest)
            writing = self._waiting.get(prefix.digest, writing)
        if writing is not None:
            writing.append(prepared)
            self.waiting += 1
            return "wait"
        if not missing:
            self._become_usual(prefixes)
            return "follow"
        for digest in missing:
            self._waiting[digest] = deque()
        self._leads[id(prepared.request)] = _Lead(tuple(missing), now)
        return "lead"

    def used(self, request: Request, sent_at: float) -> None:
        """A request that left at `sent_at` got a reply, so what it read lives on from there."""
        prefixes = request.prefixes
        if prefixes is self._usual:
            until = sent_at + self._usual_life_s
            self._usual_until = max(self._usual_until, until)
        elif prefixes:
            self._note(prefixes, sent_at)

    def begun(self, request: Request) -> Sequence[Prepared]:
        """The leader's reply has begun; returns those that may go now, in their order. Telling it twice changes
        nothing."""
        lead = self._leads.pop(id(request), None)
        if lead is None:
            return ()
        self._note_usual()
        self._note(request.prefixes, lead.sent_at)
        return self._freed(lead)

    def failed(self, request: Request) -> Sequence[Prepared]:
        """The leader failed before it began; returns those that waited, the first of which will lead."""
        lead = self._leads.pop(id(request), None)
        return () if lead is None else self._freed(lead)

    @property
    def look_at(self) -> float | None:
        """When to ask for what is `late`, on the monotonic clock; None while nobody waits."""
        if not self.waiting:
            return None
        oldest = next(iter(self._leads.values()))
        return math.ceil((oldest.sent_at + PATIENCE_S) / _LOOK_EVERY_S) * _LOOK_EVERY_S

    def late(self) -> Sequence[Prepared]:
        """Give up waiting for leaders that take too long; returns those that waited, the first of which will lead."""
        freed: list[Prepared] = []
        long_ago = self._now() - PATIENCE_S
        while self._leads and next(iter(self._leads.values())).sent_at <= long_ago:
            freed += self._freed(self._leads.pop(next(iter(self._leads))))
        return freed

    def clear(self) -> Sequence[Prepared]:
        """Give back everything that waits, since the run stops."""
        steps = [prepared for waiting in self._waiting.values() for prepared in waiting]
        self._waiting.clear()
        self._leads.clear()
        self.waiting = 0
        return steps

    def _freed(self, lead: _Lead) -> list[Prepared]:
        """Nobody waits for this leader any longer."""
        freed = [prepared for digest in lead.writes for prepared in self._waiting.pop(digest, ())]
        self.waiting -= len(freed)
        return freed

    def _note(self, prefixes: tuple[Prefix, ...], at: float) -> None:
        """What was read or written at `at` can be read for its time from then on."""
        for prefix in prefixes:
            until = at + _TTL_S[prefix.ttl] - _MARGIN_S
            if until > self._readable_until.get(prefix.digest, -math.inf):
                self._readable_until[prefix.digest] = until
            self._readable_until.move_to_end(prefix.digest)
        while len(self._readable_until) > _MAX_WARM:
            self._readable_until.popitem(last=False)

    def _become_usual(self, prefixes: tuple[Prefix, ...]) -> None:
        """Nothing of these is missing, so that the longest, or the longest that is cached at all, can be read."""
        self._usual = prefixes
        cached = [prefix for prefix in prefixes if prefix.size_bytes >= self._least_bytes]
        if cached:
            self._usual_until = self._readable_until.get(cached[-1].digest, -math.inf)
            self._usual_life_s = _TTL_S[cached[-1].ttl] - _MARGIN_S
        else:
            self._usual_until = self._usual_life_s = math.inf

    def _note_usual(self) -> None:
        """Write down what `used` has only noted of the usual prefixes."""
        usual, self._usual = self._usual, None
        if usual is not None and self._usual_until < math.inf:
            self._note(usual, self._usual_until - self._usual_life_s)
