from __future__ import annotations

import pytest

from runner.simulator.limits import Limits
from runner.simulator.refusal import Refused
from support.frozen_clock import FrozenClock


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


def admitted(limits: Limits, times: int, input_tokens: int = 1, output_tokens: int = 1, line: str = "haiku") -> int:
    """How many of so many requests get through."""
    count = 0
    for _ in range(times):
        try:
            limits.admit(line, input_tokens, output_tokens, 1)
        except Refused:
            continue
        count += 1
    return count


def test_without_limits_everything_passes_and_headers_are_there(clock: FrozenClock) -> None:
    limits = Limits(clock)
    assert admitted(limits, 1_000) == 1_000
    headers = limits.headers("haiku")
    assert len(headers) == 12
    assert int(headers["anthropic-ratelimit-requests-remaining"]) > 1_000_000


def test_requests_a_minute_are_refilled_continuously(clock: FrozenClock) -> None:
    limits = Limits(clock, rpm=60)
    assert admitted(limits, 100) == 60
    clock.advance(10)
    assert admitted(limits, 100) == 10


def test_a_short_burst_window_refuses_below_the_minutes_figure(clock: FrozenClock) -> None:
    assert admitted(Limits(clock, rpm=60, burst_s=5), 100) == 5


def test_a_refusal_says_when_to_come_back(clock: FrozenClock) -> None:
    limits = Limits(clock, rpm=6)
    admitted(limits, 6)
    with pytest.raises(Refused, match="6 requests per minute") as caught:
        limits.admit("haiku", 1, 1, 1)
    assert (caught.value.status, caught.value.headers["retry-after"]) == (429, "10")


def test_input_tokens_are_taken_before_and_output_as_generated(clock: FrozenClock) -> None:
    assert admitted(Limits(clock, itpm=1_000), 100, input_tokens=100) == 10
    # output is known only afterwards: the request that crosses the limit still passes
    assert admitted(Limits(clock, otpm=1_000), 100, output_tokens=300) == 4


def test_models_of_one_line_share_a_pool_and_lines_do_not(clock: FrozenClock) -> None:
    limits = Limits(clock, rpm=5)
    assert admitted(limits, 9, line="opus") == 5
    assert admitted(limits, 9, line="haiku") == 5


def test_a_request_above_the_whole_limit_passes_when_the_bucket_is_full(clock: FrozenClock) -> None:
    limits = Limits(clock, itpm=100)
    assert admitted(limits, 2, input_tokens=500) == 1


def test_headers_show_what_remains(clock: FrozenClock) -> None:
    limits = Limits(clock, rpm=10, itpm=5_000)
    limits.admit("haiku", 1_500, 1, 1)
    headers = limits.headers("haiku")
    assert headers["anthropic-ratelimit-requests-limit"] == "10"
    assert headers["anthropic-ratelimit-requests-remaining"] == "9"
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "3000"
    assert headers["anthropic-ratelimit-tokens-limit"] == "5000"


def test_too_many_at_once_are_refused(clock: FrozenClock) -> None:
    limits = Limits(clock, max_concurrency=2)
    limits.admit("haiku", 1, 1, 2)
    with pytest.raises(Refused, match="concurrent connections"):
        limits.admit("haiku", 1, 1, 3)


def test_a_window_that_is_enforced_and_not_told_of_refuses_bursts(clock: FrozenClock) -> None:
    limits = Limits(clock, rpm=600, window_s=1)
    assert admitted(limits, 100) == 10
    assert limits.headers("haiku")["anthropic-ratelimit-requests-remaining"] == "590"
    clock.advance(0.5)
    assert admitted(limits, 100) == 5


def test_traffic_may_double_every_second(clock: FrozenClock) -> None:
    limits = Limits(clock, ramp=10)
    seen = []
    for _ in range(4):
        seen.append(admitted(limits, 1_000))
        clock.advance(1)
    assert seen == [10, 20, 40, 80]
    admitted(limits, 1_000)
    with pytest.raises(Refused) as caught:
        limits.admit("haiku", 1, 1, 1)
    assert caught.value.error_code == "ramp_limit_exceeded"


def test_a_refusal_may_keep_silent_about_when_to_come_back(clock: FrozenClock) -> None:
    limits = Limits(clock, rpm=1, retry_after=False)
    admitted(limits, 1)
    with pytest.raises(Refused) as caught:
        limits.admit("haiku", 1, 1, 1)
    assert "retry-after" not in caught.value.headers
