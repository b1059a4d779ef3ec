"""`runner run` as a user runs it, against the stand-in: what is sent, written, said and returned."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from support.api import SimulatedApi
from support.harness import ROOT, Project, stable


def test_every_row_is_sent_once_and_written_in_order(project: Project, api: SimulatedApi) -> None:
    summary = project.run("jobs/x.yaml")
    assert summary["status"] == "finished"
    assert summary["exit_status"] == 0
    assert [record["key"] for record in project.records()] == [f"k{index}" for index in range(12)]
    assert all(record["output"]["label"] in ("good", "bad") for record in project.records())
    assert api.accounts()["requests"] == 12


def test_the_bill_matches_the_api_s(project: Project, api: SimulatedApi) -> None:
    summary = project.run("jobs/x.yaml")
    assert round(summary["cost_usd"] * 10**12) == api.accounts()["cost_pico"]
    assert sum(record["usage"]["output_tokens"] for record in project.records()) == summary["usage"]["output_tokens"]


def test_a_second_run_has_nothing_to_do_and_makes_no_run(project: Project, api: SimulatedApi) -> None:
    project.run("jobs/x.yaml")
    done = project.runner("run", "jobs/x.yaml")
    assert done.status == 0
    assert "nothing to do" in done.stdout
    assert len(project.runs()) == 1
    assert api.accounts()["requests"] == 12


@pytest.mark.slow
def test_requests_are_the_same_whatever_the_order_of_sets(tmp_path: Path) -> None:
    project = Project(tmp_path / "starter", {})
    shutil.copytree(ROOT / "runner" / "examples", project.root)
    command = ("run", "jobs/orders.yaml", "jobs/complaints.yaml", "jobs/tickets.yaml", "--simulate", "--format", "json")
    paid, free = (project.runner(*command, environ={"PYTHONHASHSEED": seed}).summaries for seed in "12")
    assert [summary["rows"]["reused"] for summary in paid] == [0, 0, 0]
    assert [summary["rows"]["reused"] for summary in free] == [summary["rows"]["succeeded"] for summary in paid]


def test_a_deleted_output_is_written_again_for_nothing(project: Project, api: SimulatedApi) -> None:
    project.run("jobs/x.yaml")
    before = project.records()
    (project.root / "out/x.jsonl").unlink()
    summary = project.run("jobs/x.yaml")
    assert stable(project.records()) == stable(before)
    assert summary["rows"]["reused"] == 12
    assert api.accounts()["requests"] == 12


def test_only_new_and_changed_rows_are_sent(project: Project, api: SimulatedApi) -> None:
    project.run("jobs/x.yaml")
    project.rows(15)
    rows = (project.root / "data/rows.csv").read_text().replace("text number 3", "another text")
    project.write("data/rows.csv", rows)
    summary = project.run("jobs/x.yaml")
    assert summary["rows"]["reused"] == 11
    assert api.accounts()["requests"] == 12 + 3 + 1
    reused = [record for record in project.records() if record["reused"]]
    assert {record["cost_usd"] for record in reused} == {0.0}


def test_no_reuse_pays_again(project: Project, api: SimulatedApi) -> None:
    project.run("jobs/x.yaml")
    summary = project.run("jobs/x.yaml", "--no-reuse")
    assert summary["rows"]["reused"] == 0
    assert api.accounts()["requests"] == 24


def test_rows_that_failed_for_a_passing_reason_are_sent_again(project: Project, api: SimulatedApi) -> None:
    api.fault("500", text="text number 5")
    summary = project.run("jobs/x.yaml", "--set", "retry.max_attempts=2", "--set", "retry.initial_interval=1ms")
    assert (summary["exit_status"], summary["failures"]) == (5, {"api_error": 1})
    api.clear_faults()
    summary = project.run("jobs/x.yaml", "--set", "retry.max_attempts=2", "--set", "retry.initial_interval=1ms")
    assert (summary["exit_status"], summary["rows"]["reused"]) == (0, 11)


def test_a_refusal_stays_until_it_is_retried(project: Project, api: SimulatedApi) -> None:
    api.fault("refusal", text="text number 5")
    summary = project.run("jobs/x.yaml")
    assert summary["failures"] == {"refusal": 1}
    record = project.records()[5]
    assert (record["status"], record["output"], record["error"]["kind"]) == ("failed", None, "refusal")
    assert record["error"]["category"]
    sent = api.accounts()["requests"]

    api.clear_faults()
    assert project.runner("run", "jobs/x.yaml").status == 5
    assert api.accounts()["requests"] == sent, "an unchanged refusal is not asked again"

    done = project.runner("retry", "latest", "--format", "json")
    assert (done.status, done.summary["rows"]["succeeded"]) == (0, 12)
    assert api.accounts()["requests"] == sent + 1


def test_a_truncated_reply_is_failed_with_its_text_kept(project: Project, api: SimulatedApi) -> None:
    api.fault("max_tokens", text="text number 2")
    summary = project.run("jobs/x.yaml")
    assert summary["failures"] == {"truncated": 1}
    record = project.records()[2]
    assert (record["status"], record["output"], record["stop_reason"]) == ("failed", None, "max_tokens")
    assert record["text"]


def test_failures_that_are_allowed_keep_the_exit_status_0(project: Project, api: SimulatedApi) -> None:
    api.fault("refusal", text="text number 5")
    assert project.run("jobs/x.yaml", "--set", "limits.allow_failures=1")["exit_status"] == 0


def test_too_many_failures_stop_the_run_and_it_can_go_on(project: Project, api: SimulatedApi) -> None:
    project.rows(60)
    api.fault("refusal")
    summary = project.run("jobs/x.yaml", "--set", "limits.max_failures=5")
    assert (summary["status"], summary["exit_status"]) == ("stopped", 4)
    assert summary["stopped_by"]["kind"] == "max_failures"
    assert summary["rows"]["open"] > 0
    assert not (project.root / "out/x.jsonl").exists(), "a run that stopped early writes no target"

    api.clear_faults()
    summary = project.run("jobs/x.yaml", "--set", "limits.max_failures=60", "--set", "limits.allow_failures=60")
    assert (summary["status"], summary["rows"]["open"], summary["exit_status"]) == ("finished", 0, 0)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("401", "credentials"), ("403", "permission"), ("402", "spend_limit"), ("spend_limit", "spend_limit")],
)
def test_a_failure_of_the_job_stops_the_run_and_loses_nothing(
    project: Project, api: SimulatedApi, fault: str, kind: str
) -> None:
    api.fault(fault)
    summary = project.run("jobs/x.yaml")
    assert (summary["status"], summary["exit_status"], summary["stopped_by"]["kind"]) == ("stopped", 4, kind)
    assert summary["rows"]["open"] == 12
    api.clear_faults()
    assert project.run("jobs/x.yaml")["rows"]["succeeded"] == 12
    assert api.accounts()["most_repeated"] == 1


def test_an_unknown_model_stops_the_run(project: Project, api: SimulatedApi) -> None:
    summary = project.run("jobs/x.yaml", "--set", "model=claude-none-1", "--set", "limits.max_cost_usd=null", "--yes")
    assert (summary["exit_status"], summary["stopped_by"]["kind"]) == (4, "not_found")


def test_a_changed_job_is_told_with_both_ways_out(project: Project, api: SimulatedApi) -> None:
    api.fault("401")
    project.run("jobs/x.yaml")
    api.clear_faults()
    project.job(replaced={"Judge this": "Judge that"})
    done = project.runner("run", "jobs/x.yaml")
    assert done.status == 4
    (run_id,) = project.runs()
    assert f"runner resume {run_id}" in done.stderr
    assert "--new" in done.stderr

    assert project.runner("resume", run_id).status == 0
    assert "Judge this" not in json.dumps(project.run("jobs/x.yaml"))
    assert api.accounts()["requests"] == 24


def test_new_starts_over_beside_an_unfinished_run(project: Project, api: SimulatedApi) -> None:
    api.fault("401", text="text number 7")
    project.run("jobs/x.yaml", "--set", "limits.max_concurrency=1")
    api.clear_faults()
    answered = api.accounts()["requests"]
    project.job(
        replaced={
            "[good, bad]": "[good, bad]",
            "max_concurrency: 8": "max_concurrency: 4",
            "sinks: [out/x.jsonl]": "sinks: [out/x.jsonl, out/x.csv]",
        }
    )
    assert project.runner("run", "jobs/x.yaml").status == 4
    summary = project.run("jobs/x.yaml", "--new")
    assert summary["rows"]["reused"] == answered
    assert api.accounts()["requests"] == 12


def test_a_trial_touches_nothing_of_production_and_its_replies_are_reused(project: Project, api: SimulatedApi) -> None:
    summary = project.run("jobs/x.yaml", "--limit", "3")
    assert summary["sinks"][0]["target"] == "out/x.trial.jsonl"
    assert not (project.root / "out/x.jsonl").exists()
    summary = project.run("jobs/x.yaml")
    assert summary["rows"] == {
        "total": 12,
        "succeeded": 12,
        "failed": 0,
        "expired": 0,
        "canceled": 0,
        "open": 0,
        "reused": 3,
    }
    assert api.accounts()["requests"] == 12


def test_simulated_replies_are_never_taken_for_real_ones(project: Project, api: SimulatedApi) -> None:
    summary = project.run("jobs/x.yaml", "--simulate")
    assert summary["simulated"] is True
    assert api.accounts()["requests"] == 0
    assert project.run("jobs/x.yaml")["rows"]["reused"] == 0
    assert api.accounts()["requests"] == 12


def test_a_state_folder_that_a_simulated_run_makes_is_private_and_is_told_where_it_cannot_be_made(
    project: Project,
) -> None:
    project.run("jobs/x.yaml", "--simulate")
    assert stat.S_IMODE((project.root / ".runner").stat().st_mode) == 0o700
    unnamable = os.fsdecode(bytes(project.root / "caf") + b"\xe9")
    done = project.runner("run", "jobs/x.yaml", "--simulate", environ={"RUNNER_STATE_DIR": unnamable})
    assert (done.status, "Traceback" in done.stderr, "error[not-utf8]" in done.stderr) == (4, False, True), done.stderr


def test_betas_of_the_environment_tell_replies_and_runs_apart(project: Project, api: SimulatedApi) -> None:
    with_betas = {"ANTHROPIC_CUSTOM_HEADERS": "X-Team: a\nAnthropic-Beta: two-2, one-1"}
    other_order = {"ANTHROPIC_CUSTOM_HEADERS": "anthropic-beta: one-1,two-2\nX-Team: b"}
    project.run("jobs/x.yaml")
    api.fault("401")
    stopped = project.run("jobs/x.yaml", environ=with_betas)
    assert (stopped["status"], stopped["rows"]["reused"]) == ("stopped", 0)
    refused = project.runner("resume", stopped["run_id"])
    assert refused.status == 4
    assert "began with the betas one-1, two-2, and the environment now has no betas" in refused.stderr
    api.clear_faults()
    assert project.run("jobs/x.yaml", environ=other_order)["run_id"] == stopped["run_id"]
    assert api.accounts()["requests"] == 24
    assert "nothing to do" in project.runner("run", "jobs/x.yaml", environ=with_betas).stdout
    api.fault("401")
    open_run = project.run("jobs/x.yaml", "--no-reuse", "--new", environ=with_betas)
    assert open_run["rows"]["open"] == 12
    assert project.runner("cancel", open_run["run_id"]).status == 5  # without them: nothing is sent
    assert "canceled" in project.runner("show", open_run["run_id"]).stdout


def test_a_file_of_somebody_else_is_not_replaced(project: Project, api: SimulatedApi) -> None:
    project.write("out/x.jsonl", "precious\n")
    done = project.runner("run", "jobs/x.yaml")
    assert done.status == 4
    assert "overwrite: true" in done.stderr
    assert (project.root / "out/x.jsonl").read_text() == "precious\n"
    assert api.accounts()["requests"] == 0, "nothing is paid before it is known where the answers may go"


def test_records_on_stdout_leave_it_clean(project: Project, api: SimulatedApi) -> None:
    project.job(replaced={"out/x.jsonl": '"-"'})
    done = project.runner("run", "jobs/x.yaml")
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == list(range(12))
    assert "12 of 12 rows succeeded" in done.stderr
    assert project.runner("run", "jobs/x.yaml", "--format", "json", "--new").status == 2


def test_without_a_cap_a_dear_run_needs_a_word(project: Project, api: SimulatedApi) -> None:
    project.job(
        replaced={"max_tokens: 200": "max_tokens: 20000", ", max_cost_usd: 5": "", "claude-haiku-5-5": "claude-opus-5"}
    )
    project.rows(40)
    done = project.runner("run", "jobs/x.yaml")
    assert done.status == 4
    assert "--yes" in done.stderr
    assert api.accounts()["requests"] == 0
    assert project.runs() == []
    assert project.runner("run", "jobs/x.yaml", "--yes").status == 0


def test_a_cap_stops_the_run_before_it_is_passed(project: Project, api: SimulatedApi) -> None:
    project.rows(50)
    summary = project.run("jobs/x.yaml", "--set", "limits.max_cost_usd=0.001")
    assert (summary["exit_status"], summary["stopped_by"]["kind"]) == (4, "budget")
    assert api.accounts()["cost_pico"] <= 10**9
    summary = project.run("jobs/x.yaml", "--set", "limits.max_cost_usd=1")
    assert summary["rows"]["succeeded"] == 50
    assert api.accounts()["requests"] == 50


def test_a_cap_on_an_unknown_price_is_refused(project: Project, api: SimulatedApi) -> None:
    done = project.runner("run", "jobs/x.yaml", "--set", "model=somebody-else-1")
    assert done.status == 4
    assert "unknown-price" in done.stderr


def test_no_credential_is_told_with_every_place_that_was_looked_in(project: Project, tmp_path: Path) -> None:
    bare = Project(project.root, {"HOME": str(tmp_path)})
    done = bare.runner("run", "jobs/x.yaml")
    assert done.status == 4
    assert "ANTHROPIC_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_duplicate_keys_are_told_before_anything_is_paid(project: Project, api: SimulatedApi) -> None:
    project.write("data/rows.csv", "id,text\na,1\nb,2\na,3\n")
    done = project.runner("run", "jobs/x.yaml")
    assert done.status == 3
    assert "data/rows.csv:4" in done.stderr
    assert "data/rows.csv:2" in done.stderr
    assert (api.accounts()["requests"], project.runs()) == (0, [])


def test_zero_rows_are_finished_with_a_warning(project: Project) -> None:
    project.write("data/rows.csv", "id,text\n")
    done = project.runner("run", "jobs/x.yaml", "--format", "json")
    assert (done.status, done.summary["rows"]["total"]) == (0, 0)
    assert done.summary["warnings"]


def test_several_jobs_end_with_the_worst_status(project: Project, api: SimulatedApi) -> None:
    project.job("y", rows=12)
    api.fault("refusal", text="text number 5", times=1)
    done = project.runner("run", "jobs/x.yaml", "jobs/missing.yaml", "jobs/y.yaml", "--format", "json")
    assert [summary["job"] for summary in done.summaries] == ["x", "y"]
    assert done.status == 3
    assert "jobs/missing.yaml" in done.stderr


def test_a_row_that_cannot_be_rendered_fails_alone(project: Project, api: SimulatedApi) -> None:
    project.job(replaced={"{{ row.text }}": "{{ 10 // (row.text[12:] | int) }}"})
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], summary["failures"]) == (5, {"render_error": 1})
    assert api.accounts()["requests"] == 11
    assert "k0" in project.records()[0]["error"]["message"]
