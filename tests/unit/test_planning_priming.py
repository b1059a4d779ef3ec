"""Priming: when it pays, why not, and what the cache cost and saved afterwards."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from runner.catalog.models import snapshot_facts
from runner.catalog.price_list import prices_for_models
from runner.catalog.prices import Rates
from runner.planning.estimate import BATCH_READ_SHARE, PRIMED_READ_SHARE, Estimator, tokens_in
from runner.planning.priming import LEAST_SAVING_PICO, Priming, cache_saving, consider_priming
from runner.planning.requests import CacheShape, CompiledJob
from runner.types import Request, Usage

MODEL = "claude-haiku-5-5"
PRICES = prices_for_models([MODEL], at=datetime(2026, 11, 22, tzinfo=UTC))
FACTS = snapshot_facts(MODEL)
PREFIX_BYTES = 8_192
HOUR = CacheShape(PREFIX_BYTES, False, {"parallel": "5m", "batch": "1h"})
MINUTES = replace(HOUR, ttl={"parallel": "5m", "batch": "5m"})


def priming(cache: CacheShape = HOUR, **facts: Any) -> Priming:
    known: dict[str, Any] = {"model": MODEL, "facts": FACTS, "prices": PRICES, "requests": 3_708}
    return consider_priming(cache, **{**known, **facts})


def rates() -> Rates:
    found = PRICES.rates(MODEL, "batch")
    assert found is not None
    return found


def test_a_long_shared_block_and_many_requests_are_worth_a_batch_of_one() -> None:
    found = priming()
    assert found.pays
    assert found.why == "3,707 requests can read about 3,043 tokens that the first has written, which saves about $0.73"


def test_the_saving_is_what_more_rows_read_instead_of_writing() -> None:
    tokens = tokens_in(PREFIX_BYTES, FACTS)
    more_read = round(tokens * PRIMED_READ_SHARE) - round(tokens * BATCH_READ_SHARE)
    assert priming(requests=1_001).saved_pico == 1_000 * more_read * (rates().cache_write_1h - rates().cache_read)


def test_the_saving_is_what_the_estimate_makes_of_it() -> None:
    compiled = CompiledJob(
        name="job", mode="batch", shared={"model": MODEL, "max_tokens": 50}, messages=(), betas=(), context={},
        schema=None, cache=HOUR,
    )  # fmt: skip
    estimator = Estimator(compiled, PRICES, FACTS)
    for _ in range(500):
        estimator.add(Request(b"h", b"p", b"x" * 9_000, MODEL, 50, 10_000, "1h"))
    plain, primed = estimator.result(), estimator.result(primed=True)
    assert plain.cost["batch"].expected is not None
    assert primed.cost["batch"].expected is not None
    assert plain.cost["batch"].expected - primed.cost["batch"].expected == priming(requests=500).saved_pico
    assert plain.cost["batch"].upper == primed.cost["batch"].upper
    assert plain.cost["parallel"] == primed.cost["parallel"]


@pytest.mark.parametrize(
    ("cache", "facts", "why"),
    [
        (CacheShape(0, False, {"parallel": None, "batch": None}), {}, "no block that all rows share is marked"),
        (CacheShape(0, True, HOUR.ttl), {}, "no block that all rows share is marked"),
        (MINUTES, {}, "in batches write `cache: 1h`"),
        (replace(HOUR, shared_prefix_bytes=700), {}, "has about 260 tokens, and claude-haiku-5-5 caches from 512 on"),
        (HOUR, {"facts": None}, "is not known"),
        (HOUR, {"requests": 1}, "no other request"),
        (HOUR, {"requests": 20}, "less than a cent"),
        (HOUR, {"deadline_s": 3 * 3600.0}, "a deadline in less than 4 hours"),
        (HOUR, {"model": "claude-none"}, "the price of claude-none is not known"),
    ],
)
def test_priming_does_not_pay(cache: CacheShape, facts: dict[str, Any], why: str) -> None:
    found = priming(cache, **facts)
    assert not found.pays
    assert why in found.why


def test_a_deadline_far_away_leaves_time() -> None:
    assert priming(deadline_s=4 * 3600.0).pays


def test_it_begins_to_pay_at_a_cent() -> None:
    requests = next(n for n in range(2, 200) if priming(requests=n).pays)
    assert (priming(requests=requests).saved_pico or 0) >= LEAST_SAVING_PICO
    assert (priming(requests=requests - 1).saved_pico or 0) < LEAST_SAVING_PICO


def test_the_bill_tells_what_was_written_read_and_saved() -> None:
    found = cache_saving(Usage(5_000, 900, 90_000, 0, 10_000), PRICES, MODEL, "batch", requests=10)
    assert found is not None
    assert (found.written_tokens, found.read_tokens) == (10_000, 90_000)
    assert found.written_pico == 10_000 * rates().cache_write_1h
    assert found.cost_pico == found.written_pico + 90_000 * rates().cache_read
    assert found.saved_pico == 100_000 * rates().input - found.cost_pico > 0
    assert found.saved_unread_pico == 90_000 * (rates().cache_write_1h - rates().cache_read)


def test_a_cache_that_nobody_read_cost_more_than_it_saved() -> None:
    found = cache_saving(Usage(ephemeral_1h_input_tokens=10_000), PRICES, MODEL, "batch")
    assert found is not None
    assert found.saved_pico < 0
    assert found.saved_unread_pico == 0


def test_minutes_are_priced_as_minutes() -> None:
    parallel = PRICES.rates(MODEL, "parallel")
    assert parallel is not None
    found = cache_saving(Usage(0, 0, 50, 100, 0), PRICES, MODEL, "parallel")
    assert found is not None
    assert found.written_pico == 100 * parallel.cache_write_5m
    assert found.saved_unread_pico == 50 * (parallel.cache_write_5m - parallel.cache_read)


def test_the_mean_prompt_decides_the_tier() -> None:
    usage = Usage(cache_read_input_tokens=240_000)
    short, long = (cache_saving(usage, PRICES, MODEL, "batch", requests=n) for n in (100, 1))
    assert short is not None
    assert long is not None
    assert short.read_pico < long.read_pico


def test_nothing_cached_or_an_unknown_price_has_no_bill() -> None:
    assert cache_saving(Usage(100, 100), PRICES, MODEL, "batch") is None
    assert cache_saving(Usage(cache_read_input_tokens=5), PRICES, "claude-none", "batch") is None
