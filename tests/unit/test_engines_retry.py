"""How long a failed step waits, and how often it comes back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.engines.retry import (
    FREE_CONNECTIONS,
    FREE_REFUSALS,
    MAX_RETRY_AFTER_S,
    RetryPolicy,
    clamp_retry_after,
    counts_as_try,
)
from runner.types import Failure

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 20),
    initial_interval_s=st.floats(0, 1e6),
    backoff_coefficient=st.floats(1, 1e6),
    maximum_interval_s=st.floats(0, 1e6),
)
draws = st.floats(0, 1, exclude_max=True)


@given(policies, st.integers(1, 10**6), st.none() | st.floats(allow_nan=False), draws)
def test_a_delay_is_between_the_servers_wish_and_the_ceiling_above_it(
    policy: RetryPolicy, tries: int, retry_after_s: float | None, draw: float
) -> None:
    delay_s = policy.delay_s(tries, retry_after_s, draw)
    floor = clamp_retry_after(retry_after_s)
    assert 0 <= floor <= MAX_RETRY_AFTER_S
    assert floor <= delay_s <= floor + policy.maximum_interval_s
    assert math.isfinite(delay_s)


@given(policies, st.integers(1, 1000))
def test_the_ceiling_never_falls_with_the_tries(policy: RetryPolicy, tries: int) -> None:
    assert policy.ceiling_s(tries) <= policy.ceiling_s(tries + 1) <= policy.maximum_interval_s


def test_the_ceiling_doubles_up_to_its_maximum() -> None:
    policy = RetryPolicy(initial_interval_s=0.5, backoff_coefficient=2, maximum_interval_s=3)
    assert [policy.ceiling_s(tries) for tries in (1, 2, 3, 4, 5)] == [0.5, 1, 2, 3, 3]


def test_jitter_is_full() -> None:
    policy = RetryPolicy(initial_interval_s=2)
    assert policy.delay_s(1, None, 0.0) == 0
    assert policy.delay_s(1, None, 0.75) == 1.5
    assert policy.delay_s(1, 10.0, 0.5) == 11


@pytest.mark.parametrize(
    ("wish", "believed"), [(None, 0), (0.0, 0), (7.5, 7.5), (86_400.0, 300), (-3.0, 0), (math.inf, 300)]
)
def test_a_servers_wish_is_clamped(wish: float | None, believed: float) -> None:
    assert clamp_retry_after(wish) == believed


def test_only_what_is_retryable_comes_back_and_only_so_often() -> None:
    policy = RetryPolicy(max_attempts=3)
    again, never = Failure("api_error", "x", retryable=True), Failure("refusal", "x")
    assert [policy.allows(again, tries) for tries in (1, 2, 3, 4)] == [True, True, False, False]
    assert not policy.allows(never, 1)


LIMITED = Failure("rate_limit_error", "slow down", retryable=True, http_status=429)
REFUSED = Failure("connection_error", "refused", retryable=True)


@pytest.mark.parametrize(
    ("failure", "attempts", "counts"),
    [
        (None, 0, True),
        (Failure("api_error", "", retryable=True, http_status=500), 0, True),
        (LIMITED, FREE_REFUSALS - 1, False),
        (LIMITED, FREE_REFUSALS, True),
        (REFUSED, FREE_CONNECTIONS - 1, False),
        (REFUSED, FREE_CONNECTIONS, True),
        (replace(REFUSED, may_be_billed=True), 0, True),
        (replace(REFUSED, http_status=302), 0, True),
        (replace(REFUSED, retryable=False), 0, True),
        (Failure("timeout", "", retryable=True, may_be_billed=True), 0, True),
    ],
)
def test_what_says_nothing_of_the_row_is_no_try(failure: Failure | None, attempts: int, counts: bool) -> None:
    assert counts_as_try(failure, attempts) is counts
