"""The starter project, used as its README says: init, check, plan, run on the stand-in."""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.api import SimulatedApi, simulated_api
from support.harness import Project

pytestmark = pytest.mark.slow

ROWS = {
    "complaints": 24,
    "orders": 6,
    "questions": 15,
    "receipts": 4,
    "replies": 24,
    "sentiment": 24,
    "summaries_ja": 8,
    "tickets": 18,
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, api: SimulatedApi) -> Project:
    folder = tmp_path_factory.mktemp("parent")
    made = Project(folder, {}).runner("init", "starter")
    assert made.status == 0, made.stderr
    return Project.make(folder / "starter", api)


def records(project: Project, path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.root / path).read_text(encoding="utf-8").splitlines()]


def test_a_starter_project_has_nothing_wrong_with_it(project: Project) -> None:
    done = project.runner("check", "--data", "--format", "json")
    checked = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.status == 0, done.stderr
    assert [Path(job["job_file"]).stem for job in checked] == sorted(ROWS)
    assert [job["problems"] for job in checked] == [[]] * len(ROWS)


def test_a_second_init_overwrites_nothing(project: Project) -> None:
    mine = project.root / "jobs" / "sentiment.yaml"
    before = mine.read_text(encoding="utf-8")
    mine.write_text(before + "# mine\n", encoding="utf-8")
    project.runner("init", ".")
    assert mine.read_text(encoding="utf-8") == before + "# mine\n"
    mine.write_text(before, encoding="utf-8")


def test_every_example_is_planned(project: Project) -> None:
    done = project.runner("plan", "jobs/sentiment.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    for job in ("complaints", "orders", "questions", "replies", "summaries_ja", "tickets"):
        assert project.runner("plan", f"jobs/{job}.yaml").status == 0


@pytest.fixture(scope="module")
def ran(project: Project) -> dict[str, dict[str, Any]]:
    """All jobs, run by one command; their summaries by name."""
    done = project.runner("run", *(f"jobs/{job}.yaml" for job in ROWS), "--format", "json")
    assert done.status == 0, done.stderr
    return {summary["job"]: summary for summary in done.summaries}


@pytest.mark.parametrize("job", sorted(ROWS))
def test_every_row_of_an_example_gets_a_record_in_order(
    job: str, project: Project, ran: dict[str, dict[str, Any]]
) -> None:
    assert ran[job]["rows"]["succeeded"] == ran[job]["rows"]["total"] == ROWS[job]
    written = records(project, f"out/{job}.jsonl")
    assert [record["index"] for record in written] == list(range(ROWS[job]))
    assert all(record["output"] for record in written)


@pytest.mark.usefixtures("ran")
def test_only_open_tickets_are_asked_about(project: Project) -> None:
    written = records(project, "out/tickets.jsonl")
    assert {key for record in written for key in record["row"]} == {"id", "subject"}
    assert not {"T-1003", "T-1009"} & {record["key"] for record in written}
    with (project.root / "out" / "tickets.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["ticket"] for row in rows] == [record["key"] for record in written]
    assert records(project, "out/tickets_failed.jsonl") == []


@pytest.mark.usefixtures("ran")
def test_japanese_is_written_as_it_is(project: Project) -> None:
    table = (project.root / "out" / "summaries_ja.tsv").read_text(encoding="utf-8")
    assert table.splitlines()[0] == "記事\t見出し\t要約"
    assert "港の朝市、四年ぶりに再開" in (project.root / "out" / "summaries_ja.jsonl").read_text(encoding="utf-8")


def test_a_simulated_run_needs_no_key_and_writes_trial_files(project: Project) -> None:
    alone = Project(project.root, {})
    done = alone.runner("run", "jobs/sentiment.yaml", "--simulate", "--format", "json")
    assert done.status == 0, done.stderr
    assert done.summary["simulated"] is True
    assert len(records(project, "out/sentiment.trial.jsonl")) == 24


@pytest.mark.usefixtures("ran")
def test_the_answers_of_any_job_go_to_one_table_with_the_profile_for_it(project: Project) -> None:
    done = project.runner("run", "jobs/complaints.yaml", "jobs/sentiment.yaml", "--profile", "database")
    assert done.status == 0, done.stderr
    with contextlib.closing(sqlite3.connect(project.root / "out" / "answers.db")) as database:
        counted = database.execute("select job, count(*) from answers group by job order by job").fetchall()
        (output,) = database.execute("select output from answers where key = ?", ('["r-02","safety"]',)).fetchone()
    assert counted == [("complaints", ROWS["complaints"]), ("sentiment", ROWS["sentiment"])]
    assert json.loads(output).keys() == {"applies", "quote"}
