"""Killed, starved, failed by the disk: what the ledger acknowledged is there, and it goes on (K1, K2, D1, D2, L1)."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from runner.errors import LedgerError
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from support.ledgers import BOUND, message
from support.strace import needs_strace

pytestmark = pytest.mark.fault

TESTS = Path(__file__).parents[1]
WORKER = TESTS / "support" / "ledger_worker.py"
ROWS = 60
GROUP = 7


def command(folder: Path, rows: int = ROWS, group: int = GROUP, *lines: int) -> list[str]:
    return [sys.executable, str(WORKER), str(folder), str(rows), str(group), *map(str, lines)]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{TESTS.parent}")


def acknowledged(output: str) -> list[int]:
    return [int(row) for line in output.splitlines() if line.startswith("done") for row in line.split()[1:]]


def check_acknowledged(folder: Path, done: Sequence[int]) -> None:
    """Every acknowledged reply is there once, and the books add up."""
    assert len(done) == len(set(done)), "a row was answered twice"
    assert audit(folder) == []
    with SqliteLedger.open(folder, read_only=True) as ledger:
        for row in done:
            result = ledger.result(row)
            assert result.status == "succeeded"
            assert result.body == message(f"reply {row} " * 20)


def finish(folder: Path, done: list[int], lost_at_most: int) -> None:
    """Go on until the end: every row has its answer, and money in doubt is that of the attempts that were under way."""
    ended = subprocess.run(command(folder), capture_output=True, text=True, check=True, timeout=60)
    done += acknowledged(ended.stdout)
    check_acknowledged(folder, done)
    with SqliteLedger.open(folder, read_only=True) as ledger:
        assert ledger.counts().succeeded == ROWS
        money = ledger.money()
        assert (money.spent, money.reserved) == (7 * ROWS, 0)
        assert money.doubtful <= lost_at_most * BOUND


def test_killed_at_random_moments(tmp_path: Path) -> None:
    dice = random.Random(20261122)
    folder, done, kills = tmp_path / "run", list[int](), 0
    for _ in range(8):
        lines = dice.randint(1, 4)  # by what it has done, not by the clock: machines differ
        with subprocess.Popen(command(folder, ROWS, GROUP, lines), stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            for _ in range(lines - 1):
                done += acknowledged(child.stdout.readline())
            time.sleep(dice.uniform(0, 0.002))
            child.kill()
            done += acknowledged(child.stdout.read())
        kills += child.returncode == -signal.SIGKILL
        if child.returncode == 0:
            break
        check_acknowledged(folder, done)
    assert kills
    finish(folder, done, lost_at_most=kills * GROUP)


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("call", ["write", "pwrite64", "fdatasync", "fsync", "rename"])
def test_killed_at_a_system_call(tmp_path: Path, call: str) -> None:
    """At the n-th call of each kind that changes the disk, for n spread over the whole run."""
    for number in (1, 2, 3, 5, 8, 13, 21, 34):
        folder = tmp_path / str(number)
        injected = ["strace", "-f", "-o", os.devnull, "-e", f"inject={call}:signal=SIGKILL:when={number}"]
        killed = subprocess.run([*injected, *command(folder)], capture_output=True, text=True, check=False, timeout=60)
        done = acknowledged(killed.stdout)
        if (folder / "ledger.db").exists():
            check_acknowledged(folder, done)
        else:
            assert not done
        finish(folder, done, lost_at_most=GROUP)
        if killed.returncode == 0:
            break


@needs_strace
@pytest.mark.parametrize("when", [1, 2, 4, 7, 12])
@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_sync_that_fails_is_fatal_and_nothing_is_claimed(tmp_path: Path, call: str, when: int) -> None:
    folder = tmp_path / "run"
    injected = ["strace", "-f", "-o", os.devnull, "-e", f"inject={call}:error=EIO:when={when}"]
    broken = subprocess.run([*injected, *command(folder)], capture_output=True, text=True, check=False, timeout=60)
    done = acknowledged(broken.stdout)
    if broken.returncode != 0:
        assert (broken.returncode, broken.stdout.splitlines()[-1]) == (4, "error disk-error"), broken.stderr
    finish(folder, done, lost_at_most=GROUP)


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("when", [30, 61, 92, 123, 155])
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_database_that_cannot_be_written_keeps_no_outcome_from_the_spool(
    tmp_path: Path, error: str, when: int
) -> None:
    """At writes of SQLite's log and of the count of commits, between the spool's sync and the commit or behind it."""
    folder = tmp_path / "run"
    injected = ["strace", "-f", "-o", os.devnull, "-e", f"inject=pwrite64:error={error}:when={when}"]
    broken = subprocess.run([*injected, *command(folder)], capture_output=True, text=True, check=False, timeout=60)
    if broken.returncode != 0:
        assert broken.stdout.splitlines()[-1] in ("error disk-full", "error disk-error"), broken.stderr
    finish(folder, acknowledged(broken.stdout), lost_at_most=GROUP)


def limit_files(size: int) -> None:
    """The kernel then says EFBIG where a full disk says ENOSPC; Python ignores the signal."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [3_000, 20_000, 60_000, 150_000])
def test_a_file_that_may_not_grow_stops_the_run_resumably(tmp_path: Path, size: int) -> None:
    folder = tmp_path / "run"
    starved = subprocess.run(
        command(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=lambda: limit_files(size),  # the child has one thread and only sets a limit
    )
    done = acknowledged(starved.stdout)
    if starved.returncode != 0:
        assert starved.stdout.splitlines()[-1] in ("error disk-full", "error disk-error"), starved.stderr
    finish(folder, done, lost_at_most=GROUP)


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_space_lets_it_go_on(tmp_path: Path) -> None:
    """With less and less room, so that it is full at enrolment, in the database, in its log and in the spool."""
    codes = set()
    with small_disk(tmp_path / "disk", "2m") as disk:
        for free in range(20_000, 420_000, 20_000):
            folder, filler = disk / "run", disk / "filler"
            room = shutil.disk_usage(disk).free
            filler.write_bytes(bytes(max(0, room - free)))
            starved = subprocess.run(command(folder), capture_output=True, text=True, check=False, timeout=60)
            done = acknowledged(starved.stdout)
            filler.unlink()
            if starved.returncode != 0:
                codes.add(starved.stdout.splitlines()[-1] if starved.stdout else starved.stderr)
            finish(folder, done, lost_at_most=GROUP)
            shutil.rmtree(folder)
    assert codes == {"error disk-full"}


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(command(folder, rows=100_000, group=10), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with pytest.raises(LedgerError, match=f"by process {child.pid} on ") as caught:
            SqliteLedger.open(folder)
        assert caught.value.code == "locked"
        with SqliteLedger.open(folder, read_only=True) as beside:
            assert beside.counts().total == 100_000
        child.kill()
    SqliteLedger.open(folder).close()
