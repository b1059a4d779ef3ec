from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from runner.errors import LedgerError
from runner.ledger import Batch, BatchFacts, BatchState, Lease
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.types import Step
from support.ledgers import BOUND, NOON, accept, answer, new_ledger


def intend(ledger: SqliteLedger, *rows: int, cap: int | None = None) -> Batch | None:
    leases = [Lease(Step(row), bytes(32), BOUND, "batch") for row in rows]
    return ledger.intend_batch(leases, body_sha256=b"x" * 32, watermark="msgbatch_0", cap_pico=cap, now=NOON)


def move(ledger: SqliteLedger, number: int, *states: BatchState) -> Batch:
    for state in states:
        batch = ledger.mark_batch(number, state, BatchFacts("msgbatch_1" if state == "in_progress" else None))
    return batch


def test_a_batch_is_reserved_whole_or_not_at_all(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 4) as ledger:
        assert intend(ledger, 0, 1, 2, cap=3 * BOUND - 1) is None
        assert (ledger.money().reserved, ledger.batches()) == (0, [])
        batch = intend(ledger, 0, 1, 2, cap=3 * BOUND)
        assert batch == Batch(1, "intent", None, 3, b"x" * 32, "msgbatch_0", 3 * BOUND, NOON, None)
        assert ledger.money().reserved == 3 * BOUND
        assert [found.step.row for found in ledger.open_steps(None, 9)] == [3]


def test_a_batch_outlives_its_owner(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        intend(ledger, 0, 1)
        move(ledger, 1, "sending", "in_progress")
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.batches()[0].batch_id == "msgbatch_1"
        assert (ledger.money().reserved, ledger.money().doubtful) == (2 * BOUND, 0)
        assert ledger.attempts(0)[0].batch_id == "msgbatch_1"


@pytest.mark.parametrize("path", [("not_sent",), ("sending", "rejected"), ("sending", "not_sent")])
def test_a_batch_that_was_not_accepted_frees_its_steps(tmp_path: Path, path: tuple[BatchState, ...]) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        intend(ledger, 0, 1)
        move(ledger, 1, *path)
        assert (ledger.money().reserved, ledger.money().doubtful, ledger.counts().attempts) == (0, 0, 0)
        assert [found.attempts for found in ledger.open_steps(None, 9)] == [0, 0]
    assert audit(tmp_path / "run") == []


def test_giving_up_a_batch_in_doubt_keeps_its_bound_in_doubt(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        intend(ledger, 0, 1)
        move(ledger, 1, "sending", "in_doubt", "not_sent")
        assert (ledger.money().reserved, ledger.money().doubtful) == (0, 2 * BOUND)
        assert [attempt.end for attempt in ledger.attempts(0)] == ["lost"]
        assert [(found.attempts, found.tries) for found in ledger.open_steps(None, 9)] == [(1, 0), (1, 0)]
    assert audit(tmp_path / "run") == []


def test_a_batch_closes_only_when_every_step_has_its_outcome(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        intend(ledger, 0, 1)
        move(ledger, 1, "sending", "in_progress", "canceling", "ended")
        ledger.record([answer(Step(0), batch_id="msgbatch_1", mode="batch")], accept)
        with pytest.raises(LedgerError, match="1 of its steps") as caught:
            move(ledger, 1, "closed")
        assert caught.value.code == "batch-open"
        ledger.record([answer(Step(1), batch_id="msgbatch_1", mode="batch")], accept)
        assert move(ledger, 1, "closed").state == "closed"
        assert ledger.money().reserved == 0


@pytest.mark.parametrize("state", ["in_progress", "ended", "closed", "rejected"])
def test_a_move_that_skips_a_mark_is_refused(tmp_path: Path, state: BatchState) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        intend(ledger, 0)
        with pytest.raises(LedgerError, match=f"is intent and cannot become {state}"):
            ledger.mark_batch(1, state)
        assert ledger.batches()[0].state == "intent"


def test_an_accepted_batch_has_one_id_for_ever(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        intend(ledger, 0)
        move(ledger, 1, "sending")
        with pytest.raises(LedgerError, match="without an id"):
            ledger.mark_batch(1, "in_progress")
        batch = ledger.mark_batch(1, "in_progress", BatchFacts("a", NOON + timedelta(days=1)))
        assert (batch.batch_id, batch.expires_at) == ("a", NOON + timedelta(days=1))
        with pytest.raises(LedgerError, match="is a and cannot become b"):
            ledger.mark_batch(1, "ended", BatchFacts("b"))
        assert ledger.mark_batch(1, "ended").batch_id == "a"
        with pytest.raises(LedgerError, match="no batch 2"):
            ledger.mark_batch(2, "sending")


def test_a_release_leaves_the_steps_of_a_batch_alone(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        intend(ledger, 0)
        ledger.release([Step(0)])
        assert ledger.money().reserved == BOUND
