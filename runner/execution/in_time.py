"""Whether a deadline can be kept at all: said before anything is sent, as long as something can be done about it.

Owns   the words. The assumed rate of parallel mode, which a deadline falls back to, is `engines.deadline`'s.
"""

from __future__ import annotations

from runner.engines.deadline import parallel_rate
from runner.spec.job import Job, Limits

CURE = "raise `limits.max_concurrency` or `limits.requests_per_minute`, or give more time"


def assumed_rate(limits: Limits) -> float:
    """Requests a second that a job is assumed to manage in parallel."""
    return parallel_rate(limits.max_concurrency, limits.requests_per_minute)


def assumed_row_rate(job: Job) -> float:
    """Rows a second, each of which may take several requests: one a turn, in each of its samples."""
    return assumed_rate(job.limits) / (job.samples * (1 + len(job.turns)))


def told_of_deadline(requests: int, left_s: float, rate: float) -> str | None:
    """What is to be told of a deadline that is `left_s` seconds away, at `rate` requests a second; None where it can be
    kept."""
    needed_s = requests / rate
    if not requests or needed_s <= left_s:
        return None
    what = "1 request is" if requests == 1 else f"{requests:,} requests are"
    if left_s <= 0:
        return f"the deadline has passed, and {what} still to be answered"
    return f"{what} assumed to take {_minutes(needed_s)} in parallel, and the deadline is in {_minutes(left_s)}"


def _minutes(seconds: float) -> str:
    return f"{seconds:,.0f} seconds" if seconds < 120 else f"{seconds / 60:,.0f} minutes"
