"""What a run has at the API: its batches, as its ledger knows them.

Owns   which states of a batch are an end, and what is to be said of those that are not.
Knows  the ledger's contract. Reads only, so it serves whoever looks as well as the run itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from runner.ledger import Batch, BatchState, Ledger

GONE: frozenset[BatchState] = frozenset({"rejected", "not_sent"})
"""The API certainly has none of these: as if they had never been."""
OVER: frozenset[BatchState] = frozenset({"closed", *GONE})
UNSURE: frozenset[BatchState] = frozenset({"sending", "in_doubt"})
"""The API may have it, and nobody knows its id. `sending` is that only where no process is at work."""
RESULTS_KEPT = timedelta(days=29)
"""How long the API keeps the results of a batch, from its creation (batch guide)."""


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


def kept_until(batches: Sequence[Batch]) -> datetime | None:
    """Until when all results of these can be had; None where there are none."""
    ends = [(batch.began_at or batch.created_at) + RESULTS_KEPT for batch in batches]
    return min(ends, default=None)
