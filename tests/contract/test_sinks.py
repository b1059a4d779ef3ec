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
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from runner.plugins import sink_for
from runner.sinks import Delivered, Sink, SinkContext
from runner.sinks.files import FileSink
from runner.sinks.options import FileOptions
from runner.testing.sinks import check_sink
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
