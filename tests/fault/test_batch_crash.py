"""SIGKILL at every named point of a run in batch mode, and at random moments: no row lost or twice, none bought twice.

The points are those that an undisturbed run passes (`support.crash_points`): before and after each intent, mark, POST,
chunk, retrieve, landed file, commit, rename and note. After each kill the job is run until it has ended; the oracles
are the stand-in's books and an undisturbed run's records (`support.batch_jobs.check`).

    make test-batch-campaign     every pass of every point, and 200 random moments
"""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.api import SimulatedApi
from support.batch_forks import Forks
from support.batch_jobs import (
    A_BATCH,
    ROWS,
    Records,
    batch_project,
    bought,
    check,
    go_on,
    opened,
    undisturbed,
)
from support.crash_points import CRASH_AT, CRASH_LOG, EXPECTED, Point, chosen, passed, telling
from support.harness import Project
from support.kill_moments import KillMoments

pytestmark = pytest.mark.fault

BATCHES = -(-ROWS // A_BATCH)
FOLLOWING = {
    "retrieve_batch", "mark_batch:ended", "download_results", "download_results:write", "land", "settle_batch",
    "mark_batch:closed",
}  # fmt: skip
KILLS = int(os.environ.get("KILLS", "6"))
LONGEST_S = 1.5
"""About how long a run takes; kills are drawn over it."""


Trouble = Callable[[SimulatedApi], None]


def no_trouble(_: SimulatedApi) -> None:
    """Nothing goes wrong but the kills."""


def failing_rows(api: SimulatedApi) -> None:
    """One row in twenty is errored by a passing fault, one in twenty expires."""
    api.fault("529", path="batch_row", rate=0.05)
    api.fault("expired", rate=0.05)


def points_of_a_run(fork: Forks, root: Path, api: SimulatedApi, **options: Any) -> list[Point]:
    """The points that a run passes when nothing goes wrong."""
    log = root / "points"
    project = batch_project(root / "listed", api, **options)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json", environ={CRASH_LOG: str(log)})
    assert done.status == 0, done.stderr
    assert bought(api) == len(project.records())
    return passed(log)


def kill_and_go_on(fork: Forks, project: Project, point: Point) -> None:
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json", environ={CRASH_AT: str(point)})
    assert done.status == -signal.SIGKILL, f"{point} was not reached: {done.status} {done.stderr}"
    go_on(fork, project)


def visit(fork: Forks, root: Path, api: SimulatedApi, points: Sequence[Point], **options: Any) -> None:
    """Kill a run at each point, each in a project of its own, and go on; what went wrong is told of all of them."""
    expected = undisturbed(fork, root / "undisturbed", api, **options)
    wrong: list[str] = []
    for number, point in enumerate(points):
        api.reset()
        project = batch_project(root / str(number), api, **options)
        try:
            kill_and_go_on(fork, project, point)
            check(project, api, expected, doubtful_pico=None)
            with opened(project) as ledger:
                in_doubt = ledger.money().doubtful > 0
            assert not in_doubt or may_be_in_doubt(point), "money stays in doubt though nothing was"
        except AssertionError as error:
            wrong.append(f"{point}: {error}")
    assert not wrong, f"{len(wrong)} of {len(points)} points:\n" + "\n".join(wrong)


def is_passed_by_every_run(point: Point) -> bool:
    """How often a batch is looked at before it has ended is a matter of time."""
    return point.name != "retrieve_batch" or point.nth <= BATCHES


def may_be_in_doubt(point: Point) -> bool:
    """Whether a run that dies there cannot know what the API has: the mark stands, and no reply has been noted.

    A batch is followed while the next one is created: on a slow machine it has ended, and is collected, by then.
    """
    if point.name in FOLLOWING:
        return True
    if point.name == "mark_batch:sending":
        return point.moment == "after"
    return point.name.startswith("create_batch") or (point.name, point.moment) == ("mark_batch:in_progress", "before")


def test_an_undisturbed_run_passes_every_point_that_is_named(fork: Forks, tmp_path: Path, api: SimulatedApi) -> None:
    points = points_of_a_run(fork, tmp_path, api)
    assert {point.name for point in points} >= EXPECTED
    assert sum(point.name == "intend_batch" and point.moment == "after" for point in points) == BATCHES


def test_killed_at_every_named_point_the_run_ends_as_if_it_never_was(
    fork: Forks, tmp_path: Path, api: SimulatedApi
) -> None:
    """Each once; of those that come with every batch, the first."""
    visit(fork, tmp_path, api, telling(points_of_a_run(fork, tmp_path, api)))


@pytest.mark.campaign
def test_killed_at_every_pass_of_every_point(fork: Forks, tmp_path: Path, api: SimulatedApi) -> None:
    points = [point for point in chosen(points_of_a_run(fork, tmp_path, api), each=9) if is_passed_by_every_run(point)]
    visit(fork, tmp_path, api, points)
    logging.getLogger(__name__).info("%d points, each killed once", len(points))


@pytest.mark.parametrize("trouble", [no_trouble, failing_rows])
def test_killed_at_random_moments_the_run_ends_as_if_it_never_was(
    fork: Forks, tmp_path: Path, api: SimulatedApi, trouble: Trouble, expected: Records
) -> None:
    draw = random.Random(20261122)
    moments = KillMoments(draw, LONGEST_S)
    kills = doubts = runs = 0
    while kills < KILLS:
        api.reset()
        trouble(api)
        project = batch_project(tmp_path / str(runs), api)
        runs += 1
        for _ in range(draw.randint(1, 3)):
            kills += moments.note(killed_after(fork, project, moments.next_s()))
        go_on(fork, project)
        check(project, api, expected, doubtful_pico=None)
        with opened(project) as ledger:
            doubts += ledger.money().doubtful > 0
        assert runs < 4 * KILLS + 8, "the kills no longer hit the run"
    figures = (kills, runs, ROWS, doubts)
    logging.getLogger(__name__).info("%d kills of %d runs of %d rows; %d ended with money in doubt", *figures)


def killed_after(fork: Forks, project: Project, pause_s: float) -> bool:
    """Run the job and kill it a while later; False where it ended before."""
    child = fork.start(project, "run", "jobs/x.yaml", "--format", "json")
    time.sleep(pause_s)
    done = child.kill()
    assert done.status in (0, 4, -signal.SIGKILL), done.stderr
    return done.status < 0
