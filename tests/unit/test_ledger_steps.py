from __future__ import annotations

from pathlib import Path
from typing import Literal

import apsw
import pytest
from msgspec.structs import replace

from runner.ledger import Lease, Ruling, steps
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.types import AttemptEnd, Failure, Outcome, Step
from support.frozen_clock import FrozenClock
from support.ledgers import BOUND, accept, answer, failed, lease_all, new_ledger, rows


def leases(*rows_: int, bound: int = BOUND) -> list[Lease]:
    return [Lease(Step(row), bytes(32), bound) for row in rows_]


def test_the_longest_prefix_under_the_cap_is_leased(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 5) as ledger:
        assert ledger.lease(leases(0, 1, 2), 2 * BOUND) == 2
        assert ledger.lease(leases(2), 3 * BOUND - 1) == 0
        assert ledger.lease(leases(2), 3 * BOUND) == 1
        assert [found.step.row for found in ledger.open_steps(None, 9)] == [3, 4]
        assert ledger.money().reserved == 3 * BOUND


def test_what_is_spent_and_in_doubt_counts_towards_the_cap(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 5) as ledger:
        lease_all(ledger, [Step(0), Step(1)])
        ledger.record([answer(Step(0), cost=600), failed(Step(1), may_be_billed=True)], accept)
        assert (ledger.money().spent, ledger.money().doubtful, ledger.money().reserved) == (600, BOUND, 0)
        assert ledger.lease(leases(2), 2 * BOUND + 599) == 0
        assert ledger.lease(leases(2), 2 * BOUND + 600) == 1


def test_a_step_that_is_not_open_cannot_be_leased_and_nothing_is(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger:
        lease_all(ledger, [Step(1)])
        with pytest.raises(ValueError, match="it is not open"):
            ledger.lease(leases(0, 1), None)
        assert [found.step.row for found in ledger.open_steps(None, 9)] == [0, 2]
        assert ledger.money().reserved == BOUND


def test_a_step_can_not_be_leased_twice_in_one_group(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger:
        with pytest.raises(ValueError, match=r"row=1.* is not open"):
            ledger.lease(leases(0, 1, 2, 1), None)
        assert [found.step.row for found in ledger.open_steps(None, 9)] == [0, 1, 2]
        assert ledger.money().reserved == 0
        lease_all(ledger, [Step(1)])
        ledger.record([answer(Step(1))], accept)
    assert audit(tmp_path / "run") == []


def test_steps_of_all_kinds_are_leased_and_recorded_as_one_group(tmp_path: Path) -> None:
    """First requests, samples, turns, rounds, a further try, and a warm-up."""
    following = {Step(0): Step(0, round=1), Step(1): Step(1, turn=1)}

    def rule(outcome: Outcome) -> Ruling:
        if outcome.failure is not None:
            return Ruling("open", outcome.failure)
        after = following.get(outcome.step)
        return Ruling("succeeded") if after is None else Ruling("open", None, after)

    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        ledger.enrol(rows(4), samples=2)
        lease_all(ledger, [Step(0), Step(1), Step(2)])
        ledger.record([answer(Step(0)), answer(Step(1)), failed(Step(2), retryable=True)], rule)
        group = [Step(3), Step(1, turn=1), Step(0, sample=1), Step(-1), Step(2), Step(0, round=1), Step(3, sample=1)]
        lease_all(ledger, group)
        assert ledger.money().reserved == BOUND * len(group)
        outcomes = [answer(step, 2 if step == Step(2) else 1, tries=1) for step in reversed(group)]
        assert [ruling.state for ruling in ledger.record(outcomes, rule)] == ["succeeded"] * 7
        assert ledger.money().reserved == 0
        assert [found.step for found in ledger.open_steps(None, 9)] == [Step(1, sample=1), Step(2, sample=1)]
        assert (ledger.counts().succeeded, ledger.counts().open) == (2, 2)
        assert (ledger.counts().attempts, ledger.counts().requests) == (10, 9)
    assert audit(tmp_path / "run") == []


def test_a_released_step_is_as_if_it_was_never_leased(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        lease_all(ledger, [Step(0), Step(1)])
        ledger.release([Step(0)])
        ledger.release([Step(0)])
        [found] = ledger.open_steps(None, 9)
        assert (found.step, found.attempts, found.tries) == (Step(0), 0, 0)
        assert ledger.money().reserved == BOUND
        assert ledger.counts().attempts == 0


def test_a_lease_whose_owner_is_gone_is_lost_and_stays_in_doubt(tmp_path: Path) -> None:
    clock = FrozenClock()
    with SqliteLedger.create(tmp_path / "run", {}, clock=clock) as ledger:
        ledger.enrol(rows(2))
        lease_all(ledger, [Step(0)])
        assert [attempt.end for attempt in ledger.attempts(0)] == [None]
    with SqliteLedger.open(tmp_path / "run") as ledger:
        [attempt] = ledger.attempts(0)
        assert (attempt.end, attempt.number, attempt.reserved_pico) == ("lost", 1, BOUND)
        assert attempt.started_at == clock.now()
        assert (ledger.money().reserved, ledger.money().doubtful) == (0, BOUND)
        found = ledger.open_steps(None, 9)[0]
        assert (found.attempts, found.tries) == (1, 0)
        assert (ledger.counts().attempts, ledger.counts().requests) == (1, 1)
        lease_all(ledger, [Step(0)])
        ledger.record([answer(Step(0), 2)], accept)
        assert ledger.result(0).attempts == 2
        assert ledger.money().doubtful == BOUND


def test_the_tries_that_a_rule_sees_are_the_same_after_a_crash(tmp_path: Path) -> None:
    seen: list[int] = []

    def die_the_first_time(outcome: Outcome) -> Ruling:
        seen.append(outcome.tries)
        if len(seen) == 1:
            raise ZeroDivisionError
        return Ruling("open", outcome.failure)

    with new_ledger(tmp_path / "run", 1) as ledger:
        lease_all(ledger, [Step(0)])
        with pytest.raises(ZeroDivisionError):
            ledger.record([failed(Step(0))], die_the_first_time)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        ledger.settle_answered(die_the_first_time)
        assert seen == [1, 1]
        assert ledger.open_steps(None, 1)[0].tries == 1


@pytest.mark.parametrize(
    ("end", "scope", "tries"),
    [("errored", "row", 1), ("expired", "row", 1), ("errored", "job", 0), ("canceled", "row", 0), ("lost", "row", 0)],
)
def test_what_says_nothing_about_a_row_uses_up_no_try(
    tmp_path: Path, end: AttemptEnd, scope: Literal["row", "job"], tries: int
) -> None:
    outcome = replace(failed(Step(0)), end=end, failure=Failure("some_error", "no", retryable=True, scope=scope))
    with new_ledger(tmp_path / "run", 1) as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([outcome], lambda outcome: Ruling("open", outcome.failure))
        [found] = ledger.open_steps(None, 9)
        assert (found.attempts, found.tries) == (1, tries)


def test_a_warm_up_belongs_to_no_row(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        lease_all(ledger, [Step(-1)])
        ledger.record([answer(Step(-1), cost=9)], accept)
        lease_all(ledger, [Step(-1, round=1)])
        ledger.release([Step(-1, round=1)])
        assert (ledger.money().spent, ledger.money().overhead, ledger.money().reserved) == (9, 9, 0)
        assert [found.step for found in ledger.open_steps(None, 9)] == [Step(0)]
        assert (ledger.counts().total, ledger.counts().open) == (1, 1)
    assert audit(tmp_path / "run") == []


def test_open_steps_come_in_order_and_pages(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 7) as ledger:
        first = ledger.open_steps(None, 3)
        second = ledger.open_steps(first[-1].step, 3)
        assert [found.step.row for found in (*first, *second)] == [0, 1, 2, 3, 4, 5]


def test_a_lease_is_on_disk_before_anything_may_be_sent(tmp_path: Path) -> None:
    """Durable commits count themselves; a power cut would show the difference, and no test can cut the power."""
    with new_ledger(tmp_path / "run", 1) as ledger:
        before = int((tmp_path / "run/commits").read_bytes())
        lease_all(ledger, [Step(0)])
        assert int((tmp_path / "run/commits").read_bytes()) == before + 1


def test_a_page_of_open_steps_is_found_without_going_over_those_before(tmp_path: Path) -> None:
    """Else listing them all takes the square of their number."""
    with new_ledger(tmp_path / "run", 1):
        pass
    connection = apsw.Connection(str(tmp_path / "run" / "ledger.db"))
    [(*_, plan)] = connection.execute("EXPLAIN QUERY PLAN " + steps._OPEN_STEPS, (0, 0, 0, 0, 1)).fetchall()
    connection.close()
    assert "steps_open ((row,turn,sample,round)>(?,?,?,?))" in str(plan)
