"""Limits as a user meets them: whole runs against the stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.api import SimulatedApi, simulated_api
from support.harness import TIMEOUT_S, Project

RPM = 6_000


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedApi]:
    """A hundred requests a second, and no more than that at once."""
    with simulated_api(tmp_path_factory.mktemp("api"), latency="50ms", rpm=RPM, burst_s=1.0) as api:
        yield api


@pytest.fixture
def project(tmp_path: Path, limited: SimulatedApi) -> Project:
    limited.reset()
    return Project.make(tmp_path / "project", limited, XDG_RUNTIME_DIR=str(tmp_path))


def job(project: Project, name: str, rows: int, limits: str = "") -> None:
    project.job(name, rows=rows, replaced={"max_concurrency: 8": f"max_concurrency: 200{limits}"})


def refusals(api: SimulatedApi) -> int:
    return int(api.traffic()["by_status"].get("429", 0))


def test_a_limit_that_nobody_stated_is_kept_and_named(project: Project, limited: SimulatedApi) -> None:
    job(project, "x", 500)
    summary = project.runner("run", "jobs/x.yaml", "--format", "json").summary
    assert summary["rows"]["succeeded"] == 500
    assert refusals(limited) <= 150, "what it takes to find the window out"
    assert summary["limited_by"] == f"limited by the API: {RPM:,} requests a minute"


def test_runs_that_go_on_together_share_a_limit(project: Project, limited: SimulatedApi) -> None:
    children = []
    for name in ("x", "y"):
        job(project, name, 300)
        children.append(project.start("run", f"jobs/{name}.yaml", "--format", "json"))
    summaries: list[dict[str, Any]] = [json.loads(child.communicate(timeout=TIMEOUT_S)[0]) for child in children]
    assert [summary["rows"]["succeeded"] for summary in summaries] == [300, 300]
    assert refusals(limited) <= 250
    folder = Path(project.environ["XDG_RUNTIME_DIR"]) / "rowrunner"
    assert folder.is_dir()
    assert list(folder.glob("*.limits")) == [], "an address of this machine is forgotten with the last run at it"


def test_a_ceiling_of_the_job_refuses_nothing(project: Project, limited: SimulatedApi) -> None:
    job(project, "x", 60, ", requests_per_minute: 1200")
    summary = project.runner("run", "jobs/x.yaml", "--format", "json").summary
    assert summary["rows"]["succeeded"] == 60
    assert refusals(limited) == 0
    assert summary["elapsed_s"] >= 2.9, "sixty at twenty a second"
    assert summary["limited_by"] == "limited by `limits.requests_per_minute`: 1,200 requests a minute"


def test_a_folder_that_cannot_be_used_costs_a_warning(project: Project) -> None:
    job(project, "x", 10)
    (project.root / "file").touch()
    done = project.runner("run", "jobs/x.yaml", "--format", "json", environ={"RUNNER_LIMITS_DIR": "file/limits"})
    assert done.status == 0
    assert any("not shared" in warning for warning in done.summary["warnings"])


@pytest.mark.parametrize("kind", ["spend_limit", "contract_spend_limit", "usage_limit", "workspace_usage_limit"])
def test_a_spend_limit_stops_the_run_and_leaves_the_rows_open(
    project: Project, limited: SimulatedApi, kind: str
) -> None:
    job(project, "x", 30)
    limited.fault(kind)
    summary = project.runner("run", "jobs/x.yaml", "--format", "json").summary
    assert (summary["exit_status"], summary["stopped_by"]["kind"]) == (4, "spend_limit")
    assert summary["rows"]["open"] == 30
