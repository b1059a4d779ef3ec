"""xlsx files: how values stand in cells, and Excel's limits."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from python_calamine import CalamineWorkbook

from runner.errors import DeliveryError, SpecError
from runner.sinks import Delivered, SinkContext
from runner.sinks.options import XlsxOptions
from runner.sinks.xlsx import MAX_CHARACTERS, MAX_COLUMNS, MAX_ROWS, XlsxSink
from runner.testing.sinks import failed_record, sample_record
from runner.types import Record

SCHEMA = {"properties": {"day": {"type": "string", "format": "date"}, "at": {"type": "string", "format": "date-time"}}}


def deliver(folder: Path, records: Sequence[Record], *, context: Any = None, **options: Any) -> Delivered:
    made = XlsxSink(XlsxOptions(path="x.xlsx", **options), SinkContext(folder, **(context or {})))
    made.check()
    made.open(folder / "staged")
    made.write(records)
    sealed = made.seal()
    made.commit()
    return sealed


def rows(folder: Path) -> list[list[Any]]:
    return CalamineWorkbook.from_path(folder / "x.xlsx").get_sheet_by_index(0).to_python()


def cells(folder: Path, values: dict[str, Any], **options: Any) -> list[Any]:
    columns = {name: f"row['{name}']" for name in values}
    deliver(folder, [sample_record(row=values)], columns=columns, overwrite=True, **options)
    header, found = rows(folder)
    assert header == list(values)
    return found


def test_values_are_cells_of_their_kind(tmp_path: Path) -> None:
    values = {
        "text": "a\nb é 日本 😀",
        "formula": "=1+1",
        "digits": "007",
        "link": "https://example.com",
        "yes": True,
        "whole": 3,
        "half": 0.5,
        "money": Decimal("1.25"),
        "day": dt.date(2026, 11, 22),
        "noon": dt.datetime(2026, 11, 22, 12, 30, 15),
        "at": dt.datetime(2026, 11, 22, 12, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        "time": dt.time(6, 30),
    }
    utc = dt.datetime(2026, 11, 22, 10)
    assert cells(tmp_path, values) == [
        *list(values.values())[:7],
        1.25,
        *list(values.values())[8:10],
        utc,
        values["time"],
    ]


def test_what_excel_would_change_is_a_text(tmp_path: Path) -> None:
    values = {
        "long": 12345678901234567890,
        "exact": Decimal("0.12345678901234567890"),
        "large": Decimal(12345678901234567890),
        "nan": float("nan"),
        "sixteen": 1234567890123456,
        "fifteen": -123456789012345,
        "early": dt.date(1899, 12, 31),
        "first": dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=10))),
        "earlier": dt.datetime(1800, 1, 1, 1),
        "span": dt.timedelta(hours=30),
        "data": b"\xff",
        "list": [1, "a"],
        "half": "\ud800",
        "control": "\x00\x0b_x0041_",
    }
    assert cells(tmp_path, values) == [
        "12345678901234567890",
        "0.12345678901234567890",
        "12345678901234567890",
        "NaN",
        "1234567890123456",
        -123456789012345,
        "1899-12-31",
        "0001-01-01T00:00:00+10:00",
        "1800-01-01T01:00:00",
        "P1DT6H",
        "/w==",
        '[1,"a"]',
        "\ufffd",
        "\x00\x0b_x0041_",
    ]


def test_fields_that_the_schema_calls_dates_are_dates(tmp_path: Path) -> None:
    output = {"day": "2026-11-22", "at": "2026-11-22T10:00:00+02:00"}
    deliver(tmp_path, [sample_record(output=output), failed_record(1)], context={"schema": SCHEMA})
    header, first, failed = rows(tmp_path)
    assert header == ["key", "output_day", "output_at", "status", "error_kind", "error_message"]
    assert first[1:3] == [dt.date(2026, 11, 22), dt.datetime(2026, 11, 22, 8)]
    assert failed == ["k-1", "", "", "failed", "refusal", "refused"]


def test_texts_that_begin_like_formulas_get_an_apostrophe_where_asked(tmp_path: Path) -> None:
    values = {"=a": "=1", "b": "+1", "c": "-1", "d": "@x", "e": "\tx", "f": "\rx", "g": "a=1", "h": -1.5, "i": "'=1"}
    columns = {name: f"row['{name}']" for name in values}
    deliver(tmp_path, [sample_record(row=values)], columns=columns, spreadsheet=True)
    header, found = rows(tmp_path)
    assert header[0] == "'=a"
    assert found == ["'=1", "'+1", "'-1", "'@x", "'\tx", "'\rx", "a=1", -1.5, "'=1"]


def test_a_text_longer_than_a_cell_leaves_its_record_out(tmp_path: Path) -> None:
    texts = ["a" * MAX_CHARACTERS, "b" * (MAX_CHARACTERS + 1), "😀" * 16_384, "😀" * 16_383]
    sealed = deliver(tmp_path, [sample_record(index, output=text) for index, text in enumerate(texts)])
    assert [row[0] for row in rows(tmp_path)] == ["key", "k-0", "k-3"]
    assert (sealed.records, sealed.left_out) == (2, 2)
    assert [(refused.key, refused.message) for refused in sealed.refused] == [
        ("k-1", "column 'output': a text of 32,768 characters, and a cell takes 32,767"),
        ("k-2", "column 'output': a text of 32,768 characters, and a cell takes 32,767"),
    ]


def test_more_rows_than_a_sheet_has_are_told_before_anything_is_paid(tmp_path: Path) -> None:
    options = XlsxOptions(path="x.xlsx")
    XlsxSink(options, SinkContext(tmp_path, row_count=MAX_ROWS - 1)).check()
    with pytest.raises(DeliveryError, match="cannot hold 1,048,576 records: a sheet has 1,048,576 rows"):
        XlsxSink(options, SinkContext(tmp_path, row_count=MAX_ROWS)).check()


def test_more_records_than_rows_leave_the_target_as_it_was(tmp_path: Path) -> None:
    made = XlsxSink(XlsxOptions(path="x.xlsx", columns={"k": "key"}), SinkContext(tmp_path))
    made.open(tmp_path / "staged")
    assert made._sheet is not None
    made._sheet.rows = MAX_ROWS - 1
    made.write([sample_record()])
    with pytest.raises(DeliveryError, match="cannot hold") as found:
        made.write([sample_record(1)])
    assert found.value.hint is not None
    assert "parquet" in found.value.hint
    made.abort()
    assert not (tmp_path / "x.xlsx").exists()
    assert not any(path.is_file() for path in (tmp_path / "staged").rglob("*"))


def test_more_columns_than_a_sheet_has_are_an_error_of_the_job(tmp_path: Path) -> None:
    many = tuple(f"c{number}" for number in range(MAX_COLUMNS))
    with pytest.raises(SpecError, match="16,389 columns, and a sheet has 16,384"):
        XlsxSink(XlsxOptions(path="x.xlsx"), SinkContext(tmp_path, row_columns=many))


def test_an_xlsx_file_is_not_compressed_from_outside(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="compressed within"):
        XlsxSink(XlsxOptions(path="x.xlsx.gz"), SinkContext(tmp_path))


def test_equal_records_make_an_equal_file_and_its_parts_say_nothing_of_now(tmp_path: Path) -> None:
    records = [sample_record(index) for index in range(100)]
    digests = {deliver(tmp_path, records, overwrite=True).sha256 for _ in range(2)}
    assert len(digests) == 1
    with zipfile.ZipFile(tmp_path / "x.xlsx") as archive:
        assert b"2000-01-01T00:00:00Z" in archive.read("docProps/core.xml")
