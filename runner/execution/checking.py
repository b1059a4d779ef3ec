"""Everything wrong with jobs that local files show: no key, no connection, nothing written.

Owns   `runner check`: loading each job, its dataset's header, its sinks, and with `data` every row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner.catalog.models import Catalog
from runner.clock import Clock
from runner.errors import InputError, Problem, RunnerError, SpecError
from runner.execution.advising import advice_on
from runner.execution.api import cache_address, options_of
from runner.execution.enrolment import Trial, enrolled_aside, open_dataset
from runner.execution.facts import facts_for_reading
from runner.execution.folders import StateFolder
from runner.execution.targets import make_sink, sink_context
from runner.planning.compile import compile_job
from runner.planning.mode import modes_of
from runner.planning.requests import CompiledJob
from runner.spec.columns import check_columns
from runner.spec.job import ProviderSpec
from runner.spec.load import LoadedJob, duplicate_names, load
from runner.types import Failure


@dataclass(frozen=True, slots=True)
class Checked:
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
        problems += _sink_problems(loaded)
        problems += _provider_problems(loaded)
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
    """What the dataset's header already shows; stdin is left for the run, which alone may read it."""
    if loaded.job.dataset.path == "-":
        return []
    try:
        return list(check_columns(loaded, open_dataset(loaded).columns()))
    except (InputError, SpecError) as error:
        return list(error.problems)


MAX_ROW_PROBLEMS = 20
"""Rows that cannot be sent and are named one by one; the others are counted."""


def _row_problems(loaded: LoadedJob, compiled: CompiledJob, state: StateFolder) -> list[Problem]:
    """Every row read and rendered: those that could not be sent."""
    problems: list[Problem] = []
    more = 0
    with enrolled_aside(loaded, state, Trial()) as ledger:
        for row in ledger.rows():
            request = compiled.request(row)
            if not isinstance(request, Failure):
                continue
            if len(problems) < MAX_ROW_PROBLEMS:
                problems.append(Problem(request.kind.replace("_", "-"), request.message, loaded.locate(("dataset",))))
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


def _sink_problems(loaded: LoadedJob) -> list[Problem]:
    """What a sink's own making shows, where the dataset's header is known: columns of a table that would clash."""
    columns = None if loaded.job.dataset.path == "-" else open_dataset(loaded).columns()
    if columns is None:
        return []
    problems: list[Problem] = []
    for number, spec in enumerate(loaded.job.sinks):
        try:
            make_sink(spec, spec.path, sink_context(loaded, columns))
        except SpecError as error:
            problems += [replace(problem, where=loaded.locate(("sinks", number))) for problem in error.problems]
    return problems
