"""csv and tsv: values as they stand, physical line numbers, unsound lines told with the cure."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from runner.datasets.text import TextDataset
from runner.errors import InputError, Problem


def dataset(folder: Path, text: str, name: str = "a.csv") -> TextDataset:
    (folder / name).write_bytes(text.encode())
    return TextDataset.open(name, folder)


def rows(folder: Path, text: str, name: str = "a.csv") -> list[dict[str, str]]:
    return [dict(row.values) for row in dataset(folder, text, name).rows()]


def problems(folder: Path, text: str, name: str = "a.csv") -> list[Problem]:
    with pytest.raises(InputError) as caught:
        rows(folder, text, name)
    return list(caught.value.problems)


def placed(found: list[Problem]) -> list[tuple[str, int | None]]:
    return [(problem.code, problem.where.line if problem.where else None) for problem in found]


def test_values_are_strings_as_they_stand(tmp_path: Path) -> None:
    text = 'id,text,n\n007, padded ,\n2,"a ""b"", c",1e5\n3,5" pipe,null\n'
    assert rows(tmp_path, text) == [
        {"id": "007", "text": " padded ", "n": ""},
        {"id": "2", "text": 'a "b", c', "n": "1e5"},
        {"id": "3", "text": '5" pipe', "n": "null"},
    ]


def test_both_line_ends_are_read_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path, "\r\na,b\r\n1,2\r\n\r\n3,4") == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_a_line_break_in_quotes_is_part_of_the_value_and_lines_stay_physical(tmp_path: Path) -> None:
    found = list(dataset(tmp_path, 'a,b\n1,"x\r\ny\n\nz"\n\n2,w\n').rows())
    assert [(row.values["b"], row.line) for row in found] == [("x\r\ny\n\nz", 2), ("w", 7)]


def test_a_tsv_is_separated_by_tabs(tmp_path: Path) -> None:
    assert rows(tmp_path, 'a\tb\n1,5\t"x\ty"\n', "a.tsv") == [{"a": "1,5", "b": "x\ty"}]


def test_a_single_column_can_be_empty_when_quoted(tmp_path: Path) -> None:
    assert rows(tmp_path, 'a\n""\n\nx\n') == [{"a": ""}, {"a": "x"}]


def test_a_header_alone_is_no_rows(tmp_path: Path) -> None:
    empty = dataset(tmp_path, "a,b\n")
    assert (empty.columns(), list(empty.rows())) == (("a", "b"), [])


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_a_file_without_header_is_an_error(tmp_path: Path, text: str) -> None:
    assert [problem.code for problem in problems(tmp_path, text)] == ["no-header"]


def test_ragged_lines_are_told_at_once_with_their_cures(tmp_path: Path) -> None:
    found = problems(tmp_path, "a,b,c\n1,2,3\n1,2\n1,2,3,4\nx\n1,2,3\n")
    assert placed(found) == [("ragged-row", 3), ("ragged-row", 4), ("ragged-row", 5)]
    assert [problem.message for problem in found] == [
        "the row has 2 fields, the header 3",
        "the row has 4 fields, the header 3",
        "the row has 1 field, the header 3",
    ]
    assert [str(problem.hint)[:30] for problem in found] == [
        "write a comma for each empty v",
        "put a value that has a comma i",
        "put a value with a line break ",
    ]


def test_at_most_twenty_problems_are_told(tmp_path: Path) -> None:
    assert len(problems(tmp_path, "a,b\n" + "1\n" * 50)) == 20


def test_an_unclosed_quote_names_the_line_it_opens_on(tmp_path: Path) -> None:
    found = problems(tmp_path, 'a,b\n1,2\n3,"open\n' + "4,5\n" * 100)
    assert placed(found) == [("bad-csv", 3)]
    assert "never closed (read up to line 103)" in found[0].message


def test_a_quote_that_swallows_too_much_is_told_the_same_way(tmp_path: Path) -> None:
    limit = csv.field_size_limit(1_000)
    try:
        found = problems(tmp_path, 'a,b\n1,"open\n' + "4,5\n" * 1_000)
    finally:
        csv.field_size_limit(limit)
    assert placed(found) == [("bad-csv", 2)]
    assert "never closed" in found[0].message


def test_long_fields_are_read(tmp_path: Path) -> None:
    """Python's own limit is 131,072 characters, shorter than a document."""
    assert len(rows(tmp_path, f"a,b\n1,{'x' * 1_000_000}\n")[0]["b"]) == 1_000_000


def test_text_after_a_closing_quote_is_an_error(tmp_path: Path) -> None:
    assert placed(problems(tmp_path, 'a,b\n1,"x"y\n')) == [("bad-csv", 2)]


def test_problems_before_the_one_that_ends_the_file_are_told_too(tmp_path: Path) -> None:
    assert placed(problems(tmp_path, 'a,b\n1\n1,2\n1,"x"y\n9\n')) == [("ragged-row", 2), ("bad-csv", 4)]


def test_lone_carriage_returns_are_told(tmp_path: Path) -> None:
    found = problems(tmp_path, "a,b\r1,2\r")
    assert "carriage return" in found[0].message


def test_unnamed_and_repeated_columns_are_all_told(tmp_path: Path) -> None:
    found = problems(tmp_path, "a,, ,a,b,b\n1,2,3,4,5,6\n")
    assert [problem.message for problem in found] == [
        "column 2 has no name",
        "column 3 has no name",
        "two columns are named 'a': 1 and 4",
        "two columns are named 'b': 5 and 6",
    ]


@pytest.mark.parametrize(
    ("name", "header", "word"), [("a.csv", "a;b;c", "semicolon"), ("a.csv", "a\tb", "tab"), ("a.tsv", "a,b", "comma")]
)
def test_a_header_that_was_not_split_names_the_other_delimiter(
    tmp_path: Path, name: str, header: str, word: str
) -> None:
    found = problems(tmp_path, f"{header}\n1\n", name)
    assert f"separated by {word}s?" in found[0].message


def test_headers_of_several_files_must_agree(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("a,c\n1,2\n")
    with pytest.raises(InputError) as caught:
        list(TextDataset.open("*.csv", tmp_path).rows())
    assert str(caught.value.where) == "2.csv:1"
    assert caught.value.message == "its columns are not those of 1.csv: it lacks 'b' and it also has 'c'"


def test_the_order_of_columns_must_agree_too(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("b,a\n1,2\n")
    with pytest.raises(InputError, match="their order differs"):
        list(TextDataset.open("*.csv", tmp_path).rows())
