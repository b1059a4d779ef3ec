"""Staged files: durable, digested, put in place at once."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from runner.sinks.staging import StagedFile


def staged(folder: Path, data: bytes, suffix: str = "") -> StagedFile:
    file = StagedFile(folder / "staging" / "0" / "part", suffix)
    file.write(data)
    return file


def other_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renames out of a staging folder fail, as they do between two file systems."""
    replace = Path.replace

    def guarded(self: Path, target: Any) -> Path:
        if "staging" in self.parts:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", guarded)


def test_the_digest_is_of_the_bytes_on_disk(tmp_path: Path) -> None:
    for suffix in ("", ".gz", ".zst"):
        file = staged(tmp_path, b"data" * 100, suffix)
        assert file.seal() == hashlib.sha256((tmp_path / "staging/0/part").read_bytes()).hexdigest()


def test_a_sealed_file_is_durable_and_so_is_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, int]] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        facts = os.fstat(handle)
        synced.append(("folder" if stat.S_ISDIR(facts.st_mode) else "file", facts.st_size))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    staged(tmp_path, b"data" * 1000).seal()
    assert synced[0] == ("file", 4000)
    assert [what for what, _ in synced] == ["file", "folder"]


def test_a_gzip_bears_no_time_and_no_name(tmp_path: Path) -> None:
    """Equal records make equal bytes, whenever they are written (RFC 1952: flags at 3, time at 4 to 7)."""
    staged(tmp_path, b"data", ".gz").seal()
    assert (tmp_path / "staging/0/part").read_bytes()[3:8] == bytes(5)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_publishing_replaces_the_target_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    if elsewhere:
        other_file_system(monkeypatch)
    target = tmp_path / "out" / "deep" / "x.jsonl"
    for data in (b"first", b"second"):
        file = staged(tmp_path, data)
        file.seal()
        file.publish(target)
        assert target.read_bytes() == data
    assert [path.name for path in target.parent.iterdir()] == ["x.jsonl"]
    assert not (tmp_path / "staging/0/part").exists()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_mode_follows_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool) -> None:
    if elsewhere:
        other_file_system(monkeypatch)
    before = os.umask(0o027)
    try:
        file = staged(tmp_path, b"x")
        file.seal()
        file.publish(tmp_path / "x.jsonl")
    finally:
        os.umask(before)
    assert (tmp_path / "x.jsonl").stat().st_mode & 0o777 == 0o640


def test_a_reader_keeps_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "x.jsonl"
    target.write_text("old")
    with target.open() as reader:
        file = staged(tmp_path, b"new")
        file.seal()
        file.publish(target)
        assert reader.read() == "old"
    assert target.read_text() == "new"


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real" / "x.jsonl")
    file = staged(tmp_path, b"new")
    file.seal()
    file.publish(tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "real" / "x.jsonl").read_bytes() == b"new"


def test_a_copy_that_fails_leaves_the_target_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other_file_system(monkeypatch)
    target = tmp_path / "x.jsonl"
    target.write_text("old")
    file = staged(tmp_path, b"new")
    file.seal()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("runner.sinks.staging.shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        file.publish(target)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["staging", "x.jsonl"]


def test_what_was_staged_before_a_crash_is_written_over(tmp_path: Path) -> None:
    crashed = staged(tmp_path, b"a longer text of the crashed one")
    again = staged(tmp_path, b"new")
    again.seal()
    again.publish(tmp_path / "x.jsonl")
    assert (tmp_path / "x.jsonl").read_bytes() == b"new"
    crashed.discard()
    crashed.discard()
