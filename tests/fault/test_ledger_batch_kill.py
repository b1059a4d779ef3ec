"""Killed and failed by the disk while batches are noted, landed and settled: 0 lost, 0 twice, nothing in doubt (K1,
K2, D2)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from support.ledger_batches import COST
from support.ledgers import message
from support.strace import needs_strace

pytestmark = pytest.mark.fault

TESTS = Path(__file__).parents[1]
WORKER = TESTS / "support" / "ledger_batch_worker.py"
ROWS = 60
SIZE = 25


def command(folder: Path, *lines: int) -> list[str]:
    return [sys.executable, str(WORKER), str(folder), str(ROWS), str(SIZE), *map(str, lines)]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{TESTS.parent}")


def acknowledged(output: str) -> list[int]:
    return [int(row) for line in output.splitlines() if line.startswith("done") for row in line.split()[1:]]


def check(folder: Path, done: list[int]) -> None:
    """Every acknowledged reply is there once, and the books add up."""
    assert len(done) == len(set(done)), "a row was answered twice"
    assert audit(folder) == []
    with SqliteLedger.open(folder, read_only=True) as ledger:
        for row in done:
            assert (ledger.result(row).status, ledger.result(row).body) == ("succeeded", message(f"reply {row}"))


def finish(folder: Path, done: list[int]) -> None:
    """Go on until the end: every row has its answer, paid once, and no batch is left."""
    ended = subprocess.run(command(folder), capture_output=True, text=True, check=True, timeout=60)
    check(folder, done + acknowledged(ended.stdout))
    with SqliteLedger.open(folder, read_only=True) as ledger:
        counts, money = ledger.counts(), ledger.money()
        assert (counts.succeeded, counts.attempts, counts.requests) == (ROWS, ROWS + ROWS // 3, ROWS)
        assert (money.spent, money.reserved, money.doubtful) == (COST * ROWS, 0, 0)
        assert {batch.state for batch in ledger.batches()} == {"closed"}
        landed = {ledger.landed(batch.number) for batch in ledger.batches()}
        assert {path for path in (folder / "spool").iterdir() if path.suffix != ".seg"} == landed


def test_killed_at_random_moments(tmp_path: Path) -> None:
    dice = random.Random(20261122)
    folder, done, kills = tmp_path / "run", list[int](), 0
    for _ in range(8):
        lines = dice.randint(1, 4)  # by what it has done, not by the clock: machines differ
        with subprocess.Popen(command(folder, lines), stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            for _ in range(lines - 1):
                done += acknowledged(child.stdout.readline())
            time.sleep(dice.uniform(0, 0.01))
            child.kill()
            done += acknowledged(child.stdout.read())
        kills += child.returncode == -signal.SIGKILL
        if child.returncode == 0:
            break
        check(folder, done)
    assert kills
    finish(folder, done)


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "fsync", "rename", "unlink", "fchmod"])
def test_killed_at_a_system_call(tmp_path: Path, call: str) -> None:
    """At the n-th call of each kind that changes the disk, for n spread over the whole run."""
    for number in (1, 2, 3, 4, 5, 8, 13, 21, 34, 55, 89):
        folder = tmp_path / str(number)
        injected = ["strace", "-f", "-o", os.devnull, "-e", f"inject={call}:signal=SIGKILL:when={number}"]
        killed = subprocess.run([*injected, *command(folder)], capture_output=True, text=True, check=False, timeout=60)
        done = acknowledged(killed.stdout)
        if (folder / "ledger.db").exists():
            check(folder, done)
        else:
            assert not done
        finish(folder, done)
        if killed.returncode == 0:
            break


@needs_strace
@pytest.mark.parametrize("when", [2, 5, 8, 11])
@pytest.mark.parametrize("call", ["fdatasync", "fsync", "rename"])
def test_a_disk_that_fails_is_told_and_nothing_is_claimed(tmp_path: Path, call: str, when: int) -> None:
    folder = tmp_path / "run"
    injected = ["strace", "-f", "-o", os.devnull, "-e", f"inject={call}:error=EIO:when={when}"]
    broken = subprocess.run([*injected, *command(folder)], capture_output=True, text=True, check=False, timeout=60)
    if broken.returncode != 0:
        assert (broken.returncode, broken.stdout.splitlines()[-1]) == (4, "error disk-error"), broken.stderr
    finish(folder, acknowledged(broken.stdout))
