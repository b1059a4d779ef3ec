"""Enrolment: the selected rows of a dataset are copied into a run, before anything is paid.

Owns   opening the dataset that a job names, applying the job's selection, and handing the rows to the ledger.
Knows  datasets by their contract and name. From here on nothing reads the source.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

from runner.datasets import Dataset
from runner.datasets.selection import Selection, select
from runner.errors import Location, Problem, SpecError
from runner.execution.folders import StateFolder
from runner.ledger import EnrolledRow, Ledger
from runner.ledger.sqlite import SqliteLedger
from runner.plugins import dataset_for
from runner.spec.columns import check_columns
from runner.spec.load import LoadedJob

MAX_COLUMNS = 10_000
"""Column names that are remembered of rows that differ (json objects used as mappings): a bound on memory, not on
data."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What narrows a run to a trial: the first `limit` of the selected rows, or the rows with these keys."""

    limit: int | None = None
    keys: Sequence[str] = ()

    @property
    def narrows(self) -> bool:
        return self.limit is not None or bool(self.keys)


def enrol(loaded: LoadedJob, ledger: Ledger, trial: Trial) -> int:
    """Copy the selected rows into the run; returns how many. Raises SpecError and InputError.

    Notes the columns there are in the ledger's meta, in the order in which they first appear: a table's default
    columns.
    """
    columns: dict[str, None] = {}
    count = ledger.enrol(_noting(enrolled_rows(loaded, trial), columns), samples=loaded.job.samples)
    ledger.set_meta({"columns": list(columns)})
    return count


@contextmanager
def enrolled_aside(loaded: LoadedJob, state: StateFolder, trial: Trial) -> Iterator[Ledger]:
    """The rows as a run would have them, in a folder that is thrown away. Raises what `enrol` raises."""
    state.create()
    with tempfile.TemporaryDirectory(prefix="aside-", dir=state.path, ignore_cleanup_errors=True) as folder:
        ledger = SqliteLedger.create(Path(folder), {})
        try:
            enrol(loaded, ledger, trial)
            yield ledger
        finally:
            ledger.close()


def no_rows(where: Location | None = None) -> Problem:
    """The warning of a run, or a plan, that has no rows."""
    message = "the dataset has no rows, or `where` selects none of them"
    hint = 'csv values are texts: compare `row.stars == "5"`, or `row.stars | int == 5`'
    return Problem("no-rows", message, where, hint, "warning")


def _noting(rows: Iterable[EnrolledRow], columns: dict[str, None]) -> Iterator[EnrolledRow]:
    last: Sequence[str] = ()
    for enrolled in rows:
        names = tuple(enrolled.row.values)
        if names != last and len(columns) < MAX_COLUMNS:
            columns.update(dict.fromkeys(names))
            last = names
        yield enrolled


def enrolled_rows(loaded: LoadedJob, trial: Trial) -> Iterator[EnrolledRow]:
    """The selected rows in the dataset's order, with where each stands."""
    dataset = open_dataset(loaded)
    problems = check_columns(loaded, dataset.columns())
    if problems:
        raise SpecError(problems)
    spec = loaded.job.dataset
    selection = Selection(
        key=spec.key,
        where=_where(loaded),
        sample=(spec.sample.rows, spec.sample.seed) if spec.sample else None,
        limit=_least(spec.limit, trial.limit),
        only_keys=tuple(trial.keys),
    )
    return starmap(EnrolledRow, select(dataset, selection))


def open_dataset(loaded: LoadedJob) -> Dataset:
    """The dataset that the job names; nothing of its rows is read yet. Raises SpecError, InputError."""
    path = dataset_path(loaded)
    plugin = dataset_for(path)
    options = plugin.options()(path=path)
    dataset: Dataset = plugin.load()(options, root=loaded.root)
    return dataset


def dataset_path(loaded: LoadedJob) -> str:
    """`dataset.path`, rendered with the job's variables. Raises SpecError."""
    return loaded.render_path(("dataset", "path"), {"vars": loaded.job.vars})


def _where(loaded: LoadedJob) -> Any:
    text = loaded.job.dataset.where
    if text is None:
        return None
    expression = loaded.templates.expression(text, "dataset.where")
    context = {"vars": loaded.job.vars, "assets": loaded.assets}

    def where(row: Mapping[str, Any]) -> object:
        return expression.evaluate({**context, "row": row})

    return where


def _least(*limits: int | None) -> int | None:
    given = [limit for limit in limits if limit is not None]
    return min(given) if given else None
