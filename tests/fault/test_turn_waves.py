"""A job of three turns in batch mode is three waves of batches; killed in any of them, nothing is lost or bought twice.

A run is killed at moments drawn from all that an undisturbed run passes (`support.crash_points`), in each wave, and
then at random times; after each kill the job is run until it has ended. The oracles are those of the batch campaign.

    KILLS=40 … make test-fault       more kills in each wave
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from support.api import SimulatedApi
from support.batch_forks import Forks
from support.batch_jobs import (
    Records,
    batch_project,
    check,
    check_ledger,
    go_on,
    opened,
    undisturbed,
)
from support.crash_points import CRASH_AT, CRASH_LOG, Point, passed
from support.harness import Project
from support.kill_moments import KillMoments

pytestmark = pytest.mark.fault

ROWS = 12
BATCHES_A_WAVE = 2
TURNS = 3
SAMPLES = 3
LONGEST_S = 3.0
"""About how long the turns of all rows take."""
KILLS = int(os.environ.get("KILLS", "3"))
"""In each wave."""
JOB = {
    'prompt: "Judge this: {{ row.text }}"\n': 'prompt: "Judge this: {{ row.text }}"\n'
    'turns: [Why?, "{{ row.id }}: and {{ replies[1][:12] }}?"]\n',
}


@pytest.fixture(scope="module")
def expected(fork: Forks, shared_api: SimulatedApi, tmp_path_factory: pytest.TempPathFactory) -> Records:
    """The records of the job when nothing goes wrong."""
    return undisturbed(fork, tmp_path_factory.mktemp("undisturbed"), shared_api, rows=ROWS, replaced=JOB)


def turns_project(root: Path, api: SimulatedApi) -> Project:
    return batch_project(root, api, rows=ROWS, replaced=JOB)


def test_each_turn_of_all_rows_is_one_wave(fork: Forks, tmp_path: Path, api: SimulatedApi) -> None:
    project = turns_project(tmp_path, api)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    batches = [batch["batch"] for batch in api.batches()]
    assert len(batches) == TURNS * BATCHES_A_WAVE
    by_size: dict[int, list[Any]] = defaultdict(list)  # a batch's rows go on together, whatever the others do
    for batch in batches:
        by_size[sum(batch["request_counts"].values())].append(batch)
    assert len(by_size) == BATCHES_A_WAVE
    for waves in by_size.values():
        assert len(waves) == TURNS
        assert all(before["ended_at"] <= behind["created_at"] for before, behind in pairwise(waves))
    assert all(len(record["turns"]) == TURNS for record in project.records())


@pytest.mark.parametrize("wave", range(TURNS))
def test_killed_in_a_wave_the_run_ends_as_if_it_never_was(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records, wave: int
) -> None:
    log = tmp_path / "points"
    listed = turns_project(tmp_path / "listed", api)
    assert fork.runner(listed, "run", "jobs/x.yaml", environ={CRASH_LOG: str(log)}).status == 0
    draw = random.Random(20261128 + wave)
    points = draw.sample(_of_wave(passed(log), wave), KILLS)
    for number, point in enumerate(points):
        api.reset()
        project = turns_project(tmp_path / str(number), api)
        done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json", environ={CRASH_AT: str(point)})
        assert done.status == -signal.SIGKILL, f"{point} was not reached: {done.status} {done.stderr}"
        go_on(fork, project)
        _check(project, api, expected, point)


def test_killed_at_random_times_the_run_ends_as_if_it_never_was(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    draw = random.Random(20261128)
    moments = KillMoments(draw, LONGEST_S)
    kills = runs = 0
    while kills < KILLS:
        api.reset()
        project = turns_project(tmp_path / str(runs), api)
        runs += 1
        for _ in range(draw.randint(1, 3)):
            child = fork.start(project, "run", "jobs/x.yaml", "--format", "json")
            time.sleep(moments.next_s())
            kills += moments.note(child.kill().status < 0)
        go_on(fork, project)
        _check(project, api, expected, "random times")
        assert runs < 4 * KILLS + 8, "the kills no longer hit the run"


@pytest.mark.parametrize("mode", ["batch", "parallel"])
def test_samples_survive_kills_and_none_is_paid_for_again(
    fork: Forks, tmp_path: Path, api: SimulatedApi, mode: str
) -> None:
    """Samples of a row send equal requests, so the books of the stand-in are held against the ledger's."""
    draw = random.Random(f"samples {mode}")
    moments = KillMoments(draw, LONGEST_S / 2)
    output = "  fields:\n    label: [good, bad]\n"
    job = {output: f"{output}  vote: label\nsamples: {SAMPLES}\n", "mode: batch": f"mode: {mode}"}
    kills = runs = 0
    while kills < 2 * KILLS:
        runs += 1
        assert runs < 4 * KILLS + 8, "the kills no longer hit the run"
        api.reset()
        api.fault("slow", rate=1.0, seconds=0.1)  # so that a kill finds requests in flight
        project = batch_project(tmp_path / str(runs), api, rows=ROWS, replaced=job)
        before = kills
        while kills < 2 * KILLS:
            child = fork.start(project, "run", "jobs/x.yaml", "--format", "json")
            time.sleep(moments.next_s())
            if not moments.note(child.kill().status < 0):
                break
            kills += 1
        go_on(fork, project)
        # A kill may hit all samples of a row in flight; a batch is found again.
        _check_samples(project, api, most_repeated=SAMPLES * (1 + (kills - before if mode == "parallel" else 0)))


def _check_samples(project: Project, api: SimulatedApi, *, most_repeated: int) -> None:
    for record in project.records():
        assert (record["vote"]["samples"], record["vote"]["share"]) == (SAMPLES, 1.0)
    api.end_batches()
    account = api.accounts()
    assert account["most_repeated"] <= most_repeated, "beyond what may be in doubt"
    with opened(project) as ledger:
        money, counts = ledger.money(), ledger.counts()
    assert (counts.succeeded, counts.requests) == (ROWS, SAMPLES * ROWS)
    assert money.spent <= account["cost_pico"] <= money.spent + money.doubtful
    check_ledger(project)


def _of_wave(points: Sequence[Point], wave: int) -> list[Point]:
    """What every run passes from the first intent of a wave to that of the next. How often it looks at a batch that has
    not ended is a matter of time, and a download is made again where one batch's rows go on while it is under way."""
    begun, found = 0, []
    for point in points:
        begun += point.name == "intend_batch" and point.moment == "before"
        is_sure = not point.name.startswith("download_results") or point.nth <= TURNS * BATCHES_A_WAVE
        if (begun - 1) // BATCHES_A_WAVE == wave and begun and is_sure and point.name != "retrieve_batch":
            found.append(point)
    return found


def _check(project: Project, api: SimulatedApi, expected: Records, point: object) -> None:
    try:
        check(project, api, expected, doubtful_pico=None)
        for record in project.records():
            assert [turn["stop_reason"] for turn in record["turns"]] == ["end_turn"] * TURNS
    except AssertionError as error:
        raise AssertionError(f"{point}: {error}") from error
