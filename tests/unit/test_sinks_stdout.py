"""Standard output gets everything once, at the end."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from runner.errors import DeliveryError
from runner.sinks import SinkContext
from runner.sinks.options import StdoutOptions
from runner.sinks.stdout import StdoutSink
from runner.testing.sinks import sample_record


def opened(folder: Path) -> StdoutSink:
    sink = StdoutSink(StdoutOptions(), SinkContext(folder))
    sink.check()
    sink.open(folder / "staging")
    sink.write([sample_record()])
    return sink


def test_records_come_after_what_was_printed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(written)))
    sys.stdout.write("a line before\n")
    sink = opened(tmp_path)
    sealed = sink.seal()
    assert (sealed.kind, sealed.target, sealed.records, sealed.sha256) == ("stdout", "-", 1, None)
    sink.commit()
    first, second = written.getvalue().decode().splitlines()
    assert first == "a line before"
    assert second.startswith('{"key":"k-0"')


def test_a_reader_that_went_away_is_a_failed_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.MonkeyPatch.context() as patch, io.FileIO(writing, "w") as raw:
        stream = _Unbuffered(raw)
        patch.setattr(sys, "stdout", io.TextIOWrapper(stream))  # type: ignore[type-var]  # has all that is used
        sink = opened(tmp_path)
        with pytest.raises(DeliveryError, match="standard output cannot be written: Broken pipe"):
            sink.commit()
        sink.abort()


class _Unbuffered(io.BufferedIOBase):
    """A binary stream that keeps nothing back, so that closing it cannot fail again."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return self._raw.write(data)  # type: ignore[arg-type]  # the stream's own signature is wider than its stub


def test_a_closed_stdout_is_told_before_anything_is_paid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    with pytest.raises(DeliveryError, match="is closed"):
        StdoutSink(StdoutOptions(), SinkContext(tmp_path)).check()
