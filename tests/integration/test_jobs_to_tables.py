"""Jobs whose records go to tables of databases, as a user runs them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.api import SimulatedApi
from support.databases import MARIADB, POSTGRESQL, execute, fetch, require
from support.harness import Project
from support.tables import place_in

SINK = "sinks: [out/x.jsonl]"
PASSWORD = "pa55-canary-84c1"


@pytest.fixture
def project(tmp_path: Path, api: SimulatedApi) -> Project:
    return Project.make(tmp_path / "project", api)


@pytest.fixture
def schema(tmp_path: Path) -> Iterator[str]:
    with place_in("postgresql", tmp_path) as place:
        assert place.schema is not None
        yield place.schema


def in_sqlite(project: Project, query: str) -> list[Any]:
    connection = sqlite3.connect(project.root / "out" / "x.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_each_record_is_a_row_however_often_the_job_runs(project: Project) -> None:
    sinks = """sinks:
  - {url: "sqlite:///out/x.db", table: appended, when: live}
  - {url: "sqlite:///out/x.db", table: merged, write: merge, unique_key: [key]}
  - {url: "sqlite:///out/x.db", table: replaced, write: replace, columns: {key: key, label: output.label}}"""
    project.job(replaced={SINK: sinks})
    first = project.run("jobs/x.yaml")
    assert first["exit_status"] == 0
    assert [sink["records"] for sink in first["sinks"]] == [12, 12, 12]
    assert first["sinks"][0]["target"] == "appended at sqlite:///out/x.db"
    for command in (["export", "latest"], ["run", "jobs/x.yaml"]):  # there is nothing to do
        assert project.runner(*command).status == 0
    for table in ("appended", "merged", "replaced"):
        assert in_sqlite(project, f"SELECT count(*), count(DISTINCT key) FROM {table}") == [(12, 12)]
    project.rows(13)
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    assert in_sqlite(project, "SELECT count(*) FROM appended") == [(25,)]
    assert in_sqlite(project, "SELECT count(*) FROM merged") == [(13,)]
    assert in_sqlite(project, "SELECT count(*) FROM replaced WHERE label IN ('good', 'bad')") == [(13,)]


def test_a_connection_of_the_project_is_named_and_its_password_is_nowhere(
    project: Project, schema: str, api: SimulatedApi
) -> None:
    url = POSTGRESQL.replace("postgres@", f"postgres:{PASSWORD}@")
    project.write("runner.toml", '[connections]\nwarehouse = "${WAREHOUSE_URL}"\n')
    project.job(replaced={SINK: f"sinks: [{{url: warehouse, table: {schema}.answers}}]"})
    done = project.runner("run", "jobs/x.yaml", environ={"WAREHOUSE_URL": url})
    assert done.status == 0, done.stderr
    assert f"{schema}.answers at warehouse (postgresql://" in done.stdout
    assert fetch(POSTGRESQL, f"SELECT count(*) FROM {schema}.answers") == [(12,)]
    refused = project.runner("export", "latest", environ={"WAREHOUSE_URL": url.replace(":5432", ":1")})
    assert refused.status == 4
    assert "cannot be reached" in refused.stderr
    told = done.stdout + done.stderr + refused.stdout + refused.stderr
    stored = [path.read_bytes() for path in project.root.rglob("*") if path.is_file()]
    marks = repr(fetch(POSTGRESQL, f"SELECT * FROM {schema}.runner_deliveries"))
    assert PASSWORD not in told + marks
    assert not any(PASSWORD.encode() in content for content in stored)


def test_a_table_that_does_not_fit_is_told_before_anything_is_paid(
    project: Project, schema: str, api: SimulatedApi
) -> None:
    execute(POSTGRESQL, f"CREATE TABLE {schema}.answers (key text)")
    project.job(
        replaced={SINK: f'sinks: [{{url: "{POSTGRESQL}", table: {schema}.answers, columns: {{key: key, why: text}}}}]'}
    )
    before = len(api.requests())
    done = project.runner("run", "jobs/x.yaml")
    assert done.status == 4
    assert f'ALTER TABLE "{schema}"."answers" ADD COLUMN "why" text;' in done.stderr
    assert len(api.requests()) == before


def test_a_record_that_does_not_fit_fails_its_sink_until_it_does(project: Project) -> None:
    (project.root / "out").mkdir()
    connection = sqlite3.connect(project.root / "out" / "x.db")
    connection.execute("CREATE TABLE answers (key TEXT, text TEXT CHECK (text <> 'text number 3'))")
    connection.close()
    sinks = """sinks:
  - {url: "sqlite:///out/x.db", table: answers, columns: {key: key, text: row.text}}
  - out/x.jsonl"""
    project.job(replaced={SINK: sinks})
    summary = project.run("jobs/x.yaml")
    assert summary["exit_status"] == 4
    table, file = summary["sinks"]
    assert (table["status"], table["records"], file["status"]) == ("failed", 11, "delivered")
    assert "'k3'" in table["error"]
    assert project.runner("export", "latest").status == 4
    assert in_sqlite(project, "SELECT count(*) FROM answers") == [(11,)]
    connection = sqlite3.connect(project.root / "out" / "x.db")
    connection.executescript(
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'CREATE TABLE answers (key TEXT, text TEXT)'"
        " WHERE name = 'answers'; PRAGMA writable_schema = RESET;"
    )
    connection.close()
    assert project.runner("export", "latest").status == 0
    assert in_sqlite(project, "SELECT count(*), count(DISTINCT key) FROM answers") == [(12, 12)]


def test_a_trial_writes_no_table(project: Project) -> None:
    project.job(replaced={SINK: 'sinks: [{url: "sqlite:///out/x.db", table: answers}]'})
    assert project.runner("run", "jobs/x.yaml", "--limit", "2").status == 0
    assert not (project.root / "out" / "x.db").exists()
    assert project.runner("run", "jobs/x.yaml", "--limit", "2", "--deliver").status == 0
    assert in_sqlite(project, "SELECT count(*) FROM answers") == [(2,)]


def test_a_check_connects_to_nothing(project: Project) -> None:
    sinks = 'sinks: [{url: "postgresql://127.0.0.1:1/nowhere", table: answers, write: merge, unique_key: [kee]}]'
    project.job(replaced={SINK: sinks})
    done = project.runner("check", "jobs/x.yaml")
    assert done.status == 3
    assert "the sink has no column `kee`" in done.stderr
    assert "did you mean `key`?" in done.stderr
    project.job(replaced={SINK: sinks.replace("kee", "key")})
    assert project.runner("check", "jobs/x.yaml").status == 0


@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "duckdb"])
def test_a_schema_that_is_not_there_is_told_with_its_statement(kind: str, project: Project) -> None:
    url = {"postgresql": POSTGRESQL, "mariadb": MARIADB, "duckdb": "duckdb:///x.duckdb"}[kind]
    if kind != "duckdb":
        require(url)
    project.job(replaced={SINK: f'sinks: [{{url: "{url}", table: no_such_place.answers}}]'})
    done = project.runner("run", "jobs/x.yaml")
    assert done.status == 4
    assert "there is no 'no_such_place' to make it in" in done.stderr
    assert "CREATE SCHEMA" in done.stderr


def test_what_is_wrong_with_a_sink_is_told_with_its_place(project: Project) -> None:
    table = '{url: "sqlite:///out/x.db", table: answers, write: merge, unique_key: [kee]}'
    project.job(replaced={SINK: f"sinks: [{table}]"})
    done = project.runner("run", "jobs/x.yaml")
    assert done.status == 3
    assert re.search(r"jobs/x\.yaml:\d+:\d+: error\[unknown-column\]", done.stderr)
