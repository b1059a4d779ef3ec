"""`import runner`: the verbs of the command line as functions, with values instead of text."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

import runner
from runner.errors import Problem
from runner.events import Event, RunEnded, RunStarted, SinkDelivered, StepEnded, StepSent
from runner.execution.asked import RunOptions
from runner.execution.planned import plan_job
from runner.execution.starter import make_project
from support.api import SimulatedApi
from support.harness import ROOT, Project


@pytest.fixture
def api(api: SimulatedApi, monkeypatch: pytest.MonkeyPatch) -> SimulatedApi:
    for name, value in api.environ.items():
        monkeypatch.setenv(name, value)
    return api


@pytest.fixture
def job(project: Project) -> Path:
    return project.root / "jobs/x.yaml"


def test_run_gives_the_records_that_the_sink_has(project: Project, job: Path) -> None:
    result = runner.run(job)
    assert (result.status, result.rows.total, result.rows.succeeded) == ("finished", 12, 12)
    assert result.run_id in project.runs()
    records = list(result.records())
    assert [record.to_dict() for record in records] == project.records()
    assert all(isinstance(record, runner.Record) for record in records)
    assert [record.key for record in result.records()] == [record.key for record in records], "as often as asked for"
    assert result.cost_usd == pytest.approx(sum(record.cost_usd or 0 for record in records))
    assert records[0].content[-1]["type"] == "text"


def test_why_rows_failed_is_a_value(api: SimulatedApi, job: Path) -> None:
    assert runner.run(job, limit=1).failure_reasons == ()
    api.fault("refusal", text="text number 5")
    [reason] = runner.run(job).failure_reasons
    assert (reason.kind, reason.rows, reason.key) == ("refusal", 1, "k5")
    assert "refused" in (reason.message or "")


def test_the_page_s_examples_work_in_the_starter_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    make_project(tmp_path / "starter", force=False)
    monkeypatch.chdir(tmp_path / "starter")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    for example in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(example, {"runner": runner})
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("finished 24 0 ")
    assert "no credential" in " ".join(said[25:]), "the second example has no key"


def test_values_of_python_are_taken_as_they_are(project: Project, job: Path) -> None:
    project.job(replaced={"prompt:": "vars: {tone: null}\nprompt:", "Judge this": "{{ vars.tone }}"})
    settings = {"limits.max_cost_usd": 1, "sinks": ["out/other.csv"], "output.fields": {"label": ["a", "b"]}}
    loaded = runner.load(job, set=settings, vars={"tone": 'no: "yes"'})
    assert loaded.job.limits.max_cost_usd == 1
    assert loaded.job.vars == {"tone": 'no: "yes"'}
    result = runner.run(str(job), set=settings, vars={"tone": 'no: "yes"'}, limit=2)
    assert result.rows.total == 2
    assert {record.output["label"] for record in result.records()} <= {"a", "b"}
    assert (project.root / "out/other.trial.csv").exists()


def test_a_run_that_stops_is_a_value_and_can_be_resumed(project: Project, api: SimulatedApi, job: Path) -> None:
    api.fault("401")
    stopped = runner.run(job)
    assert (stopped.status, stopped.rows.open) == ("stopped", 12)
    assert [record.status for record in stopped.records()] == ["open"] * 12
    api.clear_faults()
    resumed = runner.resume(stopped.run_id, folder=project.root / "data")
    assert (resumed.status, resumed.run_id, resumed.rows.succeeded) == ("finished", stopped.run_id, 12)
    assert stopped.rows.open == 12, "a result is how the run stood"


def test_what_keeps_a_run_from_starting_is_an_exception_with_every_problem(project: Project, job: Path) -> None:
    project.job(replaced={"prompt:": "promt:", "max_concurrency: 8": "max_concurrency: 0"})
    with pytest.raises(runner.RunnerError) as caught:
        runner.run(job)
    assert {"unknown-key"} < {problem.code for problem in caught.value.problems}
    assert {problem.where.file for problem in caught.value.problems if problem.where} == {str(job)}
    assert caught.value.exit_status == 3
    with pytest.raises(runner.RunnerError, match="no such job file"):
        runner.load(project.root / "jobs/nothing.yaml")


def test_nobody_is_asked(project: Project, api: SimulatedApi, job: Path) -> None:
    project.job(
        rows=40,
        replaced={"max_tokens: 200": "max_tokens: 20000", ", max_cost_usd: 5": "", "claude-haiku-5-5": "claude-opus-5"},
    )
    with pytest.raises(runner.RunnerError) as caught:
        runner.run(job)
    assert caught.value.code == "needs-confirmation"
    assert api.accounts()["requests"] == 0
    assert runner.run(job, yes=True).rows.succeeded == 40


def test_plan_counts_and_sends_nothing(api: SimulatedApi, job: Path) -> None:
    plan = runner.plan(job)
    assert (plan.rows, plan.new, plan.reused, plan.mode) == (12, 12, 0, "parallel")
    assert json.loads(json.dumps(plan.to_dict()))["rows"]["total"] == 12
    runner.run(job)
    sent = api.accounts()["requests"]
    assert runner.plan(job).reused == 12
    assert api.accounts()["requests"] == sent


def test_running_again_sends_nothing_and_gives_the_same_records(api: SimulatedApi, job: Path) -> None:
    first = runner.run(job)
    again = runner.run(job)
    assert again.summary.nothing_to_do
    assert list(again.records()) == list(first.records())
    assert api.accounts()["requests"] == 12
    assert runner.run(job, reuse=False).rows.reused == 0
    assert api.accounts()["requests"] == 24


def test_arun_leaves_the_loop_free(project: Project, api: SimulatedApi, job: Path) -> None:
    project.job("y", replaced={"Judge this": "Judge that"})

    async def both() -> tuple[runner.Result, runner.Result]:
        return await asyncio.gather(runner.arun(job), runner.arun(project.root / "jobs/y.yaml"))

    assert [result.rows.succeeded for result in asyncio.run(both())] == [12, 12]
    assert api.accounts()["requests"] == 24


def test_a_simulated_run_needs_no_key(api: SimulatedApi, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in api.environ:
        monkeypatch.delenv(name)
    result = runner.run(job, simulate=True)
    assert (result.rows.succeeded, result.summary.simulated) == (12, True)
    with pytest.raises(runner.RunnerError) as caught:
        runner.run(job)
    assert caught.value.code == "no-credentials"
    assert caught.value.hint
    assert api.accounts()["requests"] == 0


def test_an_observer_is_told_what_happens_in_order(api: SimulatedApi, job: Path) -> None:
    class Told:
        def __init__(self) -> None:
            self.events: list[Event] = []

        def notify(self, event: Event) -> None:
            self.events.append(event)

    api.fault("529", text="text number 4", times=1)
    told = Told()
    runner.run(job, set={"retry.initial_interval": "1ms"}, observer=told)
    kinds = Counter(type(event) for event in told.events)
    assert (kinds[StepSent], kinds[StepEnded], kinds[SinkDelivered]) == (13, 13, 1)
    assert isinstance(told.events[0], RunStarted)
    assert told.events[-1] == RunEnded(told.events[0].run_id, "finished", rows_done=told.events[0].rows)
    ended = [event for event in told.events if isinstance(event, StepEnded)]
    assert Counter(event.status for event in ended) == {"succeeded": 12, "open": 1}
    (failed,) = [event.failure for event in ended if event.failure]
    assert failed.kind == "overloaded_error"


def test_a_plan_counts_nulls_that_are_printed_and_tells_of_no_rows(tmp_path: Path) -> None:
    project = Project.make(tmp_path / "project")
    project.write("data/rows.jsonl", '{"id":"a","text":null}\n{"id":"b","text":"x"}\n')
    job = project.job(rows=0, replaced={"data/rows.csv": "data/rows.jsonl"})
    environ = {"HOME": str(tmp_path)}
    (told,) = [problem for problem in plan_in(job, environ) if problem.code == "nulls-printed"]
    assert told.message == "1 null is printed as nothing"
    none = plan_in(job, environ, "dataset.where=row.id == 'zz'")
    assert [problem.code for problem in none if problem.code in ("no-rows", "nulls-printed")] == ["no-rows"]


def plan_in(job: Path, environ: dict[str, str], *sets: str) -> Sequence[Problem]:
    return plan_job(job, RunOptions(sets=sets, environ=environ)).warnings
