"""Folders that go with their process, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runner.scratch import scratch_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from runner.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1]), "aside-") as folder:
    (folder / "spill").mkdir()
    (folder / "spill" / "block").write_bytes(b"x" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def leave_one(parent: Path) -> Path:
    """What a killed process leaves."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(parent)], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = parent.iterdir()
    return left


def test_it_is_gone_when_it_is_done_with(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, "aside-") as folder:
        (folder / "deep").mkdir()
        (folder / "deep/file").touch()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = leave_one(tmp_path)
    with scratch_folder(tmp_path, "aside-") as folder:
        assert list(tmp_path.iterdir()) == [folder] != [left]


def test_what_somebody_holds_stays(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, "aside-") as first, scratch_folder(tmp_path, "aside-") as second:
        assert sorted(tmp_path.iterdir()) == sorted([first, second])
        assert first != second


def test_what_is_called_otherwise_stays(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "aside-file").touch()
    (tmp_path / "aside-link").symlink_to(tmp_path / "runs")
    with scratch_folder(tmp_path, "aside-"):
        assert {path.name for path in tmp_path.iterdir()} >= {"runs", "aside-file", "aside-link"}


def test_one_that_is_removed_before_it_is_held_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def mkdtemp(*, prefix: str, dir: Path) -> str:  # noqa: A002 - the name of the library's own parameter
        folder = dir / f"{prefix}{len(made)}"
        made.append(folder)
        if len(made) > 1:  # the first was removed in between
            folder.mkdir()
        return str(folder)

    monkeypatch.setattr("runner.scratch.tempfile.mkdtemp", mkdtemp)
    with scratch_folder(tmp_path, "aside-") as folder:
        assert folder == made[1]
