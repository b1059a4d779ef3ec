"""Putting a run together: from stored inputs and a ledger to everything that `advance` needs.

Owns   which part gets what. The same for a new run, one that goes on, and a retry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from msgspec import Struct

from runner.catalog.models import Catalog
from runner.clock import Clock
from runner.engines.retry import RetryPolicy
from runner.errors import LedgerError, Problem, SpecError
from runner.events import Observer
from runner.execution.advising import advice_on
from runner.execution.api import Api
from runner.execution.asking import asking_of
from runner.execution.earlier import Earlier
from runner.execution.facts import refreshed
from runner.execution.folders import Line, RunInfo, StateFolder, require_revalidated
from runner.execution.judging import make_judge, make_rule
from runner.execution.known_batches import KnownBatches
from runner.execution.limiting import make_limits
from runner.execution.pricing import require_price, stored_prices
from runner.execution.records import record_maker
from runner.execution.reply_checks import RowLookup, check_of, stored_check, stored_job
from runner.execution.targets import checked_targets, live_targets, make_targets
from runner.execution.under_way import ATTENDED, Advance, Sitting
from runner.execution.uploading import UploadPlan
from runner.ledger import Rule
from runner.ledger.reuse import ReplyIndex
from runner.ledger.sqlite import SqliteLedger
from runner.planning.compile import compile_job
from runner.planning.requests import CompiledJob
from runner.settings import Settings
from runner.spec.load import LoadedJob
from runner.types import Mode


def assemble(
    info: RunInfo,
    ledger: SqliteLedger,
    loaded: LoadedJob,
    state: StateFolder,
    api: Api,
    observer: Observer,
    clock: Clock,
    *,
    resumed: bool,
    sitting: Sitting = ATTENDED,
    known: Known | None = None,
    to_send: bool = True,
) -> Advance:
    """Make a run ready to advance. Raises PlanError, BudgetError (a cap with an unknown price), DeliveryError, and
    LedgerError for a run that is half revalidated.

    With `to_send` False it is only to follow what is at the API: neither its sinks nor today's facts are looked at.
    """
    require_revalidated(info.run_id, ledger.meta)
    mode: Mode = ledger.meta["mode"]
    job = loaded.job
    prices = stored_prices(info.folder)
    require_price(loaded, prices)
    compiled_for = cache(lambda mode: compile_job(loaded, mode=mode))
    compiled = compiled_for(mode)
    known = known or (Known.of(state, api, clock, loaded.settings) if to_send else Known(Catalog(), ()))
    facts = known.catalog.facts(job.model)
    if to_send:
        checked_targets(info, loaded, state, row_count=ledger.counts().total)
    known_batches = KnownBatches(state, observer)
    return Advance(
        run_id=info.run_id,
        folder=info.folder,
        ledger=ledger,
        job=job,
        settings=loaded.settings,
        compiled=compiled,
        compiled_for=compiled_for,
        check=check_of(loaded),
        row_of=RowLookup(info.folder),
        asking=asking_of(loaded),
        tools=loaded.tools,
        prices=prices,
        api=api,
        connect=lambda: api.connect(max_concurrency=job.limits.max_concurrency, clock=clock),
        make_limits=lambda told: make_limits(job, loaded.settings, api, clock, told),
        open_earlier=earlier_of(info, state, clock),
        make_targets=lambda: make_targets(info, loaded, state),
        make_live=lambda pause: live_targets(info, loaded, pause),
        upload_plan=lambda mode: _upload_plan(info, state, api, loaded, mode),
        known_ids=known_batches.ids,
        records=record_maker(info, loaded),
        observer=observer,
        clock=clock,
        facts=facts,
        warnings=[*known.told, *_warnings(loaded, compiled, known.catalog, clock)] if to_send else (),
        resumed=resumed,
        sitting=sitting,
    )


def _upload_plan(info: RunInfo, state: StateFolder, api: Api, loaded: LoadedJob, mode: Mode) -> UploadPlan:
    retry = loaded.job.retry
    return UploadPlan(
        state.uploads_path,
        api.files_owner,
        info.run_id,
        loaded.settings.upload_days * 24 * 3_600,
        mode,
        RetryPolicy(retry.max_attempts, retry.initial_interval, retry.backoff_coefficient, retry.maximum_interval),
    )


class Known(Struct, frozen=True):
    """What is known of models, and what a person is to be told of that."""

    catalog: Catalog
    told: Sequence[Problem]

    @classmethod
    def of(cls, state: StateFolder, api: Api, clock: Clock, settings: Settings) -> Known:
        """Asks the API where it was not asked lately."""
        return cls(*refreshed(state, api, clock, max_age_s=settings.models_max_age_s))


def _warnings(loaded: LoadedJob, compiled: CompiledJob, catalog: Catalog, clock: Clock) -> list[Problem]:
    """Warnings to be told. Raises SpecError for what the API would refuse for every row."""
    advice = advice_on(loaded, compiled, catalog, clock)
    errors = [problem for problem in advice if problem.severity == "error"]
    if errors:
        raise SpecError(errors)
    return [*loaded.warnings, *advice]


def previous_run(state: StateFolder, line: Line) -> RunInfo | None:
    """The line's last finished run; a trial is nobody's predecessor."""
    finished = [info for info in state.of_line(line) if info.finished and not info.trial]
    return finished[-1] if finished else None


# -- the rule of a run that is not assembled -----------------------------------------------------------------------


def stored_rule(folder: Path) -> Rule:
    """What decides the replies of a run, from its folder alone: what its job asks of them, and how many turns it has.

    How often a failure is tried again does not matter to a run that is given up, and the rest of its job may need an
    environment that is gone.
    """
    turns = len(stored_job(folder).get("turns") or ())
    return make_rule(make_judge(stored_check(folder), turns=turns, row_of=RowLookup(folder)), RetryPolicy())


# -- earlier answers -----------------------------------------------------------------------------------------------


def earlier_of(info: RunInfo, state: StateFolder, clock: Clock) -> Callable[[], Earlier | None]:
    """Opened on the feeder's thread, which is the one that reads them."""
    meta = info.meta
    if not meta["reuse"]:
        return lambda: None

    def open_earlier() -> Earlier:
        with ExitStack() as undo:
            index = ReplyIndex(state.replies_path)
            undo.callback(index.close)
            index.catch_up(state.runs_path)
            previous = _previous_ledger(state, meta["previous"])
            undo.pop_all()
        return Earlier(index, previous, str(meta["scope"]), info.run_id, clock)

    return open_earlier


def _previous_ledger(state: StateFolder, run_id: str | None) -> SqliteLedger | None:
    """The ledger of the run before, read-only; None where there was none, or its folder was deleted."""
    if run_id is None:
        return None
    try:
        return SqliteLedger.open(state.runs_path / run_id, read_only=True)
    except LedgerError as error:
        if error.code != "no-ledger":
            raise
        return None
