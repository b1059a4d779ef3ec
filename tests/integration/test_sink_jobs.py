"""Jobs whose records go to webhooks and functions: the whole program against real receivers, in every mode."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterator

import pytest

from runner.plugins import SINKS
from support.api import SimulatedApi
from support.harness import Project
from support.webhook_server import Answer, Receiver, receiver

ROWS = 60
TOKEN = "token-canary-0f81e5"
KEY = b"signing-canary-of-24-by"
SECRET = "whsec_" + base64.b64encode(KEY + b"!").decode()


@pytest.fixture(scope="module")
def api_options() -> dict[str, str]:
    return {"latency": "20ms"}


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as received:
        yield received


SINK = """
  - url: ${HOOK_URL}
    headers: {Authorization: "Bearer ${HOOK_TOKEN}"}
    signing_secret: ${HOOK_SECRET}
    batch_size: 4
    when: WHEN
"""


def hooked(project: Project, hook: Receiver, when: str = "live", more: str = "", rows: int = ROWS) -> Project:
    made = Project(project.root, {**project.environ, "HOOK_URL": hook.url, "HOOK_TOKEN": TOKEN, "HOOK_SECRET": SECRET})
    sinks = f"\n  - out/x.jsonl{SINK.replace('WHEN', when)}{more}"
    made.job(rows=rows, replaced={" [out/x.jsonl]": sinks.rstrip("\n")})
    return made


def all_once(hook: Receiver, rows: int = ROWS) -> bool:
    return Counter(hook.keys()) == {f"k{number}": 1 for number in range(rows)}


@pytest.mark.parametrize("how", ["one process", "two workers", "batch", "turns and samples"])
def test_records_reach_a_live_webhook_while_the_run_goes_on(
    project: Project, api: SimulatedApi, hook: Receiver, how: str
) -> None:
    made = hooked(project, hook)
    arguments = ["--mode", "batch"] if how == "batch" else []
    if how == "two workers":
        made = Project(made.root, {**made.environ, "RUNNER_WORKERS": "2"})
    if how == "batch":
        made.write("runner.toml", "batch_max_requests = 20\nbatch_poll_first_s = 0.02\nbatch_poll_longest_s = 0.05\n")
    if how == "turns and samples":
        job = made.root / "jobs" / "x.yaml"
        job.write_text(job.read_text().replace("dataset:", 'turns: ["Are you sure?"]\nsamples: 2\ndataset:'))
    summary = made.run("jobs/x.yaml", *arguments)
    assert summary["exit_status"] == 0, summary
    assert [(sink["kind"], sink["records"], sink["status"], sink["error"]) for sink in summary["sinks"]] == [
        ("jsonl", ROWS, "delivered", None),
        ("webhook", ROWS, "delivered", None),
    ]
    assert summary["sinks"][1]["target"] == "${HOOK_URL}"
    assert all_once(hook)
    assert len(hook.posts) == len(hook.taken), "nothing was sent twice"
    for post in hook.posts:
        signed = f"{post.id}.{post.headers['webhook-timestamp']}.".encode() + post.body
        found = base64.b64encode(hmac.new(KEY + b"!", signed, hashlib.sha256).digest()).decode()
        assert post.headers["webhook-signature"] == f"v1,{found}"
        assert post.headers["authorization"] == f"Bearer {TOKEN}"
    records = {record["key"]: record for record in made.records()}
    assert {record["key"]: record for post in hook.posts for record in post.records} == records


def test_a_failing_sink_stops_no_other_and_export_goes_on_from_where_it_was(project: Project, hook: Receiver) -> None:
    made = hooked(project, hook, "end")
    hook.script = [Answer(), Answer(), Answer(422, body=b"no room")]
    summary = made.run("jobs/x.yaml")
    assert (summary["status"], summary["exit_status"]) == ("finished", 4)
    jsonl, webhook = summary["sinks"]
    assert (jsonl["status"], webhook["status"], webhook["records"]) == ("delivered", "failed", 8)
    assert webhook["error"].startswith("${HOOK_URL} answered 422: no room; mend the receiver")
    hook.script = [Answer(422)]
    assert made.runner("export", "latest").status == 4
    done = made.runner("export", "latest")
    assert (done.status, all_once(hook)) == (0, True), done.stderr
    assert "${HOOK_URL}: 60 records" in done.stdout
    before = len(hook.posts)
    assert made.runner("export", "latest").status == 0
    assert len(hook.posts) == before, "what was delivered is not sent again"
    shown = made.runner("show", "latest", "--format", "json").summary
    assert (shown["exit_status"], shown["sinks"][1]["status"]) == (0, "delivered")


def test_rows_that_are_sent_again_are_delivered_again(project: Project, api: SimulatedApi, hook: Receiver) -> None:
    made = hooked(project, hook, rows=8)
    api.fault("refusal", rate=1.0)
    made.run("jobs/x.yaml")
    assert {record["status"] for post in hook.posts for record in post.records} == {"failed"}
    api.reset()
    done = made.runner("retry", "latest", "--format", "json")
    assert done.status == 0, done.stderr
    statuses = [(record["key"], record["status"]) for post in hook.taken.values() for record in post.records]
    assert Counter(statuses) == {(f"k{n}", status): 1 for n in range(8) for status in ("failed", "succeeded")}
    assert done.summary["sinks"][1]["records"] == 8


def test_a_trial_gives_nothing_to_others_unless_it_is_to_deliver(project: Project, hook: Receiver) -> None:
    made = hooked(project, hook)
    summary = made.run("jobs/x.yaml", "--limit", "3")
    assert (summary["exit_status"], [sink["target"] for sink in summary["sinks"]]) == (0, ["out/x.trial.jsonl"])
    assert hook.posts == []
    assert made.run("jobs/x.yaml", "--limit", "3", "--deliver")["exit_status"] == 0
    assert sorted(hook.keys()) == ["k0", "k1", "k2"]


def test_a_check_connects_to_nothing_and_stores_nothing(project: Project, hook: Receiver) -> None:
    made = hooked(project, hook)
    done = made.runner("check", "jobs/x.yaml")
    assert (done.status, hook.posts) == (0, []), done.stderr
    without = Project(made.root, {name: value for name, value in made.environ.items() if "HOOK" not in name})
    told = without.runner("check", "jobs/x.yaml")
    assert told.status == 0
    assert (told.stdout + told.stderr).count("unset-variable") == 3


def test_a_sink_whose_variable_is_not_set_keeps_no_other_from_being_exported(project: Project, hook: Receiver) -> None:
    more = """
  - {url: "${DATABASE_URL}", table: answers}
  - {url: warehouse, table: answers}
  - out/y.csv"""
    made = hooked(project, hook, "end", more, rows=4)
    made.write("runner.toml", '[connections]\nwarehouse = "${WAREHOUSE_URL}"\n')
    job = made.root / "jobs/x.yaml"
    job.write_text(job.read_text().replace("max_cost_usd: 5", 'max_cost_usd: "${MOST}"'))
    names = {"DATABASE_URL": "sqlite:///out/a.db", "WAREHOUSE_URL": "sqlite:///out/b.db", "MOST": "5"}
    whole = Project(made.root, {**made.environ, **names})
    refused = made.runner("run", "jobs/x.yaml")
    assert (refused.status, hook.posts, project.runs()) == (3, [], []), refused.stderr
    hook.script = [Answer(400)]
    assert whole.run("jobs/x.yaml")["exit_status"] == 4
    for name in ("x.jsonl", "y.csv", "a.db"):
        (made.root / "out" / name).unlink()
    exported = made.runner("export", "latest")  # of the webhook alone everything is set
    assert exported.status == 4
    assert all_once(hook, 4)
    assert len(made.records()) == 4
    assert (made.root / "out/y.csv").exists()
    assert exported.stderr.count("not delivered") == 2, exported.stderr  # each once, and by nothing but its variable
    for target, name in (("${DATABASE_URL}", "DATABASE_URL"), ("warehouse", "WAREHOUSE_URL")):
        assert f"answers at {target}: not delivered: `{name}` is not set; set it, add it to .env" in exported.stderr
    empty = Project(made.root, {**made.environ, "DATABASE_URL": ""}).runner("export", "latest")
    assert empty.status == 4
    assert "answers at ${DATABASE_URL}: not delivered: `${DATABASE_URL}` is empty" in empty.stderr
    assert made.runner("show", "latest", "--key", "k1").status == 0
    assert made.runner("export", "latest", "--to", "-").status == 0
    assert whole.runner("export", "latest").status == 0
    assert made.runner("retry", "latest", "--key", "k1").status == 3  # what sends asks for all of them


def test_a_sink_that_has_its_records_stays_delivered_where_its_variable_is_not_set(
    project: Project, hook: Receiver
) -> None:
    query = """
  - url: "${HOOK_URL}?signature=hush-hush"
    headers: {Authorization: "Bearer ${MORE}"}"""
    made = hooked(project, hook, "end", query, rows=4)
    assert Project(made.root, {**made.environ, "MORE": "more-secret"}).run("jobs/x.yaml")["exit_status"] == 0
    exported = made.runner("export", "latest")
    assert exported.status == 4
    assert "${HOOK_URL}: not delivered: `MORE` is not set" in exported.stderr
    shown = made.runner("show", "latest")
    assert "not delivered" not in shown.stdout
    assert "hush" not in exported.stderr + shown.stdout


def test_secrets_are_in_no_file_and_in_no_message(project: Project, hook: Receiver) -> None:
    made = hooked(project, hook, "live")
    hook.script = [Answer(400, body=f"{TOKEN} {SECRET} {hook.url}".encode())] * 2
    said = [made.runner("run", "jobs/x.yaml", "--format", "json"), made.runner("export", "latest")]
    assert [done.status for done in said] == [4, 0]
    texts = [text.encode() for done in said for text in (done.stdout, done.stderr)]
    files = [path.read_bytes() for path in (made.root / ".runner").rglob("*") if path.is_file()]
    for canary in (TOKEN, SECRET, "tok-in-path"):
        assert not any(canary.encode() in content for content in (*texts, *files)), canary


FUNCTION = """
import json, pathlib

def save(records, part_id):
    with pathlib.Path("saved.jsonl").open("a") as file:
        file.writelines(json.dumps({"key": record["id"], "part": part_id}) + "\\n" for record in records)
    keys = {record["id"] for record in records}
    return {key: "no room" for key in keys & {"k3"}} if pathlib.Path("narrow").exists() else None
"""


def test_a_function_of_the_project_gets_the_records_and_may_refuse_some(project: Project, hook: Receiver) -> None:
    more = "  - {python: my_sinks:save, columns: {id: key}, batch_size: 25, when: live}"
    made = hooked(project, hook, more=more)
    made.write("my_sinks.py", FUNCTION)
    made.write("narrow", "")
    summary = made.run("jobs/x.yaml")
    assert summary["exit_status"] == 4
    sink = summary["sinks"][2]
    assert (sink["kind"], sink["target"], sink["records"], sink["status"]) == ("python", "my_sinks:save", 59, "failed")
    assert sink["error"] == "1 record does not fit and 59 are delivered: 'k3': no room"
    assert any("my_sinks:save cannot hold the record 'k3': no room" in warning for warning in summary["warnings"])
    (made.root / "narrow").unlink()
    assert made.runner("export", "latest").status == 0
    saved = [json.loads(line) for line in (made.root / "saved.jsonl").read_text().splitlines()]
    assert {entry["key"] for entry in saved} == {f"k{number}" for number in range(ROWS)}
    assert {key for key, times in Counter(entry["key"] for entry in saved).items() if times > 1} == {"k3"}


def test_a_function_that_is_not_there_is_an_error_of_check(project: Project, hook: Receiver) -> None:
    made = hooked(project, hook, more="  - {python: my_sinks:sav}")
    made.write("my_sinks.py", FUNCTION)
    done = made.runner("check", "jobs/x.yaml")
    assert done.status == 3
    assert "the module `my_sinks` has no `sav`" in done.stdout + done.stderr
    assert "did you mean `save`?" in done.stdout + done.stderr


def test_all_kinds_of_places_have_a_plugin() -> None:
    assert {"webhook", "python", "hub", "sql"} <= SINKS.keys()
