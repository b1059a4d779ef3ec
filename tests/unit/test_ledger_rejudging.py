"""Rejudging: what another rule makes of the same replies, and that the books follow it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.ledger import Rejudged, Rule, Ruling, rejudging
from runner.ledger.audit import audit
from runner.ledger.reuse import ReplyIndex
from runner.ledger.sqlite import SqliteLedger
from runner.types import Failure, Outcome, Step
from support.ledger_batches import answered, collect, ended_batch
from support.ledgers import accept, answer, failed, lease_all, new_ledger

NO = Failure("schema_mismatch", "no")


def refusing(*rows: int, failure: Failure = NO) -> Rule:
    """Replies of these rows are no answers."""
    return lambda outcome: Ruling("failed", failure) if outcome.step.row in rows else accept(outcome)


def decided(folder: Path, rows: int = 8, **meta: object) -> SqliteLedger:
    """Row 1 failed without a reply, row 2 has one that was no answer, the last is open."""
    ledger = new_ledger(folder, rows, **meta)
    lease_all(ledger, [Step(row) for row in range(rows - 1)])
    outcomes = [failed(Step(row)) if row == 1 else answer(Step(row)) for row in range(rows - 1)]
    ledger.record(outcomes, refusing(2))
    return ledger


def statuses(ledger: SqliteLedger) -> list[str]:
    return [result.status for result in ledger.results()]


def test_rows_change_their_status_and_nothing_else(tmp_path: Path) -> None:
    with decided(tmp_path / "run") as ledger:
        money, usage, attempts = ledger.money(), ledger.usage(), ledger.counts().attempts
        came_to = ledger.rejudge(refusing(3, 4), "one")
        assert came_to == Rejudged(replies=6, to_succeeded=1, to_failed=2)
        assert statuses(ledger) == ["succeeded", "failed", "succeeded", "failed", "failed", *["succeeded"] * 2, "open"]
        assert ledger.counts().failures == {"api_error": 1, "schema_mismatch": 2}
        assert ledger.result(3).failure == NO
        assert ledger.result(2).failure is None
        assert (ledger.money(), ledger.usage(), ledger.counts().attempts) == (money, usage, attempts)
    assert audit(tmp_path / "run") == []


def test_another_reason_is_noted_where_the_row_stays_failed(tmp_path: Path) -> None:
    with decided(tmp_path / "run") as ledger:
        other = Failure("schema_mismatch", "still not")
        assert ledger.rejudge(refusing(2, failure=other), "one") == Rejudged(replies=6)
        assert ledger.result(2).failure == other
        rule_broken = Failure("rule_broken", "no")
        assert ledger.rejudge(refusing(2, failure=rule_broken), "two") == Rejudged(replies=6)
        assert ledger.counts().failures == {"api_error": 1, "rule_broken": 1}
    assert audit(tmp_path / "run") == []


def test_what_would_be_asked_again_is_failed_and_what_would_go_on_is_left(tmp_path: Path) -> None:
    def rule(outcome: Outcome) -> Ruling:
        following = Step(outcome.step.row, turn=1)
        return Ruling("open", NO if outcome.step.row == 0 else None, following)

    with decided(tmp_path / "run") as ledger:
        ledger.rejudge(rule, "one")
        assert statuses(ledger)[:4] == ["failed", "failed", "failed", "succeeded"]
        assert [found.step.row for found in ledger.open_steps(None, 9)] == [7]
    assert audit(tmp_path / "run") == []


def test_the_replies_of_a_batch_are_judged_from_its_file(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 4) as ledger:
        batch = ended_batch(ledger, [Step(row) for row in range(4)])
        collect(ledger, batch, answered(*map(Step, range(4))))
        assert ledger.rejudge(refusing(1), "one") == Rejudged(4, 0, 1)
        assert ledger.rejudge(accept, "two") == Rejudged(4, 1, 0)
    assert audit(tmp_path / "run") == []


def test_a_retry_opens_what_was_judged_no_answer(tmp_path: Path) -> None:
    with decided(tmp_path / "run") as ledger:
        ledger.rejudge(refusing(3), "one")
        assert ledger.reopen(kinds=["schema_mismatch"]) == 1
        assert [found.step.row for found in ledger.open_steps(None, 9)] == [3, 7]
    assert audit(tmp_path / "run") == []


def test_the_work_goes_on_where_it_was_cut_off_and_another_rule_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejudging, "_WINDOW", 2)
    seen: list[int] = []

    def rule(outcome: Outcome) -> Ruling:
        seen.append(outcome.step.row)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return refusing(0, 3)(outcome)

    with decided(tmp_path / "run") as ledger, pytest.raises(KeyboardInterrupt):
        ledger.rejudge(rule, "one")
    assert seen == [0, 2, 3, 4]
    assert audit(tmp_path / "run") == []
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.rejudge(rule, "one") == Rejudged(6, 1, 2)
        assert seen == [0, 2, 3, 4, 4, 5, 6]
        assert ledger.rejudge(accept, "two") == Rejudged(6, 2, 0)
    assert audit(tmp_path / "run") == []


def test_the_index_of_replies_follows(tmp_path: Path) -> None:
    scope, hashes = "ab" * 32, [bytes([row]) * 32 for row in range(8)]
    with ReplyIndex(tmp_path / "replies.db") as index:

        def found() -> list[int]:
            index.catch_up(tmp_path / "runs")
            return [row for row in range(8) if index.find(scope, hashes[row]) is not None]

        with decided(tmp_path / "runs/a", scope=scope) as ledger:
            lease_all(ledger, [Step(7)])
            ledger.record([answer(Step(7))], accept)
            assert found() == [0, 3, 4, 5, 6, 7]
            ledger.rejudge(refusing(4, 5), "one")
            ledger.set_meta({"judged": 1})
            assert found() == [0, 2, 3, 6, 7]
