"""Several turns, and several samples, as users have them: both modes, the bill, and what another run finds again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.api import SimulatedApi
from support.harness import Project, stable

TURNS = """\
name: turns
model: claude-haiku-5-5
params: {max_tokens: 300}
prompt: "Judge this: {{ row.text }}"
turns: [Why?, "{{ row.id }}: what of {{ replies[1][:12] }}, your {{ replies | length }}nd answer?"]
dataset: {path: data/rows.csv, key: id}
output: {fields: {label: [good, bad]}}
limits: {max_concurrency: 8, max_cost_usd: 5}
sinks: [out/x.jsonl]
"""
WAVES = {"RUNNER_BATCH_POLL_FIRST_S": "0.6", "RUNNER_BATCH_POLL_LONGEST_S": "1", "RUNNER_BATCH_RESEND_ROWS": "0"}


@pytest.fixture
def turns(project: Project) -> Project:
    project.write("jobs/turns.yaml", TURNS)
    return project


def check_bill(summary: dict[str, Any], api: SimulatedApi) -> None:
    assert round(summary["cost_usd"] * 10**12) == api.accounts()["cost_pico"]
    assert api.accounts()["most_repeated"] <= 1


def test_each_row_has_three_turns_in_parallel(turns: Project, api: SimulatedApi) -> None:
    summary = turns.run("jobs/turns.yaml")
    assert (summary["exit_status"], summary["requests"], summary["rows"]["succeeded"]) == (0, 36, 12)
    for record in turns.records():
        assert [turn["stop_reason"] for turn in record["turns"]] == ["end_turn"] * 3
        assert record["turns"][0]["text"].startswith("[echo ")
        assert record["turns"][2]["text"] == record["text"]
        assert record["output"]["label"] in ("good", "bad")
        assert record["attempts"] == 3
    check_bill(summary, api)


def test_three_turns_are_three_waves_of_batches_with_the_same_answers(turns: Project, api: SimulatedApi) -> None:
    turns.run("jobs/turns.yaml", "--no-reuse")
    expected = [(stable([record]), record["turns"]) for record in turns.records()]
    api.reset()
    summary = turns.run("jobs/turns.yaml", "--mode", "batch", "--no-reuse", "--new")
    assert summary["exit_status"] == 0
    found = [(stable([record]), record["turns"]) for record in turns.records()]
    without_ids = [
        [(records, [{**turn, "message_id": None} for turn in said]) for records, said in each]
        for each in (expected, found)
    ]
    assert without_ids[0] == without_ids[1]
    assert [batch["requests"] for batch in summary["batches"]] == [12, 12, 12]
    check_bill(summary, api)


@pytest.mark.slow
def test_three_turns_over_a_thousand_rows_are_three_batches(turns: Project, api: SimulatedApi) -> None:
    turns.rows(1_000)
    summary = turns.run("jobs/turns.yaml", "--mode", "batch", environ=WAVES)
    assert (summary["exit_status"], summary["rows"]["succeeded"]) == (0, 1_000)
    assert [batch["batch"]["request_counts"]["succeeded"] for batch in api.batches()] == [1_000] * 3
    check_bill(summary, api)


@pytest.mark.slow
def test_several_processes_give_the_same_answers(turns: Project, api: SimulatedApi) -> None:
    turns.rows(40)
    job = TURNS.replace("output: {fields: {label: [good, bad]}}", "output: {labels: [good, bad], vote: label}")
    turns.write("jobs/turns.yaml", job + "samples: 2\n")
    turns.run("jobs/turns.yaml", "--no-reuse")
    expected = stable(turns.records())
    api.reset()
    summary = turns.run("jobs/turns.yaml", "--no-reuse", "--new", environ={"RUNNER_WORKERS": "2"})
    assert (summary["exit_status"], summary["requests"]) == (0, 40 * 3 * 2)
    assert stable(turns.records()) == expected
    assert api.accounts()["requests"] == 40 * 3 * 2


def test_another_run_finds_every_turn_again(turns: Project, api: SimulatedApi) -> None:
    turns.run("jobs/turns.yaml")
    turns.rows(14)
    summary = turns.run("jobs/turns.yaml")
    assert summary["rows"]["reused"] == 12
    assert api.accounts()["requests"] == 36 + 6


def test_a_changed_last_turn_asks_only_that_again(turns: Project, api: SimulatedApi) -> None:
    turns.run("jobs/turns.yaml")
    turns.write("jobs/turns.yaml", TURNS.replace("your {{", "which is your {{"))
    turns.run("jobs/turns.yaml")
    assert api.accounts()["requests"] == 36 + 12


def test_samples_are_asked_each_and_found_again_each(project: Project, api: SimulatedApi) -> None:
    job = (
        (project.root / "jobs/x.yaml")
        .read_text()
        .replace("    label: [good, bad]", "    label: [good, bad]\n  vote: label")
    )
    project.write("jobs/x.yaml", job + "samples: 3\n")
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], summary["requests"], summary["rows"]["succeeded"]) == (0, 36, 12)
    for record in project.records():
        label = record["output"]["label"]
        assert [sample["output"]["label"] for sample in record["samples"]] == [label] * 3
        assert record["vote"] == {
            "field": "label", "value": label, "share": 1.0, "counts": {label: 3}, "samples": 3, "asked": 3, "tie": False
        }  # fmt: skip
    assert round(summary["cost_usd"] * 10**12) == api.accounts()["cost_pico"]
    project.write("jobs/x.yaml", job + "samples: 5\n")
    project.run("jobs/x.yaml")
    assert api.accounts()["requests"] == 12 * 5, "three of five are there"


def test_a_plan_reckons_with_all_of_them(turns: Project, api: SimulatedApi) -> None:
    plan = json.loads(turns.runner("plan", "jobs/turns.yaml", "--format", "json", "--set", "samples=2").stdout)
    assert plan["requests"] == 12 * 3 * 2
    summary = turns.run("jobs/turns.yaml", "--set", "samples=2")
    usage = summary["usage"]
    assert usage["input_tokens"] <= plan["input_tokens_upper"]
    assert summary["cost_usd"] <= plan["cost_usd"]["parallel"]["upper"]
    assert usage["input_tokens"] == pytest.approx(plan["input_tokens"], rel=0.7)
