"""The sinks of a run: made from the job, checked before anything is paid.

Owns   where each sink writes (a trial writes beside production) and what sinks may know.
Knows  sinks by name, through plugins. Light: `runner check` makes sinks without what a run needs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.execution.delivery import Target, wants
from runner.execution.folders import RunInfo, StateFolder
from runner.execution.outputs import own_outputs
from runner.ledger import Delivery
from runner.plugins import Plugin, find_sink, sink_for
from runner.sinks import Sink, SinkContext
from runner.sinks.targets import trial_path
from runner.spec.job import SinkSpec
from runner.spec.load import LoadedJob


def checked_targets(info: RunInfo, loaded: LoadedJob, state: StateFolder) -> list[Target]:
    """The sinks of a run, checked: nothing is paid before it is known where the answers may go.

    Raises DeliveryError, SpecError.
    """
    targets = make_targets(info, loaded, state)
    for target in targets:
        target.sink.check()
    return targets


def make_targets(info: RunInfo, loaded: LoadedJob, state: StateFolder) -> list[Target]:
    """The sinks of a run, as of now: what was exported since they were made last is known as our own.

    A trial without `--deliver` writes files beside the job's own. Raises SpecError.
    """
    known = own_outputs(state, str(info.meta["job_file"]))
    context = sink_context(loaded, tuple(info.meta.get("columns", ())), known)
    return [
        Target(number, make_sink(spec, _sink_path(info, loaded, number), context), wants(spec.rows))
        for number, spec in enumerate(loaded.job.sinks)
    ]


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


def is_written(delivery: Delivery, root: Path) -> bool:
    """Whether a delivered file is still there; other kinds of target are believed."""
    return delivery.sha256 is None or (root / delivery.target).exists()
