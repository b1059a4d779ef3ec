"""What is certain after a create that brought no batch: the exactly-once rule, over every failure there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engines.sending import fate, next_move
from runner.types import Failure

statuses = st.one_of(st.none(), st.integers(200, 599))
failures = st.builds(
    Failure,
    st.sampled_from(["api_error", "rate_limit_error", "timeout", "connection_error", "too_large", "billing_error"]),
    st.just("it did not work"),
    retryable=st.booleans(),
    http_status=statuses,
    scope=st.sampled_from(["row", "job"]),
    may_be_billed=st.booleans(),
)


@given(failures)
def test_before_the_mark_nothing_was_sent_whole(failure: Failure) -> None:
    assert fate(failure, mark_written=False) == "not_sent"


@given(failures)
def test_after_the_mark_only_a_clean_4xx_proves_anything(failure: Failure) -> None:
    status = failure.http_status
    clean = status is not None and 400 <= status <= 499 and status not in (408, 409)
    assert fate(failure, mark_written=True) == ("rejected" if clean else "in_doubt")


@pytest.mark.parametrize(
    ("failure", "move"),
    [
        (Failure("rate_limit_error", "", retryable=True, http_status=429), "again"),
        (Failure("api_error", "", retryable=True, http_status=503), "again"),
        (Failure("connection_error", "", retryable=True), "again"),
        (Failure("timeout_error", "", retryable=True, http_status=408), "again"),
        (Failure("too_large", "", http_status=413), "split"),
        (Failure("invalid_request_error", "", http_status=400), "stop"),
        (Failure("not_found_error", "", http_status=404), "stop"),
        (Failure("billing_error", "", http_status=429, retryable=True, scope="job"), "stop"),
        (Failure("authentication_error", "", http_status=401, scope="job"), "stop"),
    ],
)
def test_what_follows_a_create_that_was_not_accepted(failure: Failure, move: str) -> None:
    assert next_move(failure) == move
