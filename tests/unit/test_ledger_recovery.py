from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from runner.ledger import Lease, Ruling
from runner.ledger.audit import audit
from runner.ledger.recovery import recover
from runner.ledger.settlement import read_mark
from runner.ledger.spool import Mark, SpoolReader
from runner.ledger.sqlite import SqliteLedger
from runner.types import Failure, Outcome, Step
from support.ledgers import BOUND, accept, answer, failed, lease_all, new_ledger

MISMATCH = Failure("schema_mismatch", "label is missing")
REPAIR = Step(0, round=1)


def die_with(folder: Path, *groups: list[Outcome], rows: int = 3) -> SqliteLedger:
    """Lease all rows, put groups into the spool, die before the tables know them, and open what is left."""
    with new_ledger(folder.with_name("living"), rows) as ledger:
        lease_all(ledger, [Step(row) for row in range(rows)])
        assert ledger._writer is not None
        for group in groups:
            ledger._writer.append(group)
        shutil.copytree(folder.with_name("living"), folder)
    return SqliteLedger.open(folder)


def test_frames_are_taken_up_before_leases_are_given_up(tmp_path: Path) -> None:
    with die_with(tmp_path / "run", [answer(Step(0)), failed(Step(1), may_be_billed=True)]) as ledger:
        assert [attempt.end for row in range(3) for attempt in ledger.attempts(row)] == ["succeeded", "errored", "lost"]
        assert (ledger.money().spent, ledger.money().doubtful, ledger.money().reserved) == (7, 2 * BOUND, 0)
        assert [found.step.row for found in ledger.open_steps(None, 9)] == [2]
        assert ledger.counts().open == 3
        assert ledger.settle_answered(accept) == 2
        assert (ledger.counts().succeeded, ledger.counts().failed, ledger.counts().open) == (1, 1, 1)
    assert audit(tmp_path / "run") == []


def test_what_was_taken_up_is_known_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.ledger.recovery._FRAMES_A_TRANSACTION", 2)
    with die_with(tmp_path / "run", [answer(Step(row)) for row in range(5)], rows=5) as ledger:
        size = (tmp_path / "run/spool/000001.seg").stat().st_size
        assert read_mark(ledger._connection) == Mark(1, size)
        again = SpoolReader(tmp_path / "run/spool")
        assert recover(ledger._database, tmp_path / "run/spool", again) == Mark(1, size)
        assert ledger.counts().attempts == 5


def test_an_answer_to_a_step_that_the_lost_ruling_had_opened_is_kept(tmp_path: Path) -> None:
    """Round 0 asked for round 1, whose reply was another run's: both are in the spool, neither is in the tables."""

    def rule(outcome: Outcome) -> Ruling:
        return Ruling("open", MISMATCH, REPAIR) if outcome.step.round == 0 else accept(outcome)

    groups = [answer(Step(0))], [answer(REPAIR, cost=0, reused=True, text="repaired")]
    with die_with(tmp_path / "run", *groups, rows=1) as ledger:
        assert ledger.settle_answered(rule) == 2
        result = ledger.result(0)
        assert (result.status, result.attempts, result.cost_pico) == ("succeeded", 1, 7), "one was paid here"
        assert b"repaired" in result.body
        assert ledger.open_steps(None, 9) == []
    assert audit(tmp_path / "run") == []


def test_the_steps_of_a_batch_stay_leased(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        lease = Lease(Step(0), bytes(32), BOUND, "batch")
        now = answer(Step(0)).started_at
        ledger.intend_batch([lease], body_sha256=bytes(32), watermark=None, cap_pico=None, now=now)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.open_steps(None, 9) == []
        assert (ledger.money().reserved, ledger.money().doubtful) == (BOUND, 0)


def test_a_second_attempt_is_no_second_request(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([failed(Step(0))], lambda outcome: Ruling("open", outcome.failure))
        lease_all(ledger, [Step(0)])
    with SqliteLedger.open(tmp_path / "run") as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([answer(Step(0), 3)], accept)
        assert (ledger.counts().attempts, ledger.counts().requests) == (3, 1)
