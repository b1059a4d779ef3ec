"""The warm-up of a pass in parallel mode: made where it pays, and not made again while what it wrote can be read.

Owns   the step that it is: of a row below 0, which is no row, so that its cost is overhead and its lease, attempt and
       reply are as durable as any. What became of earlier ones is read from there.
Knows  the ledger and the run. Whether it pays, and what it says, is `planning.warm_up`'s.

A warm-up of which nothing came back may have been written and billed: where one could still be read, the first row
leads, which reads it or writes it. One that the API refused is not asked for again in this run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from runner.engines import Prepared
from runner.execution.under_way import Advance
from runner.ledger import Attempt
from runner.planning.requests import CompiledJob
from runner.planning.warm_up import consider_warm_up, warm_up_request
from runner.types import CacheTtl, Step

ROW: Final = -1
"""The row of warm-ups; each is a round of it."""

_LIVES: Final[dict[CacheTtl, timedelta]] = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1)}


def warm_up_of(run: Advance, compiled: CompiledJob) -> Prepared | None:
    """What is to be sent before the open rows, to fill the cache; None where nothing is. Called before the writer
    has the ledger."""
    considered = consider_warm_up(
        compiled,
        facts=run.facts,
        prices=run.prices,
        requests=run.ledger.counts().open_asking,
        at_once=run.job.limits.max_concurrency,
    )
    if not considered.pays:
        return None
    earlier = run.ledger.attempts(ROW)
    if earlier and not _may_warm_up_again(run, compiled, max(earlier, key=lambda attempt: attempt.started_at)):
        return None
    request = warm_up_request(compiled)
    bound = run.prices.bound(request.model, request.input_bound, 0, request.cache_ttl, compiled.mode)
    return Prepared(Step(ROW, round=len(earlier)), request, 0, bound)


def _may_warm_up_again(run: Advance, compiled: CompiledJob, last: Attempt) -> bool:
    failure = last.failure
    if failure is not None and not failure.may_be_billed:
        return failure.retryable or failure.scope == "job"
    return run.clock.now() - last.started_at >= _LIVES[compiled.shared_prefixes[-1].ttl]
