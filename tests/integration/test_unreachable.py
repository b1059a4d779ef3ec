"""An API that nothing reaches, as a user meets it: the run stops with its rows open, and the same command goes on."""

from __future__ import annotations

import json
import subprocess
import time  # noqa: TID251 - waits for child processes
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runner.ledger.audit import audit
from support import uploads
from support.api import SimulatedApi
from support.gate import Gate, gate_to
from support.harness import TIMEOUT_S, Project

ROWS = 60
SLOTS = 8
PATIENCE_S = "1"

pytestmark = pytest.mark.slow


@pytest.fixture
def gate(api: SimulatedApi) -> Iterator[Gate]:
    port = urlsplit(api.base_url).port
    assert port is not None
    with gate_to(port) as gate:
        yield gate


def project_at(root: Path, api: SimulatedApi, base_url: str, workers: int = 1) -> Project:
    project = Project.make(
        root / "project",
        api,
        ANTHROPIC_BASE_URL=base_url,
        RUNNER_UNREACHABLE_AFTER_S=PATIENCE_S,
        RUNNER_WORKERS=str(workers),
    )
    project.job(rows=ROWS)
    return project


def audited(project: Project) -> None:
    for run in project.runs():
        assert audit(project.root / ".runner" / "runs" / run) == []


@pytest.mark.parametrize(("mode", "workers"), [("parallel", 1), ("parallel", 2), ("batch", 1)])
def test_a_port_where_nobody_listens_stops_the_run_and_the_same_command_goes_on(
    tmp_path: Path, api: SimulatedApi, gate: Gate, mode: str, workers: int
) -> None:
    project = project_at(tmp_path, api, gate.base_url, workers)
    command = ("jobs/x.yaml", "--mode", mode, "--set", "retry.max_attempts=1")
    summary = project.run(*command)
    assert (summary["status"], summary["exit_status"]) == ("stopped", 4)
    stopped_by = summary["stopped_by"]
    assert stopped_by["kind"] == "unreachable"
    assert f"nothing answers at {gate.base_url}: " in stopped_by["message"]
    assert "ConnectionRefusedError" in stopped_by["message"]
    assert "ANTHROPIC_BASE_URL" in stopped_by["hint"]
    assert api.api_key not in str(summary)
    assert (summary["rows"]["open"], summary["failures"], summary["cost_usd"]) == (ROWS, {}, 0)
    assert not (project.root / "out").exists()
    gate.open()
    again = project.run(*command)
    assert (again["exit_status"], again["run_id"]) == (0, summary["run_id"])
    assert [record["key"] for record in project.records()] == [f"k{number}" for number in range(ROWS)]
    account = api.accounts()
    assert (account["requests"], account["most_repeated"]) == (ROWS, 1)
    audited(project)


@pytest.mark.parametrize("mode", ["parallel", "batch"])
def test_files_that_cannot_be_uploaded_stop_the_run_as_requests_do(
    tmp_path: Path, api: SimulatedApi, gate: Gate, mode: str
) -> None:
    project = uploads.project_at(tmp_path, api)
    away = replace(
        project,
        environ={**project.environ, "ANTHROPIC_BASE_URL": gate.base_url, "RUNNER_UNREACHABLE_AFTER_S": PATIENCE_S},
    )
    command = ("jobs/x.yaml", "--mode", mode, "--set", "retry.max_attempts=1")
    summary = away.run(*command)
    assert (summary["exit_status"], summary["stopped_by"]["kind"]) == (4, "unreachable")
    assert (summary["rows"]["open"], summary["failures"]) == (uploads.QUESTIONS, {})
    gate.open()
    again = away.run(*command)
    assert (again["exit_status"], again["run_id"]) == (0, summary["run_id"])
    uploads.sent_once(project, api)
    assert api.accounts()["requests"] == uploads.QUESTIONS
    audited(project)


def test_a_server_that_speaks_no_tls_stops_the_run(tmp_path: Path, api: SimulatedApi, gate: Gate) -> None:
    gate.open()
    project = project_at(tmp_path, api, gate.base_url.replace("http://", "https://"))
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], summary["stopped_by"]["kind"]) == (4, "unreachable")
    assert "SSL" in summary["stopped_by"]["message"]
    assert summary["rows"]["open"] == ROWS


def wait_for_requests(api: SimulatedApi, child: subprocess.Popen[str], received: int) -> None:
    while api.traffic()["received"] < received:
        assert child.poll() is None, child.communicate()
        time.sleep(0.005)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_goes_away_for_good_stops_the_run_which_goes_on_when_it_is_back(
    tmp_path: Path, api: SimulatedApi, gate: Gate, workers: int
) -> None:
    gate.open()
    project = project_at(tmp_path, api, gate.base_url, workers)
    api.fault("slow", rate=1.0, seconds=0.5)  # so that it cannot be done before the gate is shut
    with project.start("run", "jobs/x.yaml", "--format", "json") as child:
        wait_for_requests(api, child, 3 * SLOTS)
        gate.shut()
        stdout, stderr = child.communicate(timeout=TIMEOUT_S)
    assert child.returncode == 4, stderr
    summary = json.loads(stdout)
    assert (summary["stopped_by"]["kind"], summary["failures"]) == ("unreachable", {})
    assert not (project.root / "out").exists()
    gate.open()
    api.clear_faults()
    again = project.run("jobs/x.yaml")
    assert (again["exit_status"], again["rows"]["succeeded"]) == (0, ROWS)
    assert [record["key"] for record in project.records()] == [f"k{number}" for number in range(ROWS)]
    account = api.accounts()
    assert account["distinct"] == ROWS
    assert account["requests"] <= ROWS + SLOTS, "nothing but what was under way is sent twice"
    audited(project)


def test_a_short_outage_stops_nothing(tmp_path: Path, api: SimulatedApi, gate: Gate) -> None:
    gate.open()
    project = project_at(tmp_path, api, gate.base_url)
    api.fault("slow", rate=1.0, seconds=0.3)
    with project.start(
        "run", "jobs/x.yaml", "--format", "json", environ={"RUNNER_UNREACHABLE_AFTER_S": "600"}
    ) as child:
        wait_for_requests(api, child, 2 * SLOTS)
        gate.shut()
        log = next((project.root / ".runner" / "runs").iterdir()) / "log.jsonl"
        while '"no-answer"' not in log.read_text():
            assert child.poll() is None, child.communicate()
            time.sleep(0.01)
        gate.open()
        _, stderr = child.communicate(timeout=TIMEOUT_S)
    assert child.returncode == 0, stderr
    assert [record["status"] for record in project.records()] == ["succeeded"] * ROWS
    assert api.accounts()["distinct"] == ROWS
