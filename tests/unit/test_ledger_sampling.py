"""Conversations in the ledger: rows with several samples and rounds, how they end, and what is read of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from runner.ledger import EarlierReply, Ruling
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.rounds import Rounds
from runner.types import Failure, Outcome, Step
from support.ledger_batches import accepted_lines, answered, ended_batch, land
from support.ledgers import NOON, accept, answer, failed, lease_all, message, rows

MISMATCH = Failure("schema_mismatch", "label is missing")


def sampled(folder: Path, count: int = 3, samples: int = 3) -> SqliteLedger:
    ledger = SqliteLedger.create(folder, {})
    assert ledger.enrol(rows(count), samples=samples) == count
    return ledger


def mend(outcome: Outcome) -> Ruling:
    """What begins with `no` is asked for again twice, then it fails."""
    if outcome.body != message("no"):
        return accept(outcome)
    repairs = Rounds.of(outcome.step.round).repairs
    if repairs == 2:
        return Ruling("failed", MISMATCH)
    step = outcome.step
    following = Step(step.row, step.turn, step.sample, step.round + 1)
    return Ruling("open", MISMATCH, following)


def record(ledger: SqliteLedger, *outcomes: Outcome) -> None:
    lease_all(ledger, [outcome.step for outcome in outcomes])
    ledger.record(outcomes, mend)


def test_each_sample_of_a_row_is_open_in_order(tmp_path: Path) -> None:
    with sampled(tmp_path / "run", 2) as ledger:
        assert [opened.step for opened in ledger.open_steps(None, 9)] == [
            Step(row, 0, sample) for row in range(2) for sample in range(3)
        ]
        assert ledger.counts().total == ledger.counts().open == 2
    assert audit(tmp_path / "run") == []


def test_a_row_ends_with_the_last_of_its_samples(tmp_path: Path) -> None:
    with sampled(tmp_path / "run", 2) as ledger:
        record(ledger, answer(Step(0, 0, 1), text="b"))
        record(ledger, answer(Step(0, 0, 0), text="no"))
        assert ledger.counts().open == 2
        record(ledger, answer(Step(0, 0, 2), text="c"), answer(Step(0, 0, 0, 1), text="a"))
        assert (ledger.counts().open, ledger.counts().succeeded) == (1, 1)
        result = ledger.result(0)
        assert (result.status, result.body, result.step) == ("succeeded", message("a"), Step(0, 0, 0, 1))
        assert (result.attempts, result.cost_pico, result.usage.input_tokens) == (4, 4 * 7, 40)
    assert audit(tmp_path / "run") == []


def test_one_sample_that_succeeded_is_enough_and_none_gives_the_first_one_s_failure(tmp_path: Path) -> None:
    with sampled(tmp_path / "run", 2, samples=2) as ledger:
        record(ledger, failed(Step(0), kind="refusal"), failed(Step(1), kind="refusal"))
        record(ledger, answer(Step(0, 0, 1), text="b"), failed(Step(1, 0, 1), kind="truncated"))
        counts = ledger.counts()
        assert (counts.succeeded, counts.failed, dict(counts.failures)) == (1, 1, {"refusal": 1})
        assert ledger.result(0).body == message("b")
        failure = ledger.result(1).failure
        assert failure is not None
        assert failure.kind == "refusal"
    assert audit(tmp_path / "run") == []


def test_samples_that_were_answered_before_a_crash_are_decided_after_it(tmp_path: Path) -> None:
    def broken(_outcome: Outcome) -> Ruling:
        raise RuntimeError("killed")

    with sampled(tmp_path / "run", 1, samples=2) as ledger:
        lease_all(ledger, [Step(0), Step(0, 0, 1)])
        with pytest.raises(RuntimeError):
            ledger.record([answer(Step(0), text="a"), answer(Step(0, 0, 1), text="no")], broken)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.settle_answered(mend) == 2
        assert [opened.step for opened in ledger.open_steps(None, 9)] == [Step(0, 0, 1, 1)]
        assert ledger.counts().open == 1
        record(ledger, answer(Step(0, 0, 1, 1), text="b"))
        assert ledger.counts().succeeded == 1
    assert audit(tmp_path / "run") == []


def test_a_batch_s_accepted_lines_end_no_row_that_has_samples(tmp_path: Path) -> None:
    with sampled(tmp_path / "run", 1, samples=2) as ledger:
        number = ended_batch(ledger, [Step(0)])
        lines = land(ledger, number, answered(Step(0)))
        with pytest.raises(ValueError, match="samples"):
            ledger.settle_batch(number, [], accept, NOON, accepted_lines(lines))
        ledger.settle_batch(number, lines, accept, NOON)
        assert ledger.counts().open == 1
    assert audit(tmp_path / "run") == []


def test_only_the_samples_that_failed_are_retried_each_from_where_it_makes_sense(tmp_path: Path) -> None:
    with sampled(tmp_path / "run", 1, samples=3) as ledger:
        record(ledger, failed(Step(0), kind="timeout"), answer(Step(0, 0, 1), text="no"))
        record(ledger, answer(Step(0, 0, 1, 1), text="no"))
        record(ledger, answer(Step(0, 0, 1, 2), text="no"), answer(Step(0, 0, 2), text="no"))
        record(ledger, answer(Step(0, 0, 2, 1), text="no"))
        lease_all(ledger, [Step(0, 0, 2, 2)])
        ledger.record([failed(Step(0, 0, 2, 2), kind="timeout")], mend)
        assert ledger.counts().failed == 1
        assert ledger.reopen() == 1
        anew = Rounds(restarts=1).number
        assert [opened.step for opened in ledger.open_steps(None, 9)] == [
            Step(0), Step(0, 0, 1, anew), Step(0, 0, 2, 2)
        ]  # fmt: skip
    assert audit(tmp_path / "run") == []


def test_the_replies_of_a_conversation_are_read_back_the_last_of_each_step(tmp_path: Path) -> None:
    with sampled(tmp_path / "run", 1, samples=2) as ledger:
        record(ledger, answer(Step(0), text="no"), answer(Step(0, 0, 1), text="other"))
        lease_all(ledger, [Step(0, 0, 0, 1)])
        ledger.record([failed(Step(0, 0, 0, 1), retryable=True)], lambda outcome: Ruling("open", outcome.failure))
        lease_all(ledger, [Step(0, 0, 0, 1)])
        ledger.record([answer(Step(0, 0, 0, 1), 2, text="no")], mend)
        replies = ledger.replies_before(Step(0, 0, 0, 2))
        assert [(each.step, each.body, each.failure) for each in replies] == [
            (Step(0), message("no"), MISMATCH),
            (Step(0, 0, 0, 1), message("no"), MISMATCH),
        ]
        assert [each.step for each in ledger.replies(0)] == [Step(0), Step(0, 0, 0, 1), Step(0, 0, 1)]
        assert ledger.open_step(Step(0, 0, 0, 2)) is not None
        assert ledger.open_step(Step(0)) is None
    with SqliteLedger.open(tmp_path / "run", read_only=True) as ledger:
        assert len(ledger.replies_before(Step(0, 0, 0, 2))) == 2


def test_what_came_last_of_a_request_is_found_by_its_sample_and_identity(tmp_path: Path) -> None:
    with sampled(tmp_path / "run", 1, samples=2) as ledger:
        record(ledger, answer(Step(0), text="no", request_hash=b"a" * 32))
        record(ledger, replace(failed(Step(0, 0, 0, 1)), request_hash=b"b" * 32))
        assert ledger.earlier_reply(0, 0, b"a" * 32) == EarlierReply("succeeded", message("no"), MISMATCH, "req_0")
        found = ledger.earlier_reply(0, 0, b"b" * 32)
        assert found is not None
        assert (found.end, found.body) == ("errored", b"")
        assert ledger.earlier_reply(0, 1, b"a" * 32) is None
        assert ledger.earlier_reply(0, 0, b"c" * 32) is None


def test_progress_moves_with_each_outcome_also_with_one_that_cost_nothing(tmp_path: Path) -> None:
    with sampled(tmp_path / "run", 1, samples=2) as ledger:
        before = ledger.progress()
        assert before == ledger.progress()
        ledger.record([answer(Step(0), text="no", reused=True, cost=0)], mend)
        assert ledger.progress() != before
