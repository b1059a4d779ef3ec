"""Which transport a run sends over, as a user sees it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from support.api import SimulatedApi
from support.harness import ROOT, Project, stable


@pytest.fixture
def without_sdk(tmp_path: Path) -> dict[str, str]:
    """An environment in which whoever imports the SDK fails."""
    decoy = tmp_path / "decoy"
    (decoy / "anthropic").mkdir(parents=True)
    (decoy / "anthropic/__init__.py").write_text('raise ImportError("the SDK was imported")\n')
    return {"PYTHONPATH": os.pathsep.join([str(decoy), str(ROOT)])}


@pytest.mark.parametrize("mode", ["parallel", "batch"])
def test_a_run_over_the_wire_imports_no_sdk(
    mode: str, project: Project, api: SimulatedApi, without_sdk: dict[str, str]
) -> None:
    done = project.runner("run", "jobs/x.yaml", "--mode", mode, "--format", "json", environ=without_sdk)
    assert done.status == 0, done.stderr
    assert done.summary["rows"]["succeeded"] == 12
    assert api.accounts()["requests"] == 12


def test_nor_do_plan_and_doctor_which_ask_for_the_models(
    project: Project, api: SimulatedApi, without_sdk: dict[str, str]
) -> None:
    planned = project.runner("plan", "jobs/x.yaml", "--format", "json", environ=without_sdk)
    assert planned.status == 0, planned.stderr
    examined = project.runner("doctor", "--format", "json", environ=without_sdk)
    assert examined.status == 0, examined.stdout
    findings = {finding["name"]: finding["message"] for finding in map(json.loads, examined.stdout.splitlines())}
    assert findings["transport"] == "wire: connections of our own, since ANTHROPIC_API_KEY does not change"
    assert api.accounts()["requests"] == 0, "none of it was a message"


def test_the_setting_takes_the_sdk(project: Project, api: SimulatedApi, without_sdk: dict[str, str]) -> None:
    over_wire = project.run("jobs/x.yaml")
    assert over_wire["status"] == "finished"
    records = stable(project.records())
    project.write("runner.toml", 'transport = "sdk"\n')
    done = project.runner("run", "jobs/x.yaml", "--no-reuse", environ=without_sdk)
    assert done.status == 1
    assert "the SDK was imported" in done.stderr
    assert project.runner("resume").status == 0
    assert stable(project.records()) == records
    assert api.accounts()["requests"] == 24
    told = project.runner("doctor").stdout
    assert "sdk: the SDK's client, since the setting `transport` says so" in told


def test_the_wire_with_a_login_that_is_renewed_is_told_before_anything_begins(project: Project) -> None:
    environ = {"ANTHROPIC_API_KEY": "", "ANTHROPIC_PROFILE": "work", "RUNNER_TRANSPORT": "wire"}
    done = project.runner("run", "jobs/x.yaml", environ=environ)
    assert done.status == 4
    assert "error[bad-transport]" in done.stderr
    assert "needs a credential that does not change" in done.stderr
    assert project.runs() == []


def test_a_setting_that_is_none_is_told(project: Project) -> None:
    done = project.runner("run", "jobs/x.yaml", environ={"RUNNER_TRANSPORT": "http3"})
    assert done.status == 3
    assert "`transport` is 'http3'; expected auto, sdk or wire" in done.stderr
