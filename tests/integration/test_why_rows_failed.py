"""Why rows failed, as a user is told at a run's end, by `show` and in JSON; against the stand-in."""

from __future__ import annotations

import json

from syrupy.assertion import SnapshotAssertion

from support.api import SimulatedApi
from support.harness import Project
from support.here import Here

SETS = (
    *("--set", "retry.max_attempts=2", "--set", "retry.initial_interval=1ms"),
    *("--set", "output.repair=0", "--set", "params.max_tokens=2000"),
)
FAILED = {2: "refusal", 3: "truncated", 4: "schema_mismatch", 5: "api_error", 6: "schema_mismatch", 9: "refusal"}


def fail_in_many_ways(api: SimulatedApi) -> None:
    """As `FAILED` says."""
    for number, kind in FAILED.items():
        fault = {"schema_mismatch": "off_schema", "truncated": "max_tokens", "api_error": "500"}.get(kind, kind)
        message = {"message": "\x1b[2Jno luck today\ntry tomorrow"} if fault == "500" else {}
        api.fault(fault, text=f"text number {number}", **message)


def without_ids(text: str, run_id: str) -> list[str]:
    """What is said of failures, and what to do about them."""
    lines = text.replace(run_id, "RUN").splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith("  failed"))
    go_on = next(place for place, line in enumerate(lines) if line.startswith("  go on"))
    of_failures = [lines[begin]]
    for line in lines[begin + 1 :]:
        if not line.startswith("   "):
            break
        of_failures.append(line)
    return [*of_failures, *lines[go_on:]]


def test_a_run_s_end_and_show_say_why_rows_failed_and_what_to_do(
    project: Project, api: SimulatedApi, here: Here, snapshot: SnapshotAssertion
) -> None:
    fail_in_many_ways(api)
    done = here.runner(project, "run", "jobs/x.yaml", *SETS)
    assert done.status == 5
    assert "\x1b" not in done.stdout
    (run_id,) = project.runs()
    told = without_ids(done.stdout, run_id)
    assert told == snapshot
    assert without_ids(here.runner(project, "show", "x").stdout, run_id) == told

    refused = without_ids(here.runner(project, "run", "jobs/x.yaml", *SETS, "--format", "text").stdout, "-")
    assert refused[:3] == told[:3], "what is asked again is what may pass, and that is not the commonest"

    again = here.runner(project, "retry", run_id)
    assert without_ids(again.stdout, run_id) == told
    api.clear_faults()
    assert "failed" not in here.runner(project, "retry", run_id).stdout


def test_reasons_are_a_list_of_their_own_in_json(project: Project, api: SimulatedApi, here: Here) -> None:
    fail_in_many_ways(api)
    summary = here.runner(project, "run", "jobs/x.yaml", *SETS, "--format", "json").summary
    records = {record["key"]: record for record in project.records()}
    assert summary["failures"] == {"api_error": 1, "refusal": 2, "schema_mismatch": 2, "truncated": 1}
    reasons = summary["failure_reasons"]
    assert [(one["kind"], one["rows"], one["example"]["key"]) for one in reasons] == [
        ("refusal", 2, "k2"),
        ("schema_mismatch", 2, "k4"),
        ("api_error", 1, "k5"),
        ("truncated", 1, "k3"),
    ]
    for one in reasons:
        assert one["example"]["message"] == records[one["example"]["key"]]["error"]["message"]
    assert "`label` is missing" in reasons[1]["example"]["message"], "what was wrong with the reply"
    assert [one["hint"] is None for one in reasons] == [False, False, True, False]
    assert here.runner(project, "show", "x", "--format", "json").summary["failure_reasons"] == reasons
    assert here.runner(project, "list", "--format", "json").summary["failure_reasons"] == reasons
    api.clear_faults()
    assert here.runner(project, "retry", "x", "--format", "json").summary["failure_reasons"] == []


def test_failed_rows_are_listed(project: Project, api: SimulatedApi, here: Here) -> None:
    fail_in_many_ways(api)
    run_id = project.run("jobs/x.yaml", *SETS)["run_id"]
    head, *lines = here.runner(project, "show", run_id, "--failed").stdout.splitlines()
    assert head.split() == ["key", "kind", "attempts", "message"]
    assert [line.split()[:3] for line in lines] == [
        [f"k{number}", kind, "2" if kind == "api_error" else "1"] for number, kind in FAILED.items()
    ]
    assert lines[3].endswith("no luck today try tomorrow"), "made harmless, and one line"

    listed = here.runner(project, "show", run_id, "--failed", "--format", "json").summaries
    records = [record for record in project.records() if record["status"] == "failed"]
    assert listed == [
        {name: record[name] for name in ("key", "index", "status", "error", "attempts")} for record in records
    ]


def test_failed_rows_are_chosen_by_kind_and_number(project: Project, api: SimulatedApi, here: Here) -> None:
    fail_in_many_ways(api)
    project.run("jobs/x.yaml", *SETS)
    few = here.runner(project, "show", "x", "--failed", "--kind", "refusal", "--kind", "api_error", "--limit", "2")
    assert [line.split()[0] for line in few.stdout.splitlines()] == ["key", "k2", "k5"]
    assert "first 2" in few.stderr
    all_of_them = here.runner(project, "show", "x", "--failed", "--limit", "6", "--format", "json")
    assert (len(all_of_them.summaries), all_of_them.stderr) == (6, "")
    none = here.runner(project, "show", "x", "--failed", "--kind", "timeout")
    assert (none.status, "has no such failed rows" in none.stdout) == (0, True)
    assert here.runner(project, "show", "x", "--failed", "--kind", "timeout", "--format", "json").stdout == ""


def test_options_that_do_not_go_together_are_wrong_usage(project: Project, api: SimulatedApi, here: Here) -> None:
    project.run("jobs/x.yaml")
    for arguments in (["--failed", "--key", "k1"], ["--limit", "3"], ["--kind", "refusal"]):
        done = here.runner(project, "show", "x", *arguments)
        assert (done.status, done.stdout) == (2, ""), arguments
        assert "--failed" in done.stderr
    assert "has no failed rows" in here.runner(project, "show", "x", "--failed").stdout


def test_rows_of_a_canceled_run_are_listed_as_what_they_are(project: Project, api: SimulatedApi, here: Here) -> None:
    api.fault("401", text="text number 7")
    run_id = project.run("jobs/x.yaml", "--set", "limits.max_concurrency=1")["run_id"]
    canceled = here.runner(project, "cancel", run_id, "--format", "json").summary["rows"]["canceled"]
    assert canceled
    listed = here.runner(project, "show", run_id, "--failed", "--kind", "canceled", "--format", "json")
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {row["status"] for row in rows} == {"canceled"}
    assert len(rows) == canceled


def test_a_reader_that_leaves_early_is_no_error(project: Project, api: SimulatedApi) -> None:
    project.rows(3_000)
    api.fault("refusal")
    project.run("jobs/x.yaml", "--set", "mode=parallel")
    with project.start("show", "x", "--failed") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().startswith("key")
        child.stdout.close()
        said = child.stderr.read()
    assert (child.returncode, said) == (141, "")
