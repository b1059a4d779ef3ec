"""Costs are exact integers, and follow the published rules for tiers, cache writes and batches."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from runner.catalog.price_list import prices_for_models
from runner.catalog.prices import Prices, pico_per_token, usd_rounded_up
from runner.types import PICO_PER_USD, Usage

AT = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture(scope="module")
def prices() -> Prices:
    return prices_for_models(["claude-haiku-5-5", "claude-sonnet-5-5", "claude-fable-5-1"], at=AT)


def test_a_million_tokens_cost_the_published_price(prices: Prices) -> None:
    million = 1_000_000
    assert prices.cost("claude-sonnet-5-5", Usage(input_tokens=million), "parallel") == 2 * PICO_PER_USD
    assert prices.cost("claude-sonnet-5-5", Usage(output_tokens=million), "parallel") == 10 * PICO_PER_USD


def test_cache_writes_cost_more_the_longer_they_live_and_reads_least(prices: Prices) -> None:
    rates = prices.rates("claude-sonnet-5-5", "parallel")
    assert rates is not None
    assert (rates.cache_write_5m, rates.cache_write_1h) == (rates.input * 5 // 4, rates.input * 2)
    assert rates.cache_read < rates.input


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-sonnet-5-5", "claude-fable-5-1"])
def test_batch_mode_costs_half_of_everything(prices: Prices, model: str) -> None:
    usage = Usage(1_000, 100, 5_000, 700, 300)
    parallel, batch = prices.cost(model, usage, "parallel"), prices.cost(model, usage, "batch")
    assert parallel is not None
    assert batch is not None
    assert batch * 2 == parallel


def test_a_long_prompt_makes_every_token_dearer(prices: Prices) -> None:
    at_the_edge = Usage(input_tokens=100_000, output_tokens=10)
    beyond = Usage(input_tokens=100_001, output_tokens=10)
    assert prices.cost("claude-haiku-5-5", at_the_edge, "parallel") == 100_000 * 100_000 + 10 * 500_000
    assert prices.cost("claude-haiku-5-5", beyond, "parallel") == 100_001 * 500_000 + 10 * 2_500_000


def test_cached_tokens_count_towards_the_length_of_the_prompt(prices: Prices) -> None:
    usage = Usage(input_tokens=1, cache_read_input_tokens=100_000)
    assert prices.cost("claude-haiku-5-5", usage, "parallel") == 500_000 + 100_000 * 50_000


def test_the_bound_takes_the_dearest_write_that_is_marked(prices: Prices) -> None:
    def bound(ttl: str | None) -> int | None:
        return prices.bound("claude-sonnet-5-5", 1_000, 10, ttl, "parallel")  # type: ignore[arg-type]  # a literal

    output = 10 * 10_000_000
    assert bound(None) == 1_000 * 2_000_000 + output
    assert bound("5m") == 1_000 * 2_500_000 + output
    assert bound("1h") == 1_000 * 4_000_000 + output


def test_the_bound_uses_the_tier_that_the_input_can_reach(prices: Prices) -> None:
    low = prices.bound("claude-haiku-5-5", 100_000, 10, None, "parallel")
    high = prices.bound("claude-haiku-5-5", 100_001, 10, None, "parallel")
    assert low == 100_000 * 100_000 + 10 * 500_000
    assert high == 100_001 * 500_000 + 10 * 2_500_000


def test_an_unknown_model_and_an_unbounded_input_have_no_price(prices: Prices) -> None:
    assert prices.cost("claude-none", Usage(1, 1), "parallel") is None
    assert prices.bound("claude-none", 1, 1, None, "parallel") is None
    assert prices.bound("claude-haiku-5-5", None, 1, None, "parallel") is None
    assert not prices.knows("claude-none")


def test_stored_prices_read_back_equal(prices: Prices) -> None:
    assert Prices.from_json(prices.to_json()) == prices


def test_prices_of_another_format_are_refused(prices: Prices) -> None:
    with pytest.raises(ValueError, match="format 2"):
        Prices.from_json({**prices.to_json(), "format": 2})


def test_a_price_that_is_no_whole_number_of_pico_dollars_is_refused_not_rounded() -> None:
    assert pico_per_token(Decimal("0.000001")) == 1
    with pytest.raises(ValueError, match="no whole number"):
        pico_per_token(Decimal("0.0000001"))
    with pytest.raises(ValueError, match="no whole number"):
        pico_per_token(Decimal(-1))


def test_dollars_to_be_shown_are_rounded_up_to_the_cent() -> None:
    assert usd_rounded_up(0) == Decimal("0.00")
    assert usd_rounded_up(1) == Decimal("0.01")
    assert usd_rounded_up(PICO_PER_USD) == Decimal("1.00")
    assert usd_rounded_up(PICO_PER_USD + 1) == Decimal("1.01")
