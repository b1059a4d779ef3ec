"""What a writer wrote is what the readers read, wherever the bytes are cut."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.datasets import streams
from runner.datasets.text import TextDataset
from runner.errors import InputError, Problem
from runner.sinks import SinkContext
from runner.sinks.columns import DefaultColumns
from runner.sinks.encoders import DelimitedEncoder, RecordEncoder, make_encoder
from runner.sinks.options import FileOptions
from runner.testing.sinks import sample_record

in_one_folder = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.text(',"\n\r\t ;é', max_size=6)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=4), anything, max_size=4)


def read(folder: Path, name: str, data: bytes) -> list[dict[str, Any]]:
    (folder / name).write_bytes(data)
    return [dict(row.values) for row in TextDataset.open(name, folder).rows()]


@in_one_folder
@given(header=st.lists(texts.filter(str.strip), min_size=2, max_size=4, unique=True), data=st.data())
@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_table_that_any_writer_wrote_is_read_as_it_was(
    tmp_path: Path, kind: str, header: list[str], data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.lists(texts, min_size=len(header), max_size=len(header)), max_size=5))
    text = io.StringIO()
    quote_all = data.draw(st.booleans())
    dialect = csv.unix_dialect if quote_all else csv.excel
    writer = csv.writer(text, dialect, delimiter="," if kind == "csv" else "\t", lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    found = read(tmp_path, f"a.{kind}", text.getvalue().encode())
    assert found == [dict(zip(header, row, strict=True)) for row in rows]


@in_one_folder
@given(outputs=st.lists(texts, max_size=5))
@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_what_a_table_sink_wrote_a_dataset_reads(tmp_path: Path, kind: str, outputs: list[str]) -> None:
    encoder = DelimitedEncoder(DefaultColumns(("text",), None), "," if kind == "csv" else "\t")
    records = [sample_record(index, output=text, row={"text": text}) for index, text in enumerate(outputs)]
    found = read(tmp_path, f"a.{kind}", encoder.header() + encoder.encode(records))
    assert [(row["key"], row["text"], row["output"]) for row in found] == [
        (record.key, record.output, record.output) for record in records
    ]


@in_one_folder
@given(rows=st.lists(objects, max_size=5))
def test_what_a_jsonl_sink_wrote_a_dataset_reads(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    encoder = RecordEncoder()
    records = [sample_record(index, row=row, output=row) for index, row in enumerate(rows)]
    found = read(tmp_path, "a.jsonl", encoder.header() + encoder.encode(records))
    assert [repr(row["row"]) for row in found] == [
        repr(row) for row in rows
    ]  # repr tells 1 from 1.0 and keeps the order


@in_one_folder
@given(
    rows=st.lists(objects, max_size=5),
    indent=st.sampled_from([None, 0, 2]),
    chunk=st.integers(1, 40),
    ascii_=st.booleans(),
)
def test_a_json_array_is_read_the_same_wherever_it_is_cut(
    tmp_path: Path, rows: list[dict[str, Any]], indent: int | None, chunk: int, ascii_: bool
) -> None:
    whole = json.dumps(rows, indent=indent, ensure_ascii=ascii_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "_CHUNK_BYTES", chunk)
        found = read(tmp_path, "a.json", whole.encode())
    assert repr(found) == repr(rows)


@in_one_folder
@given(
    data=st.binary(max_size=60) | st.text('{}[]",:\\ 1e-.\n\rtrufalsnNaIiy\0é', max_size=40).map(str.encode),
    chunk=st.integers(1, 20),
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "csv.gz", "jsonl.zst"])
def test_any_bytes_are_rows_or_an_error_of_the_data(tmp_path: Path, kind: str, data: bytes, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "_CHUNK_BYTES", chunk)
        rows, problems = outcome(tmp_path, f"a.{kind}", data)
    assert all(isinstance(row, dict) for row in rows)
    assert all(problem.where is not None and problem.hint for problem in problems)


def outcome(folder: Path, name: str, data: bytes) -> tuple[list[dict[str, Any]], Sequence[Problem]]:
    try:
        return read(folder, name, data), ()
    except InputError as error:
        return [], error.problems


@in_one_folder
@given(record=st.builds(lambda output, row: sample_record(output=output, row=row), anything | st.text(), objects))
@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_any_record_can_be_written_as_utf_8(tmp_path: Path, kind: Any, record: Any) -> None:
    context = SinkContext(tmp_path, row_columns=tuple(f"column {number}" for number in range(2)))
    encoder = make_encoder(kind, FileOptions(path=f"a.{kind}"), context)
    text = (encoder.header() + encoder.encode([record])).decode()
    assert text.endswith("\n")
    assert "\0" not in text
