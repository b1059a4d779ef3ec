"""What a run has at the API: its batches, as its ledger knows them.

Owns   which states of a batch are an end, what is to be said of those that are not, and when their results are about
       to be gone.
Knows  the ledger's contract. Reads only, so it serves whoever looks as well as the run itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from runner.ledger import Batch, BatchState, Ledger

GONE: frozenset[BatchState] = frozenset({"rejected", "not_sent"})
"""The API certainly has none of these: as if they had never been."""
OVER: frozenset[BatchState] = frozenset({"closed", *GONE})
UNSURE: frozenset[BatchState] = frozenset({"sending", "in_doubt"})
"""The API may have it, and nobody knows its id. `sending` is that only where no process is at work."""
RESULTS_KEPT = timedelta(days=29)
"""How long the API keeps the results of a batch, from its creation (batch guide)."""
LOSS_TOLD = timedelta(days=5)
"""So long before their end a person is told: more than a long weekend."""


def open_batches(ledger: Ledger) -> list[Batch]:
    """Batches that something is still to be done about, oldest first."""
    return [batch for batch in ledger.batches() if batch.state not in OVER]


def at_api(batches: Sequence[Batch]) -> list[Batch]:
    """Those among them that the API is known to have."""
    return [batch for batch in batches if batch.batch_id is not None and batch.state not in OVER]


def doubtful(batches: Sequence[Batch]) -> list[Batch]:
    """Those that the API may have, though nobody knows their ids."""
    return [batch for batch in batches if batch.state in UNSURE]


def name_of(batch: Batch) -> str:
    return f"batch {batch.number}" + (f" ({batch.batch_id})" if batch.batch_id is not None else "")


def waiting_requests(batches: Sequence[Batch]) -> int:
    """How many requests have no outcome yet."""
    return sum(batch.steps - batch.settled for batch in batches)


def results_until(batch: Batch) -> datetime:
    """Until when the results of a batch can be had."""
    return (batch.began_at or batch.created_at) + RESULTS_KEPT


def kept_until(batches: Sequence[Batch]) -> datetime | None:
    """Until when all results of these can be had; None where there are none."""
    return min(map(results_until, batches), default=None)


def soon_lost(run_id: str, batches: Sequence[Batch], now: datetime) -> Iterator[str]:
    """What is to be told of results that nobody has collected, once their end is near, or past."""
    for batch in at_api(batches):
        until = results_until(batch)
        if batch.state != "archived" and now >= until - LOSS_TOLD:
            are = "are" if now < until else "were"
            yield (
                f"the results of {name_of(batch)} are not collected, and {are} kept until {until:%Y-%m-%d %H:%M} UTC: "
                f"`runner resume {run_id}`"
            )
