"""How a new run sends: its mode, and whether it primes. What there is to send is counted once it has its rows.

Owns   the counting. What follows from it is for `planning` to say; the choice is noted with the run
       and never made again.
Knows  the run's rows and earlier answers. Rows count as requests unless an earlier answer fits them, and counting ends
       as soon as the outcome is certain: a first run renders nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from runner.catalog.models import ModelFacts
from runner.catalog.prices import Prices
from runner.execution.api import Api, options_of
from runner.execution.earlier import Earlier
from runner.execution.folders import RunInfo, StateFolder
from runner.ledger import Ledger
from runner.planning.compile import compile_job
from runner.planning.mode import Choice, choose
from runner.planning.priming import Priming, consider_priming
from runner.spec.load import LoadedJob
from runner.types import Mode, Request, Step


def choose_mode(
    loaded: LoadedJob,
    ledger: Ledger,
    info: RunInfo,
    state: StateFolder,
    api: Api,
    facts: ModelFacts | None,
    open_earlier: Callable[[], Earlier | None],
) -> tuple[Choice, int]:
    """The mode of a run that has its rows, and about how many requests it sends. Raises PlanError where the job's own
    `mode` cannot be had."""
    least = loaded.settings.batch_min_rows
    samples = loaded.job.samples
    requests = ledger.counts().asking * samples
    if loaded.job.mode == "auto" and requests >= least and not info.trial and _may_have_answers(info, state):
        requests = _to_send(loaded, ledger, open_earlier, -(-least // samples)) * samples
    choice = choose(
        loaded.job,
        requests=requests,
        batch_min_rows=least,
        facts=facts,
        provider_batches=api.offers_batches and options_of(loaded.job.provider).offers.batches,
        trial=info.trial,
        where=loaded.locate(("mode",)),
    )
    return choice, requests


def choose_priming(
    loaded: LoadedJob, mode: Mode, requests: int, *, facts: ModelFacts | None, prices: Prices
) -> Priming | None:
    """Whether the first request of a run in batch mode goes alone, before the rest; None in parallel mode."""
    if mode == "parallel":
        return None
    return consider_priming(
        compile_job(loaded, mode=mode).cache,
        model=loaded.job.model,
        facts=facts,
        prices=prices,
        requests=requests,
        deadline_s=loaded.job.limits.deadline,
    )


def _may_have_answers(info: RunInfo, state: StateFolder) -> bool:
    """Whether another run asked the same API before."""
    if not info.meta["reuse"]:
        return False
    scope = info.meta["scope"]
    return any(other.meta.get("scope") == scope and other.run_id != info.run_id for other in state.runs())


def _to_send(loaded: LoadedJob, ledger: Ledger, open_earlier: Callable[[], Earlier | None], enough: int) -> int:
    """How many rows have no earlier answer; all rows that were not looked at count once `enough` were found."""
    earlier = open_earlier()
    if earlier is None:
        return ledger.counts().asking
    compiled = compile_job(loaded, mode="parallel")  # the identity of a request is the same in both
    found = 0
    with closing(earlier):
        for seen, row in enumerate(ledger.rows(twins=False), start=1):
            request = compiled.request(row)
            if isinstance(request, Request) and earlier.find(Step(row.index), row, request) is None:
                found += 1
                if found >= enough:
                    return found + ledger.counts().asking - seen
    return found
