"""A small run that fails, or is killed, at every call by which something becomes durable, and is then run again.

Each call of the ledger is taken in turn, before it does anything and after all of it is durable; so is each `fsync`.
The oracle is the provider's own account: every row is answered once, with its own answer; what was billed is in the
books, or in doubt there; and nothing is paid twice but what was under way.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from runner.engines import StopReason
from runner.errors import LedgerError, RunnerError
from runner.execution.advance import advance
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from support.execution_fakes import (
    JOB,
    Bench,
    Counted,
    FaultyLedger,
    folder_in_memory,
    forked,
    killed,
    refused,
    replied,
)

pytestmark = pytest.mark.fault

SLOTS = 3
SMALL = JOB.replace("max_concurrency: 4", f"max_concurrency: {SLOTS}")
TEXTS = ["a", "busy", "", "no", "b", "c", "d", "e", "f", "g"]
"""One that is tried twice, one that cannot be rendered, one that is refused, and some more."""
SENT = [text for text in TEXTS if text]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with folder_in_memory(tmp_path) as folder:
        yield folder


def make(root: Path) -> Bench:
    bench = Bench(root, rows=0, job=SMALL)
    bench.rows(TEXTS)
    play(bench)
    return bench


def play(bench: Bench) -> None:
    bench.provider.script["busy"] = [refused()]
    bench.provider.always["no"] = replied("I can not", stop_reason="refusal")


def copied(bench: Bench, root: Path) -> Bench:
    shutil.copytree(bench.root, root)
    copy = Bench.at(root)
    play(copy)
    return copy


def check(bench: Bench, billed: Counter[str], *, stops: int) -> None:
    """All that must hold of a run that was stopped so often and has ended."""
    assert [(record["key"], record["status"], record["text"] or record["output"]) for record in bench.records()] == [
        (f"k{number}", *ending(text)) for number, text in enumerate(TEXTS)
    ]
    assert set(billed) == set(SENT)
    assert billed.total() <= len(SENT) + 2 * SLOTS * stops, "more is paid twice than was under way"
    check_books(bench, billed)


def check_books(bench: Bench, billed: Counter[str]) -> None:
    """What the provider billed is spent, or in doubt: all replies here cost the same."""
    answers = spent = doubtful = 0
    for info in bench.runs():  # a second one where only the delivery of the first had failed
        assert info.finished
        assert audit(info.folder) == []
        with SqliteLedger.open(info.folder, read_only=True) as ledger:
            money = ledger.money()
            attempts = [attempt for row in range(len(TEXTS)) for attempt in ledger.attempts(row)]
        assert money.reserved == 0
        answers += sum(attempt.cost_pico != 0 for attempt in attempts)
        spent += money.spent
        doubtful += money.doubtful
    price = spent // answers
    assert spent == answers * price
    assert spent <= billed.total() * price <= spent + doubtful


def ending(text: str) -> tuple[str, str | None]:
    if not text:
        return "failed", None
    return ("failed", "I can not") if text == "no" else ("succeeded", f"echo of {text}")


def fail_at(bench: Bench, call: int, *, after: bool) -> StopReason | LedgerError | None:
    """Go on with a run whose ledger fails at that call; what came of it, None where it never came so far."""
    info = bench.runs()[-1]
    with FaultyLedger.open(info.folder) as ledger:
        run = bench.assembled(info, ledger)
        ledger.fails_at, ledger.fails_after = call, after
        try:
            advance(run)
        except LedgerError as error:
            return error
    return None


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_ledger_that_fails_at_any_call_loses_nothing(folder: Path, *, after: bool) -> None:
    ready = make(folder / "ready")
    ready.begin()
    failures = 0
    while True:
        bench = copied(ready, folder / str(failures))
        error = fail_at(bench, failures + 1, after=after)
        if error is None:
            break
        failures += 1
        assert isinstance(error, LedgerError)
        assert error.code == "disk-full"
        assert bench.run().status == "finished"
        check(bench, bench.provider.billed, stops=1)
        shutil.rmtree(bench.root)
    assert failures > 8, "leases, outcomes, deliveries and the end are calls of their own"


def test_killed_at_any_call_a_run_loses_nothing(folder: Path) -> None:
    """Every call and, in the same run, every step of its delivery."""
    ready = make(folder / "ready")
    ready.begin()
    kills = 0
    while True:
        bench = copied(ready, folder / str(kills))
        bench.provider.account = folder / f"account-{kills}"
        if not killed(partial(bench.go_on, bench.runs()[-1], Counted(kills + 1))):
            break
        kills += 1
        assert bench.run().status == "finished"
        check(bench, Counter(bench.provider.account.read_text().splitlines()), stops=1)
        shutil.rmtree(bench.root)
    assert kills > 20, "twice the calls of the ledger, and those of the sink"


def test_killed_again_and_again_a_run_ends_all_the_same(folder: Path) -> None:
    bench = make(folder / "project")
    bench.begin()
    bench.provider.script.clear()  # a child that is killed forgets what it has played
    bench.provider.account = folder / "account"
    kills = 0
    while killed(partial(bench.go_on, bench.runs()[-1], Counted(6 + kills))):
        kills += 1
    assert kills >= 2
    check(bench, Counter(bench.provider.account.read_text().splitlines()), stops=kills)


def test_a_disk_that_is_full_at_any_sync_stops_the_run_and_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the making of the run on; SQLite syncs by itself and is not among them."""
    sync = os.fsync
    calls = 0

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    fails_at = 1
    while True:
        bench = make(folder / str(fails_at))
        calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            ended = run_or_error(bench)
        if calls < fails_at:
            assert ended == 5
            break
        assert ended == 4
        play(bench)
        assert bench.run().status == "finished"
        check(bench, bench.provider.billed, stops=1)
        shutil.rmtree(bench.root)
        fails_at += 1
    assert fails_at > 10


def test_of_many_that_start_at_once_one_runs_and_the_others_are_refused(folder: Path) -> None:
    """Each is a process of its own; whoever comes after the end finds nothing to do."""
    bench = make(folder / "project")
    bench.provider.account = folder / "account"
    begin, go = os.pipe()

    def start() -> None:
        os.close(go)
        os.read(begin, 1)  # until every one of them is there
        os._exit(run_or_error(bench))

    children = [forked(start) for _ in range(8)]
    os.close(begin)
    os.close(go)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert set(statuses) <= {4, 5}, "refused, or ended with the rows that fail"
    assert 5 in statuses
    check(bench, Counter((folder / "account").read_text().splitlines()), stops=0)


def run_or_error(bench: Bench) -> int:
    """The exit status of a run; anything but an error of ours is a bug."""
    try:
        return bench.run().exit_status
    except RunnerError as error:
        return error.exit_status
