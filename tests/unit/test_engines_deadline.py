"""The arithmetic of a deadline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engines.deadline import (
    CANCEL_S,
    FEWEST_REQUESTS,
    MARGIN_S,
    Deadline,
    parallel_rate,
    point_of_no_return,
    requests_per_batch,
)  # fmt: skip

BEGAN = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
SPANS = st.floats(1, 7 * 86_400)
RATES = st.floats(0.01, 1_000)
ROWS = st.integers(0, 10_000_000)


def deadline(span_s: float, rate: float) -> Deadline:
    return Deadline(BEGAN + timedelta(seconds=span_s), BEGAN, rate)


def test_the_point_leaves_room_for_the_cancel_the_margin_and_what_is_unanswered() -> None:
    at = BEGAN + timedelta(hours=6)
    point = point_of_no_return(at, 3_600, requests_per_s=10, cancel_s=600, margin_s=300)
    assert at - point == timedelta(seconds=600 + 300 + 360)
    assert deadline(6 * 3600, 10).point_of_no_return(3_600) == point


def test_a_short_time_is_not_eaten_by_allowances() -> None:
    short = deadline(60, 10)
    assert short.at - short.point_of_no_return(0) == timedelta(seconds=9)


@given(SPANS, RATES, ROWS, ROWS)
def test_the_fewer_rows_are_unanswered_the_later_the_point(span_s: float, rate: float, one: int, more: int) -> None:
    it = deadline(span_s, rate)
    assert it.point_of_no_return(one + more) <= it.point_of_no_return(one) <= it.at


@given(SPANS, RATES, ROWS)
def test_what_is_unanswered_at_the_point_can_be_done_in_parallel(span_s: float, rate: float, rows: int) -> None:
    it = deadline(span_s, rate)
    left_s = (it.at - it.point_of_no_return(rows)).total_seconds()
    assert left_s * rate >= rows * (1 - 1e-6)
    assert left_s - rows / rate <= CANCEL_S + MARGIN_S + 1


@given(SPANS, RATES, st.integers(1, 10_000_000))
def test_a_batch_can_be_answered_again_in_a_tenth_of_the_time(span_s: float, rate: float, rows: int) -> None:
    size = requests_per_batch(deadline(span_s, rate), rows)
    assert 1 <= size <= rows
    assert size <= max(FEWEST_REQUESTS, 0.1 * span_s * rate * (1 + 1e-9))  # floats, multiplied in another order


def test_a_deadline_that_lies_behind_asks_for_the_smallest_batches() -> None:
    it = deadline(-5, 10)
    assert (it.span_s, requests_per_batch(it, 1_000), requests_per_batch(it, 7)) == (0, FEWEST_REQUESTS, 7)


@pytest.mark.parametrize(
    ("concurrency", "rpm", "rate"), [(200, None, 1000 / 60), (200, 6000, 100), (200, 600, 10), (1, 4000, 0.5)]
)
def test_the_rate_is_the_lower_of_what_concurrency_and_limit_allow(
    concurrency: int, rpm: float | None, rate: float
) -> None:
    assert parallel_rate(concurrency, rpm) == rate
