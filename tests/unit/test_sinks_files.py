"""The file sink: what it replaces and what it refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from runner.errors import DeliveryError, SpecError
from runner.sinks import SinkContext
from runner.sinks.files import FileSink
from runner.sinks.options import FileOptions
from runner.testing.sinks import sample_record


def sink(folder: Path, path: str = "out/x.jsonl", known: Collection[str] = (), **options: Any) -> FileSink:
    return FileSink(FileOptions(path=path, **options), SinkContext(folder, row_columns=("id",), known_sha256=known))


def deliver(chosen: FileSink, folder: Path, *, index: int = 0) -> str:
    chosen.open(folder / "staging")
    chosen.write([sample_record(index)])
    sealed = chosen.seal()
    chosen.commit()
    assert sealed.sha256 is not None
    return sealed.sha256


def test_making_a_sink_touches_nothing(tmp_path: Path) -> None:
    made = sink(tmp_path)
    made.check()
    assert (made.kind, made.target) == ("jsonl", "out/x.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_the_digest_is_that_of_the_target(tmp_path: Path) -> None:
    digest = deliver(sink(tmp_path), tmp_path)
    assert digest == hashlib.sha256((tmp_path / "out/x.jsonl").read_bytes()).hexdigest()


def test_its_own_last_output_is_replaced(tmp_path: Path) -> None:
    first = deliver(sink(tmp_path), tmp_path)
    again = sink(tmp_path, known={first})
    again.check()
    deliver(again, tmp_path, index=1)
    assert '"k-1"' in (tmp_path / "out/x.jsonl").read_text()


def test_a_foreign_file_is_refused_before_and_at_delivery(tmp_path: Path) -> None:
    refused = sink(tmp_path)
    refused.open(tmp_path / "staging")
    refused.write([sample_record()])
    refused.seal()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x.jsonl").write_text("appeared while the run went on")
    with pytest.raises(DeliveryError, match="did not write it"):
        refused.check()
    with pytest.raises(DeliveryError, match="did not write it"):
        refused.commit()
    refused.abort()
    assert (tmp_path / "out/x.jsonl").read_text() == "appeared while the run went on"


def test_a_target_that_has_the_new_content_already_is_no_foreign_file(tmp_path: Path) -> None:
    """A crash after the rename and before it was noted."""
    deliver(sink(tmp_path), tmp_path)
    deliver(sink(tmp_path), tmp_path)


def test_overwrite_replaces_any_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("theirs")
    allowed = sink(tmp_path, "x.csv", overwrite=True)
    allowed.check()
    deliver(allowed, tmp_path)
    assert (tmp_path / "x.csv").read_text().startswith("key,id,output")


def test_a_format_can_be_given_where_the_suffix_tells_none(tmp_path: Path) -> None:
    deliver(sink(tmp_path, "x.txt", format="tsv"), tmp_path)
    assert (tmp_path / "x.txt").read_text().startswith("key\tid\t")
    with pytest.raises(SpecError, match="does not tell a format"):
        sink(tmp_path, "x.txt")


def test_a_full_disk_names_the_target(tmp_path: Path) -> None:
    """`/dev/full` refuses every byte with ENOSPC."""
    chosen = sink(tmp_path)
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "part").symlink_to("/dev/full")
    chosen.open(staging)
    chosen.write([sample_record()])
    with pytest.raises(DeliveryError, match=r"out/x\.jsonl cannot be written: No space left on device"):
        chosen.seal()
    chosen.abort()
    assert list(staging.iterdir()) == []


def test_a_sink_that_is_not_open_takes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not open"):
        sink(tmp_path).write([sample_record()])
