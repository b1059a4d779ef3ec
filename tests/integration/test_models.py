"""What the Models API says decides what `check`, `plan` and `run` say of a job."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from runner.catalog.models import Catalog
from runner.clock import SystemClock
from runner.execution.folders import StateFolder
from support.api import SimulatedApi
from support.harness import Project

JOB = """\
model: claude-haiku-5-5
params:
  max_tokens: 2000
  thinking: {type: adaptive}
  output_config: {effort: low}
prompt: "Say {{ row.text }}."
dataset: data/rows.csv
mode: batch
output: {fields: {label: [good, bad]}}
"""


def no() -> dict[str, bool]:
    return {"supported": False}


POOR: dict[str, Any] = {
    "id": "claude-haiku-5-5",
    "display_name": "Claude Haiku 5.5",
    "lifecycle": "active",
    "max_input_tokens": 1_000,
    "max_tokens": 1_000,
    "capabilities": {
        "batch": no(),
        "structured_outputs": no(),
        "effort": no(),
        "thinking": no() | {"types": {"adaptive": no(), "disabled": no(), "enabled": no()}},
    },
}


def keep(project: Project, model: dict[str, Any], *, age: timedelta = timedelta()) -> None:
    """As if the Models API had said this so long ago."""
    state = StateFolder(project.root / ".runner")
    state.create()
    at = SystemClock().now().astimezone(UTC) - age
    assert isinstance(at, datetime)
    Catalog(state.catalog_path(project.environ["ANTHROPIC_BASE_URL"])).update([model], at=at)


def told(stderr_or_stdout: str) -> list[str]:
    lines = [line for line in stderr_or_stdout.splitlines() if ": error[" in line]
    return [line.partition(": error[")[0].partition(":")[2] + " " + line.partition("error[")[2] for line in lines]


def test_check_says_by_what_is_kept_what_a_model_has_not(project: Project, api: SimulatedApi) -> None:
    project.write("jobs/x.yaml", JOB)
    assert project.runner("check", "jobs/x.yaml").status == 0
    keep(project, POOR, age=timedelta(days=400))
    done = project.runner("check", "jobs/x.yaml")
    assert done.status == 3
    assert told(done.stdout + done.stderr) == [
        "3:15 out-of-range]: claude-haiku-5-5 writes at most 1,000 tokens, not 2,000",
        "4:20 refused-value]: claude-haiku-5-5 refuses thinking of type 'adaptive'",
        "5:27 refused-value]: claude-haiku-5-5 has no effort levels",
    ]
    project.write(
        "jobs/x.yaml",
        JOB.replace("2000", "500")
        .replace("  thinking: {type: adaptive}\n", "")
        .replace("  output_config: {effort: low}\n", ""),
    )
    done = project.runner("check", "jobs/x.yaml")
    assert told(done.stdout + done.stderr) == [
        "6:7 no-batches]: claude-haiku-5-5 takes no batches",
        "7:9 no-structured-outputs]: claude-haiku-5-5 has no structured outputs",
    ]
    assert "`extract: {json: true}` under `output`" in done.stdout + done.stderr
    assert api.traffic()["received"] == 0, "check asks nobody"


def test_a_run_asks_again_once_what_is_kept_is_old(project: Project, api: SimulatedApi) -> None:
    """What was said long ago keeps no job from running, and is replaced by what is said now."""
    project.write("runner.toml", "models_max_age_s = 3600\n")
    project.write("jobs/x.yaml", JOB.replace("mode: batch", "mode: parallel"))
    keep(project, POOR, age=timedelta(hours=2))
    assert project.run("jobs/x.yaml")["rows"]["succeeded"] == 12
    keep(project, POOR)
    assert project.runner("run", "jobs/x.yaml", "--new", "--no-reuse").status == 3


def test_plan_tells_of_rows_that_are_longer_than_the_model_reads(project: Project) -> None:
    project.write("jobs/x.yaml", JOB.replace("2000", "500").replace("mode: batch", "mode: parallel"))
    rows = "".join(f"{n},{'word ' * (4_000 if n < 2 else 2)}\n" for n in range(5))
    project.write("data/rows.csv", "id,text\n" + rows)
    rich = {**POOR, "max_tokens": 64_000, "capabilities": None}
    keep(project, rich)
    done = project.runner("plan", "jobs/x.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    warnings = {warning["code"]: warning for warning in json.loads(done.stdout)["warnings"]}
    assert "2 rows have more tokens, by estimate, than the 1,000" in warnings["over-context"]["message"]


def test_doctor_says_what_is_known_of_a_model(project: Project) -> None:
    done = project.runner("doctor", "--model", "claude-haiku-5-5", "--format", "json")
    assert done.status == 0, done.stdout + done.stderr
    (about,) = [found for found in map(json.loads, done.stdout.splitlines()) if found["name"] == "model"]
    assert "Models API" in about["message"]
    assert "batches: yes; structured outputs: yes; images: yes; PDF: yes" in about["message"]
