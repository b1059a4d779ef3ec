"""A library that is not installed: wherever it is noticed, a run cannot start (4), nothing is paid, and the command
that installs it is told; `check` finds the same and exits as for all that it finds (3)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from support.api import SimulatedApi
from support.harness import Project
from support.here import Here
from support.media import pdf

DATASET = "{path: data/rows.csv, key: id}"
SINK = "out/x.jsonl"
PROMPT = '"Judge this: {{ row.text }}"'

DATASETS = {
    "parquet": ("{path: data/rows.parquet, key: id}", "pyarrow", "tables"),
    "xlsx": ("{path: data/rows.xlsx, key: id}", "python_calamine", "tables"),
    "hub": ("{hub: data/reviews, key: id}", "datasets", "hub"),
    "sql": ("{sql: select 1 as id, url: 'sqlite:///data/x.db', key: id}", "sqlalchemy", "sql"),
    "driver": ("{sql: select 1 as id, url: 'postgresql://me@127.0.0.1/x', key: id}", "psycopg", "postgresql"),
    "query": ("{query: select 1 as id, key: id}", "duckdb", "duckdb"),
    "store": ("{path: 's3://bucket/rows.csv', key: id}", "s3fs", "s3"),
}
SINKS = {
    "parquet": ("out/x.parquet", "pyarrow", "tables"),
    "xlsx": ("out/x.xlsx", "xlsxwriter", "tables"),
    "hub": ("{hub: acme/labels}", "huggingface_hub", "hub"),
    "sqlite": ("{url: 'sqlite:///out/x.db', table: answers}", "sqlalchemy", "sql"),
    "duckdb": ("{url: 'duckdb:///out/x.duckdb', table: answers}", "duckdb", "duckdb"),
    "store": ("s3://bucket/x.jsonl", "s3fs", "s3"),
}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


@pytest.fixture
def project(tmp_path: Path, api: SimulatedApi) -> Project:
    project = Project.make(tmp_path / "project", api)
    for name in ("rows.xlsx", "x.db"):
        project.write(f"data/{name}", "")
    parquet.write_table(pa.table({"id": ["a"], "text": ["one"]}), project.root / "data/rows.parquet")
    return project


def require_refused(project: Project, here: Here, api: SimulatedApi, extra: str, *, by_check: bool = True) -> None:
    told = f"pip install 'rowrunner[{extra}]'"
    if by_check:
        checked = here.runner(project, "check", "jobs/x.yaml")
        assert (checked.status, told in checked.stdout + checked.stderr) == (3, True), checked
    before = len(api.requests())
    done = here.runner(project, "run", "jobs/x.yaml", "--yes")
    assert (done.status, told in done.stderr) == (4, True), done
    assert re.search(r"^jobs/x\.yaml:\d+:\d+: error\[missing-extra\]: ", done.stderr, re.MULTILINE), done.stderr
    assert (len(api.requests()), project.runs()) == (before, [])


@pytest.mark.parametrize("kind", DATASETS)
def test_a_dataset_that_needs_one(
    project: Project, here: Here, api: SimulatedApi, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    dataset, module, extra = DATASETS[kind]
    project.job(replaced={DATASET: dataset, PROMPT: '"{{ row.id }}"'})
    monkeypatch.setitem(sys.modules, module, None)
    require_refused(project, here, api, extra)


@pytest.mark.parametrize(
    "dataset", ["{query: select 7 as id, key: id}", "{sql: select 7 as id, url: 'duckdb:///x.duckdb', key: id}"]
)
def test_duckdb_is_asked_without_sqlalchemy(project: Project, dataset: str) -> None:
    duckdb.connect(str(project.root / "x.duckdb")).close()
    project.job(replaced={DATASET: dataset, PROMPT: '"{{ row.id }}"'})
    without = "import sys; sys.modules['sqlalchemy'] = None; from runner.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", without, "render", "jobs/x.yaml"],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, '"text":"7"' in done.stdout) == (0, True), done


@pytest.mark.parametrize("kind", SINKS)
def test_a_sink_that_needs_one(
    project: Project, here: Here, api: SimulatedApi, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    sink, module, extra = SINKS[kind]
    project.job(replaced={SINK: sink})
    monkeypatch.setitem(sys.modules, module, None)
    require_refused(project, here, api, extra)


def test_a_document_whose_text_needs_one(
    project: Project, here: Here, api: SimulatedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.job(replaced={DATASET: "{files: 'docs/*.pdf'}"})
    (project.root / "docs").mkdir()
    (project.root / "docs/a.pdf").write_bytes(pdf(1))
    monkeypatch.setitem(sys.modules, "pypdf", None)
    require_refused(project, here, api, "documents", by_check=False)
    checked = here.runner(project, "check", "--data", "jobs/x.yaml")
    assert (checked.status, "rowrunner[documents]" in checked.stdout + checked.stderr) == (3, True)


def test_an_object_that_a_row_names_needs_one_and_no_row_fails_for_it(
    project: Project, here: Here, api: SimulatedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.job(replaced={PROMPT: '[{image: "s3://bucket/{{ row.id }}"}]'})
    monkeypatch.setitem(sys.modules, "s3fs", None)
    require_refused(project, here, api, "s3", by_check=False)


def test_an_object_that_the_job_names_needs_one(
    project: Project, here: Here, api: SimulatedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.job(replaced={PROMPT: '[{image: "s3://bucket/x.png"}, "{{ row.text }}"]'})
    monkeypatch.setitem(sys.modules, "s3fs", None)
    require_refused(project, here, api, "s3", by_check=False)


def test_an_expression_over_replies_needs_one_also_when_a_run_goes_on(
    project: Project, here: Here, api: SimulatedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = "output:\n  fields:\n    label: [good, bad]\n"
    project.job(replaced={fields: "output: {extract: {regex: '(?P<label>.)'}, rules: [output.label]}\n"})
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "re2", None)
        require_refused(project, here, api, "regex")
    assert here.runner(project, "run", "jobs/x.yaml", "--mode", "batch", "--detach").status == 6
    monkeypatch.setitem(sys.modules, "re2", None)
    gone_on = here.runner(project, "resume", "latest")
    assert gone_on.status == 4, gone_on
    assert "pip install 'rowrunner[regex]'" in gone_on.stderr


def test_a_job_that_is_wrong_besides_is_wrong(project: Project, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    project.job(replaced={SINK: "out/x.parquet", "max_tokens: 200": "max_tokens: many"})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = here.runner(project, "run", "jobs/x.yaml")
    assert done.status == 3
    assert "max_tokens" in done.stderr
    assert "rowrunner[tables]" in done.stderr


def test_several_are_told_at_once(project: Project, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    project.job(replaced={f"[{SINK}]": "[out/x.parquet, out/y.xlsx]"})
    for module in ("pyarrow", "xlsxwriter"):
        monkeypatch.setitem(sys.modules, module, None)
    done = here.runner(project, "run", "jobs/x.yaml")
    assert done.status == 4
    assert "2 problems" in done.stderr
