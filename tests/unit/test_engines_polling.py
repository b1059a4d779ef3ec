"""What a look at a batch means, and when the next one is due."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.engines.polling import (
    LONGEST_BACKOFF_S,
    RETENTION,
    SHORTEST_S,
    PollIntervals,
    is_past_retention,
    read_look,
)  # fmt: skip
from runner.engines.retry import MAX_RETRY_AFTER_S
from runner.ledger import Batch
from runner.providers import RemoteBatch
from runner.types import Failure

SENT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
BEGAN = SENT - timedelta(days=400)
"""The API's clock is more than a year behind: only differences count."""
DAY = timedelta(hours=24)
BATCH = Batch(1, "in_progress", "b", 3, b"", None, 0, SENT, BEGAN + DAY, began_at=BEGAN)
SECONDS = st.floats(0.001, 3_600)
DRAWS = st.floats(0, 1, exclude_max=True)


def told(status: Any = "in_progress", **fields: Any) -> RemoteBatch:
    return replace(RemoteBatch("b", status, {"processing": 3}, BEGAN, BEGAN + DAY), **fields)


@pytest.mark.parametrize(("answer", "meaning", "state"), [
    (told(), "under_way", "in_progress"),
    (told("canceling"), "under_way", "canceling"),
    (told("ended"), "ended", "ended"),
    (told("ended", archived_at=BEGAN), "archived", "archived"),
    (Failure("not_found_error", "", http_status=404), "unseen", "unseen"),
    (Failure("authentication_error", "", http_status=401, scope="job"), "refused", "in_progress"),
    (Failure("permission_error", "", http_status=403), "refused", "in_progress"),
    (Failure("billing_error", "", http_status=400, scope="job"), "refused", "in_progress"),
    (Failure("connection_error", "", retryable=True), "failed", "in_progress"),
    (Failure("api_error", "", retryable=True, http_status=500), "failed", "in_progress"),
    (Failure("invalid_request_error", "", http_status=400), "failed", "in_progress"),
])  # fmt: skip
def test_a_look_has_one_meaning(answer: Any, meaning: str, state: str) -> None:
    look = read_look(BATCH, answer, SENT + timedelta(hours=1))
    assert (look.meaning, look.state) == (meaning, state)


@pytest.mark.parametrize(("hours", "meaning"), [(25.9, "under_way"), (26.1, "stuck")])
def test_a_batch_is_stuck_two_hours_after_it_should_have_ended_whatever_the_api_s_clock_says(
    hours: float, meaning: str
) -> None:
    now = SENT + timedelta(hours=hours)
    assert read_look(BATCH, told(), now).meaning == meaning
    unseen = read_look(BATCH, Failure("not_found_error", "", http_status=404), now)
    assert unseen.meaning == {"under_way": "unseen", "stuck": "stuck"}[meaning]
    assert read_look(BATCH, told("ended"), now).meaning == "ended"


def test_a_longer_life_than_a_day_is_the_api_s_to_give() -> None:
    longer = replace(BATCH, expires_at=BEGAN + 3 * DAY)
    assert read_look(longer, told(), SENT + 3 * DAY).meaning == "under_way"
    unknown = replace(BATCH, expires_at=None, began_at=None)
    assert read_look(unknown, told(), SENT + 3 * DAY).meaning == "stuck"


def test_results_are_kept_for_29_days() -> None:
    assert not is_past_retention(BATCH, SENT + RETENTION)
    assert is_past_retention(BATCH, SENT + RETENTION + timedelta(seconds=1))


@given(SECONDS, SECONDS, st.integers(1, 10**9), DRAWS)
def test_intervals_grow_to_the_longest_and_are_never_none(
    first: float, longest: float, looks: int, draw: float
) -> None:
    intervals = PollIntervals(first, longest)
    wait_s = intervals.after(looks, draw)
    assert SHORTEST_S <= wait_s <= max(SHORTEST_S, 1.2 * longest)
    assert intervals.after(looks + 1, draw) >= wait_s
    assert intervals.after(10**9, draw) >= min(0.8 * longest, 0.8 * first * 1.5**100)


@given(SECONDS, st.integers(1, 10**9), DRAWS, st.one_of(st.none(), st.floats(allow_nan=False)))
def test_a_backoff_is_bounded_whatever_the_api_asks_for(
    first: float, failures: int, draw: float, retry_after: float | None
) -> None:
    wait_s = PollIntervals(first, 60).backoff(failures, retry_after, draw)
    assert SHORTEST_S <= wait_s <= MAX_RETRY_AFTER_S + 1.2 * LONGEST_BACKOFF_S
    assert math.isfinite(wait_s)
