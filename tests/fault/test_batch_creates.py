"""The reply to a create is lost, in every way there is: the batch is found again by its custom ids, and bought once.

Also everything that makes finding it hard: a list that lags or loops, batches of somebody else that look alike, a
second user who runs the same job in the same workspace, a stand-in that is killed and comes back.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from support.api import SimulatedApi
from support.batch_forks import Forks
from support.batch_jobs import (
    A_BATCH,
    ROWS,
    Records,
    batch_api,
    batch_project,
    batches_of,
    bought,
    check,
    check_ledger,
    go_on,
    of_these,
    stopped_by,
)
from support.harness import stable
from support.servers import free_port

pytestmark = pytest.mark.fault

BATCHES = -(-ROWS // A_BATCH)
LOST = ("reply_lost", "truncated", "reply_html", "reply_garbage", "reply_500", "reply_502", "reply_503", "reply_504",
        "reply_529", "reply_408")  # fmt: skip
"""Accepted, and then no clean word of it: reset, half a body, a page of HTML, nonsense, a gateway's errors."""
NOT_ACCEPTED = ("reset_upload", "reset", "429", "500", "503", "529")


@pytest.mark.parametrize("kind", of_these(LOST, ("reply_lost", "truncated", "reply_html", "reply_502")))
def test_a_batch_whose_create_got_no_reply_is_found_by_its_ids_and_bought_once(
    fork: Forks, tmp_path: Path, api: SimulatedApi, kind: str, expected: Records
) -> None:
    api.fault(kind, path="batch_create", nth=[1, 3])
    project = batch_project(tmp_path / "x", api)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert (done.status, done.summary["rows"]["succeeded"]) == (0, ROWS), done.stderr
    check(project, api, expected)
    assert [batch["requests"] for batch in api.batches()] == [A_BATCH, A_BATCH, ROWS - 2 * A_BATCH]
    assert [batch["fault"] for batch in api.batches()] == [kind, None, kind], "the replies were lost"


@pytest.mark.parametrize("kind", of_these(LOST, ("truncated",)))
def test_it_is_found_also_by_the_process_that_comes_after(
    fork: Forks, tmp_path: Path, api: SimulatedApi, kind: str, expected: Records
) -> None:
    """Detached, the run ends in doubt with its batch at the API; later ones look for it again."""
    api.fault(kind, path="batch_create", nth=2)
    api.fault("slow", path="batch", seconds=86_400.0)  # so that none is done while it is being left
    project = batch_project(tmp_path / "x", api)
    done = fork.runner(project, "run", "jobs/x.yaml", "--detach", "--format", "json")
    assert done.status in (4, 6), done.stderr
    api.clear_faults()
    api.end_batches()
    go_on(fork, project)
    check(project, api, expected)
    assert bought(api) == ROWS


@pytest.mark.parametrize("kind", of_these(NOT_ACCEPTED, ("reset_upload", "429")))
def test_a_batch_that_was_not_accepted_is_sent_again_and_bought_once(
    fork: Forks, tmp_path: Path, api: SimulatedApi, kind: str, expected: Records
) -> None:
    api.fault(kind, path="batch_create", nth=2)
    project = batch_project(tmp_path / "x", api)
    all_done = go_on(fork, project)
    assert all_done[-1].summary["rows"]["succeeded"] == ROWS
    check(project, api, expected, doubtful_pico=None)
    assert bought(api) == ROWS


# -- what makes it hard to find ----------------------------------------------------------------------------------------


def test_batches_of_others_that_look_alike_are_left_alone(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    """Beside each batch stand two of somebody else: one with as many requests, one with one more."""
    api.fault("decoys")
    api.fault("reply_502", times=2)
    project = batch_project(tmp_path / "x", api)
    go_on(fork, project)
    check(project, api, expected)
    assert bought(api) == ROWS
    ours = {batch["id"] for batch in api.batches()}
    assert {batch.batch_id for batch in batches_of(project) if batch.batch_id} == ours


def test_a_pager_that_loops_ends(fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records) -> None:
    api.fault("pager_loops")
    api.fault("reply_502", times=1)
    project = batch_project(tmp_path / "x", api)
    go_on(fork, project)
    check(project, api, expected)
    assert bought(api) == ROWS


def test_a_batch_that_the_list_does_not_show_yet_is_not_sent_again(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    """Its absence proves nothing: the run stops, and finds it once the list has it."""
    api.fault("late_list", seconds=300)
    api.fault("reply_502", nth=3)
    project = batch_project(tmp_path / "x", api)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert (done.status, stopped_by(done)) == (4, "in_doubt"), done.stderr
    assert bought(api) == ROWS
    refused = fork.resume(project, "--resend")
    assert (refused.status, "can be sent again from" in refused.stderr) == (4, True), refused.stderr
    api.advance(301)
    done = fork.resume(project)
    assert done.status == 0, done.stderr
    check(project, api, expected)
    assert bought(api) == ROWS


def test_a_batch_that_retrieve_does_not_know_yet_is_waited_for(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    api.fault("late_retrieve", seconds=0.4)
    api.fault("late_results", seconds=0.4)
    project = batch_project(tmp_path / "x", api)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    check(project, api, expected)
    assert bought(api) == ROWS


# -- two users, and a stand-in that comes back -------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [False, True], ids=["undisturbed", "both in doubt"])
def test_two_users_of_one_workspace_run_the_same_job_at_once_and_leave_each_others_batches_alone(
    fork: Forks, tmp_path: Path, api: SimulatedApi, lost: bool, expected: Records
) -> None:
    if lost:
        api.fault("reply_502", path="batch_create", times=4)
    projects = [batch_project(tmp_path / name, api) for name in ("ada", "ben")]
    children = [fork.start(project, "run", "jobs/x.yaml", "--format", "json") for project in projects]
    for project, done in zip(projects, [child.wait() for child in children], strict=True):
        assert done.status in ((0, 4) if lost else (0,)), done.stderr
        if done.status:
            go_on(fork, project)
    for project in projects:
        assert stable(project.records()) == expected
        check_ledger(project)
    ids = [{batch.batch_id for batch in batches_of(project) if batch.batch_id} for project in projects]
    assert not ids[0] & ids[1], "one has taken the other's"
    assert ids[0] | ids[1] == {batch["id"] for batch in api.batches()}
    account = api.accounts()
    assert (bought(api), account["requests"], account["most_repeated"]) == (2 * ROWS, 2 * ROWS, 2)
    assert api.traffic()["by_status"].get("404", 0) == 0


@pytest.mark.parametrize("moment", ["in progress", "in doubt"])
def test_a_stand_in_that_is_killed_and_comes_back_loses_nothing(
    fork: Forks, tmp_path: Path, moment: str, expected: Records
) -> None:
    port = free_port()
    with batch_api(tmp_path / "api", batch_latency="1s", port=port) as api:
        project = batch_project(tmp_path / "x", api)
        if moment == "in doubt":
            api.fault("reply_lost", path="batch_create", nth=3)
        child = fork.start(project, "run", "jobs/x.yaml", "--format", "json")
        while bought(api) < ROWS:
            time.sleep(0.01)
        os.kill(api.running.pid, signal.SIGKILL)
    with batch_api(tmp_path / "api", port=port) as api:
        done = child.wait()
        if done.status != 0:
            go_on(fork, project)
        check(project, api, expected)
        assert bought(api) == ROWS
