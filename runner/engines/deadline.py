"""The deadline of a run: until when its batches may be waited for, and how small they should be.

Owns   the arithmetic of `limits.deadline`: the point of no return, and the size of a batch that a deadline asks for.
Knows  counts, rates and moments that it is given; no clock, no batch, no network.

The API promises a batch within 24 hours and tells nothing of its progress before all of it has ended. So a deadline
is kept in this way: batches are waited for as long as what they have not answered by then can still be canceled,
collected and sent in parallel. That moment is the point of no return:

    at  -  margin  -  cancel  -  unanswered / requests_per_s

It moves back, later, with every row that is answered. What is not known is assumed, and each assumption errs towards
canceling too early, which costs the discount on some rows and never the deadline:

  * A request in parallel takes `SECONDS_A_REQUEST`, so the rate is `max_concurrency` over that, or what is admitted a
    minute where that is lower: the job's `requests_per_minute`, else `REQUESTS_A_MINUTE`.
  * A cancel takes `CANCEL_S` from the call until the results are taken up: requests in the middle of their work are
    finished first (batch guide, "Cancel a message batch": the status is `canceling` for a while; no figure is given).
  * `MARGIN_S` is for what goes wrong in the parallel part: retries, a pause that the API asks for.

Of a short time the last two take a tenth and a twentieth: an hour's allowance would leave nothing of half an hour.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

SECONDS_A_REQUEST = 2.0
"""How long one request in parallel is assumed to take; short replies take less, long ones are why there is a margin."""
REQUESTS_A_MINUTE = 1_000.0
"""What the API admits on its lowest tier for a run of some size (rate-limits page, Start; October 2026)."""
CANCEL_S = 600.0
MARGIN_S = 300.0
LONGEST_REDO = 0.1
"""The part of the whole time that answering one batch again, in parallel, may take."""
FEWEST_REQUESTS = 100
"""No batch is made smaller for a deadline: below this its fixed costs (a create, polls, a download) outweigh it."""


class Deadline(Struct, frozen=True):
    """By when all rows are to be answered. `began_at` is when the run was created, `rows` how many rows were open when
    the pass began (they fall back to parallel mode too, sent or not), `requests_per_s` what parallel mode manages."""

    at: datetime
    began_at: datetime
    requests_per_s: float
    rows: int = 0

    @property
    def span_s(self) -> float:
        return max(0.0, (self.at - self.began_at).total_seconds())

    def point_of_no_return(self, unanswered: int) -> datetime:
        """The latest moment at which what is unanswered must be taken back from the API."""
        span_s = self.span_s
        return point_of_no_return(
            self.at,
            unanswered,
            requests_per_s=self.requests_per_s,
            cancel_s=min(CANCEL_S, span_s / 10),
            margin_s=min(MARGIN_S, span_s / 20),
        )


def parallel_rate(max_concurrency: int, requests_per_minute: float | None = None) -> float:
    """Requests a second that parallel mode is assumed to manage."""
    admitted = REQUESTS_A_MINUTE if requests_per_minute is None else requests_per_minute
    return min(max_concurrency / SECONDS_A_REQUEST, admitted / 60)


def point_of_no_return(
    at: datetime, unanswered: int, *, requests_per_s: float, cancel_s: float, margin_s: float
) -> datetime:
    """`at` less the time that canceling, a margin and `unanswered` requests in parallel take."""
    return at - timedelta(seconds=margin_s + cancel_s + unanswered / requests_per_s)


def requests_per_batch(deadline: Deadline, rows: int) -> int:
    """How many requests a batch may have, so that the deadline can be met whatever becomes of it.

    A batch is collected when the whole of it has ended, so what a late one holds has to be answered again: no batch is
    larger than what parallel mode does in `LONGEST_REDO` of the time. Smaller ones also end sooner, one by one, which
    moves the point of no return back. A cancel itself loses nothing that is finished: it is kept and collected.
    """
    redo = int(deadline.requests_per_s * deadline.span_s * LONGEST_REDO)
    return max(1, min(rows, max(FEWEST_REQUESTS, redo)))
