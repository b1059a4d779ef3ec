"""Batches on small ledgers: intended, sent, ended, and their result files as the API writes them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from msgspec.structs import astuple

from runner.encoding import encode
from runner.ledger import UNPRICED, AcceptedLines, Batch, BatchFacts, BatchState, Landed, Lease, Rule, Settled
from runner.ledger.sqlite import SqliteLedger
from runner.message import parse_reply
from runner.types import AttemptEnd, Failure, Step, Usage
from support.ledgers import BOUND, NOON, accept, message

ENDED = NOON + timedelta(minutes=40)
COST = 7
EXPIRED = Failure("expired", "24 hours have passed", retryable=True)
INVALID = Failure("invalid_request_error", "no such model")

Line = tuple[Step, AttemptEnd, str | Failure]
"""A step, how its attempt ended, and the reply's text or the failure."""


def hash_of(step: Step) -> bytes:
    return bytes([step.row % 256]) * 32


def intend(ledger: SqliteLedger, steps: Iterable[Step], *, cap: int | None = None, priming: bool = False) -> Batch:
    leases = [Lease(step, hash_of(step), BOUND, "batch") for step in steps]
    batch = ledger.intend_batch(
        leases, body_sha256=b"x" * 32, watermark="msgbatch_0", cap_pico=cap, now=NOON, priming=priming
    )
    assert batch is not None
    return batch


def move(ledger: SqliteLedger, number: int, *states: BatchState) -> Batch:
    for state in states:
        facts = BatchFacts(f"msgbatch_{number}") if state == "in_progress" else BatchFacts()
        batch = ledger.mark_batch(number, state, facts)
    return batch


def ended_batch(ledger: SqliteLedger, steps: Iterable[Step]) -> int:
    number = intend(ledger, steps).number
    move(ledger, number, "sending", "in_progress")
    ledger.mark_batch(number, "ended", BatchFacts(ended_at=ENDED))
    return number


def result_line(step: Step, end: AttemptEnd, what: str | Failure) -> bytes:
    head = b'{"custom_id":"x-%d-%d-%d-%d","result":{"type":"%s"' % (
        step.row, step.turn, step.sample, step.round, end.encode(),
    )  # fmt: skip
    if isinstance(what, str):
        return head + b',"message":' + message(what) + b"}}\n"
    error = {"type": "error", "error": {"type": what.kind, "message": what.message}}
    return head + (b',"error":' + encode(error) if end == "errored" else b"") + b"}}\n"


def land(
    ledger: SqliteLedger,
    number: int,
    lines: Sequence[Line],
    write: Callable[[Step, AttemptEnd, str | Failure], bytes] = result_line,
) -> list[Landed]:
    """Write a result file of these lines, land it and say what is in it."""
    landed, offset = [], 0
    with ledger.landing_path(number).open("wb") as file:
        for step, end, what in lines:
            line = write(step, end, what)
            file.write(line)
            landed.append(read(step, end, what, offset, len(line)))
            offset += len(line)
    ledger.land(number)
    return landed


def read(step: Step, end: AttemptEnd, what: str | Failure, offset: int, length: int) -> Landed:
    if isinstance(what, Failure):
        return Landed(step, end, offset, length, None, what, Usage(), 0, f"req_{step.row}")
    reply = parse_reply(message(what))
    return Landed(step, end, offset, length, reply, None, reply.usage, COST, None)


def answered(*steps: Step) -> list[Line]:
    return [(step, "succeeded", f"reply {step.row}") for step in steps]


def collect(ledger: SqliteLedger, number: int, lines: Sequence[Line], rule: Rule = accept) -> Settled:
    return ledger.settle_batch(number, land(ledger, number, lines), rule, NOON)


def accepted_lines(lines: Iterable[Landed]) -> AcceptedLines:
    """Lines with replies, as they are handed over where the rule need not be asked."""
    numbers = array("q")
    for line in sorted(lines, key=lambda line: line.step):
        assert line.reply is not None
        assert line.step == Step(line.step.row)
        cost = UNPRICED if line.cost_pico is None else line.cost_pico
        numbers.extend((line.step.row, cost, *astuple(line.usage)[:5], line.offset, line.length))
    return AcceptedLines(numbers)
