"""How many requests may be in flight, and the pause that all of them share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.engines.limits import Limits
from runner.types import Failure
from support.engine_fakes import HandClock

RATE_LIMITED = Failure("rate_limit_error", "slow down", retryable=True, http_status=429)
OVERLOADED = Failure("overloaded_error", "busy", retryable=True, http_status=529)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def fill(limits: Limits) -> int:
    """Let as many requests leave as may."""
    count = 0
    while limits.has_room:
        limits.enter()
        count += 1
    for _ in range(count):
        limits.leave()
    return count


def test_no_more_leave_than_the_width(clock: HandClock) -> None:
    limits = Limits(7, clock)
    assert fill(limits) == 7
    limits.enter()
    assert fill(limits) == 6


def test_a_429_pauses_everything_for_its_retry_after(clock: HandClock) -> None:
    limits = Limits(8, clock)
    assert limits.failed(replace(RATE_LIMITED, retry_after_s=12.0), sent_at=0.0) == 12.0
    seen = []
    for clock.time in (0.0, 11.9, 12.0):
        seen.append((limits.has_room, limits.resume_at))
    assert seen == [(False, 12.0), (False, 12.0), (True, None)]


def test_a_wish_for_a_day_pauses_for_five_minutes(clock: HandClock) -> None:
    assert Limits(8, clock).failed(replace(RATE_LIMITED, retry_after_s=86_400.0), sent_at=0.0) == 300.0


def test_a_429_halves_the_width_once_a_pause_and_replies_widen_it_again(clock: HandClock) -> None:
    limits = Limits(8, clock)
    clock.time = 1.0
    for _ in range(5):
        limits.failed(RATE_LIMITED, sent_at=0.5)
    clock.time = 100.0
    assert fill(limits) == 4
    for _ in range(5):
        limits.succeeded()
    assert fill(limits) == 5
    for _ in range(1_000):
        limits.succeeded()
    assert fill(limits) == 8


def test_the_width_never_falls_below_one(clock: HandClock) -> None:
    limits = Limits(2, clock)
    for _ in range(10):
        clock.time += 100
        limits.failed(RATE_LIMITED, sent_at=clock.time)
    clock.time += 100
    assert fill(limits) == 1


def test_pauses_without_a_wish_double_until_a_reply_succeeds(clock: HandClock) -> None:
    limits = Limits(8, clock)

    def pause() -> float | None:
        clock.time += 1_000
        return limits.failed(RATE_LIMITED, sent_at=clock.time)

    assert [pause() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    limits.succeeded()
    assert pause() == 0.5


def test_requests_that_left_before_the_pause_do_not_lengthen_it(clock: HandClock) -> None:
    limits = Limits(8, clock)
    clock.time = 1.0
    assert limits.failed(RATE_LIMITED, sent_at=0.0) == 0.5
    clock.time = 1.2
    assert limits.failed(RATE_LIMITED, sent_at=0.0) is None
    assert limits.resume_at == 1.5


def test_a_longer_wish_lengthens_the_pause_and_a_shorter_one_does_not(clock: HandClock) -> None:
    limits = Limits(8, clock)
    limits.failed(replace(RATE_LIMITED, retry_after_s=5.0), sent_at=0.0)
    assert limits.failed(replace(RATE_LIMITED, retry_after_s=3.0), sent_at=0.0) is None
    assert limits.failed(replace(RATE_LIMITED, retry_after_s=9.0), sent_at=0.0) == 9.0
    assert limits.resume_at == 9.0


def test_a_single_529_is_its_own_rows_backoff_and_several_in_a_row_pause_all(clock: HandClock) -> None:
    limits = Limits(8, clock)
    assert limits.failed(OVERLOADED, sent_at=0.0) is None
    limits.succeeded()
    assert [limits.failed(OVERLOADED, sent_at=0.0) for _ in range(5)] == [None, None, None, None, 0.5]
    clock.time = 10.0
    assert fill(limits) == 8, "an overloaded API does not narrow the run"


def test_a_529_with_a_wish_is_honoured_at_once(clock: HandClock) -> None:
    assert Limits(8, clock).failed(replace(OVERLOADED, retry_after_s=4.0), sent_at=0.0) == 4.0


@pytest.mark.parametrize("kind", ["api_error", "connection_error", "timeout"])
def test_other_failures_pause_nothing(clock: HandClock, kind: str) -> None:
    limits = Limits(8, clock)
    assert limits.failed(Failure(kind, "x", retryable=True, retry_after_s=5.0), sent_at=0.0) is None
    assert fill(limits) == 8
