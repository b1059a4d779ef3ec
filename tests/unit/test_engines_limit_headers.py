"""The headers of the API's limits, as they really come."""

from __future__ import annotations

import pytest

from runner.engines.limit_headers import Told, read_limits

REAL = {
    "content-type": "application/json",
    "date": "Sun, 22 Nov 2026 10:00:00 GMT",
    "anthropic-ratelimit-requests-limit": "4000",
    "anthropic-ratelimit-requests-remaining": "3999",
    "anthropic-ratelimit-requests-reset": "2026-11-22T10:00:00Z",
    "anthropic-ratelimit-input-tokens-limit": "2000000",
    "anthropic-ratelimit-input-tokens-remaining": "1998000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-22T10:00:01Z",
    "anthropic-ratelimit-output-tokens-limit": "400000",
    "anthropic-ratelimit-output-tokens-remaining": "397000",
    "anthropic-ratelimit-output-tokens-reset": "2026-11-22T10:00:02Z",
    "anthropic-ratelimit-tokens-limit": "2400000",
    "anthropic-ratelimit-tokens-remaining": "2395000",
    "anthropic-ratelimit-tokens-reset": "2026-11-22T10:00:01Z",
    "request-id": "req_011CSHoEeqs5C35K2UUqR7Fy",
}
"""Names and shapes of the API's rate-limits page (October 2026); every number differs, so that a swap is seen."""


def without(*parts: str) -> dict[str, str]:
    return {name: value for name, value in REAL.items() if not any(part in name for part in parts)}


def test_each_quantity_is_read_from_its_own_headers() -> None:
    assert read_limits(REAL) == (Told(4_000, 3_999), Told(2_000_000, 1_998_000), Told(400_000, 397_000))


@pytest.mark.parametrize("part", ["-requests-", "-input-tokens-", "-output-tokens-"])
def test_a_quantity_that_is_not_told_of_is_none_and_the_others_stay(part: str) -> None:
    place = ["-requests-", "-input-tokens-", "-output-tokens-"].index(part)
    expected = list(read_limits(REAL))
    expected[place] = None
    assert read_limits(without(part)) == tuple(expected)


def test_tokens_alone_are_taken_for_the_inputs() -> None:
    assert read_limits(without("input", "output")) == (Told(4_000, 3_999), Told(2_400_000, 2_395_000), None)


def test_priority_and_fast_headers_are_other_limits() -> None:
    others = {
        f"anthropic-{tier}-{name}-tokens-{part}": "7"
        for tier in ("priority", "fast")
        for name in ("input", "output")
        for part in ("limit", "remaining")
    }
    assert read_limits(others) == (None, None, None)


def test_a_response_that_tells_nothing_is_three_times_none() -> None:
    assert read_limits({}) == (None, None, None)


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "-5", "1e30", "0"])
def test_a_limit_that_is_no_number_is_as_good_as_none(text: str) -> None:
    assert read_limits({**REAL, "anthropic-ratelimit-requests-limit": text})[0] is None


@pytest.mark.parametrize("text", ["", "many", "nan", "-1"])
def test_what_remains_may_be_missing_or_nonsense(text: str) -> None:
    assert read_limits({**REAL, "anthropic-ratelimit-requests-remaining": text})[0] == Told(4_000, None)
    assert read_limits(without("requests-remaining"))[0] == Told(4_000, None)
