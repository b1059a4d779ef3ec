"""The order of steps that are not leased."""

from __future__ import annotations

from runner.engines.backlog import Backlog
from support.engine_fakes import prepared


def rows(backlog: Backlog, limit: int = 100) -> list[int]:
    return [item.step.row for item in backlog.first(limit)]


def test_fresh_steps_keep_their_order_and_stay_until_they_are_removed() -> None:
    backlog = Backlog(window=10)
    backlog.add([prepared(1), prepared(2)])
    backlog.add([prepared(3)])
    assert rows(backlog, 2) == [1, 2]
    assert rows(backlog) == [1, 2, 3]
    backlog.remove_first(2)
    assert rows(backlog) == [3]
    assert backlog.pending == 1


def test_retries_that_are_due_go_first_in_the_order_of_their_times() -> None:
    backlog = Backlog(window=10)
    backlog.add([prepared(9)])
    for row, due in ((1, 5.0), (2, 3.0), (3, 5.0), (4, 8.0)):
        backlog.postpone(prepared(row), due)
    assert backlog.next_due == 3.0
    backlog.promote(2.9)
    assert rows(backlog) == [9]
    backlog.promote(5.0)
    assert rows(backlog) == [2, 1, 3, 9]
    assert backlog.next_due == 8.0


def test_it_is_full_by_its_retries_and_empty_without_anything() -> None:
    backlog = Backlog(window=2)

    def state() -> tuple[bool, bool, float | None]:
        return backlog.is_empty, backlog.is_full, backlog.next_due

    assert state() == (True, False, None)
    backlog.postpone(prepared(1), 1.0)
    assert state() == (False, False, 1.0)
    backlog.postpone(prepared(2), 1.0)
    assert state() == (False, True, 1.0)
    backlog.promote(1.0)
    assert state() == (False, False, None)
    backlog.remove_first(2)
    assert state() == (True, False, None)
