from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from runner.errors import LedgerError
from runner.ledger import Batch, BatchFacts, BatchState, BatchStep, Lease, Ruling
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


def test_facts_are_noted_as_they_become_known(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        intend(ledger, 0)
        move(ledger, 1, "sending", "in_progress")
        ledger.mark_batch(1, "in_progress", BatchFacts(began_at=NOON, expires_at=NOON + timedelta(days=1)))
        ledger.mark_batch(1, "in_progress", BatchFacts(note="lone \ud83d", cause="deadline"))
        ended = ledger.mark_batch(1, "ended", BatchFacts(ended_at=NOON, tallies={"succeeded": 1, "expired": 0}))
        assert ended == Batch(
            number=1,
            state="ended",
            batch_id="msgbatch_1",
            steps=1,
            body_sha256=b"x" * 32,
            watermark="msgbatch_0",
            reserved_pico=BOUND,
            created_at=NOON,
            expires_at=NOON + timedelta(days=1),
            began_at=NOON,
            ended_at=NOON,
            tallies={"succeeded": 1, "expired": 0},
            cause="deadline",
            note="lone \ufffd",
        )
        assert ledger.mark_batch(1, "ended") == ended == ledger.batch(1), "nothing new is said, nothing changes"
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.batches() == [ended]


def test_a_priming_batch_is_known_as_one(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        for row, priming in ((0, True), (1, False)):
            lease = Lease(Step(row), bytes(32), BOUND, "batch")
            batch = ledger.intend_batch(
                [lease], body_sha256=bytes(32), watermark=None, cap_pico=None, now=NOON, priming=priming
            )
            assert batch is not None
            assert batch.priming == priming
        assert [batch.priming for batch in ledger.batches()] == [True, False]


def test_two_batches_cannot_be_one(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        intend(ledger, 0)
        move(ledger, 1, "sending", "in_progress")
        intend(ledger, 1)
        move(ledger, 2, "sending", "in_doubt")
        with pytest.raises(LedgerError, match="batch 2 cannot be msgbatch_1: batch 1 is"):
            ledger.mark_batch(2, "in_progress", BatchFacts("msgbatch_1"))
        assert ledger.batch(2).state == "in_doubt"


def test_a_batch_in_doubt_that_turns_out_to_be_ours_goes_on(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        intend(ledger, 0)
        move(ledger, 1, "sending", "in_doubt")
        assert ledger.mark_batch(1, "in_progress", BatchFacts("msgbatch_9")).batch_id == "msgbatch_9"
        assert (ledger.money().reserved, ledger.money().doubtful) == (BOUND, 0)
        assert ledger.attempts(0)[0].batch_id == "msgbatch_9"


@pytest.mark.parametrize("state", ["intent", "sending", "in_doubt"])
def test_a_new_owner_finds_a_batch_as_the_old_one_left_it(tmp_path: Path, state: BatchState) -> None:
    path: dict[str, tuple[BatchState, ...]] = {
        "intent": (),
        "sending": ("sending",),
        "in_doubt": ("sending", "in_doubt"),
    }
    with new_ledger(tmp_path / "run", 2) as ledger:
        intend(ledger, 0)
        if path[state]:
            move(ledger, 1, *path[state])
        ledger.lease([Lease(Step(1), bytes(32), BOUND)], None)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.batch(1).state == state
        assert (ledger.money().reserved, ledger.money().doubtful) == (BOUND, BOUND)
        assert [found.step.row for found in ledger.open_steps(None, 9)] == [1]


def test_the_steps_of_a_batch_are_read_page_by_page(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 9) as ledger:
        intend(ledger, 1, 2, 4, 7)
        intend(ledger, 0, 3, 8)
        first = ledger.batch_steps(1, None, 3)
        assert first == [BatchStep(Step(row), 1, 1, bytes(32), NOON) for row in (1, 2, 4)]
        assert [found.step.row for found in ledger.batch_steps(1, first[-1].step, 3)] == [7]
        assert ledger.batch_steps(1, Step(7), 3) == []
        assert [found.step.row for found in ledger.batch_steps(2, None, 9)] == [0, 3, 8]
        assert ledger.batch_steps(3, None, 9) == []


def test_tries_of_a_step_count_on_in_its_next_batch(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        intend(ledger, 0)
        move(ledger, 1, "sending", "in_doubt", "not_sent")
        intend(ledger, 0)
        (again,) = ledger.batch_steps(2, None, 9)
        assert (again.attempt, again.tries) == (2, 1), "a lost attempt is none of its tries"
        move(ledger, 2, "sending", "in_progress", "ended")
        ledger.record([answer(Step(0), 2, batch_id="msgbatch_1", mode="batch")], lambda _: Ruling("open"))
        intend(ledger, 0)
        (third,) = ledger.batch_steps(3, None, 9)
        assert (third.attempt, third.tries) == (3, 2)


def test_a_large_batch_is_leased_whole(tmp_path: Path) -> None:
    count = 5_021
    with new_ledger(tmp_path / "run", count) as ledger:
        assert intend(ledger, *range(count), cap=count * BOUND - 1) is None
        batch = intend(ledger, *range(count), cap=count * BOUND)
        assert batch is not None
        assert (batch.steps, ledger.money().reserved) == (count, count * BOUND)
        assert ledger.open_steps(None, 9) == []
        assert [found.step.row for found in ledger.batch_steps(1, Step(5_017), 9)] == [5_018, 5_019, 5_020]
        with pytest.raises(ValueError, match="not open"):
            intend(ledger, 5)
        move(ledger, 1, "not_sent")
        assert len(ledger.open_steps(None, count)) == count
    assert audit(tmp_path / "run") == []
