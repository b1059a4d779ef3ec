from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from runner.errors import LedgerError
from runner.ledger import Money, Ruling
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.types import Failure, Outcome, Step, Usage
from support.ledgers import BOUND, accept, answer, failed, lease_all, new_ledger


def never(outcome: Outcome) -> Ruling:
    raise AssertionError("ruled on twice")


def test_an_outcome_settles_the_row_and_the_money(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        lease_all(ledger, [Step(0), Step(1)])
        rulings = ledger.record([answer(Step(0)), failed(Step(1))], accept)
        assert [ruling.state for ruling in rulings] == ["succeeded", "failed"]
        counts = ledger.counts()
        assert (counts.succeeded, counts.failed, counts.open, counts.failures) == (1, 1, 0, {"api_error": 1})
        assert (counts.attempts, counts.requests) == (2, 2)
        assert (ledger.money().spent, ledger.money().reserved) == (7, 0)
        assert ledger.usage() == Usage(10, 5, 3, 2, 1)


def test_recording_again_changes_nothing_and_gives_the_same_ruling(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger:
        lease_all(ledger, [Step(0), Step(1), Step(2)])
        first = list(ledger.record([answer(Step(0)), failed(Step(1))], accept))
        size = (tmp_path / "run/spool/000001.seg").stat().st_size
        assert ledger.record([answer(Step(0)), failed(Step(1))], never) == first
        assert (tmp_path / "run/spool/000001.seg").stat().st_size == size
        mixed = ledger.record([failed(Step(1)), answer(Step(2)), answer(Step(2)), answer(Step(0))], accept)
        assert [ruling.state for ruling in mixed] == ["failed", "succeeded", "succeeded", "succeeded"]
        assert ledger.counts().attempts == 3


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (answer(Step(9)), "there is no"),
        (answer(Step(0), 2), "attempt 1 of .* is under way, not 2"),
        (answer(Step(1), 2), "has had 0 attempts"),
        (answer(Step(2), 2), "is succeeded"),
    ],
)
def test_an_outcome_that_cannot_be_is_a_bug_and_nothing_is_written(tmp_path: Path, outcome: Outcome, why: str) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger:
        lease_all(ledger, [Step(0), Step(2)])
        ledger.record([answer(Step(2))], accept)
        with pytest.raises(ValueError, match=why):
            ledger.record([answer(Step(0)), outcome] if outcome.step.row else [outcome], accept)
        ledger.record([answer(Step(0))], accept)
        assert ledger.counts().succeeded == 2


def test_a_lease_that_was_given_back_leaves_nothing_set_aside(tmp_path: Path) -> None:
    unsent = replace(failed(Step(0), kind="render_error"), request_hash=b"")
    with new_ledger(tmp_path / "run", 2) as ledger:
        lease_all(ledger, [Step(0), Step(1)])
        ledger.release([Step(0)])
        ledger.record([unsent, answer(Step(1))], accept)
        assert ledger.money().reserved == 0
        assert (ledger.counts().attempts, ledger.counts().requests) == (1, 1)
        assert audit(tmp_path / "run") == []


def test_a_rulings_failure_stands_though_the_reply_came(tmp_path: Path) -> None:
    mismatch = Failure("schema_mismatch", "label is missing")
    with new_ledger(tmp_path / "run", 1) as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([answer(Step(0))], lambda _: Ruling("failed", mismatch))
        result = ledger.result(0)
        assert (result.status, result.failure) == ("failed", mismatch)
        assert result.body == answer(Step(0)).body
        assert ledger.attempts(0)[0].failure == mismatch


def test_a_next_step_keeps_the_row_open(tmp_path: Path) -> None:
    mismatch = Failure("schema_mismatch", "label is missing")
    with new_ledger(tmp_path / "run", 1) as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([answer(Step(0))], lambda _: Ruling("open", mismatch, Step(0, round=1)))
        assert [found.step for found in ledger.open_steps(None, 9)] == [Step(0, round=1)]
        assert ledger.counts().open == 1
        lease_all(ledger, [Step(0, round=1)])
        ledger.record([answer(Step(0, round=1), text="better")], accept)
        result = ledger.result(0)
        assert (result.status, result.attempts, result.cost_pico) == ("succeeded", 2, 14)
        assert b"better" in result.body


def test_a_reused_reply_needs_no_lease_and_is_no_request(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        ledger.record(
            [
                answer(Step(0), cost=0, usage=Usage(), reused=True),
                replace(failed(Step(1), kind="render_error"), request_hash=b""),
            ],
            accept,
        )
        counts = ledger.counts()
        assert (counts.reused, counts.requests, counts.attempts) == (1, 0, 0)
        assert ledger.money().spent == 0
        assert ledger.result(0).reused


def test_an_unknown_price_is_counted(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([answer(Step(0), cost=None)], accept)
        assert (ledger.money().unpriced, ledger.money().spent) == (1, 0)
        assert ledger.result(0).cost_pico is None


def test_names_from_the_api_that_are_no_text_do_not_stop_the_run(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([failed(Step(0), kind="odd \ud83d", request_id="\udfff")], accept)
        assert ledger.counts().failures == {"odd \ufffd": 1}
        failure = ledger.result(0).failure
        assert failure is not None
        assert (failure.kind, failure.request_id) == ("odd \ud83d", "\udfff")


def test_after_a_rule_that_raises_nothing_is_lost(tmp_path: Path) -> None:
    def broken(outcome: Outcome) -> Ruling:
        raise ZeroDivisionError

    with new_ledger(tmp_path / "run", 2) as ledger:
        lease_all(ledger, [Step(0), Step(1)])
        with pytest.raises(ZeroDivisionError):
            ledger.record([answer(Step(0))], broken)
        with pytest.raises(LedgerError) as caught:
            ledger.record([answer(Step(1))], accept)
        assert caught.value.code == "reopen"
        assert ledger.counts().open == 2
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.money().spent == 7
        assert ledger.counts().open == 2
        assert ledger.settle_answered(accept) == 1
        assert ledger.settle_answered(accept) == 0
        assert ledger.counts().succeeded == 1
        assert ledger.money().doubtful == BOUND
    assert audit(tmp_path / "run") == []


def test_what_is_written_together_is_seen_together(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger, SqliteLedger.open(tmp_path / "run", read_only=True) as beside:
        lease_all(ledger, [Step(0)])
        with ledger.together():
            assert [ruling.state for ruling in ledger.record([answer(Step(0))], accept)] == ["succeeded"]
            lease_all(ledger, [Step(1)])
            assert ledger.money() == Money(spent=7, reserved=BOUND)
            assert beside.money() == Money(reserved=BOUND)
        assert beside.money() == Money(spent=7, reserved=BOUND)
        ledger.record([answer(Step(1))], accept)
        assert ledger.counts().succeeded == 2
    assert audit(tmp_path / "run") == []


def record_and_lease_again(ledger: SqliteLedger) -> None:
    with ledger.together():
        ledger.record([answer(Step(0))], accept)
        lease_all(ledger, [Step(0)])


def test_after_a_failure_in_what_is_written_together_nothing_is_lost(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        lease_all(ledger, [Step(0)])
        with pytest.raises(ValueError, match="not open"):
            record_and_lease_again(ledger)
        assert ledger.money() == Money(reserved=BOUND)
        with pytest.raises(LedgerError) as caught:
            lease_all(ledger, [Step(1)])
        assert caught.value.code == "reopen"
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.money() == Money(spent=7)
        assert ledger.settle_answered(accept) == 1
    assert audit(tmp_path / "run") == []


def record_and_lease_the_next(ledger: SqliteLedger) -> None:
    with ledger.together():
        ledger.record([answer(Step(0))], accept)
        lease_all(ledger, [Step(1)])


def test_what_was_paid_for_is_kept_though_the_database_can_not_be_written(tmp_path: Path) -> None:
    """Another program holds it: the reply is in the spool before it is asked for."""
    with new_ledger(tmp_path / "run", 2) as ledger:
        lease_all(ledger, [Step(0)])
        ledger._connection.set_busy_timeout(0)
        with closing(apsw.Connection(str(tmp_path / "run" / "ledger.db"))) as beside:
            beside.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerError) as caught:
                record_and_lease_the_next(ledger)
        assert caught.value.code == "locked"
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.money() == Money(spent=7)
        assert ledger.settle_answered(accept) == 1
        assert [found.step for found in ledger.open_steps(None, 9)] == [Step(1)]
    assert audit(tmp_path / "run") == []


def test_a_read_only_ledger_records_nothing(tmp_path: Path) -> None:
    new_ledger(tmp_path / "run", 1).close()
    with SqliteLedger.open(tmp_path / "run", read_only=True) as ledger:
        with pytest.raises(LedgerError):
            ledger.record([answer(Step(0))], accept)
        with pytest.raises(LedgerError):
            ledger.set_meta({"a": 1})
