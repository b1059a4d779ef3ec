"""Polling: what one look at a batch means, and when to look again. Pure.

Owns   the growing intervals, the backoff after a failed look, and the reading of a look: what it makes of a batch.
Knows  `RemoteBatch`, `Batch` and seconds; no clock of its own, no task, no randomness: the caller draws.

Times. The API's clock is compared with itself only: how long a batch may take is `expires_at - began_at`, both the
API's. How long it has taken is measured from the moment of its intent, by this machine's clock, so that a constant
error of that clock does not matter; a clock that jumps can at most make a batch look `stuck`, which is told and undone
by the next look that finds it ended.

Sources: batch guide for the 24 hours, the 29 days and the states; reliability 3.2 for `unseen` and `stuck`; issue
1432 of the SDK: a batch may answer 404 after it was created, and its results after it has ended.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from runner.engines.retry import clamp_retry_after
from runner.ledger import Batch, BatchState
from runner.providers import RemoteBatch
from runner.types import Failure

GROWTH = 1.5
JITTER = 0.2
"""Each interval is stretched or shortened by up to this part, so that batches are not looked at in step."""
LONGEST_BACKOFF_S = 60.0
"""Between looks at an API that does not answer; for ever (reliability 3.6)."""
SHORTEST_S = 0.01
"""No loop is busier, whatever the settings say."""
STUCK_AFTER = timedelta(hours=2)
"""Past `expires_at`, by which the API ends a batch itself (reliability 3.2)."""
RETENTION = timedelta(days=29)
"""How long results are kept, from a batch's creation (batch guide)."""
LIFETIME = timedelta(hours=24)
"""What a batch may take where its `expires_at` is not known (batch guide)."""
NOT_FOUND = frozenset({404, 410})


class PollIntervals(Struct, frozen=True):
    """Seconds between looks at a batch: the first, and the longest."""

    first_s: float
    longest_s: float

    def after(self, looks: int, draw: float) -> float:
        """How long to wait after `looks` (from 1) that found nothing new; `draw` is uniform in [0, 1)."""
        # Beyond some dozens of looks any first interval has grown past any longest one; no power need overflow.
        grown = self.first_s * GROWTH ** min(looks - 1, 100)
        return _jittered(min(grown, self.longest_s), draw)

    def backoff(self, failures: int, retry_after_s: float | None, draw: float) -> float:
        """How long to wait after that many looks (from 1) which failed."""
        grown = self.first_s * 2.0 ** min(failures, 100)
        return clamp_retry_after(retry_after_s) + _jittered(min(grown, LONGEST_BACKOFF_S), draw)


def _jittered(seconds: float, draw: float) -> float:
    return max(SHORTEST_S, seconds * (1 - JITTER + 2 * JITTER * draw))


Meaning = Literal["under_way", "ended", "archived", "unseen", "stuck", "failed", "refused"]


class Look(Struct, frozen=True):
    """What a look came to.

    `state` is the batch's state from now on; `again` says how the next look is paced: `soon` (by the growing
    intervals), `backoff`, or `never`. A look that was `refused` concerns every other one too (a bad key).
    """

    meaning: Meaning
    state: BatchState
    remote: RemoteBatch | None = None
    failure: Failure | None = None


def read_look(batch: Batch, answer: RemoteBatch | Failure, now: datetime) -> Look:
    """What an answer to a retrieve makes of a batch."""
    if isinstance(answer, Failure):
        return _read_failure(batch, answer, now)
    if answer.archived_at is not None:
        return Look("archived", "archived", answer)
    if answer.status == "ended":
        return Look("ended", "ended", answer)
    if is_overdue(batch, now):
        return Look("stuck", "stuck", answer)
    return Look("under_way", answer.status, answer)


def _read_failure(batch: Batch, failure: Failure, now: datetime) -> Look:
    if failure.http_status in NOT_FOUND:
        if is_overdue(batch, now):
            return Look("stuck", "stuck", None, failure)
        return Look("unseen", "unseen", None, failure)
    if failure.scope == "job" or failure.http_status in (401, 403):
        return Look("refused", batch.state, None, failure)
    return Look("failed", batch.state, None, failure)


def is_overdue(batch: Batch, now: datetime) -> bool:
    """Whether a batch should have ended `STUCK_AFTER` ago."""
    lifetime = LIFETIME
    if batch.expires_at is not None and batch.began_at is not None:
        lifetime = batch.expires_at - batch.began_at
    return now - batch.created_at > lifetime + STUCK_AFTER


def is_past_retention(batch: Batch, now: datetime) -> bool:
    """Whether the API need not keep a batch's results any more."""
    return now - batch.created_at > RETENTION
