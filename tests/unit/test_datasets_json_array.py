"""json arrays: rows in bounded memory, whatever stands between them; errors with line and column."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from runner.datasets import json_array, streams
from runner.datasets.text import TextDataset
from runner.errors import InputError


def dataset(folder: Path, text: str) -> TextDataset:
    (folder / "a.json").write_bytes(text.encode())
    return TextDataset.open("a.json", folder)


def failure(folder: Path, text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        list(dataset(folder, text).rows())
    return caught.value


def test_rows_keep_their_types_and_lines(tmp_path: Path) -> None:
    text = '\ufeff \n[\n  {"a": 1},\n  {"a": [{"b": null}],\n   "c": "]"}\n , {} ]\n'
    found = [(row.values, row.line) for row in dataset(tmp_path, text).rows()]
    assert found == [({"a": 1}, 3), ({"a": [{"b": None}], "c": "]"}, 4), ({}, 6)]


@pytest.mark.parametrize("text", ["[]", " [ \n ] \n"])
def test_an_empty_array_has_no_rows(tmp_path: Path, text: str) -> None:
    assert list(dataset(tmp_path, text).rows()) == []


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "a.json:1:1", "is empty"),
        ('{"rows": []}', "a.json:1:1", "is an object, not an array"),
        ("\n 3", "a.json:2:2", "does not begin with ["),
        ('[{"a":1}\n{"a":2}]', "a.json:2:1", "expected a comma or ], found '{'"),
        ('[{"a":1},\n ]', "a.json:2:2", "a comma stands before the closing ]"),
        ('[{"a":1}', "a.json:1:9", "expected a comma or ], found the end of the file"),
        ('[{"a":1},', "a.json:1:10", "expected a row or ], found the end of the file"),
        ("[", "a.json:1:2", "expected a row or ], found the end of the file"),
        ('[{"a":1},\n{"b": tru}]', "a.json:2:7", "row 2: is not JSON: expecting value"),
        ('[{"a":1},\n{"b": "tru', "a.json:2:7", "row 2: is not JSON: a string is not closed"),
        ('[{"a":1},\n{"b":1,"b":1}]', "a.json:2:1", "row 2: the field 'b' appears twice in one object"),
        ('[{"a":1}]\n[]', "a.json:2:1", "more text follows the array"),
        ("[1 2]", "a.json:1:2", "the row is a number, not an object"),
    ],
)
def test_what_is_no_array_of_objects_is_told_with_its_place(
    tmp_path: Path, text: str, place: str, message: str
) -> None:
    error = failure(tmp_path, text)
    assert (str(error.where), error.message) == (place, message)


def test_all_values_that_are_no_objects_are_told(tmp_path: Path) -> None:
    error = failure(tmp_path, '[{"a":1},\n 2, [3],\n"x", null, {"a":2}]')
    assert [str(problem.where) for problem in error.problems] == [
        "a.json:2:2",
        "a.json:2:5",
        "a.json:3:1",
        "a.json:3:6",
    ]


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_a_number_cut_between_two_chunks_is_one_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(streams, "_CHUNK_BYTES", chunk)
    error = failure(tmp_path, "[1234567, -1.5e10]")
    assert [str(problem.where) for problem in error.problems] == ["a.json:1:2", "a.json:1:11"]


def test_a_cut_off_file_is_told_as_such(tmp_path: Path) -> None:
    whole = json.dumps([{"a": "x" * 10, "b": [1, 2.5]}] * 3)
    for length in range(1, len(whole)):
        hint = failure(tmp_path, whole[:length]).hint
        assert hint is not None
        assert "cut off" in hint, whole[:length]


def test_a_row_longer_than_a_chunk_is_read(tmp_path: Path) -> None:
    rows = [{"n": number, "text": "é" * 400_000} for number in range(4)]
    found = [row.values for row in dataset(tmp_path, json.dumps(rows, ensure_ascii=False)).rows()]
    assert found == rows


def test_a_row_beyond_the_limit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "MAX_LINE_BYTES", 1_000)
    monkeypatch.setattr(streams, "_CHUNK_BYTES", 100)
    error = failure(tmp_path, json.dumps([{"a": "x" * 100}, {"a": "x" * 2_000}]))
    assert error.code == "line-too-long"


def test_memory_does_not_grow_with_the_array(tmp_path: Path) -> None:
    """20 MB on one line are read in less than a tenth of that."""
    row = json.dumps({"text": "x" * 1_000})
    large = dataset(tmp_path, f"[{','.join([row] * 20_000)}]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in large.rows()) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
