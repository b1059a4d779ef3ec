"""The dataset that a job names: which plugin reads it, with which options.

Owns   the way from the keys of `dataset`, and of those in its `cross`, to a plugin's Options; what a dataset may know
       of the project, and which of its rows are taken.
Knows  datasets by name, through plugins.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace
from pydantic import BaseModel

from runner.connections import Connection
from runner.databases import DUCKDB, database_of
from runner.datasets import ComparedFiles, Dataset, DatasetContext, DatasetOfFiles
from runner.datasets.casting import cast_by
from runner.datasets.crossing import Crossed, Side
from runner.datasets.selection import Selection, Where
from runner.errors import Problem, SetupError, SpecError
from runner.extras import missing_library
from runner.plugins import Plugin, dataset_from
from runner.spec.dataset import Rows
from runner.spec.load import LoadedJob
from runner.spec.node import Path
from runner.spec.templates import where_name
from runner.spec.texts import CROSS
from runner.spec.used_columns import used_columns
from runner.templating import Expression, TemplateFailure


def open_dataset(loaded: LoadedJob) -> Dataset:
    """The dataset that the job names, crossed where it says so; nothing of its rows is read yet. Raises SpecError,
    InputError, SetupError."""
    (at, spec), *others = datasets(loaded)
    dataset = _opened(loaded, spec, at)
    sides = [Side(str(at[-1]), _opened(loaded, spec, at), selection_of(loaded, spec, at)) for at, spec in others]
    return Crossed(dataset, sides) if sides else dataset


def datasets(loaded: LoadedJob) -> list[tuple[Path, Rows]]:
    """The datasets of a job with their places: its own, and those that it is crossed with."""
    own = loaded.job.dataset
    return [(("dataset",), own), *(((*CROSS, name), spec) for name, spec in own.cross.items())]


def columns_of_sides(dataset: Dataset) -> Mapping[str, Sequence[str] | None]:
    """The columns of what a dataset is crossed with, by name, as far as they are known without reading it."""
    return dataset.columns_of_sides() if isinstance(dataset, Crossed) else {}


def selection_of(loaded: LoadedJob, spec: Rows, at: Path) -> Selection:
    """What a job says of the rows of one of its datasets."""
    return Selection(
        key=spec.key,
        where=_where(loaded, spec, at),
        sample=(spec.sample.rows, spec.sample.seed) if spec.sample else None,
        offset=spec.offset,
        limit=spec.limit,
    )


def _where(loaded: LoadedJob, spec: Rows, at: Path) -> Where | None:
    if spec.where is None:
        return None
    expression = loaded.templates.expression(spec.where, where_name(at))
    context = {"vars": loaded.job.vars, "assets": loaded.assets}

    def where(row: Mapping[str, Any]) -> object:
        return expression.evaluate({**context, "row": row})

    return where


def compared_files(loaded: LoadedJob, at_most: int) -> Iterator[tuple[Path, ComparedFiles]]:
    """Of each dataset of several files that say what columns they have: whether these agree, as far as so many files
    show it, with the place of the key that names them. Raises what `open_dataset` raises."""
    for at, spec in datasets(loaded):
        dataset = _source(loaded, spec, at)
        if isinstance(dataset, DatasetOfFiles):
            yield (*at, spec.source), dataset.compare_files(at_most)


def _opened(loaded: LoadedJob, spec: Rows, at: Path) -> Dataset:
    with _located(loaded, (*at, spec.source)):
        return cast_by(_source(loaded, spec, at), spec.types)


def _source(loaded: LoadedJob, spec: Rows, at: Path) -> Dataset:
    """The dataset itself, without the casts of `types`."""
    plugin, options = _chosen(loaded, spec, at)
    context = DatasetContext(
        loaded.root,
        environ=loaded.environ,
        connection=_connection(loaded, spec),
        scratch=loaded.settings.state_dir,
    )
    statement = loaded.statements.get(at)
    if statement is not None:
        context = dataclasses.replace(context, statement_at=statement.locate)
    if plugin.kind in _READS_BY_COLUMN and at == ("dataset",):
        context = dataclasses.replace(context, used=_used(loaded))
    place = (*at, spec.source)
    database = Connection(f"{DUCKDB}://") if spec.query is not None else context.connection
    if database is not None:
        with _located(loaded, place if spec.query is not None else (*at, "url")):
            database_of(database)  # a library that is missing is told with what else its database needs
    with _located(loaded, place):
        for missing in _missing(plugin, options):
            raise missing
        dataset: Dataset = plugin.load()(options, context)
        return dataset


def _used(loaded: LoadedJob) -> frozenset[str] | None:
    """The columns of the job's own dataset that it uses; rows that it is crossed with are no columns of it."""
    used = used_columns(loaded)
    return None if used is None else used - loaded.job.dataset.cross.keys()


_READS_BY_COLUMN = frozenset({"parquet", "arrow", "orc"})
"""Kinds of files that hold their rows by column: what a job does not use is not read."""


@contextmanager
def _located(loaded: LoadedJob, at: Path) -> Iterator[None]:
    """What a dataset says against the job, or this machine, without a place is said of the key that names the
    source."""
    try:
        yield
    except SpecError as error:
        where = loaded.locate(at)
        raise SpecError([replace(problem, where=problem.where or where) for problem in error.problems]) from error
    except SetupError as error:
        error.where = error.where or loaded.locate(at)
        raise


def missing_needs(loaded: LoadedJob) -> Problem | None:
    """A library that one of the datasets needs, where it is not here; loads none. Raises SpecError."""
    for at, spec in datasets(loaded):
        for missing in _missing(*_chosen(loaded, spec, at)):
            return Problem(missing.code, missing.message, loaded.locate((*at, spec.source)), missing.hint)
    return None


def _missing(plugin: Plugin, options: BaseModel) -> Iterator[SetupError]:
    """The libraries that a dataset needs and that are not installed."""
    for module in getattr(options, "needs", ()):
        if importlib.util.find_spec(module) is None:
            yield missing_library(module, f"the {plugin.kind} dataset")


def reads_local_files(loaded: LoadedJob) -> bool:
    """Whether opening the dataset, and what it is crossed with, reads local files alone, as often as one likes: no
    server, no stdin. What a plugin does not say of itself is taken to be so. Raises SpecError."""
    chosen = (_chosen(loaded, spec, at) for at, spec in datasets(loaded))
    return all(getattr(options, "reads_local_files", True) for _, options in chosen)


def _connection(loaded: LoadedJob, spec: Rows) -> Connection | None:
    return loaded.connections.get(spec.url or "")


def _chosen(loaded: LoadedJob, spec: Rows, at: Path) -> tuple[Plugin, BaseModel]:
    """The plugin that the source's key names, and its Options: of the dataset's keys those that it knows."""
    given: dict[str, Any] = {name: value for name, value in spec if value is not None}
    if spec.path is not None:
        given["path"] = loaded.render_path((*at, "path"), {"vars": loaded.job.vars})
    statement = loaded.statements.get(at)
    if statement is not None:
        given[statement.key] = statement.text
    if spec.bind is not None:
        given["bind"] = _bound(loaded, (*at, "bind"), spec.bind)
    connection = _connection(loaded, spec)
    plugin = dataset_from(spec.source, given.get("path", ""), connection.dialect if connection else None)
    model = plugin.options()
    return plugin, model(**{name: given[name] for name in model.model_fields if name in given})


def _bound(loaded: LoadedJob, path: Path, value: Any) -> Any:
    """A value of `bind`: one whole expression keeps the type of what it gives, another template gives text. What stands
    in the job is looked at, never what a variable of the environment holds. Raises SpecError."""
    if isinstance(value, dict):
        return {name: _bound(loaded, (*path, name), item) for name, item in value.items()}
    if isinstance(value, list):
        return [_bound(loaded, (*path, number), item) for number, item in enumerate(value)]
    if not loaded.is_template(path):
        return value
    written: Any = loaded.resolved
    for part in path:
        written = written[part]
    whole = Expression.whole(written)
    if whole is None:
        return loaded.render_path(path, {"vars": loaded.job.vars})
    try:
        name = ".".join(map(str, path))
        return loaded.templates.expression(whole, name).evaluate({"vars": loaded.job.vars})
    except TemplateFailure as failure:
        raise SpecError([Problem(failure.code, failure.message, loaded.locate(path), failure.hint)]) from failure
