"""Everything wrong with jobs that local files show: no key, no connection, nothing written.

Owns   `runner check`: loading each job, its dataset's header, its sinks, and with `data` every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.catalog.models import Catalog
from runner.clock import Clock
from runner.errors import InputError, Problem, RunnerError, SpecError
from runner.execution.enrolment import open_dataset
from runner.execution.folders import StateFolder
from runner.planning.advice import advise
from runner.planning.compile import compile_job
from runner.planning.mode import choose
from runner.spec.columns import check_columns
from runner.spec.load import LoadedJob, duplicate_names, load


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
    return [Checked(path, _problems(path, profile, data, clock)) for path in paths]


def _problems(path: Path, profile: str | None, data: bool, clock: Clock) -> list[Problem]:
    try:
        loaded = load(path, profile=profile, lenient=True)
    except RunnerError as error:
        return list(error.problems)
    problems = list(loaded.warnings)
    try:
        problems += _dataset_problems(loaded)
        compiled = compile_job(loaded, mode=choose(loaded.job, loaded.locate(("mode",))).mode)
        facts = Catalog(StateFolder(loaded.settings.state_dir).catalog_path).facts(loaded.job.model)
        problems += advise(compiled, facts, locate=loaded.locate, today=clock.now().date())
    except RunnerError as error:
        problems += error.problems
    return problems


def _dataset_problems(loaded: LoadedJob) -> list[Problem]:
    """What the dataset's header already shows; stdin is left for the run, which alone may read it."""
    if loaded.job.dataset.path == "-":
        return []
    try:
        return list(check_columns(loaded, open_dataset(loaded).columns()))
    except (InputError, SpecError) as error:
        return list(error.problems)
