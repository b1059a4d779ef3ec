from __future__ import annotations

from pathlib import Path

import pytest

from runner.ledger import Counts, Lease, Ruling
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.types import Outcome, Step
from support.ledger_batches import answered, collect, ended_batch
from support.ledgers import BOUND, accept, answer, failed, lease_all, message, new_ledger, rows


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_what_waits_is_canceled_and_what_is_under_way_or_over_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("runner.ledger.canceling._STEPS_A_TRANSACTION", at_once)
    with new_ledger(tmp_path / "run", 9) as ledger:
        lease_all(ledger, [Step(0), Step(1), Step(2)])
        ledger.record([answer(Step(0)), failed(Step(1))], accept)
        number = ended_batch(ledger, [Step(4), Step(5)])
        assert ledger.cancel_open() == 4
        assert ledger.counts() == Counts(
            total=9, open=3, succeeded=1, failed=1, canceled=4, failures={"api_error": 1}, attempts=2, requests=2
        )
        assert [result.status for result in ledger.results()][3:9] == [
            "canceled", "open", "open", "canceled", "canceled", "canceled",
        ]  # fmt: skip
        assert ledger.open_steps(None, 9) == []
        assert ledger.cancel_open() == 0
        collect(ledger, number, answered(Step(4), Step(5)))
        ledger.record([answer(Step(2))], accept)
        assert (ledger.counts().succeeded, ledger.counts().open) == (4, 0)
    assert audit(tmp_path / "run") == []


def test_a_row_with_a_step_under_way_goes_on_whole(tmp_path: Path) -> None:
    """Its first round was judged invalid, and the next is leased or waits."""

    def repair(outcome: Outcome) -> Ruling:
        return Ruling("open", next_step=Step(outcome.step.row, round=1)) if outcome.step.round == 0 else accept(outcome)

    with new_ledger(tmp_path / "run", 2) as ledger:
        lease_all(ledger, [Step(0), Step(1)])
        ledger.record([answer(Step(0)), answer(Step(1))], repair)
        ledger.lease([Lease(Step(1, round=1), bytes(32), BOUND)], None)
        assert ledger.cancel_open() == 1
        assert [result.status for result in ledger.results()] == ["canceled", "open"]
        ledger.record([answer(Step(1, round=1))], repair)
        assert ledger.counts().succeeded == 1
    assert audit(tmp_path / "run") == []


def test_a_canceled_row_can_be_sent_again(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([failed(Step(0), retryable=True)], lambda outcome: Ruling("open", outcome.failure))
        assert ledger.cancel_open() == 2
        assert ledger.reopen(kinds=["canceled"]) == 2
        assert [(found.step.row, found.attempts, found.tries) for found in ledger.open_steps(None, 9)] == [
            (0, 1, 0),
            (1, 0, 0),
        ]
    assert audit(tmp_path / "run") == []


def test_a_canceling_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.ledger.canceling._STEPS_A_TRANSACTION", 2)
    with new_ledger(tmp_path / "run", 6) as ledger:
        connection, calls = ledger._connection, 0

        def fail_third() -> bool:
            nonlocal calls
            calls += 1
            return calls == 3  # a commit hook that returns true turns the commit into a rollback

        connection.set_commit_hook(fail_third)
        with pytest.raises(Exception, match="constraint"):
            ledger.cancel_open()
        connection.set_commit_hook(None)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.counts().canceled == 4
        assert ledger.cancel_open() == 2
        assert ledger.counts().canceled == 6
    assert audit(tmp_path / "run") == []


def test_warm_ups_are_not_rows(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        ledger.lease([Lease(Step(-1), bytes(32), BOUND)], None)
        ledger.release([Step(-1)])
        assert ledger.cancel_open() == 1
        assert ledger.counts().canceled == 1
    assert audit(tmp_path / "run") == []


@pytest.mark.parametrize("at_once", [1, 100])
def test_a_row_of_which_a_sample_succeeded_has_succeeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("runner.ledger.canceling._STEPS_A_TRANSACTION", at_once)
    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        assert ledger.enrol(rows(5), samples=3) == 5
        lease_all(ledger, [Step(1, 0, 2), Step(2), Step(3), Step(3, 0, 1)])
        ledger.record([answer(Step(1, 0, 2), text="b"), failed(Step(2)), answer(Step(3))], accept)
        assert ledger.cancel_open() == 2
        assert [result.status for result in ledger.results()] == ["canceled", "succeeded", "failed", "open", "canceled"]
        assert ledger.result(1).body == message("b")
        assert (ledger.counts().succeeded, ledger.counts().open) == (1, 1)
        ledger.record([failed(Step(3, 0, 1))], accept)
        assert ledger.cancel_open() == 0
        assert ledger.counts().succeeded == 2
    assert audit(tmp_path / "run") == []
