"""The commands beside `run`: try, check, plan, render, list, show, resume, retry, export."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.api import SimulatedApi
from support.harness import Done, Project
from support.here import Here


def ran(project: Project, here: Here, *arguments: str) -> dict[str, Any]:
    """The summary of a run that is the test's beginning, not its subject."""
    done = here.runner(project, "run", "jobs/x.yaml", "--format", "json", *arguments)
    assert done.stdout, done.stderr
    return done.summary


# -- check -------------------------------------------------------------------------------------------------------------


def test_check_takes_every_job_of_the_project(project: Project, api: SimulatedApi, here: Here) -> None:
    project.write("jobs/_base.yaml", "this is no job")
    for name in ("x", "y"):
        project.job(name, replaced={"max_tokens: 200": "max_tokens: 2000"})
    before = api.traffic()["received"]
    done = here.runner(project, "check")
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout == "jobs/x.yaml: ok\njobs/y.yaml: ok\n"
    assert api.traffic()["received"] == before


def test_check_tells_errors_with_their_place_and_ends_with_3(project: Project, here: Here) -> None:
    project.job("y", replaced={"prompt:": "promt:", "row.text": "row.txt"})
    done = here.runner(project, "check", "jobs/y.yaml", "jobs/x.yaml")
    assert done.status == 3
    assert "jobs/y.yaml:4:1: error[unknown-key]" in done.stderr
    assert "did you mean `prompt`" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("jobs/y.yaml: ")


def test_check_as_json_leaves_stdout_to_one_object_a_job(project: Project, here: Here) -> None:
    project.job("y", replaced={"row.text": "row.txt"})
    done = here.runner(project, "check", "--format", "json")
    assert (done.status, done.stderr) == (3, "")
    good, bad = done.summaries
    assert (good["job_file"], good["ok"], bad["job_file"], bad["ok"]) == ("jobs/x.yaml", True, "jobs/y.yaml", False)
    (problem,) = [problem for problem in bad["problems"] if problem["severity"] == "error"]
    assert (problem["file"], problem["line"], problem["code"]) == ("jobs/y.yaml", 4, "unknown-column")
    assert "text" in problem["hint"]


def test_check_refuses_two_jobs_of_one_name(project: Project, here: Here) -> None:
    project.job("y", replaced={"name: y": "name: x"})
    done = here.runner(project, "check")
    assert done.status == 3
    assert "duplicate" in done.stderr
    assert "jobs/x.yaml" in done.stderr


def test_check_with_data_renders_every_row(project: Project, here: Here) -> None:
    project.job(replaced={"{{ row.text }}": "{{ 10 // (row.text[12:] | int) }}"})
    assert here.runner(project, "check").status == 0
    done = here.runner(project, "check", "--data")
    assert done.status == 3
    assert "k0" in done.stderr


def test_check_with_data_renders_the_turns_that_need_no_reply(project: Project, here: Here) -> None:
    turns = 'turns: ["{{ replies[0] | upper }}?", "{{ 10 // (row.text[12:] | int) }}?"]\n'
    job = project.root / "jobs/x.yaml"
    job.write_text(job.read_text() + turns)
    assert here.runner(project, "check").status == 0
    done = here.runner(project, "check", "--data")
    assert done.status == 3
    assert "turn 3 of row 'k0'" in done.stderr
    assert "jobs/x.yaml#turns.1" in done.stderr


def test_an_unset_variable_of_the_environment_is_a_warning_of_check_and_an_error_of_run(
    project: Project, here: Here
) -> None:
    project.job(replaced={"max_cost_usd: 5": 'max_cost_usd: "${CAP_OF_NOBODY}"'})
    done = here.runner(project, "check")
    assert done.status == 0
    assert "warning" in done.stderr
    assert "CAP_OF_NOBODY" in done.stderr
    done = here.runner(project, "run", "jobs/x.yaml")
    assert done.status == 3
    assert "CAP_OF_NOBODY" in done.stderr


def test_check_of_a_project_without_jobs_says_what_to_do(project: Project, here: Here) -> None:
    (project.root / "jobs/x.yaml").unlink()
    done = here.runner(project, "check")
    assert done.status == 2
    assert "runner init" in done.stderr


# -- plan and render ---------------------------------------------------------------------------------------------------


def test_plan_counts_new_changed_and_reused_rows_and_sends_nothing(
    project: Project, api: SimulatedApi, here: Here
) -> None:
    ran(project, here)
    project.rows(15)
    rows = (project.root / "data/rows.csv").read_text().replace("text number 3\n", "another text\n")
    project.write("data/rows.csv", rows)
    sent = api.accounts()["requests"]
    plan = here.runner(project, "plan", "jobs/x.yaml", "--format", "json").summary
    assert plan["rows"] == {"total": 15, "new": 3, "changed": 1, "reused": 11, "unsendable": 0, "twins": 0}
    assert (plan["requests"], plan["mode"], plan["max_cost_usd"]) == (4, "parallel", 5)
    assert set(plan["cost_usd"]) == {"parallel", "batch"}
    assert 0 < plan["cost_usd"]["parallel"]["expected"] <= plan["cost_usd"]["parallel"]["upper"] < 5
    assert plan["cost_usd"]["batch"]["upper"] < plan["cost_usd"]["parallel"]["upper"]
    assert api.accounts()["requests"] == sent
    everything = here.runner(project, "plan", "jobs/x.yaml", "--no-reuse", "--format", "json").summary
    assert everything["rows"]["new"] == 15


def test_plan_needs_no_key(project: Project, here: Here) -> None:
    alone = Project(project.root, {})
    done = here.runner(alone, "plan", "jobs/x.yaml")
    assert done.status == 0
    assert "12: 12 new, 0 changed, 0 reused" in done.stdout
    assert "in batch mode" in done.stdout


def test_plan_tells_rows_that_cannot_be_sent_and_a_run_that_waits(
    project: Project, api: SimulatedApi, here: Here
) -> None:
    project.job(replaced={"{{ row.text }}": "{{ 10 // (row.text[12:] | int) }}"})
    api.fault("401")
    run_id = ran(project, here)["run_id"]
    plan = here.runner(project, "plan", "jobs/x.yaml", "--format", "json").summary
    assert (plan["rows"]["unsendable"], plan["failures"]) == (1, {"render_error": 1})
    assert plan["unfinished_run"] == run_id
    done = here.runner(project, "plan", "jobs/x.yaml")
    assert "1 that cannot be sent" in done.stdout
    assert f"run {run_id} of this job is unfinished" in done.stdout


def test_render_writes_the_exact_bodies_one_json_a_line(project: Project, api: SimulatedApi, here: Here) -> None:
    done = here.runner(project, "render", "jobs/x.yaml", "--key", "k3", "--key", "k7")
    assert (done.status, done.stderr) == (0, "")
    third, seventh = (json.loads(line) for line in done.stdout.splitlines())
    assert third["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Judge this: text number 3"}]}]
    assert (third["model"], third["max_tokens"]) == ("claude-haiku-5-5", 200)
    assert third["output_config"]["format"]["schema"]["properties"] == {
        "label": {"type": "string", "enum": ["good", "bad"]}
    }
    assert {**third, "messages": None} == {**seventh, "messages": None}
    assert len(here.runner(project, "render", "jobs/x.yaml", "--limit", "2").stdout.splitlines()) == 2
    assert api.accounts()["requests"] == 0


def test_render_tells_of_a_failing_row_on_stderr(project: Project, here: Here) -> None:
    project.job(replaced={"{{ row.text }}": "{{ 10 // (row.text[12:] | int) }}"})
    done = here.runner(project, "render", "jobs/x.yaml")
    assert done.status == 3
    assert len(done.stdout.splitlines()) == 11
    assert done.stderr.startswith("row k0: render_error: ")


# -- try ---------------------------------------------------------------------------------------------------------------


def test_try_shows_prompts_replies_and_cost_and_touches_nothing(
    project: Project, api: SimulatedApi, here: Here
) -> None:
    project.job(replaced={"prompt:": 'system: "Be just."\nprompt:'})
    done = here.runner(project, "try", "jobs/x.yaml", "-n", "2")
    assert done.status == 0
    assert done.stdout.count("Be just.") == 1, "what all rows share is shown once"
    for index in range(2):
        assert f"== k{index} · succeeded · $0.0000" in done.stdout
        assert f"Judge this: text number {index}" in done.stdout
    assert '{"label":"' in done.stdout
    assert "2 of 2 rows succeeded" in done.stdout
    assert not (project.root / "out/x.jsonl").exists()
    assert len(project.records("out/x.trial.jsonl")) == 2
    assert api.accounts()["requests"] == 2
    done = here.runner(project, "try", "jobs/x.yaml", "--key", "k1")
    assert "1 of 1 row succeeded" in done.stdout
    assert "paid for before" in done.stdout


def test_a_prompt_that_would_play_with_the_terminal_is_made_harmless(project: Project, here: Here) -> None:
    project.write("data/rows.csv", "id,text\nk0,\x1b]0;a new title\x07red\n")
    done = here.runner(project, "try", "jobs/x.yaml", "--simulate")
    assert "Judge this: red" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


# -- list and show -----------------------------------------------------------------------------------------------------


def test_list_and_show_tell_what_ran(project: Project, api: SimulatedApi, here: Here) -> None:
    assert "no runs yet" in here.runner(project, "list").stdout
    assert here.runner(project, "list", "--format", "json").stdout == ""
    api.fault("529", text="text number 4", times=2)
    api.fault("refusal", text="text number 5")
    arguments = ("--set", "retry.initial_interval=1ms", "--set", "limits.allow_failures=1")
    first = ran(project, here, *arguments)
    trial = ran(project, here, "--limit", "1")

    head, *rows = here.runner(project, "list").stdout.splitlines()
    assert head.split() == ["run", "job", "status", "rows", "failed", "open", "cost"]
    assert rows[0].split()[:6] == [first["run_id"], "x", "finished", "12", "1", "0"]
    assert rows[1].split()[:4] == [trial["run_id"], "x", "finished", "(trial)"]
    listed = here.runner(project, "list", "--format", "json").summaries
    assert [summary["run_id"] for summary in listed] == [first["run_id"], trial["run_id"]]

    for name in (first["run_id"], first["run_id"][:-2]):
        shown = here.runner(project, "show", name, "--format", "json").summary
        assert {**shown, "exit_status": 0, "warnings": []} == {**first, "warnings": []}
    assert here.runner(project, "show", "latest", "--format", "json").summary["run_id"] == trial["run_id"]
    assert here.runner(project, "show", "x", "--format", "json").summary["run_id"] == trial["run_id"]
    text = here.runner(project, "show", first["run_id"]).stdout
    assert "11 of 12 rows succeeded" in text
    assert "(refusal 1)" in text
    assert "out/x.jsonl: 12 records" in text

    row = here.runner(project, "show", first["run_id"], "--key", "k4", "--format", "json").summary
    assert row["record"] == project.records()[4]
    assert row["request"]["messages"][0]["content"][0]["text"] == "Judge this: text number 4"
    assert [attempt["end"] for attempt in row["attempts"]] == ["errored", "errored", "succeeded"]
    text = here.runner(project, "show", first["run_id"], "--key", "k4").stdout
    assert "1. " in text
    assert "errored: overloaded_error" in text
    assert "3. " in text
    unknown = here.runner(project, "show", first["run_id"], "--key", "k99")
    assert (unknown.status, unknown.stdout) == (2, "")
    assert "'k99'" in unknown.stderr


@contextmanager
def hanging(project: Project, api: SimulatedApi, here: Here) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own that has answered every row but k5; killed on leaving if it has not ended."""
    api.fault("hang", text="text number 5")
    with project.start("run", "jobs/x.yaml") as child:
        try:
            while (standing := here.runner(project, "show", "--format", "json")).status or (
                standing.summary["rows"]["succeeded"] < 11
            ):
                assert child.poll() is None
            yield child
        finally:
            if child.poll() is None:
                child.kill()


def standing(project: Project, here: Here) -> dict[str, Any]:
    return here.runner(project, "show", "--format", "json").summary


def test_a_run_can_be_looked_at_and_exported_while_it_goes_on(project: Project, api: SimulatedApi, here: Here) -> None:
    with hanging(project, api, here) as child:
        shown = standing(project, here)
        assert (shown["status"], shown["rows"]["open"]) == ("running", 1)
        assert "running" in here.runner(project, "list").stdout
        row = here.runner(project, "show", "latest", "--key", "k5")
        assert "== k5 · open" in row.stdout

        done = here.runner(project, "export", "latest", "--to", "-")
        assert done.status == 0
        assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["succeeded"] * 5 + ["open"] + [
            "succeeded"
        ] * 6
        assert here.runner(project, "export").stdout == "out/x.jsonl: 12 records\n"
        assert project.records()[5]["status"] == "open"

        other = here.runner(project, "run", "jobs/x.yaml")
        assert other.status == 4
        assert "locked" in other.stderr
        assert f"pid {child.pid}" in other.stderr

        assert child.stderr is not None
        child.send_signal(signal.SIGINT)
        while "Ctrl-C again" not in child.stderr.readline():
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        child.communicate()
        assert child.returncode == 130
    shown = standing(project, here)
    assert (shown["status"], shown["resume"]) == ("interrupted", f"runner resume {shown['run_id']}")

    api.clear_faults()
    done = here.runner(project, "resume", "--format", "json")
    assert (done.status, done.summary["rows"]["succeeded"]) == (0, 12)
    assert project.records()[5]["status"] == "succeeded", "its own export is no file of somebody else"


# -- resume and retry --------------------------------------------------------------------------------------------------


def stopped(project: Project, api: SimulatedApi, here: Here) -> str:
    """A run that the API has stopped before its first reply."""
    api.fault("401", message="no such key")
    run_id: str = ran(project, here)["run_id"]
    api.clear_faults()
    return run_id


def test_why_a_run_stopped_is_still_known_later(project: Project, api: SimulatedApi, here: Here) -> None:
    run_id = stopped(project, api, here)
    shown = here.runner(project, "show", run_id, "--format", "json").summary
    assert (shown["status"], shown["exit_status"], shown["stopped_by"]["kind"]) == ("stopped", 4, "credentials")
    text = here.runner(project, "show", run_id).stdout
    assert "no such key" in text
    assert f"runner resume {run_id}" in text


def test_resume_goes_on_with_every_open_run_and_then_finds_none(
    project: Project, api: SimulatedApi, here: Here
) -> None:
    project.job("y", replaced={"Judge this": "Judge that"})
    first = stopped(project, api, here)
    api.fault("401")
    here.runner(project, "run", "jobs/y.yaml")
    api.clear_faults()
    (project.root / "jobs/x.yaml").unlink()  # a run owns its input: nothing of the project is read again
    (project.root / "data/rows.csv").unlink()
    done = here.runner(project, "resume", "--format", "json")
    assert done.status == 0
    assert [summary["job"] for summary in done.summaries] == ["x", "y"]
    assert api.accounts()["requests"] == 24

    none = here.runner(project, "resume")
    assert (none.status, none.stdout) == (0, "")
    assert "no run is open" in none.stderr
    finished = here.runner(project, "resume", first)
    assert finished.status == 4
    assert f"runner retry {first}" in finished.stderr


def test_a_run_of_another_address_is_not_resumed(project: Project, api: SimulatedApi, here: Here) -> None:
    run_id = stopped(project, api, here)
    done = here.runner(project, "resume", run_id, ANTHROPIC_BASE_URL="http://127.0.0.1:9")
    assert done.status == 4
    assert api.base_url in done.stderr
    assert "ANTHROPIC_BASE_URL" in done.stderr


def test_retry_sends_what_failed_and_can_be_narrowed(project: Project, api: SimulatedApi, here: Here) -> None:
    api.fault("refusal", text="text number 5")
    api.fault("max_tokens", text="text number 7")
    ran(project, here)
    api.clear_faults()
    nothing = here.runner(project, "retry", "x", "--kind", "timeout")
    assert nothing.status == 2
    assert "refusal" in nothing.stderr
    sent = api.accounts()["requests"]
    done = here.runner(project, "retry", "x", "--kind", "refusal", "--format", "json")
    assert (done.status, done.summary["failures"]) == (5, {"truncated": 1})
    assert api.accounts()["requests"] == sent + 1
    done = here.runner(project, "retry", "x", "--key", "k7", "--format", "json")
    assert (done.status, done.summary["rows"]["succeeded"]) == (0, 12)


# -- export ------------------------------------------------------------------------------------------------------------


def exported(done: Done) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_export_writes_targets_again_or_where_it_is_told(project: Project, api: SimulatedApi, here: Here) -> None:
    ran(project, here)
    before = (project.root / "out/x.jsonl").read_bytes()
    (project.root / "out/x.jsonl").unlink()
    assert here.runner(project, "export", "x").status == 0
    assert (project.root / "out/x.jsonl").read_bytes() == before

    assert here.runner(project, "export", "x", "--to", "elsewhere/all.csv").status == 0
    with (project.root / "elsewhere/all.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == [f"k{index}" for index in range(12)]
    done = here.runner(project, "export", "x", "--to", "-", "--as", "csv")
    assert exported(done) == rows
    done = here.runner(project, "export", "x", "--to", "table.txt", "--as", "tsv")
    assert (project.root / "table.txt").read_text().startswith("key\tid\ttext\toutput_label\t")
    assert api.accounts()["requests"] == 12


def test_a_sink_that_cannot_be_written_stops_no_other_in_an_export(project: Project, here: Here) -> None:
    project.job(rows=3, replaced={"[out/x.jsonl]": "[out/x.jsonl, out/x.csv]"})
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    project.write("out/x.jsonl", "somebody else's")
    (project.root / "out/x.csv").unlink()
    done = here.runner(project, "export", "x")
    assert done.status == 4
    assert "out/x.jsonl exists, and this job did not write it" in done.stderr
    assert "overwrite: true" in done.stderr
    assert len((project.root / "out/x.csv").read_text().splitlines()) == 4
    assert (project.root / "out/x.jsonl").read_text() == "somebody else's"


def test_export_in_a_format_there_is_not_is_wrong_usage(project: Project, here: Here) -> None:
    ran(project, here)
    done = here.runner(project, "export", "x", "--to", "out.frob")
    assert (done.status, done.stdout) == (2, "")
    assert "csv, jsonl" in done.stderr
    done = here.runner(project, "export", "x", "--as", "csv")
    assert done.status == 2
    assert "--to" in done.stderr


def test_a_target_that_cannot_be_written_ends_with_4(project: Project, here: Here) -> None:
    ran(project, here)
    project.write("taken", "a file")
    done = here.runner(project, "export", "x", "--to", "taken/x.csv")
    assert (done.status, done.stdout) == (4, "")
    assert "taken/x.csv" in done.stderr
    assert "Traceback" not in done.stderr
