from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from hypothesis import given
from hypothesis import strategies as st

from runner.simulator.bill import cost_pico
from runner.types import PICO_PER_USD, Usage

COUNTS = st.integers(min_value=0, max_value=300_000)


@given(
    st.sampled_from(["claude-haiku-5-5", "claude-opus-5-5", "claude-sonnet-4-6", "claude-haiku-4-5-20251001"]),
    st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
)
def test_the_cost_is_what_the_price_library_says(model: str, usage: Usage) -> None:
    priced = PricedUsage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_input_tokens,
        cache_write_tokens=usage.cache_creation_input_tokens,
        cache_write_1h_tokens=usage.ephemeral_1h_input_tokens,
    )
    day = datetime(2026, 11, 22, tzinfo=UTC)
    price = calc_price(priced, model, provider_id="anthropic", genai_request_timestamp=day)
    assert cost_pico(model, usage) == price.total_price * PICO_PER_USD


def test_a_long_prompt_is_dearer_on_a_model_with_tiers() -> None:
    assert cost_pico("claude-haiku-5-5", Usage(input_tokens=100_000)) == 100_000 * 100_000
    assert cost_pico("claude-haiku-5-5", Usage(input_tokens=100_001)) == 100_001 * 500_000


def test_five_minutes_and_an_hour_have_their_own_price() -> None:
    million = 1_000_000
    writes = [Usage(ephemeral_5m_input_tokens=million), Usage(ephemeral_1h_input_tokens=million)]
    usd = [Decimal(cost_pico("claude-opus-5-5", usage) or 0) / PICO_PER_USD for usage in writes]
    assert usd == [Decimal(5), Decimal(8)]


@given(
    st.sampled_from(["claude-haiku-5-5", "claude-opus-5-5", "claude-sonnet-4-6", "claude-haiku-4-5-20251001"]),
    st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
)
def test_a_batch_costs_half_of_everything(model: str, usage: Usage) -> None:
    whole, half = cost_pico(model, usage), cost_pico(model, usage, "batch")
    assert whole is not None
    assert half is not None
    assert whole == 2 * half


@pytest.mark.parametrize("model", ["claude-mythos-5-1", "no-such-model"])
def test_a_model_without_a_price_has_no_cost(model: str) -> None:
    assert cost_pico(model, Usage(input_tokens=1)) is None


def test_fast_mode_costs_twice_and_the_us_a_tenth_more() -> None:
    usage = Usage(1_000, 100, 1_000, 1_000, 1_000)
    standard = cost_pico("claude-opus-5-5", usage)
    assert standard is not None
    assert cost_pico("claude-opus-5-5", usage, fast=True) == 2 * standard
    assert cost_pico("claude-opus-5-5", usage, geo="us") == standard * 11 // 10
