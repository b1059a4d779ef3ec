"""Batch mode on the command line: what is said of it, and with which status a command ends."""

from __future__ import annotations

import pytest

from support.api import SimulatedApi
from support.harness import Project
from support.here import Here

HOUR = 3_600.0
ROWS = 12


@pytest.fixture
def batches(project: Project, api: SimulatedApi) -> Project:
    """A project whose batches hold five requests and take an hour."""
    project.write("runner.toml", "batch_max_requests = 5\nbatch_poll_first_s = 0.02\nbatch_poll_longest_s = 0.05\n")
    api.fault("slow", path="batch", seconds=HOUR)
    return project


def detached(project: Project, here: Here) -> str:
    done = here.runner(project, "run", "jobs/x.yaml", "--mode", "batch", "--detach", "--format", "json")
    assert (done.status, done.summary["exit_status"], done.summary["status"]) == (6, 6, "waiting"), done.stderr
    listed = done.summary["batches"]
    assert [(batch["status"], batch["requests"]) for batch in listed] == [("in_progress", 5)] * 2 + [("in_progress", 2)]
    assert all(batch["id"].startswith("msgbatch_") and batch["expires_at"] for batch in listed)
    return str(done.summary["run_id"])


def test_a_detached_run_is_shown_and_gone_on_with(batches: Project, here: Here, api: SimulatedApi) -> None:
    run_id = detached(batches, here)
    assert here.runner(batches, "list").stdout.splitlines()[1].endswith("3 in progress")
    (first, *_) = here.runner(batches, "show", run_id, "--format", "json").summary["batches"]
    assert (first["number"], first["in_doubt"], first["collected"]) == (1, None, 0)
    assert first["results_until"] > first["expires_at"]
    shown = here.runner(batches, "show", run_id).stdout
    assert "at API   12 requests in 3 batches; results are kept until" in shown
    assert shown.count("in progress") == 4, "in the summary, and a line for each"
    batch_id = api.batches()[0]["batch"]["id"]
    assert f"under way ({batch_id})" in here.runner(batches, "show", run_id, "--key", "k3").stdout
    again = here.runner(batches, "resume")
    assert again.status == 6
    assert f"go on    runner resume {run_id}" in again.stdout
    api.advance(HOUR)
    api.end_batches()
    done = here.runner(batches, "resume")
    assert done.status == 0, done.stderr
    assert "batches  3 collected" in done.stdout
    assert {record["batch_id"] is not None for record in batches.records()} == {True}
    assert here.runner(batches, "resume").stderr == "no run is open\n"


def test_a_cancel_keeps_what_finished_and_export_writes_it(batches: Project, here: Here, api: SimulatedApi) -> None:
    run_id = detached(batches, here)
    done = here.runner(batches, "cancel", run_id)
    assert (done.status, done.stdout.splitlines()[0].split(": ")[1][:9]) == (5, "canceled,"), done.stderr
    assert f"`runner export {run_id}` writes what there is" in done.stdout
    assert here.runner(batches, "cancel", run_id).status == 4
    assert here.runner(batches, "export", run_id).status == 0
    records = batches.records()
    assert {record["status"] for record in records} <= {"canceled", "succeeded"}
    assert len(records) == ROWS
    assert here.runner(batches, "resume", run_id).status == 4


def test_flags_that_contradict_one_another_are_wrong_usage(batches: Project, here: Here) -> None:
    assert here.runner(batches, "resume", "--detach", "--wait").status == 2
    assert here.runner(batches, "resume", "--resend").status == 2
    done = here.runner(batches, "run", "jobs/x.yaml", "--detach")
    assert done.status == 2
    assert "this run is in parallel mode, because 12 requests are fewer than" in done.stderr
    assert batches.runs() == []
