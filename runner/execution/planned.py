"""What a run would do, and cost: every row rendered, none sent.

Owns   `runner plan` and `runner render`. Both read the dataset through a run's own enrolment, in a folder that is
       thrown away, so that they find what a run would find: repeated keys, rows that cannot be rendered, answers that
       are there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct

from runner.catalog.models import ModelFacts
from runner.catalog.prices import Prices
from runner.clock import Clock, SystemClock
from runner.engines.deadline import Deadline, requests_per_batch
from runner.errors import Problem
from runner.execution.advising import advice_on
from runner.execution.api import SIMULATOR, Api, address_for, options_of
from runner.execution.asked import RunOptions
from runner.execution.asking import asking_of
from runner.execution.assemble import previous_run
from runner.execution.choosing import choose_priming
from runner.execution.earlier import Earlier
from runner.execution.enrolment import enrolled_aside, no_rows
from runner.execution.facts import facts_for_reading, refreshed
from runner.execution.folders import Line, StateFolder, line_of
from runner.execution.in_time import CURE, assumed_rate, assumed_row_rate, told_of_deadline
from runner.execution.pricing import load_run_prices, require_price
from runner.execution.records import to_usd
from runner.execution.twins import note_twins
from runner.execution.upload_forecast import Forecast, UploadForecast
from runner.ledger import Ledger
from runner.ledger.reuse import ReplyIndex
from runner.ledger.sqlite import SqliteLedger
from runner.planning.advice import advise_on_cost
from runner.planning.compile import compile_job
from runner.planning.estimate import Estimate, Estimator
from runner.planning.further import Further, FurtherRequests
from runner.planning.mode import Choice, can_fall_back, choose, modes_of
from runner.planning.priming import Priming
from runner.planning.requests import CompiledJob
from runner.planning.warm_up import WarmUp, consider_warm_up
from runner.spec.load import LoadedJob, load
from runner.templating import Printed
from runner.types import Failure, Mode, Request, Row, Step


class Plan(Struct, frozen=True):
    """What `runner plan` says. Rows are `new`, `changed` (same key, another request), `reused`, or `twins` of one of
    these (`distinct`), which are not sent; those that cannot be rendered are in `unsendable`, by error kind."""

    job: str
    job_file: str
    model: str
    mode: Mode
    why: str
    rows: int
    new: int
    changed: int
    reused: int
    twins: int
    unsendable: Mapping[str, int]
    first_unsendable: Sequence[Failure]
    estimate: Estimate
    further: Further | None
    """What asking again may add at most; None where the job allows none."""
    priming: Priming | None
    """Whether batch mode would prime; None in parallel mode."""
    warm_up: WarmUp | None
    """Whether parallel mode would fill the cache before the rows; None in batch mode, and where nothing is cached."""
    queue_requests: int
    """How many requests the organisation's queue of batches takes at once."""
    cap_pico: int | None
    prices: str
    unfinished: str | None
    uploads: Forecast | None
    """What would be uploaded; None where no block says so."""
    warnings: Sequence[Problem]

    @property
    def all_at_once_pico(self) -> int | None:
        """The cap from which on all batches can be at the API at once, since each is reserved whole; below it some wait
        until others have ended. None where it is not known."""
        return self.estimate.cost["batch"].upper

    def to_dict(self) -> dict[str, Any]:
        estimate = self.estimate
        return {
            "format": 1,
            "job": self.job,
            "job_file": self.job_file,
            "model": self.model,
            "mode": self.mode,
            "why": self.why,
            "rows": {
                "total": self.rows,
                "new": self.new,
                "changed": self.changed,
                "reused": self.reused,
                "twins": self.twins,
                "unsendable": sum(self.unsendable.values()),
            },
            "failures": dict(self.unsendable),
            "requests": estimate.requests,
            "tool_rounds": estimate.tool_rounds,
            "input_tokens": estimate.input_tokens,
            "input_tokens_upper": estimate.input_tokens_upper,
            "output_tokens": estimate.output_tokens,
            "output_tokens_upper": estimate.output_tokens_upper,
            "cost_usd": {
                mode: {"expected": to_usd(cost.expected), "upper": to_usd(cost.upper)}
                for mode, cost in estimate.cost.items()
            },
            "asked_again": self._further_to_dict(),
            "batches": self._batches_to_dict(),
            "cache": self._cache_to_dict(),
            "uploads": None if self.uploads is None else self.uploads.to_dict(),
            "max_cost_usd": to_usd(self.cap_pico),
            "prices": self.prices,
            "unfinished_run": self.unfinished,
            "warnings": [problem.to_dict() for problem in self.warnings],
        }

    def _further_to_dict(self) -> dict[str, Any] | None:
        if self.further is None:
            return None
        return {
            "requests_upper": self.further.requests,
            "cost_usd_upper": {mode: to_usd(cost) for mode, cost in self.further.cost.items()},
        }

    def _cache_to_dict(self) -> dict[str, Any] | None:
        if self.warm_up is None:
            return None
        warm_up = {"pays": self.warm_up.pays, "why": self.warm_up.why}
        return {"warm_up": warm_up, "row_prefixes": self.estimate.row_prefixes}

    def _batches_to_dict(self) -> dict[str, Any] | None:
        if self.priming is None:
            return None
        return {
            "count": self.estimate.batches,
            "waves": self.estimate.waves,
            "queue_requests": self.queue_requests,
            "all_at_once_usd": to_usd(self.all_at_once_pico),
            "priming": {
                "pays": self.priming.pays,
                "why": self.priming.why,
                "saved_usd": to_usd(self.priming.saved_pico),
            },
        }


def plan_job(path: Path, options: RunOptions, clock: Clock | None = None) -> Plan:
    """Render every row of a job and say what a run would send. Raises SpecError, InputError, PlanError, BudgetError."""
    clock = clock or SystemClock()
    loaded = load(
        path, sets=options.sets, variables=options.variables, profile=options.profile, environ=options.environ,
        facts_of=facts_for_reading(clock),
    )  # fmt: skip
    compiled = compile_job(loaded, mode=modes_of(loaded.job)[0])
    prices = load_run_prices(loaded, clock)
    require_price(loaded, prices)
    state = StateFolder(loaded.settings.state_dir)
    api = _api(loaded, options)
    catalog, told = refreshed(state, api, clock, max_age_s=loaded.settings.models_max_age_s)
    facts = catalog.facts(loaded.job.model)
    line = line_of(loaded, api.address, api.simulated, api.betas)
    with (
        enrolled_aside(loaded, state, options.narrowing) as ledger,
        _earlier(state, line, options, clock) as earlier,
        UploadForecast(state, api, compiled.mode, clock) as uploads,
    ):
        twins = note_twins(loaded, ledger)
        most = _most_in_a_batch(loaded, ledger.counts().asking, clock)
        further = _further(loaded, compiled, prices)
        estimator = _estimator(loaded, compiled, prices, facts, most)
        counted = _count(ledger, compiled, earlier, estimator, uploads, further)
    requests = counted.estimator.result().requests
    choice = _choice(loaded, options, requests, facts, batches=options_of(loaded.job.provider).offers.batches)
    priming = choose_priming(loaded, choice.mode, requests, facts=facts, prices=prices)
    estimate = counted.estimator.result(primed=priming is not None and priming.pays)
    if choice.mode != compiled.mode:
        compiled = compile_job(loaded, mode=choice.mode)
    unfinished = [info for info in state.of_line(line) if info.unfinished and not info.trial]
    return Plan(
        job=loaded.job.name,
        job_file=line.job,
        model=loaded.job.model,
        mode=choice.mode,
        why=choice.why,
        rows=counted.rows + twins,
        new=counted.new,
        changed=counted.changed,
        reused=counted.reused,
        twins=twins,
        unsendable=dict(counted.unsendable),
        first_unsendable=tuple(counted.first_unsendable),
        estimate=estimate,
        further=further.result(),
        priming=priming,
        warm_up=_warm_up(loaded, compiled, requests, facts, prices),
        queue_requests=loaded.settings.batch_queue_requests,
        cap_pico=loaded.job.limits.max_cost_pico,
        prices=prices.version,
        unfinished=unfinished[-1].run_id if unfinished else None,
        uploads=uploads.result() if compiled.uploads else None,
        warnings=(
            *loaded.warnings,
            *told,
            *advice_on(loaded, compiled, catalog, clock),
            *_of_rows(loaded, counted),
            *_of_deadline(loaded, choice.mode, requests, clock),
            *advise_on_cost(estimate, choice.mode, locate=loaded.locate),
        ),
    )


def render_job(path: Path, options: RunOptions) -> Iterator[tuple[Row, Request | Failure]]:
    """Each selected row with its exact request, in order; of rows that are asked once (`distinct`) the first."""
    loaded = load(
        path, sets=options.sets, variables=options.variables, profile=options.profile, environ=options.environ
    )
    with enrolled_aside(loaded, StateFolder(loaded.settings.state_dir), options.narrowing) as ledger:
        batches = options_of(loaded.job.provider).offers.batches
        note_twins(loaded, ledger)
        choice = _choice(loaded, options, ledger.counts().asking, None, batches=batches)
        compiled = compile_job(loaded, mode=choice.mode)
        for row in ledger.rows(twins=False):
            yield row, compiled.request(row)


def _api(loaded: LoadedJob, options: RunOptions) -> Api:
    """The API that a run would send to."""
    environ, transport = loaded.environ, loaded.settings.transport
    if options.simulate:
        return Api(SIMULATOR, True, environ, transport)
    return Api(address_for(loaded.job.provider, environ), False, environ, transport, loaded.job.provider)


def _choice(
    loaded: LoadedJob, options: RunOptions, requests: int, facts: ModelFacts | None, *, batches: bool
) -> Choice:
    """The mode of a run that would send so many requests; `batches`: whether the API has them."""
    return choose(
        loaded.job,
        requests=requests,
        batch_min_rows=loaded.settings.batch_min_rows,
        facts=facts,
        provider_batches=batches,
        trial=options.is_trial,
        where=loaded.locate(("mode",)),
    )


def _warm_up(
    loaded: LoadedJob, compiled: CompiledJob, requests: int, facts: ModelFacts | None, prices: Prices
) -> WarmUp | None:
    if compiled.mode == "batch" or not (compiled.shared_prefixes or compiled.row_prefixes):
        return None
    at_once = loaded.job.limits.max_concurrency
    return consider_warm_up(compiled, facts=facts, prices=prices, requests=requests, at_once=at_once)


def _most_in_a_batch(loaded: LoadedJob, rows: int, clock: Clock) -> int:
    """How many requests the run would put into one batch: a deadline asks for small ones."""
    job, most = loaded.job, loaded.settings.batch_max_requests
    if job.limits.deadline is None or not can_fall_back(job):
        return most
    now = clock.now()
    rate = assumed_row_rate(job)
    deadline = Deadline(now + timedelta(seconds=job.limits.deadline), now, rate)
    return min(most, requests_per_batch(deadline, rows))


def _estimator(
    loaded: LoadedJob, compiled: CompiledJob, prices: Prices, facts: ModelFacts | None, most: int
) -> Estimator:
    return Estimator(
        compiled,
        prices,
        facts,
        samples=loaded.job.samples,
        batch_max_requests=most,
        batch_max_bytes=loaded.settings.batch_max_bytes,
        tool_rounds=asking_of(loaded).tool_rounds,
    )


def _further(loaded: LoadedJob, compiled: CompiledJob, prices: Prices) -> FurtherRequests:
    asking = asking_of(loaded)
    return FurtherRequests(compiled, prices, repairs=asking.repairs, limits=asking.limits, models=asking.models)


class _Count:
    """What the rows of a plan come to."""

    def __init__(self, estimator: Estimator) -> None:
        self.estimator = estimator
        self.rows = self.new = self.changed = self.reused = 0
        self.unsendable: Counter[str] = Counter()
        self.first_unsendable: list[Failure] = []
        self.printed = Printed()
        self.too_long = 0
        self.longest: tuple[int, str] = (0, "")
        """Tokens and key of the longest prompt."""

    def size(self, row: Row, tokens: int) -> None:
        """Take note of about how many tokens a row's prompt has."""
        most = self.estimator.most_input_tokens
        if most is not None and tokens > most:
            self.too_long += 1
            self.longest = max(self.longest, (tokens, row.key))


_SHOWN_FAILURES = 5


def _count(
    ledger: Ledger,
    compiled: CompiledJob,
    earlier: Earlier | None,
    estimator: Estimator,
    uploads: UploadForecast,
    further: FurtherRequests,
) -> _Count:
    counted = _Count(estimator)
    for row in ledger.rows(twins=False):
        counted.rows += 1
        request = compiled.request(row, counted.printed)
        if isinstance(request, Failure):
            counted.unsendable[request.kind] += 1
            if len(counted.first_unsendable) < _SHOWN_FAILURES:
                counted.first_unsendable.append(request)
        elif earlier is not None and earlier.find(Step(row.index), row, request) is not None:
            counted.reused += 1
        else:
            counted.size(row, estimator.add_row(row, request))
            uploads.add(request)
            further.add(request)
            if earlier is not None and earlier.has_other(row, request):
                counted.changed += 1
            else:
                counted.new += 1
    return counted


def _of_rows(loaded: LoadedJob, counted: _Count) -> Iterator[Problem]:
    """What only the rows themselves show."""
    if not counted.rows:
        yield no_rows(loaded.job.dataset, loaded.locate(("dataset",)))
    most = counted.estimator.most_input_tokens
    if counted.too_long and most is not None:
        tokens, key = counted.longest
        rows = "1 row has" if counted.too_long == 1 else f"{counted.too_long:,} rows have"
        message = f"{rows} more tokens, by estimate, than the {most:,} that {loaded.job.model} reads"
        hint = f"row {key!r} has about {tokens:,}; the API refuses such requests: shorten them, or take another model"
        yield Problem("over-context", message, loaded.locate(("messages",)), hint, "warning")
    nulls = counted.printed.nulls
    if nulls:
        message = f"{nulls:,} {'null is' if nulls == 1 else 'nulls are'} printed as nothing"
        hint = "say what should stand there instead: {{ row.x | default('unknown', true) }}"
        yield Problem("nulls-printed", message, loaded.locate(("messages",)), hint, "warning")


def _of_deadline(loaded: LoadedJob, mode: Mode, requests: int, clock: Clock) -> Iterator[Problem]:
    """A deadline that cannot be kept, and one that leaves no time for batches."""
    limits, now = loaded.job.limits, clock.now()
    if limits.deadline is None or not requests:
        return
    where = loaded.locate(("limits", "deadline"))
    late = told_of_deadline(requests, limits.deadline, assumed_rate(limits))
    deadline = Deadline(now + timedelta(seconds=limits.deadline), now, assumed_rate(limits))
    if late is not None:
        yield Problem("short-deadline", late, where, CURE, "warning")
    elif mode == "batch" and can_fall_back(loaded.job) and deadline.point_of_no_return(requests) <= now:
        message = "the deadline leaves no time for batches: everything goes out in parallel, at full price"
        yield Problem("short-deadline", message, where, "give more time, or write `mode: parallel`", "warning")


@contextmanager
def _earlier(state: StateFolder, line: Line, options: RunOptions, clock: Clock) -> Iterator[Earlier | None]:
    if not options.reuse:
        yield None
        return
    previous = previous_run(state, line)
    ledger = SqliteLedger.open(previous.folder, read_only=True) if previous is not None else None
    try:
        with ReplyIndex(state.replies_path) as index:
            index.catch_up(state.runs_path)
            yield Earlier(index, ledger, line.scope, "", clock)
    finally:
        if ledger is not None:
            ledger.close()
