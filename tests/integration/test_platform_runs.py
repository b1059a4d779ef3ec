"""Runs on the platforms, through the SDK's clients for them, over the stand-in."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from support.api import SimulatedApi
from support.harness import ROOT, Project
from support.platforms import NAMES, SECRET, Platform

JOB = """\
model: {model}
provider: {provider}
params: {{max_tokens: 2000}}
prompt: "Say something about {{{{ row.text }}}}."
dataset: {{path: data/rows.csv, key: id}}
mode: {mode}
sinks: out/x.jsonl
{more}"""


def on(
    platform: Platform, project: Project, mode: str = "auto", more: str = "", model: str = "claude-haiku-5-5"
) -> Project:
    """A project whose job names the platform, and whose environment has its credential alone."""
    provider = json.dumps({"name": platform.name, **platform.options})
    job = JOB.format(model=platform.model(), provider=provider, mode=mode, more=more)
    project.write("jobs/x.yaml", job)
    return Project(project.root, {"HOME": str(project.root), **platform.environ})


def records(project: Project) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.root / "out/x.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_a_job_runs_on_every_platform(name: str, project: Project, api: SimulatedApi) -> None:
    there = on(Platform(name, api), project)
    done = there.runner("run", "jobs/x.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    assert done.summary["rows"]["succeeded"] == 12
    made = records(there)
    assert {record["mode"] for record in made} == {"parallel"}
    assert all(record["cost_usd"] > 0 and record["request_id"] for record in made)
    assert api.accounts()["requests"] == 12
    again = there.runner("run", "jobs/x.yaml")
    assert again.status == 0
    assert api.accounts()["requests"] == 12, "what was answered there is not asked again"
    kept = b"".join(path.read_bytes() for path in (there.root / ".runner").rglob("*") if path.is_file())
    assert SECRET.encode() not in kept
    assert api.api_key.encode() not in kept


@pytest.mark.parametrize("name", ["aws", "google_cloud"])
def test_batches_work_where_anthropic_runs_the_api(name: str, project: Project, api: SimulatedApi) -> None:
    there = on(Platform(name, api), project, "batch")
    done = there.runner("run", "jobs/x.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    assert {record["mode"] for record in records(there)} == {"batch"}
    assert api.accounts()["modes"]["batch"]["requests"] == 12


@pytest.mark.parametrize("name", ["bedrock", "vertex", "foundry"])
def test_auto_is_parallel_where_there_are_no_batches_and_says_why(
    name: str, project: Project, api: SimulatedApi
) -> None:
    project.write("runner.toml", "batch_min_rows = 2\n")
    there = on(Platform(name, api), project)
    planned = there.runner("plan", "jobs/x.yaml", "--format", "json")
    assert planned.status == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert plan["mode"] == "parallel"
    assert "no batches" in plan["why"]


def test_a_run_goes_on_at_its_own_platform(project: Project, api: SimulatedApi) -> None:
    there = on(Platform("bedrock", api), project, more="limits: {max_failures: 3}\n")
    api.fault("403")
    stopped = there.runner("run", "jobs/x.yaml")
    assert stopped.status == 4
    assert "permission_error" in stopped.stderr
    api.clear_faults()
    api.fault("429", times=3, retry_after="0")
    elsewhere = Project(there.root, {**project.environ})
    assert elsewhere.runner("resume").status == 4, "Anthropic's key opens no other platform"
    done = there.runner("resume", "--format", "json")
    assert done.status == 0, done.stderr
    assert len(records(there)) == 12
    assert api.accounts()["requests"] == 12


def test_what_is_missing_is_told_before_a_run_is_made(project: Project, api: SimulatedApi) -> None:
    there = on(Platform("bedrock", api), project)
    bare = Project(there.root, {"HOME": str(project.root)})
    done = bare.runner("run", "jobs/x.yaml")
    assert done.status == 4
    assert "error[no-credentials]: no AWS credential was found" in done.stderr
    checked = bare.runner("check", "jobs/x.yaml")
    assert checked.status == 0, checked.stdout
    assert "warning[no-credentials]" in checked.stdout + checked.stderr
    assert bare.runs() == []


def test_a_model_by_anthropics_own_name_is_warned_of_on_bedrock(project: Project, api: SimulatedApi) -> None:
    there = on(Platform("bedrock", api), project)
    job = (there.root / "jobs/x.yaml").read_text().replace("global.anthropic.", "")
    there.write("jobs/x.yaml", job)
    done = there.runner("check", "jobs/x.yaml")
    assert done.status == 0
    assert "for instance `global.anthropic.claude-haiku-5-5`" in done.stdout + done.stderr


def test_a_job_for_a_platform_can_be_simulated(project: Project, api: SimulatedApi) -> None:
    there = on(Platform("vertex", api), project)
    bare = Project(there.root, {"HOME": str(project.root)})
    project.write("runner.toml", "batch_min_rows = 2\n")
    done = bare.runner("run", "jobs/x.yaml", "--simulate", "--format", "json")
    assert done.status == 0, done.stderr
    assert done.summary["rows"]["succeeded"] == 12
    assert {record["mode"] for record in bare.records("out/x.trial.jsonl")} == {"parallel"}, "as it would be there"
    assert api.accounts()["requests"] == 0


def test_check_imports_no_library_of_a_platform(project: Project, api: SimulatedApi) -> None:
    there = on(Platform("bedrock", api), project)
    decoy = project.root / "decoy"
    for name in ("anthropic", "boto3", "botocore"):
        project.write(f"decoy/{name}/__init__.py", f'raise ImportError("{name} was imported")\n')
    done = there.runner("check", "jobs/x.yaml", environ={"PYTHONPATH": os.pathsep.join([str(decoy), str(ROOT)])})
    assert done.status == 0, done.stdout + done.stderr
