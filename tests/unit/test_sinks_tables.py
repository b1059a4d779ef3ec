"""parquet and arrow files: types, contracts, and what is told of records that do not fit."""

from __future__ import annotations

import datetime as dt
import resource
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from runner.column_types import BYTES, DATE, DURATION, INTEGER, LIST, MAPPING, STRING, TIME, ColumnType
from runner.errors import DeliveryError, SpecError
from runner.sinks import Delivered, Sink, SinkContext
from runner.sinks.options import ArrowOptions, ParquetOptions
from runner.sinks.tables import TableSink
from runner.testing.sinks import failed_record, sample_record
from runner.types import Record

UTC = ColumnType("datetime", zone="UTC")
SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "score": {"type": ["number", "null"]},
        "count": {"type": "integer"},
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "place": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "since": {"type": "string", "format": "date"}},
            "additionalProperties": False,
        },
        "more": {"type": "object"},
    },
}
OUTPUT = {
    "label": "good",
    "score": 2,
    "count": 7,
    "day": "2026-11-22",
    "at": "2026-11-22T10:15:00.123456789+02:00",
    "tags": ["a", "b"],
    "place": {"name": "日本", "since": "2020-01-01"},
    "more": {"x": [1, None]},
}


def sink(folder: Path, records: Sequence[Record] | None = None, path: str = "x.parquet", **given: Any) -> TableSink:
    """A sink that may go over these records before it is given the first."""
    of_context = {
        name: given.pop(name) for name in ("schema", "row_columns", "row_types", "known_sha256") if name in given
    }
    supply = None if records is None else lambda: iter(records)
    context = SinkContext(folder, records=supply, **{"row_columns": (), **of_context})
    options: Any = ArrowOptions if path.endswith((".arrow", ".feather")) else ParquetOptions
    return TableSink(options(path=path, **given), context)


def deliver(made: Sink, folder: Path, records: Iterable[Record], portion: int = 1_000) -> Delivered:
    pending = list(records)
    made.check()
    made.open(folder / "staged")
    for start in range(0, len(pending), portion):
        made.write(pending[start : start + portion])
    sealed = made.seal()
    made.commit()
    return sealed


def written(folder: Path, records: Sequence[Record], path: str = "x.parquet", **given: Any) -> pa.Table:
    deliver(sink(folder, records, path, **given), folder, records)
    return read(folder / path)


def read(path: Path) -> pa.Table:
    return parquet.read_table(path) if path.suffix == ".parquet" else feather.read_table(path)


def types_of(table: pa.Table) -> dict[str, str]:
    return {field.name: str(field.type) for field in table.schema}


@pytest.mark.parametrize("path", ["x.parquet", "x.arrow", "x.feather"])
def test_the_output_schema_gives_columns_their_types(tmp_path: Path, path: str) -> None:
    table = written(tmp_path, [sample_record(output=OUTPUT), failed_record(1)], path, schema=SCHEMA)
    assert types_of(table) == {
        "key": "string",
        "output_label": "string",
        "output_score": "double",
        "output_count": "int64",
        "output_day": "date32[day]",
        "output_at": "timestamp[us, tz=UTC]",
        "output_tags": table.schema.field("output_tags").type.__str__(),
        "output_place": "struct<name: string, since: date32[day]>",
        "output_more": "struct<x: list<element: int64>>" if path == "x.parquet" else "struct<x: list<item: int64>>",
        "status": "string",
        "error_kind": "string",
        "error_message": "string",
    }
    good, failed = table.to_pylist()
    assert good["output_score"] == 2.0
    assert good["output_day"] == dt.date(2026, 11, 22)
    assert good["output_at"] == dt.datetime(2026, 11, 22, 8, 15, 0, 123456, tzinfo=dt.UTC)
    assert good["output_tags"] == ["a", "b"]
    assert good["output_place"] == {"name": "日本", "since": dt.date(2020, 1, 1)}
    assert good["output_more"] == {"x": [1, None]}
    assert failed["output_label"] is None
    assert failed["error_kind"] == "refusal"


ROW = {
    "n": 1 << 40,
    "wide": 1 << 70,
    "money": Decimal("12.50"),
    "any_decimal": Decimal("1E+100"),
    "day": dt.date(1, 1, 1),
    "naive": dt.datetime(2026, 11, 22, 10, 15, 0, 7),
    "at": dt.datetime(2026, 11, 22, 10, 15, tzinfo=dt.UTC),
    "time": dt.time(23, 59, 59, 999999),
    "span": dt.timedelta(days=-1, microseconds=3),
    "data": b"\x00\xff",
    "tags": ["a", None],
    "nested": {"a": [{"b": 1}], "c": dt.date(2026, 1, 1)},
}
ROW_TYPES = {
    "n": INTEGER,
    "wide": ColumnType("integer", wide=True),
    "money": ColumnType("decimal", precision=10, scale=2),
    "any_decimal": ColumnType("decimal"),
    "day": DATE,
    "naive": ColumnType("datetime"),
    "at": UTC,
    "time": TIME,
    "span": DURATION,
    "data": BYTES,
    "tags": LIST,
    "nested": MAPPING,
}


@pytest.mark.parametrize("path", ["x.parquet", "x.arrow"])
def test_the_values_of_rows_come_back_as_they_were(tmp_path: Path, path: str) -> None:
    records = [sample_record(row=ROW), sample_record(1, row=dict.fromkeys(ROW))]
    table = written(tmp_path, records, path, row_columns=tuple(ROW), row_types=ROW_TYPES)
    first, second = table.select(list(ROW)).to_pylist()
    assert first == ROW | {"any_decimal": "1E+100", "wide": Decimal(1 << 70)}
    assert second == dict.fromkeys(ROW)


def test_an_expression_is_typed_by_what_all_records_make_of_it(tmp_path: Path) -> None:
    records = [sample_record(index, output=str(index)) for index in range(2_000)] + [sample_record(2_000, output="0.5")]
    columns = {"k": "key", "n": "output | float if '.' in output else output | int", "i": "index"}
    table = written(tmp_path, records, columns=columns)
    assert types_of(table) == {"k": "string", "n": "double", "i": "int64"}
    assert table.column("n").to_pylist()[-2:] == [1_999.0, 0.5]


def test_without_a_second_look_the_first_records_settle_the_types(tmp_path: Path) -> None:
    made = sink(tmp_path, columns={"n": "output | int if index < 2 else output"})
    records = [sample_record(index, output=str(index)) for index in range(4)]
    sealed = deliver(made, tmp_path, records, portion=2)
    assert read(tmp_path / "x.parquet").to_pylist() == [{"n": 0}, {"n": 1}]
    assert (sealed.records, sealed.left_out) == (2, 2)
    assert [(refused.key, refused.message) for refused in sealed.refused] == [
        ("k-2", "column 'n': \"2\" is no integer"),
        ("k-3", "column 'n': \"3\" is no integer"),
    ]


@pytest.mark.parametrize("portion", [40, 10_000])
def test_a_table_that_evolves_is_begun_anew_where_a_value_does_not_fit(tmp_path: Path, portion: int) -> None:
    count = 9_000
    records = [sample_record(index, output={"count": index}) for index in range(count)]
    records[count - 2] = sample_record(count - 2, output={"count": 1 << 70})
    made = sink(tmp_path, records, schema={"properties": {"count": {"type": "integer"}}})
    sealed = deliver(made, tmp_path, records, portion)
    table = read(tmp_path / "x.parquet")
    assert (sealed.left_out, table.num_rows) == (0, sealed.records)
    assert table.schema.field("output_count").type == pa.decimal128(38, 0)
    assert table.column("output_count").to_pylist()[-2:] == [Decimal(1 << 70), Decimal(count - 1)]


def test_a_frozen_table_leaves_out_and_tells_what_does_not_fit(tmp_path: Path) -> None:
    records = [sample_record(index, output={"count": 1 << (10 * index)}) for index in range(8)]
    made = sink(tmp_path, records, contract="freeze", schema={"properties": {"count": {"type": "integer"}}})
    sealed = deliver(made, tmp_path, records)
    assert (sealed.records, sealed.left_out) == (7, 1)
    assert sealed.refused[0].key == "k-7"
    assert "is no integer of 64 bits" in sealed.refused[0].message
    assert read(tmp_path / "x.parquet").num_rows == 7


def test_a_frozen_table_that_is_there_keeps_its_columns_types_and_order(tmp_path: Path) -> None:
    there = pa.schema([("status", pa.large_string()), ("old", pa.int8()), ("n", pa.int16()), ("key", pa.string())])
    parquet.write_table(there.empty_table(), tmp_path / "x.parquet")
    records = [sample_record(0, row={"n": 300}), sample_record(1, row={"n": 1 << 20}), sample_record(2, row={"n": 2.5})]
    columns = {"key": "key", "n": "row.n", "status": "status"}
    made = sink(tmp_path, records, contract="freeze", overwrite=True, columns=columns, row_types={"n": STRING})
    sealed = deliver(made, tmp_path, records)
    table = read(tmp_path / "x.parquet")
    assert table.schema == there
    assert table.to_pylist() == [{"status": "succeeded", "old": None, "n": 300, "key": "k-0"}]
    assert [refused.key for refused in sealed.refused] == ["k-1", "k-2"]


def test_a_column_that_a_frozen_table_lacks_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"key": ["a"]}), tmp_path / "x.parquet")
    made = sink(tmp_path, [], contract="freeze", overwrite=True, columns={"key": "key", "new": "index"})
    with pytest.raises(DeliveryError, match=r"x\.parquet has no column 'new', and `contract: freeze` adds none"):
        made.check()


def test_what_is_there_and_no_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no table")
    with pytest.raises(DeliveryError, match="is no parquet file"):
        sink(tmp_path, [], contract="freeze", overwrite=True).check()


def test_a_table_of_somebody_else_stays(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"key": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(DeliveryError, match="this job did not write it"):
        sink(tmp_path, []).check()


def test_our_own_table_is_replaced(tmp_path: Path) -> None:
    sealed = deliver(sink(tmp_path, []), tmp_path, [sample_record()])
    assert sealed.sha256 is not None
    again = sink(tmp_path, [], known_sha256={sealed.sha256})
    deliver(again, tmp_path, [sample_record(1), sample_record(2)])
    assert read(tmp_path / "x.parquet").column("key").to_pylist() == ["k-1", "k-2"]


def test_a_table_of_no_records_has_its_columns(tmp_path: Path) -> None:
    assert types_of(written(tmp_path, [], columns={"a": "index", "b": "output | upper"})) == {
        "a": "int64",
        "b": "string",
    }


def test_texts_that_are_no_utf_8_lose_their_halves(tmp_path: Path) -> None:
    table = written(tmp_path, [sample_record(output="\ud83d \x00 é")], columns={"o": "output"})
    assert table.to_pylist() == [{"o": "\ufffd \x00 é"}]


def test_groups_are_bounded_by_rows_and_by_bytes(tmp_path: Path) -> None:
    many = [sample_record(index) for index in range(1_000)]
    records = [record for _ in range(130) for record in many]
    written(tmp_path, records, columns={"k": "key"})
    file = parquet.ParquetFile(tmp_path / "x.parquet")
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [122_880, 7_120]
    long = [sample_record(index, output=f"{index} " * 300_000) for index in range(90)]
    deliver(sink(tmp_path, long, columns={"o": "output"}, overwrite=True), tmp_path, long, portion=10)
    assert parquet.ParquetFile(tmp_path / "x.parquet").num_row_groups > 1


@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "lz4", "none"])
def test_parquet_is_compressed_as_told(tmp_path: Path, compression: str) -> None:
    written(tmp_path, [sample_record()], compression=compression)
    found = parquet.ParquetFile(tmp_path / "x.parquet").metadata.row_group(0).column(0).compression
    assert found.lower() == {"none": "uncompressed"}.get(compression, compression)


@pytest.mark.parametrize("path", ["x.parquet.gz", "x.arrow.zst", "x.feather.xz"])
def test_a_table_is_not_compressed_from_outside(tmp_path: Path, path: str) -> None:
    options: Any = ParquetOptions if "parquet" in path else ArrowOptions
    with pytest.raises(SpecError, match="compressed within"):
        TableSink(options(path=path), SinkContext(tmp_path))


def test_an_error_of_an_expression_names_the_record(tmp_path: Path) -> None:
    made = sink(tmp_path, [sample_record()], columns={"n": "output | int"})
    with pytest.raises(DeliveryError, match="column 'n' cannot be computed for the record 'k-0'"):
        made.open(tmp_path / "staged")
    made.abort()


def test_equal_records_make_an_equal_file(tmp_path: Path) -> None:
    records = [sample_record(index) for index in range(20_000)]

    def sealed(portion: int) -> str | None:
        return deliver(sink(tmp_path, records, overwrite=True), tmp_path, records, portion).sha256

    assert sealed(33) == sealed(1_000) == sealed(20_000)


def written_and_sealed(made: Sink, records: Sequence[Record]) -> None:
    made.write(records)
    made.seal()


@pytest.mark.parametrize("given", [{"path": "x.parquet"}, {"path": "x.arrow"}, {"partition_by": ("status",)}])
def test_a_file_that_grows_no_more_is_told_and_leaves_nothing(tmp_path: Path, given: Any) -> None:
    """As on a full disk; the thread that encodes is the one that meets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    records = [sample_record(index, output=f"{index} " * 50) for index in range(2_000)]
    made = sink(tmp_path, records, **given)
    made.open(tmp_path / "staged")
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
    try:
        with pytest.raises(DeliveryError, match="cannot be written: File too large"):
            written_and_sealed(made, records)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        made.abort()
    assert not any(path.is_file() for path in (tmp_path / "staged").rglob("*"))
    assert not (tmp_path / "x.parquet").exists()
