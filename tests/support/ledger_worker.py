"""A process that works on a ledger until it is done or dies, and says on stdout what the ledger has acknowledged.

    PYTHONPATH=tests:. python tests/support/ledger_worker.py FOLDER ROWS GROUP [LINES]

Every line is `done <row> …` after a group of outcomes that was recorded together with the leases of the next one, as a
run does it, or `error <code>` (exit status 4). Each third row fails
once with a retryable error first. Outcomes that wait to be decided are decided at the start, as a resumed run does.
With LINES it goes no further once it has said `done` so often, and waits to be killed, however late that is.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Sequence
from itertools import count
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


_said_done = count(1)


def say_done(rows: Iterable[int], lines: int | None) -> None:
    say("done", *rows)
    if next(_said_done) == lines:
        signal.pause()


def work(folder: Path, total: int, group: int, lines: int | None = None) -> None:
    if (folder / "ledger.db").exists():
        ledger = SqliteLedger.open(folder, segment_bytes=20_000)
    else:
        ledger = SqliteLedger.create(folder, {"job": "x"}, segment_bytes=20_000)
    with ledger:
        if "rows_sha256" not in ledger.meta:
            ledger.enrol(rows(total))
        ledger.settle_answered(rule)
        say("ready")
        leased = lease(ledger, ledger.open_steps(None, group))
        while leased:
            outcomes = [outcome_of(each) for each in leased]
            with ledger.together():
                rulings = ledger.record(outcomes, rule)
                following = lease(ledger, ledger.open_steps(None, group))
            done = [each.step.row for each, ruling in zip(leased, rulings, strict=True) if ruling.state == "succeeded"]
            say_done(done, lines)
            leased = following


def lease(ledger: SqliteLedger, found: Sequence[OpenStep]) -> Sequence[OpenStep]:
    ledger.lease([Lease(each.step, bytes(32), BOUND) for each in found], None)
    return found


if __name__ == "__main__":
    try:
        work(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    except LedgerError as error:
        say("error", error.code)
        sys.exit(4)
