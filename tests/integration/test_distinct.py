"""`distinct`: rows that come to the same request are sent once, and each has its record; in every way a run can go."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import pytest

from runner.ledger.audit import audit
from support.api import SimulatedApi
from support.harness import Project, stable

TEXTS = ("ship it", "send it back", "maybe", "well", "no")
ROWS = 40
"""Eight of each text, one after another."""


def texts() -> list[str]:
    return [TEXTS[number % len(TEXTS)] for number in range(ROWS)]


def rows(project: Project, values: Sequence[str]) -> None:
    path = project.write("data/rows.csv", "")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("id", "text", "n"), *((f"k{n}", text, n) for n, text in enumerate(values))])


def job(project: Project, *replaced: tuple[str, str], name: str = "x", distinct: bool = True) -> None:
    some = dict(replaced)
    if distinct:
        some["key: id}"] = "key: id, distinct: true}"
    project.job(name, replaced=some)
    rows(project, texts())


@pytest.fixture
def distinct(project: Project) -> Project:
    job(project)
    return project


def bill(records: Iterable[dict[str, Any]]) -> tuple[float, int, int]:
    """What the records come to: dollars, input tokens and attempts."""
    records = list(records)
    cost = sum(record["cost_usd"] for record in records)
    return cost, sum(record["usage"]["input_tokens"] for record in records), sum(r["attempts"] for r in records)


def check(
    project: Project, summary: dict[str, Any], api: SimulatedApi, requests: int = len(TEXTS), unbilled: int = 0
) -> None:
    """Each row has its record, they add up to the bill, and the books are right."""
    records = project.records()
    assert [record["key"] for record in records] == [f"k{n}" for n in range(len(records))]
    assert [record["index"] for record in records] == list(range(len(records)))
    assert [record["row"]["text"] for record in records] == texts()[: len(records)]
    cost, tokens, attempts = bill(records)
    assert cost == pytest.approx(summary["cost_usd"])
    assert (tokens, attempts) == (summary["usage"]["input_tokens"], summary["attempts"])
    assert sum(record["reused"] for record in records) == summary["rows"]["reused"]
    assert (summary["requests"], api.accounts()["requests"]) == (requests, requests - unbilled)
    of_text = sorted(records, key=lambda record: record["row"]["text"])
    for _, same in groupby(of_text, key=lambda record: record["row"]["text"]):
        first, *others = sorted(same, key=lambda record: record["index"])
        assert not first["reused"]
        for other in others:
            assert other["reused"]
            assert (other["cost_usd"], other["attempts"], other["usage"]["output_tokens"]) == (0, 0, 0)
            for field in ("status", "output", "error", "message_id", "request_hash", "ended_at"):
                assert other[field] == first[field]
    for run in project.runs():
        assert audit(project.root / ".runner/runs" / run) == []


@pytest.mark.parametrize("mode", ["parallel", "batch"])
def test_rows_of_one_request_are_sent_once_and_answered_each(distinct: Project, api: SimulatedApi, mode: str) -> None:
    summary = distinct.run("jobs/x.yaml", "--mode", mode)
    assert (summary["exit_status"], summary["mode"]) == (0, mode)
    assert summary["rows"] == {
        "total": 40, "succeeded": 40, "failed": 0, "expired": 0, "canceled": 0, "open": 0, "reused": 35,
    }  # fmt: skip
    check(distinct, summary, api)


def test_without_distinct_every_row_is_sent(project: Project, api: SimulatedApi) -> None:
    job(project, distinct=False)
    assert project.run("jobs/x.yaml")["requests"] == api.accounts()["requests"] == ROWS


def test_several_small_batches_hold_each_request_once(project: Project, api: SimulatedApi) -> None:
    job(project)
    summary = project.run("jobs/x.yaml", "--mode", "batch", environ={"RUNNER_BATCH_MAX_REQUESTS": "2"})
    assert [batch["requests"] for batch in summary["batches"]] == [2, 2, 1]
    check(project, summary, api)


def test_workers_share_the_rows_that_are_sent(project: Project, api: SimulatedApi) -> None:
    job(project)
    summary = project.run("jobs/x.yaml", environ={"RUNNER_WORKERS": "2"})
    assert summary["exit_status"] == 0
    check(project, summary, api)


def test_plan_and_render_tell_what_is_sent(distinct: Project, api: SimulatedApi) -> None:
    plan = json.loads(distinct.runner("plan", "jobs/x.yaml", "--format", "json").stdout)
    assert plan["rows"] == {"total": 40, "new": 5, "changed": 0, "reused": 0, "twins": 35, "unsendable": 0}
    assert plan["requests"] == 5
    plain = distinct.runner("plan", "jobs/x.yaml").stdout
    assert "40: 5 new, 0 changed, 0 reused, 35 of the same request as another" in plain
    bodies = distinct.runner("render", "jobs/x.yaml").stdout.splitlines()
    assert [json.loads(body)["messages"][0]["content"][0]["text"] for body in bodies] == [
        f"Judge this: {text}" for text in TEXTS
    ]
    job(distinct, name="y", distinct=False)
    every = json.loads(distinct.runner("plan", "jobs/y.yaml", "--format", "json").stdout)
    assert every["rows"]["twins"] == 0
    assert every["cost_usd"]["parallel"]["upper"] == pytest.approx(8 * plan["cost_usd"]["parallel"]["upper"])
    assert api.accounts()["requests"] == 0


def test_a_person_is_told_how_many_are_sent(distinct: Project) -> None:
    done = distinct.runner("run", "jobs/x.yaml")
    assert "40 rows, 5 of which are sent, in parallel mode" in done.stderr
    assert "5/5 rows (100%)" in done.stderr
    assert "40 of 40 rows succeeded" in done.stdout
    assert "35 rows of the same request as another" in done.stdout
    assert "paid for before" not in done.stdout


def test_a_failure_is_shared_and_a_retry_asks_once(distinct: Project, api: SimulatedApi) -> None:
    api.fault("400", text="send it back")
    summary = distinct.run("jobs/x.yaml")
    assert (summary["exit_status"], summary["failures"]) == (5, {"invalid_request_error": 8})
    check(distinct, summary, api, unbilled=1)
    api.clear_faults()
    again = distinct.runner("retry", "latest", "--key", "k21", "--format", "json").summary
    assert again["rows"]["succeeded"] == ROWS
    assert (again["requests"], api.accounts()["requests"]) == (5, 5)  # what is refused is not billed
    assert bill(distinct.records())[0] == pytest.approx(again["cost_usd"])


def test_a_passing_failure_is_tried_again_before_anybody_ends(distinct: Project, api: SimulatedApi) -> None:
    api.fault("529", text="maybe", times=2)
    summary = distinct.run("jobs/x.yaml")
    assert (summary["exit_status"], summary["rows"]["succeeded"]) == (0, ROWS)
    assert summary["attempts"] == 7
    check(distinct, summary, api)


def test_refusals_and_truncations_are_shared(distinct: Project, api: SimulatedApi) -> None:
    api.fault("refusal", text="no")
    api.fault("max_tokens", text="well")
    summary = distinct.run("jobs/x.yaml")
    assert summary["failures"] == {"refusal": 8, "truncated": 8}
    check(distinct, summary, api)
    assert {record["stop_reason"] for record in distinct.records() if record["row"]["text"] == "no"} == {"refusal"}


def test_an_invalid_reply_is_repaired_once_for_all(project: Project, api: SimulatedApi) -> None:
    job(project)
    api.fault("not_json", text="maybe", times=1)
    summary = project.run("jobs/x.yaml")
    assert summary["rows"]["succeeded"] == ROWS
    assert summary["attempts"] == 6
    check(project, summary, api, requests=6)


def test_a_cap_is_reserved_once_for_rows_of_one_request(project: Project, api: SimulatedApi) -> None:
    job(project)
    plan = json.loads(project.runner("plan", "jobs/x.yaml", "--format", "json").stdout)
    cap = plan["cost_usd"]["batch"]["upper"] * 1.01
    summary = project.run("jobs/x.yaml", "--mode", "batch", "--set", f"limits.max_cost_usd={cap:.9f}")
    assert summary["exit_status"] == 0
    check(project, summary, api)
    assert summary["estimated_cost_usd"] == pytest.approx(plan["cost_usd"]["batch"]["expected"])


def test_what_was_paid_for_serves_a_later_run_of_either_kind(distinct: Project, api: SimulatedApi) -> None:
    distinct.run("jobs/x.yaml")
    nothing = distinct.run("jobs/x.yaml")
    assert (nothing["exit_status"], api.accounts()["requests"], len(distinct.runs())) == (0, 5, 1)
    job(distinct, distinct=False)
    summary = distinct.run("jobs/x.yaml")
    assert (summary["rows"]["reused"], summary["requests"]) == (ROWS, 0)
    rows(distinct, [*texts(), "new", "new"])
    project_records = distinct.records()
    job(distinct)
    rows(distinct, ["new", *texts()[1:], "new"])
    summary = distinct.run("jobs/x.yaml")
    assert (summary["requests"], summary["rows"]["reused"]) == (1, ROWS)
    assert api.accounts()["requests"] == 6
    assert len(project_records) == ROWS
    assert distinct.runner("show", "latest", "--key", "k40").stdout.startswith(
        "== k40 · succeeded · the same request as k0"
    )


def test_failed_twins_of_the_last_run_are_not_asked_again_by_themselves(distinct: Project, api: SimulatedApi) -> None:
    api.fault("refusal", text="no")
    distinct.run("jobs/x.yaml")
    job(distinct, distinct=False)
    summary = distinct.run("jobs/x.yaml")
    assert (summary["requests"], summary["failures"]) == (0, {"refusal": 8})


def test_samples_are_drawn_once_for_rows_of_one_request(project: Project, api: SimulatedApi) -> None:
    job(project, ("limits:", "samples: 3\nlimits:"))
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], summary["requests"], api.accounts()["requests"]) == (0, 15, 15)
    records = project.records()
    for record in records:
        assert record["samples"] == records[record["index"] % len(TEXTS)]["samples"]
    assert bill(records)[0] == pytest.approx(summary["cost_usd"])


def test_later_turns_belong_to_the_request(project: Project, api: SimulatedApi) -> None:
    job(project, ("output:", "turns: ['Why, {{ row.n | int % 2 }}?']\noutput:"))
    summary = project.run("jobs/x.yaml")
    # Eight rows of a text have eight different `n`, on which their second turn may depend.
    assert (summary["exit_status"], summary["rows"]["reused"], summary["requests"]) == (0, 0, 2 * ROWS)
    job(project, ("output:", "turns: ['Why, {{ row.text }}?']\noutput:"))
    again = project.run("jobs/x.yaml", "--no-reuse")
    assert (again["rows"]["reused"], again["requests"]) == (35, 10)
    assert [record["turns"] for record in project.records()[:5]] == [r["turns"] for r in project.records()[35:]]


def test_a_rule_that_looks_at_the_row_tells_rows_apart(project: Project, api: SimulatedApi) -> None:
    rule = "  rules: ['output.label != \"\" and row.n | int < 20']\n  repair: 0\nlimits:"
    job(project, ("limits:", rule))
    summary = project.run("jobs/x.yaml")
    assert (summary["rows"]["reused"], summary["failures"]) == (0, {"schema_mismatch": 20})
    job(project, ("limits:", rule.replace("row.n | int < 20", 'row.text != "no"')))
    summary = project.run("jobs/x.yaml", "--no-reuse")
    assert (summary["rows"]["reused"], summary["failures"]) == (35, {"schema_mismatch": 8})
    job(project, ("limits:", rule.replace("row.n | int < 20", 'key != "k1"')))
    told = project.runner("check", "jobs/x.yaml")
    assert (told.status, "warning[no-effect]" in told.stderr + told.stdout) == (0, True)
    summary = project.run("jobs/x.yaml", "--no-reuse")
    assert (summary["rows"]["reused"], summary["failures"]) == (0, {"schema_mismatch": 1})
    assert any("no two rows are the same" in warning for warning in summary["warnings"])


def test_revalidating_rules_for_all_rows_of_a_request(distinct: Project, api: SimulatedApi) -> None:
    distinct.run("jobs/x.yaml")
    rule = "  rules: [\"output.label == 'nothing'\"]\nlimits:"
    job(distinct, ("limits:", rule))
    came_to = distinct.runner("revalidate", "latest", "--format", "json").summary
    assert came_to["revalidated"] == {"replies": 5, "succeeded": 0, "failed": 40, "left_aside": []}
    assert {record["status"] for record in distinct.records()} == {"failed"}
    job(distinct, ("limits:", rule.replace("output.label == 'nothing'", "row.n != '3'")))
    refused = distinct.runner("revalidate", "latest")
    assert (refused.status, "error[twins-differ]" in refused.stderr) == (4, True)
    assert "`row.n`" in refused.stderr


def test_selection_counts_rows_of_which_the_same_are_sent_once(distinct: Project, api: SimulatedApi) -> None:
    summary = distinct.run("jobs/x.yaml", "--limit", "7")
    assert (summary["rows"]["total"], summary["requests"]) == (7, 5)
    assert len(distinct.records("out/x.trial.jsonl")) == 7
    shown = distinct.runner("try", "jobs/x.yaml", "-n", "6").stdout
    assert "the same request as k0" in shown


def test_rows_that_cannot_be_rendered_are_their_own(project: Project, api: SimulatedApi) -> None:
    job(project, ("{{ row.text }}", "{% if row.text == 'no' %}{{ row.n / 0 }}{% endif %}{{ row.text }}"))
    summary = project.run("jobs/x.yaml")
    assert (summary["failures"], summary["rows"]["reused"]) == ({"render_error": 8}, 28)
    assert {record["reused"] for record in project.records() if record["status"] == "failed"} == {False}


def test_an_export_of_an_unfinished_run_has_the_twins_of_what_is_done(project: Project, api: SimulatedApi) -> None:
    job(project, ("max_concurrency: 8", "max_concurrency: 1"))
    api.fault("401", text="maybe")
    summary = project.run("jobs/x.yaml")
    assert (summary["status"], summary["rows"]["succeeded"], summary["rows"]["open"]) == ("stopped", 16, 24)
    assert summary["rows"]["reused"] == 14
    project.runner("export", "latest", "--to", "out/part.jsonl")
    records = project.records("out/part.jsonl")
    assert [record["status"] for record in records[:5]] == ["succeeded", "succeeded", "open", "open", "open"]
    assert [(r["status"], r["reused"]) for r in records[35:]] == [("succeeded", True)] * 2 + [("open", False)] * 3
    api.clear_faults()
    done = project.run("jobs/x.yaml")
    assert (done["exit_status"], done["rows"]["open"]) == (0, 0)
    check(project, done, api)


def test_a_canceled_run_ends_twins_too(project: Project, api: SimulatedApi) -> None:
    job(project)
    api.fault("stuck")
    waiting = project.run("jobs/x.yaml", "--mode", "batch", "--detach")
    assert (waiting["exit_status"], waiting["rows"]["open"]) == (6, ROWS)
    project.runner("cancel", "latest", "--detach")
    api.end_batches()
    ended = project.runner("cancel", "latest", "--format", "json").summary
    assert (ended["status"], ended["rows"]["open"]) == ("canceled", 0)
    assert ended["rows"]["canceled"] + ended["rows"]["succeeded"] == ROWS


def test_the_same_records_as_without_distinct(project: Project) -> None:
    job(project)
    job(project, name="y", distinct=False)
    project.run("jobs/x.yaml")
    project.run("jobs/y.yaml")
    assert stable(project.records()) == stable(project.records("out/y.jsonl"))
