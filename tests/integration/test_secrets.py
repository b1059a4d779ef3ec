"""Canaries: a key, a value of the environment and a person's data, and every byte in which they must not turn up."""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import zstandard

from support.api import SimulatedApi
from support.harness import Done, Project
from support.here import Here

KEY = "sk-ant-canary-5f1c0b7e9d24a86338e1"
HEADER = "header-canary-71b0c2d9e4"
CAP = "4.739182651"
PERSON = "Zdenka Pii-Canary"
ZSTD = zstandard.FRAME_HEADER


@pytest.fixture(scope="module")
def api_options() -> dict[str, str]:
    return {"key": KEY}


@pytest.fixture(params=["wire", "sdk"])
def project(request: pytest.FixtureRequest, tmp_path: Path, api: SimulatedApi) -> Project:
    secrets = {"CANARY_CAP": CAP, "ANTHROPIC_CUSTOM_HEADERS": f"x-canary: {HEADER}", "RUNNER_TRANSPORT": request.param}
    project = Project.make(tmp_path / "project", api, **secrets)
    assert project.environ["ANTHROPIC_API_KEY"] == KEY
    project.job(
        replaced={"max_cost_usd: 5": 'max_cost_usd: "${CANARY_CAP}"', "out/x.jsonl]": "out/x.jsonl, out/x.csv]"}
    )
    with (project.root / "data/rows.csv").open("a", encoding="utf-8") as file:
        file.write(f"k-person,{PERSON} is not amused\n")
    return project


def holding(canary: str, root: Path) -> list[str]:
    """Files in which the canary stands, in any of the ways in which a program may have written it."""
    spelled = [canary.encode(), canary.encode("utf-16-le"), json.dumps(canary)[1:-1].encode()]
    return [
        str(path.relative_to(root))
        for path in sorted(root.rglob("*"))
        if path.is_file() and any(text in content for content in contents(path) for text in spelled)
    ]


def contents(path: Path) -> Iterator[bytes]:
    """A file's bytes, and those of every zstd frame in it."""
    data = path.read_bytes()
    yield data
    at = data.find(ZSTD)
    while at >= 0:
        with contextlib.suppress(zstandard.ZstdError):  # the magic number may stand there by chance
            yield zstandard.ZstdDecompressor().decompressobj().decompress(data[at:])
        at = data.find(ZSTD, at + 1)


def said(done: Sequence[Done]) -> str:
    return "\n".join(one.stdout + one.stderr for one in done)


def test_no_secret_is_stored_or_said_whatever_happens(project: Project, api: SimulatedApi, here: Here) -> None:
    api.fault("529", text="text number 4", times=1)
    api.fault("400", text="text number 5", message=f"what is {KEY} and {HEADER}?")
    api.fault("reset", text="text number 6", times=1)
    job = "jobs/x.yaml"
    done = [
        here.runner(project, *arguments)
        for arguments in (
            ["check", "--data", "--format", "json"],
            ["plan", job],
            ["plan", job, "--format", "json"],
            ["render", job, "--limit", "1"],
            ["doctor"],
            ["doctor", "--format", "json"],
            ["try", job, "-n", "1"],
            ["run", job, "--set", "retry.initial_interval=1ms"],
            ["list", "--format", "json"],
            ["show", "x", "--format", "json"],
            ["show", "x", "--failed"],
            ["show", "x", "--failed", "--format", "json"],
            ["show", "x", "--key", "k5"],
            ["show", "x", "--key", "k5", "--format", "json"],
            ["export", "x", "--to", "-"],
            ["run", job, "--simulate", "--format", "json"],
        )
    ]
    assert {one.status for one in done} == {0, 5}, said(done)
    assert "what is " in said(done), "the API's words come through, without the secrets in them"
    for secret in (KEY, HEADER):
        assert secret not in said(done)
        assert holding(secret, project.root) == []


def test_a_refused_key_is_not_said_even_where_the_api_repeats_it(
    project: Project, api: SimulatedApi, here: Here
) -> None:
    api.fault("401", message=f"invalid x-api-key {KEY}")
    done = [
        here.runner(project, "run", "jobs/x.yaml"),
        here.runner(project, "show", "x"),
        here.runner(project, "doctor"),
    ]
    assert done[0].status == 4
    assert "invalid x-api-key" in done[0].stderr + done[0].stdout
    assert KEY not in said(done)
    assert holding(KEY, project.root) == []


def test_a_key_that_cannot_be_a_header_is_not_said(project: Project, here: Here) -> None:
    done = here.runner(project, "run", "jobs/x.yaml", ANTHROPIC_API_KEY=f"{KEY}\nmore")
    assert done.status == 4
    assert KEY not in said([done])


def test_a_traceback_shows_no_secret(project: Project, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("runner.engines.parallel.ParallelEngine.drain", broken)
    done = here.runner(project, "run", "jobs/x.yaml")
    assert done.status == 1
    assert "RuntimeError: a bug" in done.stderr
    for secret in (KEY, HEADER, CAP):
        assert secret not in said([done])
        assert holding(secret, project.root) == []


def test_a_value_of_the_environment_is_not_stored(project: Project, here: Here) -> None:
    done = [here.runner(project, "run", "jobs/x.yaml"), here.runner(project, "show", "x", "--format", "json")]
    assert done[0].status == 0
    assert CAP not in said(done)
    assert holding(CAP, project.root) == []
    assert holding(CAP.replace(".", ""), project.root) == []


def test_a_person_s_data_is_only_where_it_belongs(project: Project, api: SimulatedApi, here: Here) -> None:
    api.fault("refusal", text=PERSON)
    done = here.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert done.status == 5
    assert done.summary["failure_reasons"][0]["example"]["key"] == "k-person", "of a row its key is told, and why"
    assert PERSON not in said([done, here.runner(project, "show", "x"), here.runner(project, "list")])
    places = {path.split("/")[0] for path in holding(PERSON, project.root)}
    assert places == {".runner", "data", "out"}
    (run_id,) = project.runs()
    inside = {
        Path(path).relative_to(f".runner/runs/{run_id}").parts[0]
        for path in holding(PERSON, project.root)
        if path.startswith(".runner/runs")
    }
    assert inside <= {"rows", "spool", "ledger.db", "ledger.db-wal"}
    assert "log.jsonl" not in inside


def test_the_state_folder_is_nobody_else_s(project: Project, here: Here) -> None:
    here.runner(project, "run", "jobs/x.yaml")
    state = project.root / ".runner"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    (run_id,) = project.runs()
    open_to_others = [
        str(path.relative_to(state))
        for path in (state / "runs" / run_id).rglob("*")
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert open_to_others == []


def test_the_stand_in_of_a_simulated_run_never_gets_the_key(project: Project) -> None:
    project.rows(3_000)
    seen: list[str] = []
    with project.start("run", "jobs/x.yaml", "--simulate", "--set", "limits.max_concurrency=1") as child:
        try:
            while not seen:
                assert child.poll() is None, "the run ended before its stand-in was seen"
                for process in psutil.Process(child.pid).children(recursive=True):
                    command = process.cmdline()
                    if "runner.simulator" in command:
                        seen.append(json.dumps([command, process.environ(), process.name()]))
        finally:
            child.terminate()
            child.communicate()
    for secret in (KEY, HEADER):
        assert secret not in seen[0]
