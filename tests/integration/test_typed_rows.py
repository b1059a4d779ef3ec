"""Rows with types, from the table's file through templates and workers to every sink: the whole program against the
stand-in API."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from support.harness import Project
from support.stores import S3Store
from support.table_files import TABLE_WRITERS, arrow_table, write_xlsx

ROWS: list[dict[str, Any]] = [
    {
        "day": dt.date(2026, 1, 1 + number),
        "at": dt.datetime(2026, 1, 1, number, tzinfo=dt.UTC),
        "price": Decimal(number).scaleb(-2).quantize(Decimal("0.01")) + 10,
        "photo": bytes([number]),
        "tags": [f"t{number}"],
        "text": f"text number {number}",
        "n": number if number % 2 else None,
    }
    for number in range(12)
]
WHERE = 'row.day >= ("2026-01-03" | date) and row.price < ("10.09" | decimal)'
JOB = """\
name: typed
model: claude-haiku-5-5
params: {max_tokens: 1024}
prompt: "{{ row.text }} of {{ row.day }}, {{ row.at }}: {{ row.price }} {{ row.tags }}"
dataset:
  path: data/rows.parquet
  key: [day, price]
  where: WHERE
sinks: [out/x.jsonl, out/x.csv, out/x.parquet]
""".replace("WHERE", WHERE)


def write(project: Project, job: str = JOB, kind: str = "parquet") -> None:
    (project.root / "data").mkdir(exist_ok=True)
    TABLE_WRITERS[kind](arrow_table(ROWS), project.root / f"data/rows.{kind}")
    project.write("jobs/typed.yaml", job)


def test_typed_values_reach_templates_and_sinks(project: Project) -> None:
    write(project)
    bodies = [json.loads(line) for line in project.runner("render", "jobs/typed.yaml").stdout.splitlines()]
    said = bodies[0]["messages"][0]["content"]
    assert 'text number 2 of 2026-01-03, 2026-01-01T02:00:00+00:00: 10.02 ["t2"]' in json.dumps(said).replace("\\", "")
    assert project.run("jobs/typed.yaml")["exit_status"] == 0
    records = project.records()
    assert [record["key"] for record in records] == [f'["2026-01-0{n + 1}","10.0{n}"]' for n in range(2, 9)]
    assert records[0]["row"] == {
        "day": "2026-01-03", "at": "2026-01-01T02:00:00+00:00", "price": 10.02, "photo": "Ag==", "tags": ["t2"],
        "text": "text number 2", "n": None,
    }  # fmt: skip
    lines = (project.root / "out/x.csv").read_text().splitlines()
    assert ',2026-01-03,2026-01-01T02:00:00+00:00,10.02,Ag==,"[""t2""]",text number 2,,' in lines[1]
    found = parquet.read_table(project.root / "out/x.parquet").select(list(ROWS[0]))
    assert found.to_pylist() == ROWS[2:9]
    assert found.schema.field("day").type == pa.date32()
    shown = project.runner("show", "latest", "--key", records[0]["key"], "--format", "json")
    assert json.loads(shown.stdout)["record"]["row"] == records[0]["row"]


def test_workers_render_the_same(project: Project) -> None:
    write(project)
    assert project.run("jobs/typed.yaml")["exit_status"] == 0
    first = project.records()
    again = project.run("jobs/typed.yaml", "--new", "--no-reuse", environ={"RUNNER_WORKERS": "2"})
    assert again["exit_status"] == 0
    assert [record["request_hash"] for record in project.records()] == [record["request_hash"] for record in first]


@pytest.mark.parametrize("kind", ["feather", "arrows", "orc"])
def test_every_table_format_gives_the_same_requests(project: Project, kind: str) -> None:
    write(project)
    expected = project.runner("render", "jobs/typed.yaml").stdout
    assert expected
    write(project, JOB.replace("rows.parquet", f"rows.{kind}"), kind)
    assert project.runner("render", "jobs/typed.yaml").stdout == expected


def test_a_job_whose_sinks_leave_the_row_out_reads_only_what_it_uses(project: Project) -> None:
    sinks = "[{path: out/x.jsonl, include_row: [text]}, {path: out/x.csv, columns: {k: key, n: row.n}}]"
    write(project, JOB.replace("[out/x.jsonl, out/x.csv, out/x.parquet]", sinks))
    assert project.run("jobs/typed.yaml")["exit_status"] == 0
    assert project.records()[0]["row"] == {"text": "text number 2"}
    done = project.runner("export", "latest", "--to", "all.jsonl")
    assert done.status == 0, done.stderr
    kept = json.loads((project.root / "all.jsonl").read_text().splitlines()[0])["row"]
    assert set(kept) == {"day", "at", "price", "tags", "text", "n"}  # all but the photo


def test_a_text_is_cast_and_what_does_not_fit_is_told(project: Project) -> None:
    project.write("data/rows.csv", "id,text,day,price\n1,a,2026-01-31,12.50\n2,b,,7\n")
    job = JOB.replace("data/rows.parquet", "data/rows.csv").replace("[day, price]", "id")
    job = job.replace(
        'where: row.day >= ("2026-01-03" | date) and row.price < ("10.09" | decimal)', "where: row.price > 7"
    )
    job = job.replace(", {{ row.at }}: {{ row.price }} {{ row.tags }}", ": {{ row.price }}")
    write(project, job.replace("  key: id", "  types: {day: date, price: decimal}\n  key: id"))
    project.write("data/rows.csv", "id,text,day,price\n1,a,2026-01-31,12.50\n2,b,,7\n")
    assert project.run("jobs/typed.yaml")["exit_status"] == 0
    found = parquet.read_table(project.root / "out/x.parquet")
    assert found.column("day").to_pylist() == [dt.date(2026, 1, 31)]
    assert found.column("price").to_pylist() == [Decimal("12.50")]
    project.write("data/rows.csv", "id,text,day,price\n1,a,31.1.2026,12.50\n2,b,,cheap\n")
    refused = project.runner("check", "jobs/typed.yaml", "--data")
    assert refused.status == 3
    assert (
        "data/rows.csv:2: error[not-castable]: the column 'day' is a text that is no date"
        in refused.stderr + refused.stdout
    )
    assert (
        "data/rows.csv:3: error[not-castable]: the column 'price' is a text that is no number"
        in refused.stderr + refused.stdout
    )
    assert "cheap" not in refused.stderr + refused.stdout


def test_a_workbook_is_a_dataset(project: Project) -> None:
    write(project)
    rows = [{"id": number, "day": dt.date(2026, 1, 1 + number), "text": f"t{number}"} for number in range(3)]
    write_xlsx(rows, project.root / "data/book.xlsx", sheet="Reviews")
    project.write(
        "jobs/typed.yaml",
        "model: claude-haiku-5-5\nparams: {max_tokens: 1024}\nprompt: '{{ row.text }} of {{ row.day }}'\n"
        "dataset: {path: data/book.xlsx, sheet: Reviews, key: id, where: row.day.day > 1}\nsinks: [out/x.jsonl]\n",
    )
    assert project.run("jobs/typed.yaml")["exit_status"] == 0
    assert [(record["key"], record["row"]["day"]) for record in project.records()] == [
        ("1", "2026-01-02"), ("2", "2026-01-03"),
    ]  # fmt: skip
    project.write("jobs/typed.yaml", (project.root / "jobs/typed.yaml").read_text().replace("Reviews", "Revews"))
    refused = project.runner("check", "jobs/typed.yaml")
    assert refused.status == 3
    assert "did you mean `Reviews`?" in refused.stderr + refused.stdout


def test_check_names_a_column_that_a_table_does_not_have(project: Project) -> None:
    write(project, JOB.replace("row.tags", "row.tag"))
    refused = project.runner("check", "jobs/typed.yaml")
    assert refused.status == 3
    assert "the dataset has no column `tag`" in refused.stderr + refused.stdout


def test_a_table_is_read_from_a_store(project: Project, s3: S3Store) -> None:
    write(project)
    s3.put("rows.parquet", (project.root / "data/rows.parquet").read_bytes())
    project.write("jobs/typed.yaml", JOB.replace("path: data/rows.parquet", f'path: "{s3.url("rows.parquet")}"'))
    assert project.run("jobs/typed.yaml")["exit_status"] == 0
    assert len(project.records()) == 7


def test_a_check_compares_the_files_of_a_pattern(project: Project) -> None:
    write(project, JOB.replace("data/rows.parquet", "data/rows-*.parquet"))
    table = arrow_table(ROWS)
    for number in range(120):
        parquet.write_table(table.slice(0, 1), project.root / f"data/rows-{number:03}.parquet")
    sound = project.runner("check", "jobs/typed.yaml")
    assert sound.status == 0, sound.stderr
    assert (
        "jobs/typed.yaml:6:9: warning[files-not-compared]: the columns of 100 of 120 files were compared"
        in sound.stderr
    )
    parquet.write_table(table.drop_columns(["n"]), project.root / "data/rows-119.parquet")
    refused = project.runner("check", "jobs/typed.yaml")
    assert refused.status == 3
    assert "data/rows-119.parquet: error[header-mismatch]: its columns are not those of data/rows-000.parquet" in (
        refused.stderr
    )
    every = project.runner("check", "--data", "jobs/typed.yaml")
    assert (every.status, "files-not-compared" in every.stderr) == (3, False)
