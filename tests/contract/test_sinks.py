"""Every built-in sink passes the conformance suite."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import zstandard
from msgspec.structs import replace
from pyarrow import dataset, feather, parquet
from python_calamine import CalamineWorkbook

from runner.plugins import sink_for
from runner.sinks import Delivered, Sink, SinkContext
from runner.sinks.files import FileSink
from runner.sinks.options import FileOptions, ParquetOptions
from runner.sinks.tables import TableSink
from runner.testing.sinks import check_sink
from runner.testing.tables import check_table
from runner.types import Record


def zstd_decompress(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zst": zstd_decompress,
}


def keys_of(kind: str, data: bytes) -> list[str]:
    text = data.decode()
    if kind == "jsonl":
        return [json.loads(line)["key"] for line in text.split("\n")[:-1]]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="," if kind == "csv" else "\t", strict=True)
    assert next(reader)[0] == "key"
    return [fields[0] for fields in reader]


@pytest.mark.parametrize("compression", DECOMPRESSORS)
@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_a_file_sink_keeps_the_contract(tmp_path: Path, kind: str, compression: str) -> None:
    path = f"out/deep/result.{kind}{compression}"
    target = tmp_path / path

    def make() -> Sink:
        plugin = sink_for(path)
        options = plugin.options().model_validate({"path": path, "overwrite": True})
        sink: Sink = plugin.load()(options, SinkContext(tmp_path, row_columns=("id", "text")))
        return sink

    def read() -> list[str] | None:
        return keys_of(kind, DECOMPRESSORS[compression](target.read_bytes())) if target.exists() else None

    check_sink(make, read)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_stdout_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What was written cannot be taken back, so each sink gets a standard output of its own."""
    written = io.BytesIO()
    plugin = sink_for("-")

    def make() -> Sink:
        nonlocal written
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(written)))
        context = SinkContext(tmp_path, row_columns=("id", "text"))
        sink: Sink = plugin.load()(plugin.options().model_validate({"format": kind}), context)
        return sink

    def read() -> list[str] | None:
        data = written.getvalue()
        return keys_of(kind, data) if data or kind == "jsonl" else None

    check_sink(make, read)


class Broken(FileSink):
    """A file sink with one fault."""

    def __init__(self, fault: str, options: FileOptions, context: SinkContext) -> None:
        super().__init__(options, context)
        self._fault = fault
        self._file = context.root / options.path

    def write(self, records: Sequence[Record]) -> None:
        if self._fault == "shows records before commit":
            self._file.write_text("".join(f'{{"key":"{record.key}"}}\n' for record in records))
        super().write(records[:-1] if self._fault == "loses a record" and len(records) > 1 else records)

    def seal(self) -> Delivered:
        sealed = super().seal()
        return replace(sealed, records=sealed.records + 1) if self._fault == "miscounts" else sealed

    def abort(self) -> None:
        if self._fault == "leaves what was staged":
            return
        if self._fault == "delivers on abort" and self._staged is not None:
            self.commit()
        super().abort()


@pytest.mark.parametrize(
    "fault",
    ["shows records before commit", "loses a record", "miscounts", "leaves what was staged", "delivers on abort"],
)
def test_the_suite_notices_a_sink_that(tmp_path: Path, fault: str) -> None:
    target = tmp_path / "x.jsonl"

    def read() -> list[str] | None:
        return keys_of("jsonl", target.read_bytes()) if target.exists() else None

    options = FileOptions(path="x.jsonl", overwrite=True)
    with pytest.raises(AssertionError):
        check_sink(lambda: Broken(fault, options, SinkContext(tmp_path)), read)


class TableAt:
    """A table file that is written anew by each sink, and what pyarrow reads of it."""

    def __init__(self, folder: Path, path: str, **given: Any) -> None:
        self._path = folder / path
        plugin = sink_for(path)
        self._options = plugin.options().model_validate({"path": path, "overwrite": True, **given})
        self._sink = plugin.load()
        self._folder = folder

    def make(self, context: SinkContext) -> Sink:
        made: Sink = self._sink(self._options, replace(context, root=self._folder))
        return made

    def make_default(self) -> Sink:
        return self.make(SinkContext(self._folder, row_columns=("id", "text")))

    def rows(self) -> list[dict[str, Any]]:
        if self._path.suffix == ".xlsx":
            found: list[list[Any]] = CalamineWorkbook.from_path(self._path).get_sheet_by_index(0).to_python()
            header, *rows = found
            return [dict(zip(header, (None if cell == "" else cell for cell in row), strict=True)) for row in rows]
        if self._path.is_dir():
            return cast("list[dict[str, Any]]", dataset.dataset(self._path, partitioning="hive").to_table().to_pylist())
        read = parquet.read_table if self._path.suffix == ".parquet" else feather.read_table
        return cast("list[dict[str, Any]]", read(self._path).to_pylist())

    def keys(self) -> list[str] | None:
        return [row["key"] for row in self.rows()] if self._path.exists() else None


TABLES = ["x.parquet", "x.arrow", "x.feather", "out/deep/x.parquet"]


@pytest.mark.parametrize("path", [*TABLES, "x.xlsx"])
def test_a_table_sink_keeps_the_contract(tmp_path: Path, path: str) -> None:
    table = TableAt(tmp_path, path)
    check_sink(table.make_default, table.keys)


@pytest.mark.parametrize("path", TABLES)
def test_a_table_holds_what_it_was_given(tmp_path: Path, path: str) -> None:
    table = TableAt(tmp_path, path)
    check_table(table.make, table.rows)


def test_a_sheet_holds_what_it_was_given_to_the_millisecond(tmp_path: Path) -> None:
    table = TableAt(tmp_path, "x.xlsx")
    check_table(table.make, table.rows, resolution=timedelta(milliseconds=1), empty_is_null=True)


def test_a_partitioned_table_keeps_the_contract(tmp_path: Path) -> None:
    table = TableAt(tmp_path, "x.parquet", partition_by=("status",))
    check_sink(table.make_default, lambda: sorted_keys(table.keys()))


def test_a_partitioned_table_holds_what_it_was_given(tmp_path: Path) -> None:
    table = TableAt(tmp_path, "x.parquet", partition_by=("status",))
    check_table(table.make, table.rows)


def sorted_keys(keys: list[str] | None) -> list[str] | None:
    """In the order of the records: that of the rows is kept within a partition only."""
    return None if keys is None else sorted(keys, key=lambda key: int(key.removeprefix("k-")))


class Forgetful(TableSink):
    """A table sink with one fault."""

    def __init__(self, fault: str, options: ParquetOptions, context: SinkContext) -> None:
        super().__init__(options, context)
        self._fault = fault

    def write(self, records: Sequence[Record]) -> None:
        if self._fault == "changes a value":
            records = [replace(record, row={**record.row, "whole": 8}) for record in records]
        if self._fault == "swaps rows":
            records = [replace(record, key=f"k-{len(records) - record.index - 1}") for record in records]
        super().write(records[1:] if self._fault == "loses a record" else records)


@pytest.mark.parametrize("fault", ["changes a value", "swaps rows", "loses a record"])
def test_the_suite_of_tables_notices_a_sink_that(tmp_path: Path, fault: str) -> None:
    options = ParquetOptions(path="x.parquet", overwrite=True)

    def rows() -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", parquet.read_table(tmp_path / "x.parquet").to_pylist())

    with pytest.raises(AssertionError):
        check_table(lambda context: Forgetful(fault, options, replace(context, root=tmp_path)), rows)
