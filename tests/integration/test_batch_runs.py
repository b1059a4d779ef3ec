"""Batch mode as users and cron meet it: both modes agree, detach and resume, deadlines, cancel, a new run, a cap.

Time is the stand-in's and the runner's own, turned by hours: no test waits for it, and none depends on the machine.
"""

from __future__ import annotations

import signal
import time  # noqa: TID251 - waits for another process
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from support.api import SimulatedApi
from support.batch_forks import CLOCK_AHEAD_S, Forks
from support.batch_jobs import (
    A_BATCH,
    BATCH_API,
    ROWS,
    Records,
    batch_project,
    batches_of,
    bought,
    check,
    check_ledger,
    of_these,
    opened,
    stopped_by,
)
from support.crash_points import CRASH_AT
from support.harness import Project, stable

HOUR = 3_600.0


@pytest.fixture(scope="module")
def api_options() -> dict[str, str]:
    return BATCH_API


def test_both_modes_give_the_same_records(fork: Forks, tmp_path: Path, api: SimulatedApi) -> None:
    in_batches = batch_project(tmp_path / "batch", api)
    summary = fork.runner(in_batches, "run", "jobs/x.yaml", "--format", "json").summary
    assert (summary["exit_status"], summary["mode"], bought(api)) == (0, "batch", ROWS)
    bill = api.accounts()
    api.reset()
    in_parallel = batch_project(tmp_path / "parallel", api, replaced={"mode: batch": "mode: parallel"})
    assert fork.runner(in_parallel, "run", "jobs/x.yaml").status == 0
    assert stable(in_batches.records()) == stable(in_parallel.records())
    assert {record["mode"] for record in in_batches.records()} == {"batch"}
    assert 2 * bill["cost_pico"] == api.accounts()["cost_pico"], "half the price"
    assert round(summary["cost_usd"] * 10**12) == bill["cost_pico"]


# -- detached ----------------------------------------------------------------------------------------------------------


def test_a_detached_run_is_finished_by_resumes_that_look_once(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    """As cron would do it: 6 while work waits at the API, then 0; nothing is bought meanwhile."""
    api.fault("slow", path="batch", seconds=HOUR)
    project = batch_project(tmp_path / "x", api)
    done = fork.runner(project, "run", "jobs/x.yaml", "--detach", "--format", "json")
    assert (done.status, done.summary["status"], bought(api)) == (6, "waiting", ROWS), done.stderr
    assert {batch["status"] for batch in done.summary["batches"]} == {"in_progress"}
    for _ in range(2):
        done = fork.resume(project)
        assert (done.status, done.summary["rows"]["open"]) == (6, ROWS), done.stderr
    api.end_batches(api.batches()[0]["id"])
    done = fork.resume(project)
    assert (done.status, done.summary["rows"]["succeeded"]) == (6, A_BATCH), done.stderr
    api.end_batches()
    done = fork.runner(project, "resume", "--format", "json")
    assert done.status == 0, done.stderr
    check(project, api, expected)
    assert bought(api) == ROWS


def test_what_failed_passingly_is_sent_again_by_the_next_resume(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    api.fault("expired", text="text number 3", times=1)
    api.fault("slow", path="batch", seconds=HOUR)  # a batch ends when it is told to, however long a command takes
    project = batch_project(tmp_path / "x", api)
    assert fork.runner(project, "run", "jobs/x.yaml", "--detach").status == 6
    api.end_batches()
    done = fork.resume(project)
    assert (done.status, bought(api)) == (6, ROWS + 1), done.stderr
    api.end_batches()
    assert fork.resume(project).status == 0
    check(project, api, expected)


def test_ctrl_c_leaves_the_batches_at_the_api(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    api.fault("slow", path="batch", seconds=HOUR)
    project = batch_project(tmp_path / "x", api)
    child = fork.start(project, "run", "jobs/x.yaml", "--format", "json")
    while bought(api) < ROWS:
        time.sleep(0.01)
    fork.signal(child.pid, signal.SIGINT)
    done = child.wait()
    assert done.status == 130, done.stderr
    assert {batch["batch"]["processing_status"] for batch in api.batches()} == {"in_progress"}
    api.end_batches()
    assert fork.resume(project).status == 0
    check(project, api, expected)
    assert bought(api) == ROWS


# -- the deadline ------------------------------------------------------------------------------------------------------

DEADLINE_H = 8
LATE = {CLOCK_AHEAD_S: str(7.9 * HOUR)}
"""Past the point of no return of an eight-hour deadline, and before the deadline."""

POINTS = (
    "before mark_batch:canceling 1", "after mark_batch:canceling 1", "before cancel_batch 1",
    "after cancel_batch 1",
    "before mark_batch:ended 2", "after land 2", "before settle_batch 2", "after settle_batch 2",
    "after mark_batch:closed 2", "before lease 1", "after lease 1", "before record 1", "after record 1",
)  # fmt: skip
"""Between the coming of the point of no return and the last row's record."""


def hanging(fork: Forks, root: Path, api: SimulatedApi) -> Project:
    """A detached run whose second batch hangs, a quarter done, with a deadline; it is late now."""
    api.fault("stuck", text="text number 9", share=0.25)
    api.fault("slow", path="batch", seconds=HOUR)  # so that none is done while it is being left
    limits = f"limits: {{deadline: {DEADLINE_H}h, "
    project = batch_project(root, api, replaced={"limits: {": limits})
    done = fork.runner(project, "run", "jobs/x.yaml", "--detach", "--format", "json")
    assert (done.status, bought(api)) == (6, ROWS), done.stderr
    api.advance(7.9 * HOUR)
    return project


def check_in_time(project: Project, api: SimulatedApi, expected: list[dict[str, object]]) -> None:
    """All rows are answered before the deadline, by the runner's clock, and what the hanging batch had done is kept."""
    check(project, api, expected)
    with opened(project) as ledger:
        began = datetime.fromisoformat(ledger.meta["created_at"])
        last = max(result.ended_at for result in ledger.results() if result.ended_at is not None)
    assert last < began + timedelta(hours=DEADLINE_H)
    modes = [record["mode"] for record in project.records()]
    statuses = [batch["batch"]["request_counts"] for batch in api.batches()]
    assert statuses[1]["succeeded"] + statuses[1]["canceled"] == A_BATCH
    assert modes.count("parallel") == statuses[1]["canceled"] > 0, "only what the batch had not done"
    assert api.accounts()["requests"] == ROWS


def test_a_batch_that_hangs_is_canceled_in_time_and_every_row_is_answered_before_the_deadline(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    project = hanging(fork, tmp_path / "x", api)
    done = fork.resume(project, "--wait", environ=LATE)
    assert done.status == 0, done.stderr
    check_in_time(project, api, expected)


@pytest.mark.fault
@pytest.mark.parametrize(
    "point",
    of_these(POINTS, ("after mark_batch:canceling 1", "before cancel_batch 1", "after land 2", "after settle_batch 2")),
)
def test_so_it_is_when_the_runner_is_killed_in_between(
    fork: Forks, tmp_path: Path, api: SimulatedApi, point: str, expected: Records
) -> None:
    project = hanging(fork, tmp_path / "x", api)
    done = fork.resume(project, "--wait", environ={**LATE, CRASH_AT: point})
    assert done.status == -signal.SIGKILL, f"{point}: {done.status} {done.stderr}"
    done = fork.resume(project, "--wait", environ=LATE)
    assert done.status == 0, done.stderr
    assert all(batch["batch"]["processing_status"] == "ended" for batch in api.batches())
    with opened(project) as ledger:
        lost = ledger.money().doubtful
    if not lost:  # a kill between a parallel reply and its record loses that reply, and nothing else does
        check_in_time(project, api, expected)
    else:
        assert point in ("after lease 1", "before record 1", "after record 1"), "replies of others may be on their way"
        assert stable(project.records()) == expected
        check_ledger(project)


# -- cancel, and a new run ---------------------------------------------------------------------------------------------


def test_cancel_takes_back_what_is_not_done_and_keeps_what_is(fork: Forks, tmp_path: Path, api: SimulatedApi) -> None:
    api.fault("stuck", share=0.5)
    project = batch_project(tmp_path / "x", api)
    assert fork.runner(project, "run", "jobs/x.yaml", "--detach").status == 6
    api.advance(60)
    done = fork.runner(project, "cancel", project.runs()[-1], "--format", "json")
    rows = done.summary["rows"]
    assert (done.summary["status"], rows["open"], rows["failed"]) == ("canceled", 0, 0), done.stderr
    assert rows["succeeded"] + rows["canceled"] == ROWS
    assert rows["succeeded"] == api.accounts()["requests"] > 0
    assert {batch.state for batch in batches_of(project)} == {"closed"}
    check_ledger(project)


def test_a_batch_that_somebody_else_canceled_stops_the_run(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    api.fault("canceled", text="text number 3", times=1)
    project = batch_project(tmp_path / "x", api)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert (done.status, stopped_by(done)) == (4, "canceled_elsewhere"), done.stderr
    assert done.summary["rows"]["canceled"] == 0
    done = fork.resume(project)
    assert done.status == 0, done.stderr
    check(project, api, expected)


def test_a_new_run_waits_for_the_old_ones_batches_and_takes_their_answers(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    api.fault("slow", path="batch", seconds=HOUR)
    project = batch_project(tmp_path / "x", api)
    assert fork.runner(project, "run", "jobs/x.yaml", "--detach").status == 6
    child = fork.start(project, "run", "jobs/x.yaml", "--new", "--format", "json")
    api.end_batches()
    done = child.wait()
    assert (done.status, done.summary["rows"]["reused"]) == (0, ROWS), done.stderr
    assert stable(project.records()) == expected
    assert bought(api) == ROWS


# -- the cap -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cap", ["0.004", "0.007"])
def test_the_cap_is_never_passed_however_many_batches_it_admits(
    fork: Forks, tmp_path: Path, api: SimulatedApi, cap: str
) -> None:
    """What does not fit is not sent; as money comes free, the rest goes."""
    project = batch_project(tmp_path / "x", api, replaced={"max_cost_usd: 5": f"max_cost_usd: {cap}"})
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert done.status in (0, 4), done.stderr
    api.end_batches()
    assert api.accounts()["cost_pico"] <= float(cap) * 10**12
    if done.status == 4:
        assert stopped_by(done) == "budget"
    check_ledger(project)
