"""Excel workbooks: cells, headers, sheets, and what is wrong with them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from runner.datasets import DatasetContext
from runner.datasets.options import WorkbookOptions
from runner.datasets.workbook import WorkbookDataset
from runner.errors import InputError
from support.table_files import write_xlsx


def dataset(folder: Path, path: str = "book.xlsx", sheet: str | None = None) -> WorkbookDataset:
    return WorkbookDataset(WorkbookOptions(path=path, sheet=sheet), DatasetContext(folder))


def cells(folder: Path, *rows: list[Any], path: str = "book.xlsx") -> None:
    with xlsxwriter.Workbook(folder / path) as book:
        sheet = book.add_worksheet()
        for line, row in enumerate(rows):
            sheet.write_row(line, 1, row)


def problems(found: WorkbookDataset) -> list[str]:
    with pytest.raises(InputError) as caught:
        list(found.rows())
    return [f"{one.where}: {one.message} ({one.hint})" for one in caught.value.problems]


def test_cells_are_values_and_empty_ones_null(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(tmp_path / "book.xlsx") as book:
        sheet = book.add_worksheet()
        day = book.add_format({"num_format": "dd/mm/yyyy"})
        sheet.write_row(2, 1, ["id", 2026, "sum", "odd"])
        sheet.write_row(3, 1, [1, 1.5])
        sheet.write_formula(3, 3, "=1+1", None, 2)
        sheet.write_formula(3, 4, "=NA()", None, "#N/A")
        sheet.write_row(5, 1, [1e300, True, "", " x "])
        sheet.write_datetime(6, 2, dt.date(2026, 1, 31), day)
    found = [(row.line, row.values) for row in dataset(tmp_path).rows()]
    assert found == [
        (4, {"id": 1, "2026": 1.5, "sum": 2, "odd": None}),
        (6, {"id": 1e300, "2026": True, "sum": None, "odd": " x "}),
        (7, {"id": None, "2026": dt.date(2026, 1, 31), "sum": None, "odd": None}),
    ]
    assert type(found[0][1]["id"]) is int


def test_a_sheet_is_taken_by_its_name(tmp_path: Path) -> None:
    write_xlsx([{"id": "1"}], tmp_path / "book.xlsx", sheet="Reviews")
    assert dataset(tmp_path).columns() == ("id",)
    assert dataset(tmp_path, sheet="another").columns() == ("other",)
    assert list(dataset(tmp_path, sheet="another").rows()) == []
    assert problems(dataset(tmp_path, sheet="Review")) == ["book.xlsx: has no sheet 'Review' (did you mean `Reviews`?)"]


def test_an_unsound_header_is_told_with_its_column(tmp_path: Path) -> None:
    cells(tmp_path, ["id", None, "id", "x"], [1, 2, 3, 4])
    assert problems(dataset(tmp_path)) == [
        "book.xlsx:1: column C has no name (name every column, or remove it)",
        "book.xlsx:1: two columns are named 'id': B and D (rename one of them)",
    ]


def test_a_value_outside_of_the_header_is_told(tmp_path: Path) -> None:
    cells(tmp_path, ["id"], [1], [2, None, 3])
    assert problems(dataset(tmp_path)) == [
        "book.xlsx:3: there is a value in column D, which has no name (name the column in row 1, or remove it)"
    ]


def test_an_empty_sheet_has_no_header(tmp_path: Path) -> None:
    cells(tmp_path)
    assert problems(dataset(tmp_path)) == ["book.xlsx: the sheet is empty (its first row names the columns)"]


def test_workbooks_of_a_glob_have_the_same_header(tmp_path: Path) -> None:
    cells(tmp_path, ["id", "x"], [1, 2], path="1.xlsx")
    cells(tmp_path, ["id", "x"], [3, 4], path="2.xlsx")
    assert [row.values["id"] for row in dataset(tmp_path, "*.xlsx").rows()] == [1, 3]
    cells(tmp_path, ["id", "y"], [5, 6], path="3.xlsx")
    (told,) = problems(dataset(tmp_path, "*.xlsx"))
    assert told.startswith("3.xlsx:1: its columns are not those of 1.xlsx: it lacks 'x' and it also has 'y'")


@pytest.mark.parametrize("data", [b"", b"id,text\n", b"PK\x03\x04 and no more"])
def test_what_is_no_workbook_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "book.xlsx").write_bytes(data)
    (told,) = problems(dataset(tmp_path))
    assert told.startswith("book.xlsx: is no Excel workbook, or damaged")


def test_a_cut_off_workbook_is_told(tmp_path: Path) -> None:
    write_xlsx([{"id": str(n)} for n in range(1_000)], tmp_path / "book.xlsx")
    data = (tmp_path / "book.xlsx").read_bytes()
    (tmp_path / "book.xlsx").write_bytes(data[: len(data) // 2])
    (told,) = problems(dataset(tmp_path))
    assert "damaged" in told
