"""`cross` in a job: its forms, layers, and what is checked of it before a row is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.errors import SpecError
from runner.execution.checking import check_jobs
from runner.spec.load import load
from support.frozen_clock import FrozenClock

JOB = """\
model: claude-haiku-5-5
params: {{max_tokens: 4000}}
prompt: "{{{{ row.question.text }}}} {{{{ row.text }}}}"
dataset: {dataset}
{rest}
"""
QUESTIONS = "id,text,lang\nq1,Why?,en\nq2,How?,en\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("data", "jobs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "runner.toml").touch()
    (tmp_path / "data/rows.csv").write_text("id,text\na,x\nb,y\n")
    (tmp_path / "data/questions.csv").write_text(QUESTIONS)
    return tmp_path


def job(root: Path, dataset: str, rest: str = "", name: str = "x") -> Path:
    path = root / f"jobs/{name}.yaml"
    path.write_text(JOB.format(dataset=dataset, rest=rest))
    return path


def resolved(path: Path, *sets: str) -> Any:
    return load(path, sets=sets, environ={}).resolved["dataset"]["cross"]


def problems(root: Path, dataset: str, rest: str = "") -> list[str]:
    (checked,) = check_jobs([job(root, dataset, rest)], profile=None, data=False, clock=FrozenClock())
    return [f"{problem.where}: {problem.code}: {problem.message}" for problem in checked.problems]


@pytest.mark.parametrize(
    "at", ["sample: {rows: 2, seed: -7}", "cross: {question: {path: data/questions.csv, sample: {rows: 1, seed: -7}}}"]
)
def test_a_seed_is_not_negative_since_its_sign_would_choose_nothing(root: Path, at: str) -> None:
    [problem] = problems(root, f"{{path: data/rows.csv, {at}}}")
    assert "jobs/x.yaml:4:" in problem
    assert problem.endswith("seed`: expected a number of at least 0, found `-7`")


def test_a_path_is_short_for_a_dataset_and_both_places_mean_the_same(root: Path) -> None:
    expected = {"question": {"path": "data/questions.csv"}}
    below = job(root, "{path: data/rows.csv, cross: {question: data/questions.csv}}")
    beside = job(root, "data/rows.csv", "cross: {question: {path: data/questions.csv}}", "y")
    assert resolved(below) == resolved(beside) == expected
    spec = load(below, environ={}).job.dataset
    assert (list(spec.cross), spec.cross["question"].path) == (["question"], "data/questions.csv")


def test_it_may_stand_beside_a_dataset_that_another_layer_gives(root: Path) -> None:
    job(root, "{path: data/rows.csv, key: id}", name="_base")
    path = root / "jobs/y.yaml"
    path.write_text("extends: _base.yaml\ncross: {question: {path: data/questions.csv, key: id}}\n")
    assert load(path, environ={}).resolved["dataset"] == {
        "path": "data/rows.csv",
        "key": ["id"],
        "cross": {"question": {"path": "data/questions.csv", "key": ["id"]}},
    }


def test_layers_change_one_dataset_of_it_and_null_takes_it_away(root: Path) -> None:
    cross = "cross: {question: {path: data/questions.csv, key: id}, tone: data/questions.csv}"
    path = job(root, f"{{path: data/rows.csv, {cross}}}")
    assert resolved(path, "dataset.cross.question.limit=1", "dataset.cross.tone=null") == {
        "question": {"path": "data/questions.csv", "key": ["id"], "limit": 1}
    }
    assert resolved(path, "cross.question=data/rows.csv")["question"] == {"path": "data/rows.csv", "key": ["id"]}


def test_the_path_may_be_rendered_from_variables(root: Path) -> None:
    path = job(root, '{path: data/rows.csv, cross: {question: "data/{{ vars.set }}.csv"}}', "vars: {set: questions}")
    load(path, environ={})
    with pytest.raises(SpecError, match=r"no file `data/other\.csv`"):
        load(path, sets=["vars.set=other"], environ={})


@pytest.mark.parametrize(
    ("dataset", "rest", "expected"),
    [
        (
            "{path: data/rows.csv, cross: {question: data/none.csv}}",
            "",
            ["file-not-found: there is no file `data/none.csv`"],
        ),
        (
            "{path: data/rows.csv, cross: {question: '-'}}",
            "",
            ["bad-path: a dataset in `cross` cannot be read from stdin"],
        ),
        (
            "{path: data/rows.csv, cross: {question: {path: data/questions.csv, distinct: true}}}",
            "",
            ["unknown-key: `distinct` is no key of `dataset.cross.question`"],
        ),
        (
            "{path: data/rows.csv, cross: {question: {path: data/questions.csv, wher: x}}}",
            "",
            ["unknown-key: `wher` is no key of `dataset.cross.question`"],
        ),
        (
            "{path: data/rows.csv, cross: {the question: data/questions.csv}}",
            "",
            ["bad-name: `the question` cannot be looked up as a column of a row"],
        ),
        (
            "{path: data/rows.csv, cross: {question: data/questions.csv}}",
            "cross: {question: data/questions.csv}",
            ["one-of: `cross` is given twice"],
        ),
        (
            "{path: data/rows.csv, cross: data/questions.csv}",
            "",
            ["wrong-value: `dataset.cross`: expected a mapping, found the text 'data/questions.csv'"],
        ),
        (
            "{path: data/rows.csv, cross: {question: {path: data/questions.csv, where: row.lang == nothing}}}",
            "",
            ["unknown-name: `nothing` is not known here"],
        ),
        (
            "{path: data/rows.csv, cross: {question: data/questions.csv}}",
            "sinks: [data/questions.csv]",
            ["sink-is-dataset: `data/questions.csv` is the dataset itself"],
        ),
    ],
)
def test_what_is_wrong_is_told(root: Path, dataset: str, rest: str, expected: list[str]) -> None:
    assert [problem.partition(": ")[2] for problem in problems(root, dataset, rest)] == expected


def test_each_dataset_of_it_needs_a_source(root: Path) -> None:
    (problem,) = problems(root, "{path: data/rows.csv, cross: {question: {key: id}}}")
    assert "missing-key: `path` or " in problem


def test_columns_of_all_datasets_are_known_to_check(root: Path) -> None:
    cross = "{question: {path: data/questions.csv, key: ident, where: row.language == vars.tone}}"
    rest = """\
vars: {tone: en}
system: x
turns: ["{{ row.question.txt }}", "{% if 'more' in row.question %}{{ row.question.more }}{% endif %}{{ row.txt }}"]
sinks:
  - {path: out/x.jsonl, columns: {a: row.question.langs, b: "row.question.lang"}}"""
    dataset = f"{{path: data/rows.csv, where: row.question.id != row.id, cross: {cross}}}"
    found = sorted(problem.rpartition("/")[2] for problem in problems(root, dataset, rest))
    assert found == [
        "x.yaml:4:116: unknown-column: `question` has no column `ident`",
        "x.yaml:4:130: unknown-column: `question` has no column `language`",
        "x.yaml:7:104: unknown-column: the dataset has no column `txt`",
        "x.yaml:7:13: unknown-column: `question` has no column `txt`",
        "x.yaml:9:38: unknown-column: `question` has no column `langs`",
    ]


def test_a_name_that_is_a_column_already_is_told(root: Path) -> None:
    found = problems(root, "{path: data/rows.csv, cross: {text: data/questions.csv}}", "x-note: none")
    assert any("cross-clash: the dataset has a column `text` of its own" in problem for problem in found)
