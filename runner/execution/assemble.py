"""Putting a run together: from stored inputs and a ledger to everything that `advance` needs.

Owns   which part gets what. The same for a new run, one that goes on, and a retry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.catalog.models import ModelFacts
from runner.catalog.price_list import prices_for_models
from runner.catalog.price_overrides import load_overrides
from runner.catalog.prices import Prices
from runner.clock import Clock
from runner.encoding import encode
from runner.errors import BudgetError, Problem, SpecError
from runner.events import Observer
from runner.execution.advance import Advance
from runner.execution.api import Api
from runner.execution.delivery import Target, wants
from runner.execution.earlier import Earlier
from runner.execution.facts import refreshed
from runner.execution.folders import Line, RunInfo, StateFolder
from runner.execution.records import RecordMaker
from runner.ledger import Delivery
from runner.ledger.reuse import ReplyIndex
from runner.ledger.sqlite import SqliteLedger
from runner.planning.advice import advise
from runner.planning.compile import compile_job
from runner.planning.requests import CompiledJob
from runner.plugins import Plugin, find_sink, sink_for
from runner.replies.schema import Check
from runner.sinks import Sink, SinkContext
from runner.sinks.targets import trial_path
from runner.spec.job import SinkSpec
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
) -> Advance:
    """Make a run ready to advance. Raises PlanError, BudgetError (a cap with an unknown price), DeliveryError."""
    mode: Mode = ledger.meta["mode"]
    job = loaded.job
    prices = stored_prices(info.folder)
    require_price(loaded, prices)
    compiled = compile_job(loaded, mode=mode)
    catalog, told = refreshed(state, api, clock)
    facts = catalog.facts(job.model)
    return Advance(
        run_id=info.run_id,
        folder=info.folder,
        ledger=ledger,
        job=job,
        compiled=compiled,
        check=Check(loaded.schema) if loaded.schema is not None else None,
        prices=prices,
        connect=lambda: api.connect(max_concurrency=job.limits.max_concurrency, clock=clock),
        open_earlier=_open_earlier(info, state, clock),
        targets=make_targets(info, loaded, state),
        records=record_maker(info, loaded),
        observer=observer,
        clock=clock,
        facts=facts,
        warnings=[*told, *_warnings(loaded, compiled, facts, clock)],
        resumed=resumed,
    )


def _warnings(loaded: LoadedJob, compiled: CompiledJob, facts: ModelFacts | None, clock: Clock) -> list[Problem]:
    """Warnings to be told. Raises SpecError for what the API would refuse for every row."""
    advice = advise(compiled, facts, locate=loaded.locate, today=clock.now().date())
    errors = [problem for problem in advice if problem.severity == "error"]
    if errors:
        raise SpecError(errors)
    return [*loaded.warnings, *advice]


# -- money ---------------------------------------------------------------------------------------------------------


def load_run_prices(loaded: LoadedJob, clock: Clock) -> Prices:
    """Today's prices of the job's model, the user's own first."""
    overrides = load_overrides(loaded.settings.prices) if loaded.settings.prices is not None else None
    geo = loaded.job.params.get("inference_geo")
    return prices_for_models([loaded.job.model], at=clock.now(), overrides=overrides, inference_geo=geo)


def store_prices(folder: Path, prices: Prices) -> None:
    """Keep the prices with the run: a resume never prices anew."""
    (folder / "inputs" / "prices.json").write_bytes(encode(prices.to_json()))


def stored_prices(folder: Path) -> Prices:
    return Prices.from_json(json.loads((folder / "inputs" / "prices.json").read_bytes()))


def require_price(loaded: LoadedJob, prices: Prices) -> None:
    """A cap on what nobody can price would cap nothing."""
    job = loaded.job
    if job.limits.max_cost_usd is not None and not prices.knows(job.model):
        raise BudgetError(
            f"limits.max_cost_usd is set, but the price of {job.model} is not known",
            code="unknown-price",
            hint="give its price in the file that the setting `prices` names, or take the cap out",
        )


def previous_run(state: StateFolder, line: Line) -> RunInfo | None:
    """The line's last finished run; a trial is nobody's predecessor."""
    finished = [info for info in state.of_line(line) if info.finished and not info.trial]
    return finished[-1] if finished else None


# -- earlier answers -----------------------------------------------------------------------------------------------


def _open_earlier(info: RunInfo, state: StateFolder, clock: Clock) -> Callable[[], Earlier | None]:
    """Opened on the feeder's thread, which is the one that reads them."""
    meta = info.meta
    if not meta["reuse"]:
        return lambda: None

    def open_earlier() -> Earlier:
        index = ReplyIndex(state.replies_path)
        index.catch_up(state.runs_path)
        folder = state.runs_path / str(meta["previous"])
        previous = SqliteLedger.open(folder, read_only=True) if meta["previous"] and folder.exists() else None
        return Earlier(index, previous, str(meta["scope"]), info.run_id, clock)

    return open_earlier


# -- sinks ---------------------------------------------------------------------------------------------------------

EXPORTS = "exports.jsonl"
"""What was exported while another process owned the ledger: one delivery a line."""


def record_maker(info: RunInfo, loaded: LoadedJob) -> RecordMaker:
    return RecordMaker(info.run_id, loaded.job.name, loaded.job.model, loaded.schema is not None)


def make_targets(info: RunInfo, loaded: LoadedJob, state: StateFolder) -> list[Target]:
    """The sinks of a run, checked: nothing is paid before it is known where the answers may go.

    A trial without `--deliver` writes files beside the job's own. Raises DeliveryError, SpecError.
    """
    known = _own_outputs(info, state)
    targets = []
    for number, spec in enumerate(loaded.job.sinks):
        columns = tuple(info.meta.get("columns", ()))
        sink = make_sink(spec, _sink_path(info, loaded, number), sink_context(loaded, columns, known))
        sink.check()
        targets.append(Target(number, sink, wants(spec.rows)))
    return targets


def make_sink(spec: SinkSpec, path: str, context: SinkContext) -> Sink:
    """The sink that a job names, touching nothing. Raises SpecError for columns that clash or a format there is not."""
    plugin = sink_for(path)
    given = {"path": path, "columns": spec.columns, "include_row": spec.include_row, "overwrite": spec.overwrite}
    return _made(plugin, given, context)


def _made(plugin: Plugin, given: Mapping[str, Any], context: SinkContext) -> Sink:
    """A plugin's own options, of what the job gives: stdout has no `overwrite`."""
    options = plugin.options()
    sink: Sink = plugin.load()(
        options(**{name: given[name] for name in options.model_fields if name in given}), context
    )
    return sink


def target_at(info: RunInfo, loaded: LoadedJob, path: str, as_: str | None) -> Target:
    """One file, or stdout, that the user named for an export: all records, the sink's default columns."""
    plugin = find_sink(as_) if as_ is not None and path != "-" else sink_for(path)
    given = {"path": path, "overwrite": True, **({"format": as_} if as_ else {})}
    context = replace(sink_context(loaded, tuple(info.meta.get("columns", ()))), root=Path.cwd())
    sink = _made(plugin, given, context)
    sink.check()
    return Target(0, sink, wants("all"))


def sink_context(loaded: LoadedJob, columns: Sequence[str], known: Collection[str] = frozenset()) -> SinkContext:
    """What sinks may know: the dataset's columns, the output's schema, and the digests of our own earlier outputs."""
    return SinkContext(
        root=loaded.root,
        row_columns=columns,
        schema=loaded.schema,
        expression=loaded.templates.expression,
        known_sha256=known,
    )


def _sink_path(info: RunInfo, loaded: LoadedJob, number: int) -> str:
    """Where a sink writes: its path with job, vars and run filled in."""
    context = {"job": {"name": loaded.job.name}, "vars": loaded.job.vars, "run": {"id": info.run_id}}
    path = loaded.render_path(("sinks", number, "path"), context)
    return trial_path(path) if info.trial and not info.meta["deliver"] and path != "-" else path


def _own_outputs(info: RunInfo, state: StateFolder) -> Collection[str]:
    """Digests of what this job's runs wrote, or were about to write: those files may be replaced."""
    digests: set[str] = set()
    for run in state.runs():
        if run.meta["job_file"] != info.meta["job_file"]:
            continue
        ledger = SqliteLedger.open(run.folder, read_only=True)
        digests.update(delivery.sha256 for delivery in ledger.deliveries() if delivery.sha256)
        ledger.close()
        exports = run.folder / EXPORTS
        if exports.exists():
            noted = (json.loads(line) for line in exports.read_bytes().splitlines())
            digests.update(delivery["sha256"] for delivery in noted if delivery["sha256"])
    return digests


def is_written(delivery: Delivery, root: Path) -> bool:
    """Whether a delivered file is still there; other kinds of target are believed."""
    return delivery.sha256 is None or (root / delivery.target).exists()
