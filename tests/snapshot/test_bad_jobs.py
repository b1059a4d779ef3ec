"""Every way to get a job wrong that we know of: the place is asserted by the job's own header, the words by a snapshot.

Each file in `support/bad_jobs/jobs` begins with a line for each problem, in file order:

    # expect LINE:COLUMN CODE            in the job itself
    # expect FILE:LINE:COLUMN CODE       in a template, a schema, a base
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from runner.catalog.models import Catalog
from runner.errors import Problem, SpecError, render
from runner.execution.advising import advice_on
from runner.planning.compile import compile_job
from runner.planning.mode import modes_of
from runner.spec.columns import check_columns
from runner.spec.load import load
from support.frozen_clock import FrozenClock

FOLDER = Path(__file__).parent.parent / "support" / "bad_jobs"
JOBS = sorted(path.name for path in (FOLDER / "jobs").glob("*.yaml") if not path.name.startswith("_"))
CLOCK = FrozenClock()
CLOCK.advance(9 * 86_400)
"""A day after which fast mode of Opus 4.8 is gone."""
HEADER = ("id", "text", "stars")
"""The columns of data/reviews.csv."""


def error_of(name: str) -> SpecError:
    """What is wrong with a job, found in the three steps in which a run finds it."""
    try:
        loaded = load(Path("jobs") / name, environ={})
    except SpecError as error:
        return error
    problems = list(check_columns(loaded, HEADER))
    if not problems:
        compiled = compile_job(loaded, mode=modes_of(loaded.job)[0])
        advice = advice_on(loaded, compiled, Catalog(), CLOCK)
        problems = [problem for problem in advice if problem.severity == "error"]
    assert problems, f"{name} loads, its columns exist, and its model takes it"
    return SpecError(problems)


def expected_places(name: str) -> list[str]:
    lines = (FOLDER / "jobs" / name).read_text().splitlines()
    found = (re.fullmatch(r"# expect (\S+) (\S+)", line) for line in lines)
    places = [match.groups() for match in found if match]
    return [
        f"{where if where.count(':') > 1 or '/' in where else f'jobs/{name}:{where}'} {code}" for where, code in places
    ]


def shown(problem: Problem) -> str:
    return f"{problem.where} {problem.code}"


def test_there_are_enough_of_them() -> None:
    assert len(JOBS) >= 60


@pytest.mark.parametrize("name", JOBS)
def test_every_problem_is_told_where_the_header_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    assert [shown(problem) for problem in error_of(name).problems] == expected_places(name)


@pytest.mark.parametrize("name", JOBS)
def test_problems_read_well(name: str, monkeypatch: pytest.MonkeyPatch, snapshot: SnapshotAssertion) -> None:
    monkeypatch.chdir(FOLDER)
    assert render(error_of(name)) == snapshot


@pytest.mark.parametrize("name", JOBS)
def test_the_caret_is_under_text_of_the_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place outside its line would be a caret in the void; just behind the end is where something is missing."""
    monkeypatch.chdir(FOLDER)
    for problem in error_of(name).problems:
        where = problem.where
        assert where is not None
        assert where.line is not None
        if where.source is not None and where.column is not None:
            assert where.column + where.length <= len(where.source) + 2
