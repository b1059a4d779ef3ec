"""Makers of small ledgers, leases and outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.encoding import encode
from runner.ledger import EnrolledRow, Lease, Ruling
from runner.ledger.sqlite import SqliteLedger
from runner.types import Failure, Outcome, Row, Step, Usage

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ANSWERED = Ruling("succeeded")
BOUND = 1000


def accept(outcome: Outcome) -> Ruling:
    """Replies are answers, failures are final."""
    return ANSWERED if outcome.failure is None else Ruling("failed", outcome.failure)


def rows(count: int) -> Iterator[EnrolledRow]:
    for number in range(count):
        yield EnrolledRow(Row(f"key-{number}", number, {"n": number, "text": f"row {number}"}), "data.csv", number + 2)


def new_ledger(folder: Path, count: int, **meta: Any) -> SqliteLedger:
    ledger = SqliteLedger.create(folder, meta)
    ledger.enrol(rows(count))
    return ledger


def lease_all(ledger: SqliteLedger, steps: Iterable[Step]) -> None:
    leases = [Lease(step, bytes(32), BOUND) for step in steps]
    assert ledger.lease(leases, None) == len(leases)


def message(text: str) -> bytes:
    content = [{"type": "text", "text": text}]
    said = {"id": "msg_1", "type": "message", "model": "m", "stop_reason": "end_turn", "content": content}
    return encode({**said, "usage": {"input_tokens": 10, "output_tokens": 5}})


def answer(step: Step, attempt: int = 1, *, text: str = "yes", cost: int | None = 7, **fields: Any) -> Outcome:
    """A reply that cost 7 and took a second."""
    values: dict[str, Any] = {
        "end": "succeeded",
        "mode": "parallel",
        "request_hash": bytes([step.row % 256]) * 32,
        "started_at": NOON,
        "ended_at": NOON.replace(second=1),
        "body": message(text),
        "usage": Usage(10, 5, 3, 2, 1),
        "cost_pico": cost,
        "request_id": f"req_{step.row}",
    }
    return Outcome(step, attempt, **{**values, **fields})


def failed(step: Step, attempt: int = 1, *, kind: str = "api_error", **fields: Any) -> Outcome:
    failure = Failure(kind, "it did not work", **fields)
    return answer(step, attempt, end="errored", body=b"", usage=Usage(), cost=0, failure=failure)
