from __future__ import annotations

from pathlib import Path

import pytest

from runner.spec.columns import check_columns
from runner.spec.load import load
from support.projects import JOB, make_project

HEADER = ("id", "text", "stars")


def places(root: Path, job: str, monkeypatch: pytest.MonkeyPatch, files: dict[str, str] | None = None) -> list[str]:
    monkeypatch.chdir(root)
    loaded = load(make_project(root, job=job, files=files), environ={})
    return [str(problem.where) for problem in check_columns(loaded, HEADER)]


def test_columns_that_exist_are_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places(tmp_path, JOB, monkeypatch) == []


def test_uses_are_found_through_includes_and_macros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "templates/review.md.j2": '{% from "m.j2" import show %}\n{{ show(row) }}\n{% include "part.j2" %}\n',
        "templates/m.j2": "{% macro show(r) %}\n  {{ r.one }}\n{% endmacro %}\n",
        "templates/part.j2": "{{ row['two'] }} {{ row.text }}\n",
    }
    assert places(tmp_path, JOB, monkeypatch, files) == ["templates/m.j2:2:3", "templates/part.j2:1:1"]


def test_a_column_that_may_be_missing_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "{{ row.note | default('none') }}{% if row.extra is defined %}{{ row.extra }}{% endif %}"
    assert places(tmp_path, JOB, monkeypatch, {"templates/review.md.j2": text}) == []


def test_a_use_is_told_once_though_two_blocks_include_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = JOB.replace("review.md.j2", "[review.md.j2, review.md.j2]")
    assert len(places(tmp_path, job, monkeypatch, {"templates/review.md.j2": "{{ row.x }}"})) == 1


def test_where_the_columns_are_not_known_nothing_is_said(tmp_path: Path) -> None:
    loaded = load(make_project(tmp_path, files={"templates/review.md.j2": "{{ row.x }}"}), environ={})
    assert check_columns(loaded, None) == []


def test_keys_and_types_are_of_the_datasets_own_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = "{path: data/reviews.csv, key: [id, q], types: {q: integer}, cross: {q: data/q.csv}}"
    job = JOB.replace("data/reviews.csv", dataset)
    loaded = load(make_project(tmp_path, job=job, files={"data/q.csv": "id\n1\n"}), environ={})
    found = check_columns(loaded, (*HEADER, "q"), {"q": ("id",)})
    assert [problem.message for problem in found] == ["the dataset has no column `q`"] * 2
