"""Everything wrong with jobs that local files show: no key, no connection, nothing written.

Owns   `runner check`: loading each job, its dataset's header, its sinks, and with `data` every row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from runner.catalog.models import Catalog
from runner.clock import Clock
from runner.datasets import declared_types
from runner.errors import InputError, Problem, RunnerError, SpecError
from runner.execution.advising import advice_on
from runner.execution.api import cache_address, options_of
from runner.execution.enrolment import Trial, enrolled_aside
from runner.execution.facts import facts_for_reading
from runner.execution.folders import StateFolder
from runner.execution.reaching import database_problems
from runner.execution.sources import (
    columns_of_sides,
    compared_files,
    missing_needs,
    open_dataset,
    reads_local_files,
)
from runner.execution.targets import make_sink, sink_context
from runner.planning.compile import compile_job
from runner.planning.mode import modes_of
from runner.planning.requests import CompiledJob
from runner.planning.turns import turn_text
from runner.spec.columns import check_columns
from runner.spec.job import ProviderSpec
from runner.spec.load import LoadedJob, duplicate_names, load
from runner.types import Failure, Row


class Checked(Struct, frozen=True):
    """What is wrong with one job file: errors and warnings, in file order."""

    path: Path
    problems: Sequence[Problem]

    @property
    def failed(self) -> bool:
        return any(problem.severity == "error" for problem in self.problems)


def check_jobs(paths: Sequence[Path], *, profile: str | None, data: bool, clock: Clock) -> list[Checked]:
    """Check each job file, and that no two of them have one name; with `data`, every row of their datasets too."""
    loaded: dict[Path, LoadedJob] = {}
    problems: dict[Path, list[Problem]] = {path: [] for path in paths}
    for path in problems:
        try:
            loaded[path] = load(path, profile=profile, lenient=True, facts_of=facts_for_reading())
        except RunnerError as error:
            problems[path] += error.problems
    for path, job in loaded.items():
        problems[path] += _problems(job, data, clock)
        problems[path] += duplicate_names([*_before(job, loaded), job])
    return [Checked(path, found) for path, found in problems.items()]


def _before(job: LoadedJob, loaded: Mapping[Path, LoadedJob]) -> list[LoadedJob]:
    """The jobs of the same project that were named before this one."""
    others = list(loaded.values())
    return [other for other in others[: others.index(job)] if other.root == job.root]


def _problems(loaded: LoadedJob, data: bool, clock: Clock) -> list[Problem]:
    problems = list(loaded.warnings)
    try:
        problems += _dataset_problems(loaded)
        if not data:  # who reads all rows compares all files
            problems += _file_problems(loaded)
        problems += _sink_problems(loaded)
        problems += _provider_problems(loaded)
        problems += database_problems(loaded)
        compiled = compile_job(loaded, mode=modes_of(loaded.job)[0])
        state = StateFolder(loaded.settings.state_dir)
        catalog = Catalog(state.catalog_path(cache_address(loaded.job.provider, loaded.environ)))
        problems += advice_on(loaded, compiled, catalog, clock)
        if data and loaded.job.dataset.path != "-":
            problems += _row_problems(loaded, compiled, state)
    except RunnerError as error:
        problems += error.problems
    return list(dict.fromkeys(problems))  # the header's problems are met by the dataset and by each sink


def _provider_problems(loaded: LoadedJob) -> list[Problem]:
    """What a platform would need on this machine: a library that is missing is an error; the rest is for the run, which
    may have another environment. Anthropic's own API needs a key, which `check` never asks for."""
    provider = loaded.job.provider
    if provider == ProviderSpec():
        return []
    where = loaded.locate(("provider",))
    return [
        Problem(found.code, found.what, where, found.hint, "error" if found.code == "missing-extra" else "warning")
        for found in options_of(provider).missing(loaded.environ)
    ]


def _dataset_problems(loaded: LoadedJob) -> list[Problem]:
    """What the dataset's header already shows, where local files have it; stdin is left for the run, which alone may
    read it."""
    try:
        missing = missing_needs(loaded)
        if missing is not None:
            return [missing]
        if not reads_local_files(loaded):
            return []
        dataset = open_dataset(loaded)
        return list(check_columns(loaded, dataset.columns(), columns_of_sides(dataset)))
    except (InputError, SpecError) as error:
        return list(error.problems)


MAX_FILES = 100
"""Files of one dataset whose columns are compared: half a second where each has 200 columns (6 ms a file, measured)."""


def _file_problems(loaded: LoadedJob) -> Iterator[Problem]:
    """Files of a pattern whose columns differ, as far as each of them says what it has; which is met by the run only
    when that file's turn comes."""
    if missing_needs(loaded) is not None or not reads_local_files(loaded):
        return
    for at, compared in compared_files(loaded, MAX_FILES):
        yield from compared.problems
        if compared.looked_at < compared.files:
            message = f"the columns of {compared.looked_at:,} of {compared.files:,} files were compared"
            hint = "the others are compared when they are read: `runner check --data` reads them all"
            yield Problem("files-not-compared", message, loaded.locate(at), hint, "warning")


MAX_ROW_PROBLEMS = 20
"""Rows that cannot be sent and are named one by one; the others are counted."""


def _row_problems(loaded: LoadedJob, compiled: CompiledJob, state: StateFolder) -> list[Problem]:
    """Every row read and rendered: those that could not be sent."""
    problems: list[Problem] = []
    more = 0
    turns = _turns_of_rows_alone(loaded)
    with enrolled_aside(loaded, state, Trial()) as ledger:
        for row in ledger.rows():
            failure = _failure_of(row, compiled, turns)
            if failure is None:
                continue
            if len(problems) < MAX_ROW_PROBLEMS:
                problems.append(Problem(failure.kind.replace("_", "-"), failure.message, loaded.locate(("dataset",))))
            else:
                more += 1
    if more:
        problems.append(
            Problem(
                "more-rows",
                f"{more:,} more {'row' if more == 1 else 'rows'} cannot be sent",
                loaded.locate(("dataset",)),
            )
        )
    return problems


def _turns_of_rows_alone(loaded: LoadedJob) -> list[int]:
    """The further turns, from 1, whose texts follow from a row: they do not look at the replies before them."""
    return [
        number
        for number, turn in enumerate(loaded.job.turns, 1)
        if turn.file is None and "replies" not in loaded.templates.template(turn.name).names()
    ]


def _failure_of(row: Row, compiled: CompiledJob, turns: Sequence[int]) -> Failure | None:
    """Why a row's first request cannot be made, or the text of one of these turns."""
    request = compiled.request(row)
    if isinstance(request, Failure):
        return request
    texts = (turn_text(compiled, number, row, ()) for number in turns)
    return next((text for text in texts if isinstance(text, Failure)), None)


def _sink_problems(loaded: LoadedJob) -> list[Problem]:
    """What a sink's own making shows, where the dataset's header is known: columns of a table that would clash."""
    readable = reads_local_files(loaded) and missing_needs(loaded) is None
    dataset = open_dataset(loaded) if readable else None
    columns = None if dataset is None else dataset.columns()
    if dataset is None or columns is None:
        return []
    context = sink_context(loaded, columns, types=declared_types(dataset))
    problems: list[Problem] = []
    for number, spec in enumerate(loaded.job.sinks):
        if spec.path is None and spec.place == "url" and spec.url is None:
            continue  # a `${NAME}` that is not set: that is told
        try:
            make_sink(spec, spec.path, context)
        except SpecError as error:
            problems += [replace(problem, where=loaded.locate(("sinks", number))) for problem in error.problems]
    return problems
