"""The first request of a shared prefix alone, as a batch of its own: the others then find the prefix in the cache.

Owns   whether a priming batch is wanted, is under way, or is done with, and why the rest goes without.
Knows  batches as the book has them, and the clock. It sends nothing; whether priming pays was decided in planning.

All rows of a batch may start at once, and each that finds nothing in the cache pays for writing it, so one request is
sent first with a 1h breakpoint and the rest once it has ended (batch guide, prompt caching in batches). It is a row
like any other: nothing is paid twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from runner.clock import Clock
from runner.engines import BatchBook
from runner.events import Observer, Warned
from runner.ledger import Batch
from runner.types import Request

LIFETIME: Final = timedelta(hours=1)
"""Of a cache entry with a 1h breakpoint, and so also how long it is worth waiting for one."""

_UNDER_WAY: Final = frozenset({"intent", "sending", "in_progress", "canceling", "unseen", "stuck"})
_OVER: Final = frozenset({"ended", "closed"})

State = Literal["none", "waiting", "warm", "failed"]


def primed(batches: Iterable[Batch], now: datetime) -> State:
    """How priming stands in a run: `waiting` for a batch that writes the cache, `warm` while what was written can be
    read, `failed` where the last one brought nothing within its time, `none` where nothing of it lasts."""
    last = max((batch for batch in batches if batch.priming), key=lambda batch: batch.number, default=None)
    if last is None:
        return "none"
    if last.state in _UNDER_WAY:
        return "waiting" if now - _begin(last) < LIFETIME else "failed"
    if last.state in ("in_doubt", "archived"):
        return "failed" if now - _begin(last) < LIFETIME else "none"
    if last.state not in _OVER:
        return "none"
    if now - (last.ended_at or _begin(last)) >= LIFETIME:
        return "none"
    return "failed" if last.tallies is not None and not last.tallies.get("succeeded") else "warm"


def why_unprimed(batches: Iterable[Batch]) -> str:
    """What became of the last priming batch that failed, for a person."""
    last = max((batch for batch in batches if batch.priming), key=lambda batch: batch.number)
    if last.state in _UNDER_WAY:
        return f"batch {last.number}, which was to fill the cache, has not ended within an hour"
    if last.state in _OVER:
        return f"the request of batch {last.number}, which was to fill the cache, did not succeed"
    return f"batch {last.number}, which was to fill the cache, is {last.state.replace('_', ' ')}"


def due_in_s(batches: Iterable[Batch], now: datetime) -> float:
    """Seconds until a priming batch that is waited for has taken too long."""
    last = max((batch for batch in batches if batch.priming), key=lambda batch: batch.number)
    return max(0.0, (_begin(last) + LIFETIME - now).total_seconds())


def _begin(batch: Batch) -> datetime:
    """By our clock, which is the one that we wait by."""
    return batch.created_at


class Primer:
    """One per drain. `prime` says whether a request is worth going first; `wake_in` asks for a look after some
    seconds."""

    def __init__(
        self,
        prime: Callable[[Request], bool] | None,
        book: BatchBook,
        clock: Clock,
        observer: Observer,
        wake_in: Callable[[float], None],
    ) -> None:
        self._prime = prime
        self._book = book
        self._clock = clock
        self._observer = observer
        self._wake_in = wake_in
        self.pending = False
        """The others wait for the batch that fills the cache."""

    def take_up(self, batches: Sequence[Batch]) -> None:
        """What an earlier sitting or pass has primed need not be primed again."""
        if self._prime is None:
            return
        state = primed(batches, self._clock.now())
        if state == "waiting":
            self._hold(batches)
        if state != "none":
            self._prime = None

    def leads(self, request: Request) -> bool:
        """Whether this request, the first of all, goes alone; asked of the first one only."""
        prime, self._prime = self._prime, None
        return prime is not None and prime(request)

    def sent(self, batch: Batch) -> None:
        """A batch was sent, or may have been."""
        if batch.priming:
            self._hold([batch])

    async def look(self) -> None:
        """Let the others go once the priming batch has ended, or will not any more."""
        batches = await self._book.batches()
        state = primed(batches, self._clock.now())
        self.pending = state == "waiting"
        if state in ("failed", "none"):
            self._observer.notify(Warned("unprimed", f"{why_unprimed(batches)}; the other rows go without it"))

    def _hold(self, batches: Sequence[Batch]) -> None:
        self.pending = True
        self._wake_in(due_in_s(batches, self._clock.now()))
