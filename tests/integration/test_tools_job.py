"""A job with tools, as a user runs it, against the stand-in: functions in rounds, server tools that pause, kills."""

from __future__ import annotations

import json
import signal
import time  # noqa: TID251 - waits for child processes
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from runner.types import PICO_PER_USD
from support.api import SimulatedApi
from support.harness import TIMEOUT_S, Project

pytestmark = pytest.mark.slow

FUNCTIONS = '''\
"""Functions that write down each call, so that a test can count them."""
import asyncio
import os
import time
from pathlib import Path
from typing import Literal

CALLS = Path(__file__).parent / "calls.txt"


def note(name: str, value: str) -> None:
    with CALLS.open("a") as file:
        file.write(f"{name} {value}\\n")


def find(name: str) -> dict:
    """Find a person by name."""
    note("find", name)
    return {"name": name, "found": True}


async def wait(name: str) -> str:
    """Wait for a person."""
    await asyncio.sleep(0.01)
    note("wait", name)
    return f"{name} is here"


def fail(name: str) -> str:
    """Always fail."""
    note("fail", name)
    raise ValueError(f"no {name} in my list")


def hang(name: str) -> str:
    """Never come back in time."""
    note("hang", name)
    time.sleep(30)
    return name


def kill_once(name: str) -> str:
    """Kill the process the first time."""
    note("kill_once", name)
    marker = CALLS.with_name("killed")
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), 9)
    return name
'''

JOB = """\
name: people
model: claude-haiku-5-5
params: {{max_tokens: 2000{params}}}
tools:
{tools}
prompt: "{prompt}"
dataset: {{path: data/rows.csv, key: id}}
{more}
sinks:
  - out/people.jsonl
  - {{path: out/content.jsonl, columns: {{key: key, content: content}}}}
"""


CAPPED = "limits: {max_cost_usd: 5}"


def project_of(
    root: Path, api: SimulatedApi, *tools: str, rows: int, prompt: str, params: str = "", more: str = CAPPED, **env: str
) -> Project:
    project = Project.make(root, api, **env)
    project.rows(rows)
    project.write("functions.py", FUNCTIONS)
    listed = "\n".join(f"  - {tool}" for tool in tools)
    project.write("jobs/people.yaml", JOB.format(tools=listed, prompt=prompt, params=params, more=more))
    return project


def records(project: Project, name: str = "people") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.root / f"out/{name}.jsonl").read_text().splitlines()]


def calls(project: Project) -> list[str]:
    path = project.root / "calls.txt"
    return path.read_text().splitlines() if path.exists() else []


def assert_billed_to_the_token(project: Project, api: SimulatedApi) -> None:
    """The bill in the records equals the stand-in's."""
    billed, written = api.accounts(), records(project)
    for name in ("input_tokens", "output_tokens", "cache_read_input_tokens"):
        assert sum(record["usage"][name] for record in written) == billed[name], name
    cost = sum(Decimal(str(record["cost_usd"])) for record in written)
    assert round(cost * PICO_PER_USD) == billed["cost_pico"]
    assert sum(record["attempts"] for record in written) == billed["requests"]


def test_functions_are_called_in_rounds_until_the_model_answers(tmp_path: Path, api: SimulatedApi) -> None:
    project = project_of(
        tmp_path, api, "functions:find", "functions:wait", rows=12, prompt="Who is {{ row.text }}? [rounds 3] [calls 2]"
    )
    done = project.runner("run", "jobs/people.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    assert done.summary["rows"]["succeeded"] == 12
    assert [record["attempts"] for record in records(project)] == [4] * 12
    assert all(record["text"] is None and "[echo " in record["output"] for record in records(project))
    assert len(calls(project)) == 12 * 3 * 2
    assert {call.split()[0] for call in calls(project)} == {"find", "wait"}
    assert_billed_to_the_token(project, api)


def test_every_row_gets_its_own_answer_also_by_several_workers(tmp_path: Path, api: SimulatedApi) -> None:
    project = project_of(
        tmp_path,
        api,
        "functions:find",
        rows=40,
        prompt="Who is {{ row.text }}? [rounds 2]",
        RUNNER_WORKERS="2",
    )
    done = project.runner("run", "jobs/people.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    outputs = [record["output"] for record in records(project)]
    assert len(set(outputs)) == 40
    assert [record["attempts"] for record in records(project)] == [3] * 40
    assert_billed_to_the_token(project, api)


def test_the_model_is_told_what_went_wrong_and_goes_on(tmp_path: Path, api: SimulatedApi) -> None:
    scripted = (
        'Do it for {{ row.text }}. [rounds 1] [call fail {\\"name\\": \\"x\\"}] [call find {\\"nam\\": \\"x\\"}] '
        '[call nobody {\\"name\\": \\"x\\"}] [call hang {\\"name\\": \\"x\\"}] [call find {\\"name\\": \\"x\\"}]'
    )
    project = project_of(
        tmp_path,
        api,
        "functions:fail",
        "functions:find",
        '{python: "functions:hang", timeout: 50ms}',
        rows=2,
        prompt=scripted,
    )
    done = project.runner("run", "jobs/people.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    assert sorted(calls(project)) == sorted(["fail x", "hang x", "find x"] * 2)
    shown = json.loads(project.runner("show", "latest", "--key", "k0", "--format", "json").stdout)
    results = {result["content"]: result["is_error"] for result in shown["tool_results"]}
    assert results == {
        "ValueError: no x in my list": True,
        "the input does not fit: /: `nam` is no property here; expected `name`; /: `name` is missing": True,
        "there is no tool 'nobody'; there are: fail, find, hang": True,
        "the tool did not answer within 0.05 s": True,
        '{"name":"x","found":true}': False,
    }
    assert any("an error of the tool `fail`: ValueError" in warning for warning in done.summary["warnings"])
    assert not any("in my list" in warning for warning in done.summary["warnings"])
    assert_billed_to_the_token(project, api)


def test_a_row_that_never_stops_calling_fails_at_the_bound(tmp_path: Path, api: SimulatedApi) -> None:
    project = project_of(
        tmp_path,
        api,
        "functions:find",
        rows=3,
        prompt="Who is {{ row.text }}?",
        params=", tool_choice: {type: any}",
        more="limits: {max_tool_rounds: 2, max_cost_usd: 1}",
    )
    done = project.runner("run", "jobs/people.yaml", "--format", "json")
    assert done.status == 5, done.stderr
    assert [record["attempts"] for record in records(project)] == [3] * 3
    for record in records(project):
        assert record["status"] == "failed"
        assert record["error"]["kind"] == "unexpected_reply"
        assert "limits.max_tool_rounds" in record["error"]["message"]
    assert_billed_to_the_token(project, api)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_after_a_kill_results_that_were_kept_are_used_again(tmp_path: Path, api: SimulatedApi, workers: str) -> None:
    project = project_of(
        tmp_path,
        api,
        "functions:find",
        "functions:kill_once",
        rows=6,
        prompt='Go: {{ row.text }} [rounds 1] [call find {\\"name\\": \\"{{ row.id }}\\"}] '
        '[call kill_once {\\"name\\": \\"{{ row.id }}\\"}]',
        more="limits: {max_concurrency: 2, max_cost_usd: 5}",
        RUNNER_WORKERS=workers,
    )
    killed = project.runner("run", "jobs/people.yaml")
    assert killed.status == (-signal.SIGKILL if workers == "1" else 4)
    done = project.runner("run", "jobs/people.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    assert done.summary["rows"]["succeeded"] == 6
    made = calls(project)
    for key in (f"k{index}" for index in range(6)):
        assert 1 <= made.count(f"find {key}") <= 2
        assert 1 <= made.count(f"kill_once {key}") <= 2
    requests = api.accounts()["requests"]
    # Two requests a row; those in flight when it was killed were paid for once more.
    assert 12 <= requests <= 12 + 4
    assert sum(record["usage"]["output_tokens"] for record in records(project)) <= api.accounts()["output_tokens"]


def test_nothing_is_paid_twice_when_a_run_is_killed_between_rounds(tmp_path: Path, api: SimulatedApi) -> None:
    project = project_of(
        tmp_path,
        api,
        "functions:hang",
        rows=3,
        prompt="Who is {{ row.text }}? [rounds 1] [calls 1]",
    )
    child = project.start("run", "jobs/people.yaml")
    deadline = time.monotonic() + TIMEOUT_S
    while len(calls(project)) < 3:
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()
    child.communicate()
    assert api.accounts()["requests"] == 3
    project.write("functions.py", FUNCTIONS.replace("time.sleep(30)", "pass"))
    done = project.runner("resume", "--format", "json")
    assert done.status == 0, done.stderr
    assert api.accounts()["requests"] == 6
    assert_billed_to_the_token(project, api)


def test_a_paused_turn_is_continued_in_both_modes(tmp_path: Path, api: SimulatedApi) -> None:
    for mode in ("parallel", "batch"):
        api.reset()
        project = project_of(
            tmp_path / mode,
            api,
            "{type: web_search_20250305, max_uses: 3}",
            rows=5,
            prompt="What is new about {{ row.text }}? [pauses 2] [searches 2]",
            more=f"mode: {mode}",
            RUNNER_BATCH_RESEND_ROWS="0",
        )
        done = project.runner("run", "jobs/people.yaml", "--yes", "--format", "json")
        assert done.status == 0, done.stderr
        assert [record["attempts"] for record in records(project)] == [3] * 5
        assert {record["mode"] for record in records(project)} == {mode}
        kinds = [block["type"] for block in records(project, "content")[0]["content"] if block["type"] != "thinking"]
        assert kinds == ["server_tool_use", "web_search_tool_result"] * 2 + ["text"]
        assert_billed_to_the_token(project, api)
        # Two searches in each of three replies, at a cent each.
        assert sum(record["cost_usd"] for record in records(project)) > 5 * 3 * 2 * 0.01


def test_functions_and_tools_of_the_api_go_together(tmp_path: Path, api: SimulatedApi) -> None:
    project = project_of(
        tmp_path,
        api,
        "functions:find",
        "{type: web_search_20250305}",
        rows=4,
        prompt="Who is {{ row.text }}? [rounds 2] [pauses 1]",
        more="",
    )
    done = project.runner("run", "jobs/people.yaml", "--yes", "--format", "json")
    assert done.status == 0, done.stderr
    assert done.summary["rows"]["succeeded"] == 4
    assert_billed_to_the_token(project, api)


def test_replies_that_called_are_reused_by_a_later_run(tmp_path: Path, api: SimulatedApi) -> None:
    project = project_of(tmp_path, api, "functions:find", rows=5, prompt="Who is {{ row.text }}? [rounds 2]")
    assert project.runner("run", "jobs/people.yaml").status == 0
    before = api.accounts()["requests"]
    project.write("jobs/people.yaml", (project.root / "jobs/people.yaml").read_text() + "description: again\n")
    project.rows(6)
    done = project.runner("run", "jobs/people.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    assert done.summary["rows"]["reused"] == 5
    assert api.accounts()["requests"] == before + 3
