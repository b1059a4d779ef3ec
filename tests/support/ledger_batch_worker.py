"""A process that sends a ledger's rows in batches until they are done or it dies, without any API.

    PYTHONPATH=tests:. python tests/support/ledger_batch_worker.py FOLDER ROWS SIZE [LINES]

It takes every batch on from the state in which it finds it. Each third row expires once first; of the replies, those
of odd rows are handed over as accepted. Every line on stdout is
`done <row> …` after a `settle_batch` that returned, or `error <code>` (exit status 4). LINES is as for
`support.ledger_worker`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from runner.errors import LedgerError
from runner.ledger import Batch, BatchFacts, Ruling
from runner.ledger.sqlite import SqliteLedger
from runner.types import Outcome
from support.ledger_batches import ENDED, EXPIRED, Line, accepted_lines, intend, read, result_line
from support.ledger_worker import say, say_done
from support.ledgers import NOON, rows

GROUP = 7


def rule(outcome: Outcome) -> Ruling:
    return Ruling("open", outcome.failure) if outcome.failure is not None else Ruling("succeeded")


def lines_of(ledger: SqliteLedger, batch: Batch) -> list[Line]:
    """What the API would say, in an order of its own: of every step that is leased in the batch or has been."""
    ended = [
        (attempt.step, attempt.number)
        for row in range(ledger.counts().total)
        for attempt in ledger.attempts(row)
        if attempt.batch_id == batch.batch_id and attempt.end is not None
    ]
    leased = [(found.step, found.attempt) for found in ledger.batch_steps(batch.number, None, 1000)]
    return [
        (step, "expired", EXPIRED) if step.row % 3 == 0 and number == 1 else (step, "succeeded", f"reply {step.row}")
        for step, number in sorted({*ended, *leased}, key=lambda found: -found[0].row)
    ]


def take_on(ledger: SqliteLedger, batch: Batch, lines: int | None) -> None:
    number = batch.number
    if batch.state == "intent":
        ledger.mark_batch(number, "sending")
    if batch.state in ("intent", "sending"):
        ledger.mark_batch(number, "in_progress", BatchFacts(f"msgbatch_{number}"))
    if batch.state != "ended":
        batch = ledger.mark_batch(number, "ended", BatchFacts(ended_at=ENDED))
    collect(ledger, batch, lines)
    ledger.mark_batch(number, "closed")


def collect(ledger: SqliteLedger, batch: Batch, lines: int | None) -> None:
    answers = lines_of(ledger, batch)
    landed, offset = [], 0
    for line in answers:
        length = len(result_line(*line))
        landed.append(read(*line, offset, length))
        offset += length
    if ledger.landed(batch.number) is None:
        with ledger.landing_path(batch.number).open("wb") as file:
            file.writelines(result_line(*line) for line in answers)
        ledger.land(batch.number)
    for start in range(0, len(landed), GROUP):
        group = landed[start : start + GROUP]
        replies = [line for line in group if line.reply is not None and line.step.row % 2]
        others = [line for line in group if line not in replies]
        settled = ledger.settle_batch(batch.number, others, rule, NOON, accepted_lines(replies))
        ended = zip(others, settled.rulings, strict=True)
        done = [line.step.row for line, ruling in ended if ruling is not None and ruling.state == "succeeded"]
        say_done([*done, *settled.accepted.rows], lines)


def work(folder: Path, count: int, size: int, lines: int | None = None) -> None:
    new = not (folder / "ledger.db").exists()
    with SqliteLedger.create(folder, {"job": "x"}) if new else SqliteLedger.open(folder) as ledger:
        if "rows_sha256" not in ledger.meta:
            ledger.enrol(rows(count))
        say("ready")
        for batch in ledger.batches():
            if batch.state != "closed":
                take_on(ledger, batch, lines)
        while found := ledger.open_steps(None, size):
            take_on(ledger, intend(ledger, [each.step for each in found]), lines)


if __name__ == "__main__":
    try:
        work(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    except LedgerError as error:
        say("error", error.code)
        sys.exit(4)
