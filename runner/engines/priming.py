"""The first request of a shared prefix alone, as a batch of its own: the others then find the prefix in the cache.

Owns   whether a priming batch is wanted, is under way, or is done with, and why the rest goes without.
Knows  batches as the book has them, and the clock. It sends nothing; whether priming pays was decided in planning.

All rows of a batch may start at once, and each that finds nothing in the cache pays for writing it, so one request is
sent first with a 1h breakpoint and the rest once it has ended (batch guide, prompt caching in batches). It is a row
like any other: nothing is paid twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

from runner.ledger import Batch

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
