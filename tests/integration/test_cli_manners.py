"""How every command behaves: wrong usage, terminals, pipes, colours, questions, Ctrl-C."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from support.api import SimulatedApi
from support.harness import ROOT, Project
from support.here import Here
from support.terminal import Terminal

STYLES = re.compile(r"\x1b\[[0-9;]*m")
"""Colours and weights (ECMA-48, SGR), not the movements of the cursor."""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["rn"], ["render", "jobs/x.yaml"], ["check", "jobs/none.yaml"]], ids=str
)
def test_a_command_that_is_forked_is_one_like_any_other(project: Project, arguments: list[str]) -> None:
    project.job(replaced={"Judge this": "裁け"})
    assert project.runner(*arguments) == project.runner(*arguments, program=("-m", "runner"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "no such command 'bogus'"),
        (["lst"], "Did you mean 'list'?"),
        (["run"], "missing argument 'JOB'"),
        (["run", "--frob", "jobs/x.yaml"], "no such option: --frob"),
        (["plan", "jobs/x.yaml", "--limit", "0"], "invalid value for '--limit'"),
        (["plan", "jobs/x.yaml", "--format", "xml"], "'xml' is not one of 'text', 'json'"),
        (["run", "jobs/x.yaml", "--mode", "btach"], "'--mode': 'btach' is not one of 'auto', 'batch', 'parallel'"),
        (["plan", "jobs/x.yaml", "--mode", "btach"], "'--mode': 'btach' is not one of 'auto', 'batch', 'parallel'"),
        (["show", "nothing"], "there are no runs yet"),
        (["run", "jobs/x.yaml", "--summary", "none/there.json"], "cannot write none/there.json"),
        (["render", "jobs/x.yaml", "--key", "k99"], "no selected row has the key 'k99'"),
        (["simulate", "--latency", "soon"], "'soon' is no duration"),
        (["simulate", "--fault", "frob=1"], "there is no fault 'frob'"),
        (["simulate", "--fault", "529=2"], "the rate must lie between 0 and 1"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(
    arguments: list[str], said: str, project: Project, here: Here
) -> None:
    done = here.runner(project, *arguments)
    assert (done.status, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_command_help_is_shown(project: Project, here: Here) -> None:
    done = here.runner(project)
    assert done.status == 2
    assert done.stderr.startswith("Usage: runner [OPTIONS] COMMAND")


def test_a_folder_that_cannot_be_made_is_no_bug(project: Project, here: Here) -> None:
    project.write("taken", "a file")
    done = here.runner(project, "init", "taken")
    assert done.status == 4
    assert "taken" in done.stderr
    assert "move what stands there away" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["list"], ["show"], ["doctor", "--offline"], ["run", "jobs/x.yaml", "--simulate"]]
)
def test_a_file_in_the_state_folder_s_place_is_told_with_its_cure(
    arguments: list[str], project: Project, here: Here
) -> None:
    project.job()
    project.write(".runner", "a file")
    done = here.runner(project, *arguments)
    said = done.stdout + done.stderr
    assert (done.status, "is no folder" in said, "set `state_dir`" in said) == (4, True, True), done


def test_a_job_file_that_is_not_there_is_told_with_those_that_are(project: Project, here: Here) -> None:
    project.job()
    done = here.runner(project, "check", "jobs/y.yaml")
    assert done.status == 3
    assert "Job files beside it: jobs/x.yaml" in done.stderr


def test_what_is_a_bug_says_so(project: Project, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.execution.starter.schema_text", lambda: 1 // 0)
    done = here.runner(project, "schema")
    assert done.status == 1
    assert "ZeroDivisionError" in done.stderr
    assert "This is a bug in runner" in done.stderr


def test_a_reader_that_leaves_is_no_bug(project: Project) -> None:
    project.rows(5_000)
    with subprocess.Popen(
        [sys.executable, "-m", "runner", "render", "jobs/x.yaml"],
        cwd=project.root,
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait() == 141


def test_output_is_utf_8_whatever_the_locale_says(project: Project) -> None:
    (project.root / "jobs/x.yaml").rename(project.root / "jobs/港.yaml")
    done = project.runner("check", environ={"PYTHONIOENCODING": "latin-1"})
    assert done.status == 0
    assert "jobs/港.yaml: 1 warning" in done.stdout


@pytest.fixture
def dear(project: Project) -> Project:
    """A job without a cap whose upper estimate asks for a word."""
    project.job(
        rows=40,
        replaced={"max_tokens: 200": "max_tokens: 20000", ", max_cost_usd: 5": "", "claude-haiku-5-5": "claude-opus-5"},
    )
    return project


def test_a_question_is_asked_on_a_terminal_only(dear: Project, api: SimulatedApi) -> None:
    with Terminal(dear, "run", "jobs/x.yaml") as terminal:
        terminal.wait_for("Go on?")
        terminal.type("n\n")
        assert terminal.end() == 4
    assert "not confirmed; nothing was sent" in terminal.seen
    assert (api.accounts()["requests"], dear.runs()) == (0, [])


def test_ctrl_c_at_a_question_is_an_interruption(dear: Project, api: SimulatedApi) -> None:
    with Terminal(dear, "run", "jobs/x.yaml") as terminal:
        terminal.wait_for("Go on?")
        terminal.interrupt()
        assert terminal.end() == 130
    assert "Traceback" not in terminal.seen
    assert (api.accounts()["requests"], dear.runs()) == (0, [])


def test_the_first_ctrl_c_waits_for_what_is_in_flight_and_no_color_leaves_styles_out(
    project: Project, api: SimulatedApi
) -> None:
    api.fault("slow", seconds=2)
    project.job(rows=300)
    with Terminal(project, "run", "jobs/x.yaml", columns=100, NO_COLOR="1") as terminal:
        terminal.wait_for("8 in flight")
        terminal.interrupt()
        assert terminal.end() == 130
    assert "waiting for what is in flight (Ctrl-C again drops it)" in terminal.seen
    assert not STYLES.search(terminal.seen)
    (run_id,) = project.runs()
    assert f"runner resume {run_id}" in terminal.seen
    shown = project.runner("show", "latest", "--format", "json").summary
    assert (shown["status"], shown["exit_status"]) == ("interrupted", 130)
    assert shown["rows"]["succeeded"] == api.accounts()["requests"], "what was in flight has been awaited and kept"
    assert not (project.root / "out/x.jsonl").exists()


def test_the_second_ctrl_c_drops_what_is_in_flight_and_a_narrow_terminal_gets_whole_words(
    project: Project, api: SimulatedApi
) -> None:
    api.fault("hang", text="text number 3")
    with Terminal(project, "run", "jobs/x.yaml", columns=60) as terminal:
        terminal.wait_for("11/12")
        terminal.interrupt()
        terminal.wait_for("interrupted; waiting")
        terminal.interrupt()
        assert terminal.end() == 130
    assert STYLES.search(terminal.seen)
    (run_id,) = project.runs()
    summary = terminal.seen.replace("\r\n", "\n").partition(f"x ({run_id})")[2]
    assert f"runner resume {run_id}" in summary
    assert "in doubt" in summary
    assert [line for line in summary.splitlines()[1:] if len(line) > 60] == []
    api.clear_faults()
    assert project.run("jobs/x.yaml")["rows"]["succeeded"] == 12
