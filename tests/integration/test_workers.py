"""A run by several processes, as a user runs it, against the stand-in: the same as by one, and nothing left behind."""

from __future__ import annotations

import os
import signal
import time  # noqa: TID251 - waits for child processes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.api import SimulatedApi
from support.harness import Project, stable

ROWS = 120
SLOTS = 8
CACHED = {
    "params: {max_tokens: 200}\n": "params: {max_tokens: 200}\nsystem: [{text: '"
    + "rule " * 6_000
    + "', cache: true}]\n"
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def api_options() -> dict[str, str]:
    return {"latency": "20ms"}


def project_of(
    root: Path, api: SimulatedApi, workers: int, *, rows: int = ROWS, replaced: Mapping[str, str] | None = None
) -> Project:
    project = Project.make(root, api, RUNNER_WORKERS=str(workers))
    project.job(rows=rows, replaced=replaced)
    return project


def workers_of(pid: int) -> list[psutil.Process]:
    """The workers that a run has started."""
    try:
        children = psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if "runner.execution.worker" in child.cmdline()]


def are_gone(processes: Sequence[psutil.Process]) -> bool:
    gone, _ = psutil.wait_procs(processes, timeout=300)
    return len(gone) == len(processes)


def wait_for_requests(api: SimulatedApi, child: Any, received: int) -> None:
    while api.traffic()["received"] < received:
        assert child.poll() is None, child.communicate()
        time.sleep(0.005)


@dataclass(frozen=True, slots=True)
class Alone:
    """What one process makes of the rows, and the bill."""

    records: list[dict[str, Any]]
    cost_pico: int
    bound_pico: float
    """What is reserved for one request, on the average."""


@pytest.fixture(scope="module")
def alone(shared_api: SimulatedApi, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    project = project_of(tmp_path_factory.mktemp("alone"), shared_api, 1)
    shared_api.reset()
    plan = project.runner("plan", "jobs/x.yaml", "--format", "json").summary
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    bound_pico = plan["cost_usd"]["parallel"]["upper"] * 10**12 / ROWS
    return Alone(stable(project.records()), shared_api.accounts()["cost_pico"], bound_pico)


def test_several_workers_do_what_one_process_does(tmp_path: Path, alone: Alone, api: SimulatedApi) -> None:
    project = project_of(tmp_path / "several", api, 3)
    summary = project.run("jobs/x.yaml")
    assert (summary["status"], summary["exit_status"]) == ("finished", 0)
    assert stable(project.records()) == alone.records
    account = api.accounts()
    assert (account["requests"], account["most_repeated"]) == (ROWS, 1)
    assert round(summary["cost_usd"] * 10**12) == account["cost_pico"]
    assert summary["requests"] == summary["attempts"] == ROWS
    assert api.traffic()["max_in_flight"] <= SLOTS


def test_a_shared_prefix_is_written_once(tmp_path: Path, api: SimulatedApi) -> None:
    project = project_of(tmp_path / "project", api, 3, replaced=CACHED)
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    assert api.accounts()["cache_writes"] == 1
    assert api.accounts()["requests"] == ROWS


def test_rows_that_share_a_prefix_of_their_own_are_sent_by_one_process(tmp_path: Path, api: SimulatedApi) -> None:
    """40 long documents with 3 questions each."""
    document = f"vars: {{document: '{'word ' * 6_000}'}}"
    messages = """
messages:
  - role: user
    content:
      - {text: "{{ (row.id[1:] | int) // 3 }} {{ vars.document }}", cache: true}
      - {text: "Judge this: {{ row.text }}"}"""
    job = {'prompt: "Judge this: {{ row.text }}"': document + messages}
    project = project_of(tmp_path / "project", api, 2, replaced=job)
    summary = project.run("jobs/x.yaml")
    assert summary["exit_status"] == 0, summary
    assert api.accounts()["cache_writes"] == ROWS // 3
    assert ["`workers` is left aside" in warning for warning in summary["warnings"]].count(True) == 1


def test_replies_of_an_earlier_run_are_taken_and_broken_rows_are_told(tmp_path: Path, api: SimulatedApi) -> None:
    broken = {'"Judge this: {{ row.text }}"': "\"{{ 1 // (row.id != 'k7') | int }} {{ row.text }}\""}
    project = project_of(tmp_path / "project", api, 2, replaced=broken)
    first = project.run("jobs/x.yaml")
    assert (first["rows"]["succeeded"], first["failures"]) == (ROWS - 1, {"render_error": 1})
    project.rows(ROWS + 40)
    summary = project.run("jobs/x.yaml")
    assert summary["rows"]["reused"] == ROWS - 1
    assert summary["rows"]["succeeded"] == ROWS + 39
    assert api.accounts()["requests"] == ROWS + 39


def test_faults_are_tried_again(tmp_path: Path, alone: Alone, api: SimulatedApi) -> None:
    for kind in ("429", "500", "529", "reset"):
        api.fault(kind, rate=0.05)
    project = project_of(tmp_path / "project", api, 2)
    arguments = ("--set", "retry.initial_interval=1ms", "--set", "retry.max_attempts=50")
    summary = project.run("jobs/x.yaml", *arguments, "--set", "retry.maximum_interval=20ms")
    assert summary["exit_status"] == 0
    assert stable(project.records()) == alone.records
    api.clear_faults()


def test_a_failure_of_the_job_stops_all_workers(tmp_path: Path, api: SimulatedApi) -> None:
    api.fault("401")
    project = project_of(tmp_path / "project", api, 2)
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], summary["stopped_by"]["kind"]) == (4, "credentials")
    assert "ANTHROPIC_API_KEY" in summary["stopped_by"]["hint"]
    assert summary["rows"]["open"] == ROWS
    api.clear_faults()
    assert project.run("jobs/x.yaml")["rows"]["succeeded"] == ROWS
    assert api.accounts()["most_repeated"] == 1


def test_too_many_failures_stop_all_workers(tmp_path: Path, api: SimulatedApi) -> None:
    api.fault("refusal")
    project = project_of(tmp_path / "project", api, 2)
    summary = project.run("jobs/x.yaml", "--set", "limits.max_failures=5")
    assert (summary["exit_status"], summary["stopped_by"]["kind"]) == (4, "max_failures")
    assert summary["rows"]["open"] > 0
    api.clear_faults()


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_cap_is_never_passed_and_is_used_up(tmp_path: Path, alone: Alone, api: SimulatedApi, share: float) -> None:
    """A reservation is many times the cost, so workers wait for one another's. Where one process goes on, all do."""
    cap_pico = int(share * alone.cost_pico)
    project = project_of(tmp_path / "project", api, 3)
    summary = project.run("jobs/x.yaml", "--set", f"limits.max_cost_usd={cap_pico / 10**12:.12f}")
    assert (summary["exit_status"], summary["stopped_by"]["kind"]) == (4, "budget")
    billed = api.accounts()["cost_pico"]
    assert billed <= cap_pico
    assert billed >= cap_pico - 1.1 * alone.bound_pico, "one more request would have fitted"
    assert project.run("jobs/x.yaml", "--set", "limits.max_cost_usd=5")["rows"]["succeeded"] == ROWS


@pytest.mark.fault
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_all_workers(tmp_path: Path, api: SimulatedApi, number: signal.Signals, status: int) -> None:
    project = project_of(tmp_path / "project", api, 2, rows=400)
    api.fault("slow", rate=1.0, seconds=0.5)  # so that it cannot be done before the signal
    with project.start("run", "jobs/x.yaml", "--format", "json") as child:
        wait_for_requests(api, child, 3 * SLOTS)
        workers = workers_of(child.pid)
        child.send_signal(number)
        stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == status, stderr
    assert "runner resume" in stdout
    assert len(workers) == 2
    assert are_gone(workers)
    api.clear_faults()
    assert project.runner("run", "jobs/x.yaml").status == 0
    assert api.accounts()["requests"] == 400, "what was drained is not paid again"


@pytest.mark.fault
def test_a_second_signal_drops_what_all_workers_have_in_flight(tmp_path: Path, api: SimulatedApi) -> None:
    api.fault("slow", rate=1.0)
    project = project_of(tmp_path / "project", api, 2)
    with project.start("run", "jobs/x.yaml", "--format", "json") as child:
        wait_for_requests(api, child, SLOTS)
        workers = workers_of(child.pid)
        child.send_signal(signal.SIGINT)
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130, stderr
    assert are_gone(workers)
    api.clear_faults()
    assert project.runner("run", "jobs/x.yaml").status == 0
    assert api.accounts()["requests"] <= ROWS + 2 * SLOTS


@pytest.mark.fault
def test_a_worker_that_is_killed_stops_the_run_which_can_go_on(tmp_path: Path, alone: Alone, api: SimulatedApi) -> None:
    project = project_of(tmp_path / "project", api, 2)
    api.fault("slow", rate=1.0, seconds=0.5)  # so that it cannot be done before the kill
    with project.start("run", "jobs/x.yaml", "--format", "json") as child:
        wait_for_requests(api, child, 3 * SLOTS)
        workers = workers_of(child.pid)
        workers[0].kill()
        stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 4, stderr
    assert "worker_died" in stdout
    assert "SIGKILL" in stdout
    assert are_gone(workers)
    api.clear_faults()
    summary = project.run("jobs/x.yaml")
    assert summary["exit_status"] == 0
    assert stable(project.records()) == alone.records
    account = api.accounts()
    assert account["distinct"] == ROWS
    assert account["requests"] <= ROWS + 2 * SLOTS


@pytest.mark.fault
def test_no_worker_outlives_a_run_that_is_killed(tmp_path: Path, alone: Alone, api: SimulatedApi) -> None:
    project = project_of(tmp_path / "project", api, 3)
    api.fault("slow", rate=1.0, seconds=0.5)  # so that it cannot be done before the last kill
    kills = 0
    for more in (0, SLOTS, 4 * SLOTS):
        with project.start("run", "jobs/x.yaml") as child:
            while len(workers := workers_of(child.pid)) < 3:
                assert child.poll() is None, child.communicate()
                time.sleep(0.005)
            wait_for_requests(api, child, api.traffic()["received"] + more)
            os.kill(child.pid, signal.SIGKILL)
            assert are_gone(workers)
            child.communicate(timeout=60)
        kills += 1
    api.clear_faults()
    summary = project.run("jobs/x.yaml")
    assert summary["exit_status"] == 0
    assert stable(project.records()) == alone.records
    account = api.accounts()
    assert account["distinct"] == ROWS
    assert account["requests"] <= ROWS + 2 * SLOTS * kills
