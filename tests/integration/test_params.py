"""Parameters that change a bill, against the accounts of the stand-in."""

from __future__ import annotations

import pytest

from runner.types import PICO_PER_USD
from support.api import SimulatedApi
from support.harness import Project

JOB = """\
model: {model}
params: {{max_tokens: 4000, {params}}}
prompt: "Say something about {{{{ row.text }}}}."
dataset: data/x.csv
mode: {mode}
"""


@pytest.mark.parametrize(
    ("model", "params", "mode"),
    [
        ("claude-opus-5-5", "speed: fast, inference_geo: us", "parallel"),
        ("claude-opus-5", "speed: fast, betas: [fast-mode-2026-02-01]", "parallel"),
        ("claude-haiku-5-5", "inference_geo: us, service_tier: standard_only, metadata: {user_id: u}", "batch"),
        (
            "claude-haiku-5-5",
            (
                "betas: [context-management-2025-06-27, task-budgets-2026-03-13], "
                "context_management: {edits: [{type: clear_thinking_20251015, keep: all}]}, "
                "output_config: {task_budget: {type: tokens, total: 50000}}"
            ),
            "parallel",
        ),
    ],
)
def test_what_the_records_cost_is_what_the_api_bills(
    project: Project, api: SimulatedApi, model: str, params: str, mode: str
) -> None:
    project.write("data/x.csv", "text\n" + "".join(f"thing {n}\n" for n in range(5)))
    project.write("jobs/x.yaml", JOB.format(model=model, params=params, mode=mode))
    summary = project.run("jobs/x.yaml")
    assert summary["rows"]["succeeded"] == 5
    assert sum(round(record["cost_usd"] * PICO_PER_USD) for record in project.records()) == api.accounts()["cost_pico"]


def test_a_slow_answer_serves_where_a_fast_one_is_asked_for(project: Project, api: SimulatedApi) -> None:
    project.write("data/x.csv", "text\nthing\n")
    project.write("jobs/x.yaml", JOB.format(model="claude-opus-5-5", params="speed: standard", mode="parallel"))
    project.run("jobs/x.yaml")
    project.write("jobs/x.yaml", JOB.format(model="claude-opus-5-5", params="speed: fast", mode="parallel"))
    project.run("jobs/x.yaml")
    assert api.accounts()["requests"] == 1


def test_what_passes_unchecked_is_warned_of_by_check_and_plan(project: Project, api: SimulatedApi) -> None:
    params = "betas: [contxt-1m-2025-08-07], extra_body: {brand_new: 1}"
    project.write("data/x.csv", "text\nthing\n")
    project.write("jobs/x.yaml", JOB.format(model="claude-haiku-5-5", params=params, mode="parallel"))
    for command in ("check", "plan"):
        done = project.runner(command, "jobs/x.yaml")
        assert done.status == 0, done.stderr
        told = done.stdout + done.stderr
        assert "2:9" not in told
        assert "did you mean `context-1m-2025-08-07`?" in told
        assert "`brand_new` is sent without a check" in told
    assert project.runner("run", "jobs/x.yaml").status == 5, "the API refuses the row"
    assert api.accounts()["requests"] == 0
