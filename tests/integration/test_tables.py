"""Jobs whose records go to tables: parquet, arrow and xlsx files, the whole program against the stand-in API."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import feather, parquet
from python_calamine import CalamineWorkbook

import runner
from support.api import SimulatedApi
from support.harness import Project
from support.stores import S3Store

SINK = "[out/x.jsonl]"
FIELDS = "{label: [good, bad], score: number, tags: [string], day: date, why: optional string}"


def job(project: Project, sinks: str) -> None:
    project.job("x", replaced={SINK: sinks, "fields:\n    label: [good, bad]": f"fields: {FIELDS}"})


def table(path: Path) -> pa.Table:
    return parquet.read_table(path) if path.suffix == ".parquet" else feather.read_table(path)


def test_the_records_of_a_run_go_to_tables_of_every_kind(project: Project) -> None:
    job(project, "[out/x.jsonl, out/x.parquet, out/x.feather, out/x.xlsx]")
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    out = project.root / "out"
    records = project.records()
    found = table(out / "x.parquet")
    assert found.equals(table(out / "x.feather"))
    assert found.schema.field("output_score").type == pa.float64()
    assert found.schema.field("output_tags").type.value_type == pa.string()
    assert found.schema.field("output_day").type == pa.date32()
    assert [row["key"] for row in found.to_pylist()] == [record["key"] for record in records]
    assert [row["output_score"] for row in found.to_pylist()] == [record["output"]["score"] for record in records]
    sheet = CalamineWorkbook.from_path(out / "x.xlsx").get_sheet_by_index(0).to_python()
    assert sheet[0] == found.column_names
    assert [row[0] for row in sheet[1:]] == [record["key"] for record in records]
    done = project.runner("run", "jobs/x.yaml")
    assert "nothing to do" in (done.stdout + done.stderr).lower()


def test_what_an_expression_yields_is_typed_by_all_records(project: Project) -> None:
    job(project, "[{path: out/x.parquet, columns: {k: key, n: 'index * 0.5 if index == 11 else index'}}]")
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    found = table(project.root / "out/x.parquet")
    assert [str(type_) for type_ in found.schema.types] == ["string", "double"]
    assert found.column("n").to_pylist() == [*map(float, range(11)), 5.5]


def test_a_partitioned_table_is_replaced_as_a_whole(project: Project) -> None:
    job(project, "[{path: out/x.parquet, partition_by: output_label}]")
    assert project.run("jobs/x.yaml", "--limit", "3")["exit_status"] == 0
    assert (project.root / "out/x.trial.parquet").is_dir()
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    folder = project.root / "out/x.parquet"
    assert {path.name for path in folder.iterdir()} <= {"output_label=good", "output_label=bad"}
    assert table(folder).num_rows == 12
    (folder / "output_label=good").mkdir(exist_ok=True)
    (folder / "output_label=good" / "mine.parquet").write_bytes(b"mine")
    refused = project.runner("run", "jobs/x.yaml", "--new", "--no-reuse")
    assert refused.status == 4
    assert "a file in it was added or changed since" in refused.stderr


def test_an_export_writes_what_it_is_told(project: Project, tmp_path: Path) -> None:
    job(project, "[out/x.jsonl]")
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    for path, given in (("a.parquet", ()), ("b.bin", ("--as", "parquet")), ("c.arrow", ()), ("d.xlsx", ())):
        done = project.runner("export", "latest", "--to", str(tmp_path / path), *given)
        assert done.status == 0, done.stderr
    assert parquet.read_table(tmp_path / "a.parquet").equals(parquet.read_table(tmp_path / "b.bin"))
    assert table(tmp_path / "c.arrow").num_rows == 12


def test_a_table_goes_to_a_store(project: Project, s3: S3Store) -> None:
    job(project, f'["{s3.url("out/x.parquet")}"]')
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    assert parquet.read_table(pa.BufferReader(s3.get("out/x.parquet") or b"")).num_rows == 12


@pytest.mark.parametrize(
    ("sink", "told"),
    [
        ("{path: out/x.parquet, spreadsheet: true}", "`spreadsheet` is no key of parquet sinks"),
        ("{path: out/x.csv, contract: freeze}", "`contract` is no key of csv sinks"),
        ("{path: out/x.arrow, partition_by: [key]}", "`partition_by` is no key of arrow sinks"),
        ("out/x.parquet.gz", "parquet is compressed within"),
        ("{path: out/x.parquet, partition_by: nothing}", "there is no column 'nothing'"),
        ("{path: out/x.arrow, compression: gzip}", "`compression` of arrow sinks"),
        ("{path: 's3://bucket/x.parquet', partition_by: key}", "a store has no folder"),
    ],
)
def test_check_tells_what_a_table_cannot_be(project: Project, sink: str, told: str) -> None:
    job(project, f"[{sink}]")
    done = project.runner("check", "jobs/x.yaml")
    assert done.status == 3
    assert told in done.stdout + done.stderr


def test_the_records_of_a_run_are_a_table_in_memory(
    project: Project, api: SimulatedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in api.environ.items():
        monkeypatch.setenv(name, value)
    job(project, "[out/x.jsonl, out/x.parquet]")
    result = runner.run(project.root / "jobs/x.yaml")
    found = result.to_arrow()
    assert found.equals(table(project.root / "out/x.parquet"))
    assert list(result.to_pandas()["key"]) == found.column("key").to_pylist()
    assert str(result.to_pandas(types_mapper=pd.ArrowDtype).dtypes["output_day"]) == "date32[day][pyarrow]"
    frame = result.to_polars()
    assert frame.schema["output_day"] == pl.Date
    assert frame["output_label"].to_list() == found.column("output_label").to_pylist()


def test_a_frozen_table_in_a_store_decides(project: Project, s3: S3Store) -> None:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"key": pa.array([], pa.string()), "n": pa.array([], pa.int8())}), sink)
    s3.put("out/x.parquet", sink.getvalue().to_pybytes())
    given = f"path: '{s3.url('out/x.parquet')}', contract: freeze, overwrite: true"
    job(project, f"[{{{given}, columns: {{key: key, n: index * 20}}}}]")
    done = project.runner("run", "jobs/x.yaml")
    assert done.status == 4
    assert (
        "5 records do not fit and 7 are delivered: 'k7': column 'n': 140 does not fit int8" in done.stdout + done.stderr
    )
    found = parquet.read_table(pa.BufferReader(s3.get("out/x.parquet") or b""))
    assert found.schema.field("n").type == pa.int8()
    assert found.column("n").to_pylist() == list(range(0, 128, 20))
    job(project, f"[{{{given}, columns: {{key: key, more: index}}}}]")
    refused = project.runner("run", "jobs/x.yaml", "--new")
    assert refused.status == 4
    assert "has no column 'more', and `contract: freeze` adds none" in refused.stderr


def test_more_rows_than_a_sheet_has_stop_a_run_before_anything_is_paid(
    project: Project, api: SimulatedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.sinks.xlsx.MAX_ROWS", 12)
    for name, value in api.environ.items():
        monkeypatch.setenv(name, value)
    job(project, "[out/x.xlsx]")
    with pytest.raises(runner.RunnerError, match="cannot hold 12 records: a sheet has 12 rows with its header"):
        runner.run(project.root / "jobs/x.yaml")
    assert api.requests() == []
    job(project, "[{path: out/x.xlsx, rows: failed}]")
    assert runner.run(project.root / "jobs/x.yaml").status == "finished"
