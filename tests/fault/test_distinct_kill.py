"""SIGKILL at random moments of runs whose rows are sent once for several: none is paid twice for that, none is lost.

The moments are drawn over all that a run does: enrolment, finding the rows that are the same, sending, delivery; in
both modes, and while failed rows are retried. The oracles are the stand-in's books and the records of an undisturbed
run.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.ledger.audit import audit
from support.api import SimulatedApi, simulated_api
from support.batch_forks import Forks
from support.batch_jobs import go_on
from support.harness import Project, stable
from support.kill_moments import KillMoments

pytestmark = pytest.mark.fault

TEXTS, ROWS, SLOTS = 160, 480, 8
KILLS = int(os.environ.get("KILLS", "8"))
LATENCY_S = 0.2
START_UP_S = 1.0
"""About how long it takes until requests leave."""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path / "api", latency=f"{LATENCY_S}s") as api:
        yield api


def make(root: Path, api: SimulatedApi, **environ: str) -> Project:
    project = Project.make(root, api, **environ)
    project.job(replaced={"key: id}": "key: id, distinct: true}", "max_concurrency: 8": f"max_concurrency: {SLOTS}"})
    with project.write("data/rows.csv", "").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("id", "text"), *((f"k{n}", f"text {n % TEXTS}") for n in range(ROWS))])
    return project


def killed(root: Path, api: SimulatedApi, seed: int, *arguments: str, **environ: str) -> Iterator[tuple[Project, int]]:
    """Runs that are killed at random moments, and how often each was hit, until `KILLS` have: every other time before
    it sends (or soon after), else a few requests later. A run that ends before it is killed again is followed by
    another one."""
    draw = random.Random(seed)
    moments = KillMoments(draw, START_UP_S)
    kills = runs = 0
    while kills < KILLS:
        runs += 1
        assert runs < 4 * KILLS + 8, "the kills no longer hit the run"
        api.reset()
        project = make(root / f"killed {runs}", api, **environ)
        before = kills
        while kills < KILLS:
            early = kills % 2 == 0
            wanted = 0 if early else api.traffic()["received"] + draw.randint(1, 6)
            with project.start("run", "jobs/x.yaml", *arguments) as child:
                while child.poll() is None and api.traffic()["received"] < wanted:
                    time.sleep(0.002)
                time.sleep(moments.next_s() if early else draw.random() * LATENCY_S)
                child.send_signal(signal.SIGKILL)
                child.communicate()
            hit = child.returncode == -signal.SIGKILL
            if early:
                moments.note(hit)
            if not hit:
                break
            kills += 1
        yield project, kills - before


def check(project: Project, summary: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    assert summary["exit_status"] == 0
    records = project.records()
    assert stable(records) == expected
    assert sum(record["cost_usd"] for record in records) == pytest.approx(summary["cost_usd"])
    assert sum(record["reused"] for record in records) == ROWS - TEXTS
    (run,) = project.runs()
    assert audit(project.root / ".runner/runs" / run) == []


@pytest.fixture
def expected(tmp_path: Path, api: SimulatedApi) -> list[dict[str, Any]]:
    project = make(tmp_path / "undisturbed", api)
    assert project.run("jobs/x.yaml")["requests"] == TEXTS
    records = stable(project.records())
    api.reset()
    return records


@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_in_parallel_mode(
    tmp_path: Path, api: SimulatedApi, expected: list[dict[str, Any]], workers: str
) -> None:
    for project, kills in killed(tmp_path, api, 27, RUNNER_WORKERS=workers):
        check(project, project.run("jobs/x.yaml"), expected)
        account = api.accounts()
        assert account["distinct"] == TEXTS
        assert account["requests"] <= TEXTS + 2 * SLOTS * kills


def test_killed_in_batch_mode(fork: Forks, tmp_path: Path, api: SimulatedApi, expected: list[dict[str, Any]]) -> None:
    for project, _ in killed(tmp_path, api, 28, "--mode", "batch", RUNNER_BATCH_MAX_REQUESTS="13"):
        check(project, go_on(fork, project, "--mode", "batch")[-1].summary, expected)
        assert api.accounts()["distinct"] == TEXTS


def test_a_retry_that_is_killed_opens_all_rows_of_a_request_or_none(
    tmp_path: Path, api: SimulatedApi, expected: list[dict[str, Any]]
) -> None:
    project = make(tmp_path / "project", api)
    api.fault("400", text="text 77")
    assert project.run("jobs/x.yaml")["failures"] == {"invalid_request_error": ROWS // TEXTS}
    api.clear_faults()
    draw = random.Random(29)
    for _ in range(KILLS):
        with project.start("retry", "latest") as child:
            time.sleep(0.3 + draw.random() * 1.2)
            child.send_signal(signal.SIGKILL)
            child.communicate()
        shown = project.runner("show", "latest", "--format", "json").summary
        assert shown["rows"]["open"] in (0, ROWS // TEXTS)
    summary = project.run("jobs/x.yaml")
    if summary["exit_status"] == 5:  # no retry came so far as to open them
        summary = project.runner("retry", "latest", "--format", "json").summary
    check(project, summary, expected)
