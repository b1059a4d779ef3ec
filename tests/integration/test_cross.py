"""`cross`: every row with every row of small datasets, from the plan to the sinks."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from support.api import SimulatedApi
from support.harness import Project

JOB = """\
name: x
model: claude-haiku-5-5
params: {{max_tokens: 4000}}
prompt: "{{{{ row.text }}}} {{{{ row.question.text }}}}"
dataset: {{path: data/rows.csv, key: id{dataset}}}
{rest}
limits: {{max_cost_usd: 5}}
sinks: [out/x.jsonl, out/x.csv]
"""
QUESTIONS = [{"id": "q1", "text": "Why?", "lang": "en"}, {"id": "q2", "text": "Wie?", "lang": "de"}]


def job(project: Project, dataset: str = "", rest: str = "") -> None:
    project.rows(4)
    project.write("data/questions.jsonl", "".join(json.dumps(each) + "\n" for each in QUESTIONS))
    project.write("jobs/x.yaml", JOB.format(dataset=dataset, rest=rest))


def keys(project: Project, path: str = "out/x.jsonl") -> list[Any]:
    return [json.loads(record["key"]) for record in project.records(path)]


QUESTION = ", cross: {question: {path: data/questions.jsonl, key: id}}"


@pytest.mark.parametrize("mode", ["parallel", "batch"])
def test_every_row_is_asked_every_question(project: Project, api: SimulatedApi, mode: str) -> None:
    job(project, QUESTION)
    summary = project.run("jobs/x.yaml", "--mode", mode)
    assert (summary["exit_status"], summary["rows"]["total"], api.accounts()["requests"]) == (0, 8, 8)
    assert keys(project) == [[f"k{row}", question] for row in range(4) for question in ("q1", "q2")]
    record = project.records()[3]
    assert record["row"] == {"id": "k1", "text": "text number 1", "question": QUESTIONS[1]}
    with (project.root / "out/x.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert json.loads(rows[3]["question"]) == QUESTIONS[1]
    assert [row["key"] for row in rows] == [record["key"] for record in project.records()]


def test_plan_render_check_and_a_key_know_pairs(project: Project, api: SimulatedApi) -> None:
    job(project, rest="cross: {question: {path: data/questions.jsonl, key: id}}")
    plan = json.loads(project.runner("plan", "jobs/x.yaml", "--format", "json").stdout)
    assert (plan["rows"]["total"], plan["requests"]) == (8, 8)
    (body,) = project.runner("render", "jobs/x.yaml", "--key", '["k2","q2"]').stdout.splitlines()
    assert json.loads(body)["messages"][0]["content"][0]["text"] == "text number 2 Wie?"
    assert project.runner("check", "jobs/x.yaml", "--data").status == 0
    assert api.accounts()["requests"] == 0


def test_selection_is_of_pairs_and_a_small_dataset_has_its_own(project: Project) -> None:
    one = ", cross: {question: {path: data/questions.jsonl, key: id, where: 'row.lang == \"de\"'}}"
    job(project, one)
    project.run("jobs/x.yaml")
    assert keys(project) == [[f"k{row}", "q2"] for row in range(4)]
    job(project, QUESTION + ", where: row.id != 'k0' and row.question.id == 'q1', offset: 1, limit: 1")
    project.run("jobs/x.yaml")
    assert keys(project) == [["k2", "q1"]]
    job(project, QUESTION + ", sample: {rows: 3, seed: 5}")
    project.run("jobs/x.yaml")
    assert len(keys(project)) == 3


@pytest.mark.parametrize("source", ["sql", "query", "files", "python"])
def test_a_small_dataset_may_come_from_anywhere(project: Project, source: str) -> None:
    sides = {
        "sql": "{sql: 'select id, text from q where id <> :out order by id', url: 'sqlite:///data/q.db', "
        "bind: {out: '{{ vars.out }}'}, key: id}",
        "query": "{query: {file: data/q.sql}, bind: {out: '{{ vars.out }}'}, key: id}",
        "files": "{files: 'data/*.md', where: 'row.name != vars.out'}",
        "python": "{python: 'sources:questions', key: id}",
    }
    with closing(sqlite3.connect(project.root / "data/q.db")) as database, database:
        database.execute("CREATE TABLE q (id TEXT, text TEXT)")
        database.executemany("INSERT INTO q VALUES (?, ?)", [("q1", "Why?"), ("q2", "Wie?"), ("q3", "?")])
    job(project, f", cross: {{question: {sides[source]}}}", "vars: {out: q3}")
    project.write("data/q.sql", "select id, text from 'data/questions.jsonl' where id <> :out order by id")
    project.write("data/q1.md", "Why?")
    project.write("data/q2.md", "Wie?")
    project.write("sources.py", f"def questions():\n    yield from {QUESTIONS!r}\n")
    checked = project.runner("check", "jobs/x.yaml")
    assert checked.status == 0, checked.stdout + checked.stderr
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    assert [record["row"]["question"]["text"].strip() for record in project.records()] == ["Why?", "Wie?"] * 4
    assert len({record["key"] for record in project.records()}) == 8


def test_a_statement_of_a_small_dataset_is_checked_as_any(project: Project) -> None:
    job(project, ", cross: {question: {sql: 'delete from q where id = :gone'}}")
    done = project.runner("check", "jobs/x.yaml")
    assert done.status == 3
    for told in ("`dataset.cross.question.url` is missing", "begins with `delete`", "`:gone` has no value in `bind`"):
        assert told in done.stdout + done.stderr


def test_equal_pairs_are_sent_once(project: Project, api: SimulatedApi) -> None:
    job(project, QUESTION + ", distinct: true")
    project.write("data/rows.csv", "id,text\nk0,same\nk1,same\nk2,other\n")
    summary = project.run("jobs/x.yaml")
    assert (summary["rows"]["total"], summary["rows"]["reused"], api.accounts()["requests"]) == (6, 2, 4)


def test_only_new_pairs_are_sent_when_a_question_is_added(project: Project, api: SimulatedApi) -> None:
    job(project, QUESTION)
    project.run("jobs/x.yaml")
    job(project, QUESTION)
    project.write(
        "data/questions.jsonl",
        "".join(json.dumps(q) + "\n" for q in [*QUESTIONS, {**QUESTIONS[0], "id": "q3", "text": "?"}]),
    )
    summary = project.run("jobs/x.yaml")
    assert (summary["rows"]["total"], summary["rows"]["reused"], api.accounts()["requests"]) == (12, 8, 12)


def test_what_is_wrong_with_either_dataset_is_told(project: Project) -> None:
    job(project, QUESTION)
    project.write("data/questions.jsonl", '{"id": "q1"}\n{"id": "q1"}\n')
    done = project.runner("run", "jobs/x.yaml")
    assert done.status == 3
    assert (
        "data/questions.jsonl:2: error[repeated-cross-key]: the key 'q1' of `cross.question` appears twice"
        in done.stderr
    )
    project.write("data/questions.jsonl", "".join(f'{{"id": {n}}}\n' for n in range(10_001)))
    done = project.runner("run", "jobs/x.yaml")
    assert "data/questions.jsonl:10001: error[cross-too-large]" in done.stderr
    assert "make the larger one the `dataset`" in done.stderr
    project.write("data/questions.jsonl", "")
    done = project.runner("run", "jobs/x.yaml")
    assert (done.status, "crossed with has none (question)" in done.stderr) == (0, True), done.stderr
