"""Records as jsonl, csv and tsv, byte for byte."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.encoding import encode_text, printable
from runner.sinks import SinkContext
from runner.sinks.encoders import make_encoder
from runner.sinks.options import DelimitedOptions, FileFormat, SinkOptions
from runner.testing.sinks import failed_record, sample_record
from runner.types import RECORD_FIELDS, Record
from runner.values import TypedValues


def encoded(file_format: str, *records: Record, row_columns: tuple[str, ...] = ("id",), **options: Any) -> str:
    context = SinkContext(Path(), row_columns=row_columns)
    encoder = make_encoder(cast(FileFormat, file_format), SinkOptions(**options), context)
    return (encoder.header() + encoder.encode(records)).decode()


def test_jsonl_is_exactly_the_record() -> None:
    record = sample_record(output="日本 é", row={"id": "1", "n": None, "big": 10**30})
    line = encoded("jsonl", record)
    assert line.endswith("\n")
    assert json.loads(line) == record.to_dict()
    assert tuple(json.loads(line)) == RECORD_FIELDS
    assert '"output":"日本 é"' in line


def test_nothing_in_jsonl_is_a_line_end_but_line_feeds() -> None:
    assert len(encoded("jsonl", sample_record(output="a\nb\u2028c\r"), sample_record(1)).split("\n")) == 3


def test_the_row_can_be_left_out_of_jsonl_or_narrowed() -> None:
    record = sample_record(row={"id": "1", "text": "t"})
    assert "row" not in json.loads(encoded("jsonl", record, include_row=False))
    assert json.loads(encoded("jsonl", record, include_row=("text", "absent")))["row"] == {"text": "t", "absent": None}


TYPED = TypedValues(
    day=dt.date(2026, 1, 31), price=Decimal("12.50"), exact=Decimal("12345678901234567.89"), photo=b"\x00\xff",
    x=float("nan"),
)  # fmt: skip
TYPED_JSON = {"day": "2026-01-31", "price": 12.5, "exact": "12345678901234567.89", "photo": "AP8=", "x": "NaN"}


def test_typed_values_stand_in_jsonl_by_their_json_form() -> None:
    record = sample_record(row=TYPED)
    assert json.loads(encoded("jsonl", record))["row"] == TYPED_JSON
    assert json.loads(encoded("jsonl", record, include_row=("day", "absent")))["row"] == {
        "day": "2026-01-31", "absent": None,
    }  # fmt: skip
    columns = {name: f"row.{name}" for name in TYPED}
    assert json.loads(encoded("jsonl", record, columns=columns)) == TYPED_JSON


def test_typed_values_stand_in_csv_as_they_print() -> None:
    text = encoded("csv", sample_record(row=TYPED), row_columns=tuple(TYPED))
    assert "2026-01-31,12.50,12345678901234567.89,AP8=,nan," in text


def test_jsonl_with_columns_has_only_these() -> None:
    line = encoded("jsonl", sample_record(4), failed_record(5), columns={"id": "key", "first": "output[0]"})
    assert line == '{"id":"k-4","first":"a"}\n{"id":"k-5","first":null}\n'


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "tsv"])
def test_half_a_surrogate_pair_is_written_as_the_replacement_character(file_format: str) -> None:
    text = encoded(file_format, sample_record(output="a\ud83db 😀"))
    assert "a\ufffdb 😀" in text


def test_csv_without_records_is_its_header() -> None:
    assert encoded("csv") == "key,id,output,status,error_kind,error_message\n"
    assert encoded("tsv") == "key\tid\toutput\tstatus\terror_kind\terror_message\n"
    assert encoded("jsonl") == ""


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (10**20, "100000000000000000000"),
        (0.1, "0.1"),
        (1e22, "1e+22"),
        ("plain é", "plain é"),
        ("a,b", '"a,b"'),
        ('say "hi"', '"say ""hi"""'),
        ("two\nlines", '"two\nlines"'),
        ("a\rb", '"a\rb"'),
        (["é", 1, None], '"[""é"",1,null]"'),
        ({"a": {"b": True}}, '"{""a"":{""b"":true}}"'),
        ("nul\0byte", "nul\ufffdbyte"),
        ("=1+1", "=1+1"),
    ],
)
def test_csv_cells(value: Any, cell: str) -> None:
    assert encoded("csv", sample_record(output=value)) == (
        f"key,id,output,status,error_kind,error_message\nk-0,k-0,{cell},succeeded,,\n"
    )


def test_a_tsv_quotes_tabs_and_not_commas() -> None:
    lines = encoded("tsv", sample_record(output="a,b"), sample_record(output="a\tb")).split("\n")
    assert "\ta,b\t" in lines[1]
    assert '\t"a\tb"\t' in lines[2]


def test_a_single_empty_cell_is_quoted_so_that_its_line_is_not_blank() -> None:
    assert encoded("csv", sample_record(), columns={"c": "none"}) == 'c\n""\n'


_PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_ANY = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6
)


@given(_ANY, st.dictionaries(st.text(), _ANY, max_size=4), st.floats(min_value=0, max_value=1e6))
def test_a_quickly_written_record_is_what_the_canonical_encoder_writes(
    output: Any, row: dict[str, Any], cost_usd: float
) -> None:
    record = replace(sample_record(), output=output, row=row, cost_usd=cost_usd)
    assert encoded("jsonl", record) == printable(encode_text(record.to_dict())) + "\n"


def test_texts_that_begin_like_formulas_get_an_apostrophe_where_asked() -> None:
    """OWASP, "CSV Injection"; numbers are no texts."""
    values = {
        "=h": "=1+1",
        "b": "+1",
        "c": "-2+3",
        "d": "@x",
        "e": "\tx",
        "f": "\rx",
        "g": "a=1",
        "h": -1.5,
        "i": -3,
        "j": None,
    }
    records = [sample_record(row=values)]
    context = SinkContext(Path(), row_columns=tuple(values))
    columns = {name: f"row['{name}']" for name in values}

    def written(*, spreadsheet: bool) -> list[list[str]]:
        options = DelimitedOptions(path="x.csv", columns=columns, spreadsheet=spreadsheet)
        encoder = make_encoder("csv", options, context)
        return list(csv.reader(io.StringIO((encoder.header() + encoder.encode(records)).decode(), newline="")))

    header, cells = written(spreadsheet=True)
    assert header == ["'=h", *"bcdefghij"]
    assert cells == ["'=1+1", "'+1", "'-2+3", "'@x", "'\tx", "'\rx", "a=1", "-1.5", "-3", ""]
    assert written(spreadsheet=False)[1] == ["=1+1", "+1", "-2+3", "@x", "\tx", "\rx", "a=1", "-1.5", "-3", ""]


def test_bytes_that_look_like_a_formula_in_base64_are_kept_from_it_and_decimals_are_numbers() -> None:
    record = sample_record(row={"data": b"\xfb\xff", "money": Decimal("-1.50")})
    options = DelimitedOptions(path="x.tsv", columns={"d": "row.data", "m": "row.money"}, spreadsheet=True)
    assert make_encoder("tsv", options, SinkContext(Path())).encode([record]) == b"'+/8=\t-1.50\n"
