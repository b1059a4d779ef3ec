"""Damaged, incomplete or unwritable run folders: refused, or mended, but never trusted (fault D4)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import LedgerError
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.types import Step
from support.ledgers import accept, answer, lease_all, new_ledger

pytestmark = pytest.mark.fault


def died_after_the_sync(folder: Path) -> Path:
    """A run that was killed when the last of two groups was in the spool and not in the tables; returns the segment."""
    with new_ledger(folder.with_name("living"), 4) as ledger:
        lease_all(ledger, [Step(row) for row in range(4)])
        ledger.record([answer(Step(0)), answer(Step(1))], accept)
        assert ledger._writer is not None
        ledger._writer.append([answer(Step(2)), answer(Step(3))])
        shutil.copytree(folder.with_name("living"), folder)
    return folder / "spool/000001.seg"


def test_a_frame_torn_at_any_byte_loses_that_outcome_and_no_other(tmp_path: Path) -> None:
    segment = died_after_the_sync(tmp_path / "run")
    whole = segment.read_bytes()
    frame = len(whole) // 4
    for cut in (0, 1, frame // 2, frame - 1, frame):
        shutil.copytree(tmp_path / "run", tmp_path / f"cut{cut}")
        (tmp_path / f"cut{cut}/spool/000001.seg").write_bytes(whole[: len(whole) - cut])
        with SqliteLedger.open(tmp_path / f"cut{cut}") as ledger:
            kept = 2 if cut == 0 else 1
            assert ledger.settle_answered(accept) == kept
            assert (ledger.counts().succeeded, ledger.counts().open) == (2 + kept, 2 - kept)
            assert ledger.attempts(3)[-1].end == ("succeeded" if kept == 2 else "lost")
        assert audit(tmp_path / f"cut{cut}") == []


def test_a_flipped_bit_in_a_frame_that_the_ledger_knows_is_told_when_it_is_read(tmp_path: Path) -> None:
    segment = died_after_the_sync(tmp_path / "run")
    data = bytearray(segment.read_bytes())
    data[100] ^= 4
    segment.write_bytes(data)
    with SqliteLedger.open(tmp_path / "run") as ledger, pytest.raises(LedgerError) as caught:
        list(ledger.results())
    assert caught.value.code == "damaged"


def test_damage_among_frames_to_take_up_is_refused_and_nothing_is_cut(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "living", 4) as ledger:
        lease_all(ledger, [Step(row) for row in range(4)])
        assert ledger._writer is not None
        ledger._writer.append([answer(Step(0))])
        ledger._writer.append([answer(Step(1))])
        shutil.copytree(tmp_path / "living", tmp_path / "run")
    segment = tmp_path / "run/spool/000001.seg"
    data = bytearray(segment.read_bytes())
    data[50] ^= 4
    segment.write_bytes(data)
    with pytest.raises(LedgerError) as caught:
        SqliteLedger.open(tmp_path / "run")
    assert caught.value.code == "damaged"
    assert segment.read_bytes() == data


def test_a_spool_that_was_removed_is_refused(tmp_path: Path) -> None:
    died_after_the_sync(tmp_path / "run").unlink()
    with pytest.raises(LedgerError) as caught:
        SqliteLedger.open(tmp_path / "run")
    assert caught.value.code == "damaged"


def test_a_database_with_a_page_of_garbage_is_refused(tmp_path: Path) -> None:
    new_ledger(tmp_path / "run", 500).close()
    with (tmp_path / "run/ledger.db").open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 8192)
    with pytest.raises(LedgerError) as caught:
        SqliteLedger.open(tmp_path / "run")
    assert caught.value.code == "damaged"


@contextlib.contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Root may write wherever modes forbid it, so for root the folder is mounted read-only over itself."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(0o700)
        return
    for options in (["--bind"], ["-o", "remount,bind,ro"]):
        if subprocess.run(["mount", *options, str(folder), str(folder)], capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_that_cannot_be_written_can_be_read_and_not_resumed(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([answer(Step(0))], accept)
    with unwritable(tmp_path / "run"):
        with SqliteLedger.open(tmp_path / "run", read_only=True) as ledger:
            assert [result.status for result in ledger.results()] == ["succeeded", "open"]
        with pytest.raises(LedgerError) as caught:
            SqliteLedger.open(tmp_path / "run")
        assert (caught.value.code, caught.value.exit_status) == ("cannot-write", 4)


def test_a_dead_run_in_a_folder_that_cannot_be_written_can_be_read(tmp_path: Path) -> None:
    died_after_the_sync(tmp_path / "run")
    with unwritable(tmp_path / "run"), SqliteLedger.open(tmp_path / "run", read_only=True) as ledger:
        assert ledger.counts().succeeded == 2
