"""SIGKILL at random moments of a run: nothing is lost, nothing comes twice, and little is paid twice.

The oracle is the stand-in's own account and an uninterrupted run's output, never the runner's claims. The moments are
drawn over all that a run does, so some of them hit the start-up, the enrolment, the sending and the delivery.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from support.api import SimulatedApi, simulated_api
from support.harness import Project, stable
from support.kill_moments import KillMoments

pytestmark = pytest.mark.fault

ROWS = 400
SLOTS = 16
KILLS = int(os.environ.get("KILLS", "20"))
LATENCY_S = 0.02
START_UP_S = 2.0
"""About how long it takes until requests leave."""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path / "api", latency=f"{LATENCY_S}s") as api:
        yield api


def make(root: Path, api: SimulatedApi) -> Project:
    project = Project.make(root, api)
    project.job(rows=ROWS, replaced={"max_concurrency: 8": f"max_concurrency: {SLOTS}"})
    return project


def kill_at(project: Project, api: SimulatedApi, received: int, pause_s: float) -> bool:
    """Run the job, wait until the API has received so many requests, and kill it; False where it ended before."""
    with project.start("run", "jobs/x.yaml", "--format", "json") as child:
        while child.poll() is None and api.traffic()["received"] < received:
            time.sleep(0.002)
        time.sleep(pause_s)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode in (0, -signal.SIGKILL)
        return child.returncode != 0


def test_killed_at_random_moments_the_run_ends_as_if_it_never_was(tmp_path: Path, api: SimulatedApi) -> None:
    undisturbed = make(tmp_path / "undisturbed", api)
    assert undisturbed.run("jobs/x.yaml")["exit_status"] == 0
    expected = stable(undisturbed.records())
    api.reset()

    draw = random.Random(20261122)
    moments = KillMoments(draw, START_UP_S)
    kills = runs = 0
    while kills < KILLS:
        runs += 1
        assert runs < 4 * KILLS + 8, "the kills no longer hit the run"
        api.reset()
        project = make(tmp_path / f"killed {runs}", api)
        before = kills
        while kills < KILLS:
            # One in five before a request has left (start-up, enrolment), the others while requests are under way:
            # after some more have arrived, and then a moment within the time that a reply takes.
            early = draw.random() < 0.2
            more = 0 if early else draw.randint(1, 2 * ROWS // KILLS)
            pause_s = moments.next_s() if early else draw.random() * 2 * LATENCY_S
            hit = kill_at(project, api, api.traffic()["received"] + more, pause_s)
            if early:
                moments.note(hit)
            if not hit:
                break  # it has ended before: another one is killed
            kills += 1
        check_run(project, api, expected, kills - before)


def check_run(project: Project, api: SimulatedApi, expected: list[dict[str, Any]], kills: int) -> None:
    """Go on to the end, where it has not been reached: all is as if nobody had killed the run."""
    summary = project.run("jobs/x.yaml")
    assert summary["exit_status"] == 0
    assert stable(project.records()) == expected
    account = api.accounts()
    assert account["distinct"] == ROWS
    assert account["requests"] <= ROWS + 2 * SLOTS * kills
    check_ledger(project, api)
    figures = (kills, account["requests"], ROWS, SLOTS)
    logging.getLogger(__name__).info("%d kills: %d requests billed for %d rows, %d at a time", *figures)


def check_ledger(project: Project, api: SimulatedApi) -> None:
    """The ledger is whole, and its bill is the stand-in's for every reply that it knows."""
    (run_id,) = project.runs()
    connection = apsw.Connection(
        str(project.root / ".runner/runs" / run_id / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY
    )
    try:
        ((verdict,),) = connection.execute("PRAGMA integrity_check")
    finally:
        connection.close()
    assert verdict == "ok"
    known = {record["message_id"] for record in project.records()}
    billed = sum(entry["cost_pico"] for entry in api.requests() if entry["message_id"] in known)
    summary = project.runner("show", run_id, "--format", "json").summary
    assert round(summary["cost_usd"] * 10**12) == billed


def test_a_second_process_is_refused_while_the_first_runs(tmp_path: Path, api: SimulatedApi) -> None:
    project = make(tmp_path / "project", api)
    api.fault("slow", rate=1.0)
    with project.start("run", "jobs/x.yaml") as child:
        try:
            while not api.traffic()["received"]:
                assert child.poll() is None
                time.sleep(0.002)
            done = project.runner("run", "jobs/x.yaml")
            assert done.status == 4
            assert "locked" in done.stderr
        finally:
            child.kill()
            child.communicate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_what_is_in_flight_and_the_run_can_go_on(
    tmp_path: Path, api: SimulatedApi, number: signal.Signals, status: int
) -> None:
    project = make(tmp_path / "project", api)
    api.fault("slow", rate=1.0, seconds=0.5)  # so that it cannot be done before the signal
    with project.start("run", "jobs/x.yaml", "--format", "json") as child:
        while api.traffic()["received"] < 3 * SLOTS:
            assert child.poll() is None
            time.sleep(0.002)
        child.send_signal(number)
        stdout, stderr = child.communicate()
    assert child.returncode == status, stderr
    assert "runner resume" in stdout
    api.clear_faults()
    assert project.runner("run", "jobs/x.yaml").status == 0
    assert api.accounts()["requests"] == ROWS, "what was drained is not paid again"
