"""Enrolment: the selected rows of a dataset are copied into a run, before anything is paid.

Owns   applying the job's selection to its dataset, and handing the rows to the ledger.
Knows  datasets by their contract. From here on nothing reads the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import starmap

from msgspec import Struct
from msgspec.structs import replace

from runner.datasets import Dataset, declared_types
from runner.datasets.crossing import Crossed
from runner.datasets.selection import select
from runner.errors import Location, Problem, SetupError, SpecError
from runner.execution.column_notes import ColumnNotes
from runner.execution.folders import StateFolder
from runner.execution.sources import columns_of_sides, open_dataset, selection_of
from runner.ledger import EnrolledRow, Ledger
from runner.ledger.refusals import disk_errors
from runner.ledger.sqlite import SqliteLedger
from runner.scratch import scratch_folder
from runner.spec.columns import check_columns
from runner.spec.dataset import Dataset as DatasetOfJob
from runner.spec.load import LoadedJob


class Trial(Struct, frozen=True):
    """What narrows a run to a trial: the first `limit` of the selected rows, or the rows with these keys."""

    limit: int | None = None
    keys: Sequence[str] = ()

    @property
    def narrows(self) -> bool:
        return self.limit is not None or bool(self.keys)


def enrol(loaded: LoadedJob, ledger: Ledger, trial: Trial) -> int:
    """Copy the selected rows into the run; returns how many. Raises SpecError, InputError and SetupError.

    Notes the columns there are and their types in the ledger's meta, the columns in the order in which they first
    appear: a table's default columns.
    """
    dataset = open_dataset(loaded)
    declared = declared_types(dataset)
    notes = ColumnNotes(declared)
    try:
        count = ledger.enrol(notes.noting(_selected(loaded, dataset, trial)), samples=loaded.job.samples)
    except SetupError as error:  # a library that only some of the rows need
        error.where = error.where or loaded.locate(("dataset",))
        raise
    if declared is not None:  # each of a glob's files has had its say by now
        notes = ColumnNotes(declared_types(dataset))
    ledger.set_meta(notes.to_meta())
    return count


@contextmanager
def enrolled_aside(loaded: LoadedJob, state: StateFolder, trial: Trial) -> Iterator[Ledger]:
    """The rows as a run would have them, in a folder that is thrown away. Raises what `enrol` raises."""
    state.create()
    with ExitStack() as stack:
        with disk_errors(state.path):
            folder = stack.enter_context(scratch_folder(state.path, "aside-"))
        ledger = SqliteLedger.create(folder, {})
        try:
            enrol(loaded, ledger, trial)
            yield ledger
        finally:
            ledger.close()


def no_rows(dataset: DatasetOfJob, where: Location | None = None) -> Problem:
    """The warning of a run, or a plan, that has no rows: all that may be to blame for it in this job."""
    others = []
    if dataset.cross:
        others.append(f"one that they are crossed with has none ({', '.join(dataset.cross)})")
    if dataset.where is not None:
        others.append("`where` selects none of them")
    if dataset.offset:
        others.append(f"`offset` leaves out the first {dataset.offset:,}")
    message = f"the dataset has no rows{''.join(f', or {other}' for other in others)}"
    hint = (
        'csv values are texts: compare `row.stars == "5"`, or `row.stars | int == 5`'
        if dataset.where is not None
        else None
    )
    return Problem("no-rows", message, where, hint, "warning")


def enrolled_rows(loaded: LoadedJob, trial: Trial) -> Iterator[EnrolledRow]:
    """The selected rows in the dataset's order, with where each stands."""
    return _selected(loaded, open_dataset(loaded), trial)


def _selected(loaded: LoadedJob, dataset: Dataset, trial: Trial) -> Iterator[EnrolledRow]:
    problems = check_columns(loaded, dataset.columns(), columns_of_sides(dataset))
    if problems:
        raise SpecError(problems)
    selection = selection_of(loaded, loaded.job.dataset, ("dataset",))
    narrowed = replace(
        selection,
        crossed=dataset.keys() if isinstance(dataset, Crossed) else None,
        limit=_least(selection.limit, trial.limit),
        only_keys=tuple(trial.keys),
    )
    return starmap(EnrolledRow, select(dataset, narrowed))


def _least(*limits: int | None) -> int | None:
    given = [limit for limit in limits if limit is not None]
    return min(given) if given else None
