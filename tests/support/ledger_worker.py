"""A process that works on a ledger until it is done or dies, and says on stdout what the ledger has acknowledged.

    PYTHONPATH=tests:. python tests/support/ledger_worker.py FOLDER ROWS GROUP

Every line is `done <row> …` after a `record` that returned, or `error <code>` (exit status 4). Each third row fails
once with a retryable error first. Outcomes that wait to be decided are decided at the start, as a resumed run does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from runner.errors import LedgerError
from runner.ledger import Lease, OpenStep, Ruling
from runner.ledger.sqlite import SqliteLedger
from runner.types import Outcome
from support.ledgers import BOUND, answer, failed, rows


def rule(outcome: Outcome) -> Ruling:
    return Ruling("open", outcome.failure) if outcome.failure is not None else Ruling("succeeded")


def outcome_of(found: OpenStep) -> Outcome:
    attempt = found.attempts + 1
    if found.step.row % 3 == 0 and found.tries == 0:
        return failed(found.step, attempt, retryable=True)
    return answer(found.step, attempt, text=f"reply {found.step.row} " * 20)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def work(folder: Path, count: int, group: int) -> None:
    if (folder / "ledger.db").exists():
        ledger = SqliteLedger.open(folder, segment_bytes=20_000)
    else:
        ledger = SqliteLedger.create(folder, {"job": "x"}, segment_bytes=20_000)
    with ledger:
        if "rows_sha256" not in ledger.meta:
            ledger.enrol(rows(count))
        ledger.settle_answered(rule)
        say("ready")
        while found := ledger.open_steps(None, group):
            ledger.lease([Lease(each.step, bytes(32), BOUND) for each in found], None)
            outcomes = [outcome_of(each) for each in found]
            rulings = ledger.record(outcomes, rule)
            done = [each.step.row for each, ruling in zip(found, rulings, strict=True) if ruling.state == "succeeded"]
            say("done", *done)


if __name__ == "__main__":
    try:
        work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except LedgerError as error:
        say("error", error.code)
        sys.exit(4)
