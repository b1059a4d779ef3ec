"""Commands about a project and a machine: init, schema, simulate, doctor."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from support.api import SimulatedApi
from support.harness import ROOT, Project
from support.here import Here

EXAMPLES = ROOT / "runner" / "examples"


@pytest.fixture
def empty(tmp_path: Path) -> Project:
    """A folder that is no project yet, and no credential."""
    return Project(tmp_path, {"HOME": str(tmp_path)})


# -- init and schema ---------------------------------------------------------------------------------------------------


def test_init_makes_a_project_that_check_likes(empty: Project, here: Here) -> None:
    done = here.runner(empty, "init", "starter")
    assert (done.status, done.stderr) == (0, "")
    assert "cd starter" in done.stdout
    project = Project(empty.root / "starter", {})
    assert not [path for path in project.root.rglob("*") if path.name in ("__pycache__", "__init__.py")]
    checked = here.runner(project, "check", "--data")
    assert (checked.status, checked.stderr) == (0, "")
    jobs = list((project.root / "jobs").glob("*.yaml"))
    assert [line.rpartition(": ")[2] for line in checked.stdout.splitlines()] == ["ok"] * len(jobs)
    ignored = (project.root / ".gitignore").read_text().splitlines()
    assert {"out/", ".runner/", ".env", "__pycache__/"} <= set(ignored)


def test_what_the_readme_of_the_starter_project_says_to_type_works(empty: Project, here: Here) -> None:
    here.runner(empty, "init", ".")
    commands = re.findall(r"^ {4}(\S.*)$", (empty.root / "README.md").read_text(), re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["runner", "runner", "head", "runner", "sqlite3"]
    for command in commands:
        name, *arguments = shlex.split(command)
        if name == "runner":
            done = here.runner(empty, *arguments)
            assert (done.status, "Traceback" in done.stderr) == (0, False), done.stderr
        elif name == "sqlite3":  # the program need not be there
            with closing(sqlite3.connect(empty.root / arguments[0])) as database:
                assert len(database.execute(arguments[1]).fetchall()) == 3
        else:
            shown = subprocess.run([name, *arguments], cwd=empty.root, capture_output=True, text=True, check=True)
            assert len([json.loads(line) for line in shown.stdout.splitlines()]) == 3


def test_init_replaces_nothing_unless_it_is_forced(empty: Project, here: Here) -> None:
    mine = empty.write("jobs/sentiment.yaml", "mine\n")
    done = here.runner(empty, "init", ".")
    assert done.status == 2
    assert "jobs/sentiment.yaml" in done.stderr
    assert "--force" in done.stderr
    assert not (empty.root / "README.md").exists(), "nothing, not even what was not there"
    assert mine.read_text() == "mine\n"
    assert here.runner(empty, "init", ".", "--force").status == 0
    assert "name: sentiment" in mine.read_text()


def test_the_schema_is_one_that_editors_know_and_takes_the_examples(empty: Project, here: Here) -> None:
    shown = here.runner(empty, "schema")
    schema = json.loads(shown.stdout)
    Draft7Validator.check_schema(schema)
    validator = Draft7Validator(schema)
    for path in sorted((EXAMPLES / "jobs").glob("*.yaml")):
        job = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert [error.message for error in validator.iter_errors(job)] == []
        assert not validator.is_valid({**job, "modell": "claude"})
    empty.write("runner.toml", "")
    (empty.root / "deep" / "down").mkdir(parents=True)
    done = here.runner(Project(empty.root / "deep" / "down", {}), "schema", "--write")
    assert done.stdout == f"wrote {empty.root / 'jobs' / 'job.schema.json'}\n"
    assert (empty.root / "jobs" / "job.schema.json").read_text(encoding="utf-8") == shown.stdout


# -- simulate ----------------------------------------------------------------------------------------------------------


@contextmanager
def simulating(project: Project, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`runner simulate` in a process of its own, and where it serves."""
    with project.start("simulate", "--port", "0", *arguments) as child:
        try:
            assert child.stdout is not None
            first = child.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+", first)
            assert found, first + (child.stderr.read() if child.stderr else "")
            yield child, found[0]
        finally:
            if child.poll() is None:
                child.kill()


def ask(address: str, key: str = "any") -> tuple[int, str | None]:
    """The status and, where there is a reply, its stop reason."""
    body = {"model": "claude-haiku-5-5", "max_tokens": 2000, "messages": [{"role": "user", "content": "Why?"}]}
    request = urllib.request.Request(
        f"{address}/v1/messages", json.dumps(body).encode(), {"x-api-key": key, "anthropic-version": "2023-06-01"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)["stop_reason"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_simulate_serves_until_a_signal_and_ends_with_0(number: signal.Signals, empty: Project) -> None:
    with simulating(empty, "--state", "state") as (child, address):
        assert ask(address) == (200, "end_turn")
        child.send_signal(number)
        assert child.stdout is not None
        assert child.stderr is not None
        assert f"export ANTHROPIC_BASE_URL={address}" in child.stdout.read()
        assert child.stderr.read() == ""
        assert child.wait() == 0
    with pytest.raises(urllib.error.URLError, match="refused"):
        ask(address)


def test_the_options_of_simulate_work(empty: Project) -> None:
    options = ("--key", "secret-key", "--rpm", "1", "--fault", "refusal=100%", "--seed", "3", "--latency", "1ms")
    with simulating(empty, "--state", "state", *options) as (_, address):
        assert ask(address, key="another") == (401, None)
        assert ask(address, key="secret-key") == (200, "refusal")
        assert ask(address, key="secret-key") == (429, None)


def test_a_taken_port_is_told_without_a_traceback(empty: Project, api: SimulatedApi) -> None:
    done = empty.runner("simulate", "--state", "state", "--port", api.base_url.rpartition(":")[2])
    assert (done.status, done.stdout) == (4, "")
    assert "in use" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


# -- doctor ------------------------------------------------------------------------------------------------------------


def examined(project: Project, here: Here, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = here.runner(project, "doctor", "--format", "json", *arguments)
    assert done.stderr == ""
    return done.status, {finding["name"]: finding for finding in done.summaries}


def test_doctor_finds_a_ready_machine_ready(empty: Project, api: SimulatedApi, here: Here) -> None:
    project = Project(empty.root, {**empty.environ, **api.environ})
    status, findings = examined(project, here)
    assert (status, {finding["status"] for finding in findings.values()}) == (0, {"ok"})
    assert set(findings) == {"python", "sdk", "sqlite", "settings", "state", "credential", "transport", "api"}
    assert "0 runs" in findings["state"]["message"]
    assert api.base_url in findings["api"]["message"]
    assert api.api_key not in json.dumps(findings)
    assert api.accounts()["requests"] == 0
    lines = here.runner(project, "doctor").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * len(findings)


def test_doctor_without_a_key_says_where_it_looked(empty: Project, here: Here) -> None:
    status, findings = examined(empty, here, "--offline")
    assert (status, findings["credential"]["status"]) == (4, "error")
    assert "ANTHROPIC_API_KEY (not set)" in findings["credential"]["message"]
    assert "--simulate" in findings["credential"]["hint"]
    assert "api" not in findings


def test_doctor_offline_asks_nobody(empty: Project, api: SimulatedApi, here: Here) -> None:
    before = api.traffic()["received"]
    status, findings = examined(Project(empty.root, api.environ), here, "--offline")
    assert (status, "api" in findings, api.traffic()["received"]) == (0, False, before)


def test_a_gateway_without_models_is_a_warning_and_a_dead_one_an_error(
    empty: Project, api: SimulatedApi, here: Here
) -> None:
    project = Project(empty.root, {**empty.environ, **api.environ})
    api.fault("404", path="/v1/models")
    status, findings = examined(project, here)
    assert (status, findings["api"]["status"]) == (0, "warning")
    assert "no Models API" in findings["api"]["message"]
    api.clear_faults()
    api.fault("401", path="/v1/models")
    status, findings = examined(project, here)
    assert (status, findings["api"]["status"]) == (4, "error")
    dead = Project(empty.root, {**project.environ, "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"})
    status, findings = examined(dead, here)
    assert (status, findings["api"]["status"]) == (4, "error")
    assert "http://127.0.0.1:9" in findings["api"]["message"]
