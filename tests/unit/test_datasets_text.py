"""The dataset of text files: formats by suffix, several files, stdin, problems over all of them."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pytest

from runner.datasets import DatasetContext, problems
from runner.datasets.options import TextOptions
from runner.datasets.text import TextDataset
from runner.errors import InputError


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))


def failure(dataset: TextDataset) -> InputError:
    with pytest.raises(InputError) as caught:
        list(dataset.rows())
    return caught.value


def test_files_are_read_one_after_another(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"n": 3}\n')
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    rows = list(TextDataset.open("*.jsonl", tmp_path).rows())
    assert [(row.values["n"], row.file, row.line) for row in rows] == [
        (1, "a.jsonl", 1),
        (2, "a.jsonl", 2),
        (3, "b.jsonl", 1),
    ]


def test_problems_of_several_files_are_told_together(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text('{"n": 3}\nx\n')
    found = failure(TextDataset.open("*.jsonl", tmp_path)).problems
    assert [str(problem.where) for problem in found] == ["a.jsonl:2:1", "b.jsonl:2:1"]


def test_no_row_after_the_first_problem_is_yielded(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3\n4,5\n")
    rows = TextDataset.open("a.csv", tmp_path).rows()
    assert next(rows).values == {"a": "1", "b": "2"}
    with pytest.raises(InputError):
        next(rows)


def test_reading_on_for_more_problems_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "LOOK_AHEAD", 10)
    (tmp_path / "a.csv").write_text("a,b\n1\n" + "1,2\n" * 20 + "1\n")
    assert len(failure(TextDataset.open("a.csv", tmp_path)).problems) == 1


def test_a_dataset_can_be_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    dataset = TextDataset.open("a.csv", tmp_path)
    assert dataset.columns() == ("a", "b")
    assert list(dataset.rows()) == list(dataset.rows())


@pytest.mark.parametrize(
    ("name", "code"), [("a.txt", "unknown-format"), ("a", "unknown-format"), ("a.gz", "unknown-format")]
)
def test_a_name_that_tells_no_format_is_an_error(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / name).write_text("a,b\n")
    with pytest.raises(InputError) as caught:
        TextDataset.open(name, tmp_path)
    assert caught.value.code == code


def test_a_format_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\tb\n1\t2\n")
    dataset = TextDataset(TextOptions(path="a.txt", format="tsv"), DatasetContext(tmp_path))
    assert [row.values for row in dataset.rows()] == [{"a": "1", "b": "2"}]


def test_files_of_two_formats_are_both_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n")
    (tmp_path / "b.jsonl").write_text("{}\n")
    with pytest.raises(InputError) as caught:
        TextDataset.open("*", tmp_path)
    assert (str(caught.value.where), caught.value.message) == ("b.jsonl", "is jsonl, but a.csv is csv")


def test_compressed_and_plain_files_go_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"a,b\n3,4\n"))
    assert [row.values["a"] for row in TextDataset.open("*", tmp_path).rows()] == ["1", "3"]


def test_stdin_is_jsonl_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b'{"a": 1}\n')
    assert [(row.values, row.file) for row in TextDataset.open("-", tmp_path).rows()] == [({"a": 1}, "stdin")]
    feed(monkeypatch, b"a,b\n1,2\n")
    dataset = TextDataset(TextOptions(path="-", format="csv"), DatasetContext(tmp_path))
    assert dataset.columns() is None  # reading the header would take it from `rows`
    assert [row.values for row in dataset.rows()] == [{"a": "1", "b": "2"}]


def test_stdin_that_is_no_jsonl_is_told_what_it_is_read_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b"id,text\na,b\n")
    hint = failure(TextDataset.open("-", tmp_path)).problems[0].hint
    assert hint == "stdin is read as jsonl, one JSON object a line; rows of another format have to be in a file"


def test_stdin_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b'{"a": 1}\n')
    dataset = TextDataset.open("-", tmp_path)
    assert len(list(dataset.rows())) == 1
    assert failure(dataset).code == "stdin-used"


def test_a_terminal_is_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b"")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert failure(TextDataset.open("-", tmp_path)).code == "no-stdin"
