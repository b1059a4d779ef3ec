"""Jobs whose rows are documents of a folder, what a function gives, or a dataset of the Hub; the whole program."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.harness import Project
from support.hub_server import hub_server
from support.media import pdf, picture

PATH = "{path: data/rows.csv, key: id}"
MODULE = """
import datetime as dt

def tickets(count):
    for number in range(count):
        yield {"id": f"t{number}", "text": f"text number {number}", "on": dt.date(2026, 1, 1 + number)}
"""


def job(project: Project, dataset: str, **replaced: str) -> None:
    project.job("x", replaced={PATH: dataset, **replaced})


def documents(project: Project) -> None:
    project.write("docs/a.md", "# One")
    project.write("docs/deep/b.html", "<p>Two</p>")
    (project.root / "docs/c.pdf").write_bytes(pdf(1))


def test_each_document_of_a_folder_is_asked_about(project: Project) -> None:
    documents(project)
    job(project, '{files: ["docs/**/*"]}')
    summary = project.run("jobs/x.yaml")
    assert summary["exit_status"] == 0, summary
    found = project.records()
    assert [record["key"] for record in found] == ["docs/a.md", "docs/c.pdf", "docs/deep/b.html"]
    assert found[2]["row"]["text"] == "Two"

    project.write("docs/0.md", "# A new one")
    assert project.run("jobs/x.yaml")["rows"]["reused"] == 3  # named by their paths, not by their places


def test_images_of_a_folder_stand_in_blocks(project: Project) -> None:
    (project.root / "photos").mkdir()
    (project.root / "photos/a.png").write_bytes(picture(40, 30))
    job(
        project,
        '{files: "photos/*", text: false}',
        **{'prompt: "Judge this: {{ row.text }}"': 'prompt: [{image: "{{ row.path }}"}, "What is it?"]'},
    )
    summary = project.run("jobs/x.yaml")
    assert summary["rows"]["succeeded"] == 1, summary
    assert project.records()[0]["row"] == {
        "path": "photos/a.png",
        "name": "a.png",
        "suffix": ".png",
        "size": len(picture(40, 30)),
    }


def test_documents_without_text_are_all_told_by_check_of_the_data(project: Project) -> None:
    documents(project)
    project.write("docs/empty.md", "")
    (project.root / "docs/bad.txt").write_bytes(b"\xff")
    job(project, '{files: ["docs/**/*"]}')
    assert project.runner("check", "jobs/x.yaml").status == 0
    done = project.runner("check", "jobs/x.yaml", "--data")
    assert done.status == 3
    for told in ("docs/empty.md: error[empty-file]", "docs/bad.txt: error[not-utf8]"):
        assert told in done.stderr


@pytest.mark.parametrize(
    ("dataset", "code"),
    [
        ('{files: "nowhere/*.md"}', "file-not-found"),
        ('{python: "sources:nothing", key: id}', "no-function"),
        ('{python: "sources:tickets", key: id}', "bad-arguments"),
        ('{python: "sources:tickets", bind: {number: 5}, key: id}', "bad-arguments"),
        ('{python: "sources:tickets", split: test, key: id}', "unknown-key"),
        ('{files: "data/*.csv", revision: main}', "unknown-key"),
        ('{python: "no_such_module:tickets", key: id}', "no-module"),
    ],
)
def test_what_is_not_there_is_told_by_check(project: Project, dataset: str, code: str) -> None:
    project.write("sources.py", MODULE)
    job(project, dataset)
    done = project.runner("check", "jobs/x.yaml")
    assert done.status == 3
    assert f"error[{code}]" in done.stderr


def test_a_function_gives_the_rows(project: Project) -> None:
    project.write("sources.py", MODULE)
    job(
        project,
        '{python: "sources:tickets", bind: {count: "{{ vars.count }}"}, key: id}',
        **{"limits:": "vars: {count: 5}\nlimits:"},
    )
    assert project.run("jobs/x.yaml")["rows"]["succeeded"] == 5
    assert [record["row"]["on"] for record in project.records()][-1] == "2026-01-05"


def parquet(columns: Mapping[str, object]) -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.table(columns), data)
    return data.getvalue()


@pytest.mark.slow
def test_a_dataset_of_the_hub_is_streamed(project: Project) -> None:
    files = {
        "data/train-00000.parquet": parquet({"id": ["a", "b"], "text": ["one", "two"]}),
        "data/test-00000.parquet": parquet({"id": ["c"], "text": ["three"]}),
    }
    job(project, "{hub: org/name, split: test, key: id}")
    with hub_server(files) as hub:
        environ = {"HF_ENDPOINT": hub.address, "HF_HOME": str(project.root / ".hub"), "HF_TOKEN": "hf_made_up"}
        assert project.runner("check", "jobs/x.yaml", environ=environ).status == 0
        assert hub.requests == []
        summary = project.run("jobs/x.yaml", environ=environ)
        assert summary["rows"]["succeeded"] == 1, summary
        assert [record["key"] for record in project.records()] == ["c"]

        job(project, "{hub: org/other, key: id}")
        done = project.runner("run", "jobs/x.yaml", "--new", environ=environ)
        assert done.status == 3
        assert "there is no dataset 'org/other'" in done.stderr
        assert "hf_made_up" not in done.stderr
