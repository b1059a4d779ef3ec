"""The sinks of a run: made from the job, checked before anything is paid.

Owns   where each sink writes (a trial writes beside production) and what sinks may know.
Knows  sinks by name, through plugins. Light: `runner check` makes sinks without what a run needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from runner.column_types import ColumnType
from runner.encoding import encode
from runner.errors import Problem, RunnerError, SpecError
from runner.execution.column_notes import COLUMNS, types_in
from runner.execution.delivery import PartTarget, Target, wants
from runner.execution.folders import RunInfo, StateFolder
from runner.execution.outputs import own_outputs
from runner.execution.rereading import reread
from runner.ledger import Delivery
from runner.ledger.journal import JOURNALS
from runner.plugins import Plugin, find_sink, sink_at, sink_for
from runner.sinks import PartSink, Sink, SinkContext, takes_parts
from runner.sinks.targets import trial_path
from runner.spec.load import LoadedJob
from runner.spec.sink import SinkSpec
from runner.spec.validate import expected_by
from runner.storage import RemoteTarget, StorageError, is_url, shown


def checked_targets(
    info: RunInfo, loaded: LoadedJob, state: StateFolder, *, row_count: int | None = None
) -> list[Target | PartTarget]:
    """The sinks of a run, checked: nothing is paid before it is known where the answers may go.

    Raises DeliveryError, SpecError.
    """
    targets = make_targets(info, loaded, state, row_count=row_count)
    for target in targets:
        try:
            target.sink.check()
        except RunnerError as error:
            if error.code == "missing-extra":  # what is wrong with a target itself is told by its name
                error.where = error.where or loaded.locate(("sinks", target.number))
            raise
    return targets


def make_targets(
    info: RunInfo, loaded: LoadedJob, state: StateFolder, *, row_count: int | None = None
) -> list[Target | PartTarget]:
    """The sinks of a run, as of now: what was exported since they were made last is known as our own. `row_count` is
    the number of its rows, where that is known.

    A trial without `--deliver` writes files beside the job's own, and gives nothing to other sinks. Of a run that is
    only read, `unset_deliveries` tells of the sinks that are left out here. Raises SpecError.
    """
    known = own_outputs(state, str(info.meta["job_file"]))
    context = sink_context(loaded, tuple(info.meta.get(COLUMNS, ())), known, types_in(info.meta))
    context = replace(context, row_count=row_count)
    return [
        _target(number, spec, info, loaded, context)
        for number, spec in enumerate(loaded.job.sinks)
        if (spec.path is not None or not stays_home(info)) and number not in loaded.unset
    ]


def unset_deliveries(info: RunInfo, loaded: LoadedJob) -> list[Delivery]:
    """How the sinks stand that cannot be made here, as a `${NAME}` of theirs has no value."""
    return [] if stays_home(info) else [_unset(loaded, number, why) for number, why in loaded.unset.items()]


def _unset(loaded: LoadedJob, number: int, why: Problem) -> Delivery:
    spec = loaded.job.sinks[number]
    url = shown(str(loaded.resolved["sinks"][number].get("url"))).partition("?")[0]
    kind = sink_at(spec.place, "", table=spec.table is not None).kind
    target = url if spec.table is None else f"{spec.table} at {url}"
    return Delivery(number, kind, target, "failed", error=f"{why.message}; {why.hint}" if why.hint else why.message)


def live_targets(info: RunInfo, loaded: LoadedJob, pause: Callable[[float], bool]) -> list[PartTarget]:
    """The sinks of a run that are given records while it goes on; they wait by `pause`."""
    if stays_home(info) or not any(spec.when == "live" for spec in loaded.job.sinks):
        return []
    context = sink_context(loaded, tuple(info.meta.get(COLUMNS, ())), types=types_in(info.meta))
    made = [
        _target(number, spec, info, loaded, replace(context, pause=pause))
        for number, spec in enumerate(loaded.job.sinks)
        if spec.when == "live" and spec.path is None
    ]
    return [target for target in made if isinstance(target, PartTarget) and target.live]


def stays_home(info: RunInfo) -> bool:
    """Whether a run is a trial that gives nothing to anybody else."""
    return bool(info.trial and not info.meta["deliver"])


def _target(number: int, spec: SinkSpec, info: RunInfo, loaded: LoadedJob, context: SinkContext) -> Target | PartTarget:
    written: Mapping[str, Any] = loaded.resolved["sinks"][number]
    plugin, options = chosen(spec, _sink_path(info, loaded, number))
    rows = spec.rows or str(getattr(options, "default_rows", "all"))
    wanted = wants(rows)
    context = replace(
        context,
        written=written,
        records=lambda: reread(info, loaded, wanted),
        row_count=context.row_count if rows == "all" else None,
        memory=info.folder / JOURNALS / f"{number}.keys.db",
        **_of_database(spec, loaded),
    )
    try:
        sink = plugin.load()(options, context)
    except SpecError as error:
        where = loaded.locate(("sinks", number))
        raise SpecError([replace(problem, where=problem.where or where) for problem in error.problems]) from error
    if not takes_parts(sink):
        return Target(number, sink, wanted)
    return PartTarget(number, sink, wanted, _definition(written), spec.when == "live" and not sink.is_replaced)


def _definition(written: Mapping[str, Any]) -> str:
    """What the job says of a sink, but for when and in which portions it is given records."""
    said = {name: value for name, value in written.items() if name not in ("when", "batch_size")}
    return hashlib.sha256(encode(said)).hexdigest()


def make_sink(spec: SinkSpec, path: str | None, context: SinkContext) -> Sink | PartSink:
    """The sink that a job names, touching nothing. Raises SpecError for columns that clash or a format there is not."""
    plugin, options = chosen(spec, path)
    sink: Sink | PartSink = plugin.load()(options, context)
    return sink


def _of_database(spec: SinkSpec, loaded: LoadedJob) -> dict[str, Any]:
    """What a sink may know that is a table of a database."""
    return {
        "connection": loaded.connections.get(spec.url or ""),
        "key_columns": loaded.job.dataset.key or (),
    }


def chosen(spec: SinkSpec, path: str | None) -> tuple[Plugin, BaseModel]:
    """The plugin that the sink's place names, and its Options: of the sink's keys those that it knows. Raises
    SpecError."""
    given = spec.given if path is None else {**spec.given, "path": path}
    plugin = sink_at(spec.place, path or "", table="table" in given)
    return plugin, _options(plugin, given)


def _options(plugin: Plugin, given: Mapping[str, Any]) -> BaseModel:
    """A plugin's own options, of what the job gives: stdout has no `overwrite`. Values are not shown: they may be
    secrets."""
    model = plugin.options()
    try:
        return model(**{name: given[name] for name in model.model_fields if name in given})
    except ValidationError as error:
        raise SpecError([_problem(found) for found in error.errors(include_url=False, include_input=False)]) from None


def _problem(found: ErrorDetails) -> Problem:
    name = ".".join(str(part) for part in found["loc"])
    said = found["msg"] if found["type"] == "sink" else f"expected {expected_by(found)}"
    return Problem("wrong-value", f"`{name}` of the sink: {said}")


def _made(plugin: Plugin, given: Mapping[str, Any], context: SinkContext) -> Sink:
    sink: Sink = plugin.load()(_options(plugin, given), context)
    return sink


def target_at(info: RunInfo, loaded: LoadedJob, path: str, as_: str | None) -> Target:
    """One file, or stdout, that the user named for an export: all records, the sink's default columns."""
    plugin = find_sink(as_) if as_ is not None and path != "-" else sink_for(path)
    given = {"path": path, "overwrite": True, **({"format": as_} if as_ else {})}
    context = sink_context(loaded, tuple(info.meta.get(COLUMNS, ())), types=types_in(info.meta))
    wanted = wants("all")
    context = replace(context, root=Path.cwd(), records=lambda: reread(info, loaded, wanted))
    sink = _made(plugin, given, context)
    sink.check()
    return Target(0, sink, wanted)


def sink_context(
    loaded: LoadedJob,
    columns: Sequence[str],
    known: Collection[str] = frozenset(),
    types: Mapping[str, ColumnType] | None = None,
) -> SinkContext:
    """What sinks may know: the dataset's columns and their types, the output's schema, and the digests of our own
    earlier outputs."""
    return SinkContext(
        root=loaded.root,
        row_columns=columns,
        schema=loaded.schema,
        expression=loaded.templates.expression,
        known_sha256=known,
        row_types=types or {},
    )


def _sink_path(info: RunInfo, loaded: LoadedJob, number: int) -> str | None:
    """Where a sink writes: its path with job, vars and run filled in; None for one that has no path."""
    if loaded.job.sinks[number].path is None:
        return None
    context = {"job": {"name": loaded.job.name}, "vars": loaded.job.vars, "run": {"id": info.run_id}}
    path = loaded.render_path(("sinks", number, "path"), context)
    return trial_path(path) if stays_home(info) and path != "-" else path


def is_written(delivery: Delivery, root: Path) -> bool:
    """Whether a delivered file is still there; other kinds of target are believed, and stores that do not answer."""
    if delivery.sha256 is None:
        return True
    if not is_url(delivery.target):
        return (root / delivery.target).exists()
    try:
        return RemoteTarget(delivery.target).exists()
    except StorageError:
        return True
