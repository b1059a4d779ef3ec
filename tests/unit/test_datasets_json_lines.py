"""jsonl: a line a row, every unsound line told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.datasets.text import TextDataset
from runner.errors import InputError


def dataset(folder: Path, text: str) -> TextDataset:
    (folder / "a.jsonl").write_bytes(text.encode())
    return TextDataset.open("a.jsonl", folder)


def test_rows_keep_their_types_and_lines(tmp_path: Path) -> None:
    found = list(dataset(tmp_path, '{"a": 1, "b": null}\r\n\n  \n{"a": "x\u2028y", "c": [1.5]}').rows())
    expected: list[tuple[dict[str, Any], int]] = [({"a": 1, "b": None}, 1), ({"a": "x\u2028y", "c": [1.5]}, 4)]
    assert [(row.values, row.line) for row in found] == expected


def test_columns_are_not_known_before_reading(tmp_path: Path) -> None:
    assert dataset(tmp_path, '{"a": 1}\n').columns() is None


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file_has_no_rows(tmp_path: Path, text: str) -> None:
    assert list(dataset(tmp_path, text).rows()) == []


def test_every_unsound_line_is_told_and_no_row_after_the_first(tmp_path: Path) -> None:
    lines = [
        '{"a": 1}',
        "{'a': 1}",
        "[1]",
        "3",
        "true",
        "null",
        '"x"',
        '{"a": NaN}',
        '{"a": 1, "a": 1}',
        '{"a": 2}',
        '{"a": 1',
    ]
    rows = dataset(tmp_path, "\n".join(lines)).rows()
    assert next(rows).values == {"a": 1}
    with pytest.raises(InputError) as caught:
        next(rows)
    assert [(str(problem.where), problem.code) for problem in caught.value.problems] == [
        ("a.jsonl:2:2", "bad-json"),
        ("a.jsonl:3", "not-an-object"),
        ("a.jsonl:4", "not-an-object"),
        ("a.jsonl:5", "not-an-object"),
        ("a.jsonl:6", "not-an-object"),
        ("a.jsonl:7", "not-an-object"),
        ("a.jsonl:8", "bad-number"),
        ("a.jsonl:9", "duplicate-field"),
        ("a.jsonl:11:8", "bad-json"),
    ]


def test_a_json_array_in_a_jsonl_file_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        list(dataset(tmp_path, '[\n {"a": 1}\n]\n').rows())
    assert caught.value.hint == "it begins like one JSON array: name the file .json"
