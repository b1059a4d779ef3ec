"""Every built-in sink passes the conformance suite."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from runner.plugins import sink_for
from runner.sinks import Sink, SinkContext
from runner.testing.sinks import check_sink


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
