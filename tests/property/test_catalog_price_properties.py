"""What holds for every usage: costs add up, bounds hold, and the source agrees to the last digit."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.catalog.price_list import prices_for_models
from runner.types import PICO_PER_USD, CacheTtl, Mode, Usage

AT = datetime(2026, 11, 22, tzinfo=UTC)
MODELS = ["claude-haiku-5-5", "claude-sonnet-5-5", "claude-sonnet-4-5", "claude-opus-5-5", "claude-fable-5-2"]
PRICES = prices_for_models(MODELS, at=AT)

counts = st.integers(0, 250_000)
usages = st.builds(Usage, counts, counts, counts, counts, counts)
modes: st.SearchStrategy[Mode] = st.sampled_from(["parallel", "batch"])
models = st.sampled_from(MODELS)
ttls: st.SearchStrategy[CacheTtl | None] = st.sampled_from([None, "5m", "1h"])


@given(model=models, usage=usages, mode=modes)
def test_the_cost_is_that_of_the_source(model: str, usage: Usage, mode: Mode) -> None:
    theirs = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_input_tokens,
            cache_write_tokens=usage.cache_creation_input_tokens,
            cache_write_1h_tokens=usage.ephemeral_1h_input_tokens,
        ),
        model,
        provider_id="anthropic",
        genai_request_timestamp=AT,
        price_context={"processing": "batch"} if mode == "batch" else None,
    )
    assert PRICES.cost(model, usage, mode) == theirs.total_price * PICO_PER_USD


@given(model=models, first=usages, second=usages, mode=modes)
def test_costs_add_like_usages_within_one_tier(model: str, first: Usage, second: Usage, mode: Mode) -> None:
    rates = PRICES.rates(model, mode)
    assert rates is not None
    assert rates.cost(first) + rates.cost(second) == rates.cost(first + second)


@given(data=st.data(), model=models, mode=modes, ttl=ttls)
def test_no_usage_within_the_bounds_costs_more_than_the_bound(
    data: st.DataObject, model: str, mode: Mode, ttl: CacheTtl | None
) -> None:
    bound, max_tokens = data.draw(st.integers(0, 400_000)), data.draw(counts)
    left = bound
    parts: dict[str, int] = {}
    possible = ["input_tokens"]
    if ttl is not None:
        possible += ["cache_read_input_tokens", "ephemeral_5m_input_tokens"]
    if ttl == "1h":
        possible.append("ephemeral_1h_input_tokens")
    for name in data.draw(st.permutations(possible)):
        parts[name] = data.draw(st.integers(0, left))
        left -= parts[name]
    usage = Usage(output_tokens=data.draw(st.integers(0, max_tokens)), **parts)
    cost, limit = PRICES.cost(model, usage, mode), PRICES.bound(model, bound, max_tokens, ttl, mode)
    assert cost is not None
    assert limit is not None
    assert 0 <= cost <= limit


@pytest.mark.parametrize("model", MODELS)
def test_longer_prompts_are_never_cheaper_a_token(model: str) -> None:
    """`bound` relies on nothing of the kind, but a reader of the bill does."""
    price = PRICES.models[model]
    for tiers in (price.parallel, price.batch):
        inputs: list[Any] = [tier.rates.input for tier in tiers]
        assert inputs == sorted(inputs)
        assert all(Decimal(rate) > 0 for rate in inputs)
