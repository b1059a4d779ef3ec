"""Which columns of its dataset a job reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.spec.load import load
from runner.spec.used_columns import used_columns
from support.projects import make_project

JOB = """\
model: claude-haiku-5-5
params: {max_tokens: 100}
prompt: review.md.j2
dataset: {path: data/reviews.csv, key: id, types: {stars: integer}, where: row.lang == "en"}
"""
NARROW = "sinks: [{path: out/x.jsonl, include_row: [title]}, {path: out/x.csv, columns: {a: row.shop, k: key}}]\n"


def used(tmp_path: Path, job: str, template: str = "{% include 'part.j2' %}") -> frozenset[str] | None:
    files = {
        "templates/review.md.j2": template,
        "templates/part.j2": "{{ row.text }}{% if row.day is defined %}{{ row.day.year }}{% endif %}",
    }
    return used_columns(load(make_project(tmp_path, job=job, files=files), environ={}))


def test_what_templates_expressions_keys_casts_and_sinks_name_is_used(tmp_path: Path) -> None:
    assert used(tmp_path, JOB + NARROW) == frozenset({"id", "stars", "lang", "text", "day", "title", "shop"})


@pytest.mark.parametrize(
    "sinks", ["", "sinks: out/x.jsonl\n", NARROW.replace("include_row: [title]", "overwrite: true")]
)
def test_a_sink_that_writes_the_row_uses_all(tmp_path: Path, sinks: str) -> None:
    assert used(tmp_path, JOB + sinks) is None


@pytest.mark.parametrize(
    "template", ["{{ row | tojson }}", "{{ row[vars.x] }}", "{% for name in row %}{{ name }}{% endfor %}"]
)
def test_a_row_that_is_taken_as_a_whole_uses_all(tmp_path: Path, template: str) -> None:
    assert used(tmp_path, JOB + NARROW + "vars: {x: text}\n", template) is None


def test_a_row_as_a_whole_in_an_expression_uses_all(tmp_path: Path) -> None:
    assert used(tmp_path, JOB + NARROW.replace("row.shop", "row")) is None
