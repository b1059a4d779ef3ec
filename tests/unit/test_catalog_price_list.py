"""Published prices are read with their traps in mind."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import genai_prices

from runner.catalog.price_list import prices_for_models
from runner.catalog.prices import ModelPrice, Rates, Tier
from runner.catalog.snapshot import MODELS
from runner.types import Usage

AT = datetime(2026, 11, 22, tzinfo=UTC)
OWN = ModelPrice((Tier(0, Rates(1, 2, 3, 4, 5)),), (Tier(0, Rates(6, 7, 8, 9, 10)),))


def test_the_version_says_where_the_prices_come_from() -> None:
    assert prices_for_models(["claude-haiku-5-5"], at=AT).version == f"genai-prices {genai_prices.__version__}"
    own = prices_for_models(["my-model", "claude-haiku-5-5"], at=AT, overrides={"my-model": OWN})
    assert own.version == f"genai-prices {genai_prices.__version__}, own prices for my-model"


def test_own_prices_replace_published_ones_wholly() -> None:
    prices = prices_for_models(["claude-haiku-5-5"], at=AT, overrides={"claude-haiku-5-5": OWN})
    assert prices.models["claude-haiku-5-5"] == OWN


def test_a_model_without_a_price_is_left_out() -> None:
    assert prices_for_models(["claude-none"], at=AT).models == {}


def test_every_model_of_the_snapshot_but_the_newest_mythos_has_a_price() -> None:
    unpriced = {known.id for known in MODELS} - prices_for_models([known.id for known in MODELS], at=AT).models.keys()
    assert unpriced <= {"claude-mythos-5", "claude-mythos-5-1"}


def test_a_dated_id_has_the_price_of_its_model() -> None:
    prices = prices_for_models(["claude-haiku-4-5", "claude-haiku-4-5-20251001"], at=AT)
    assert prices.models["claude-haiku-4-5"] == prices.models["claude-haiku-4-5-20251001"]


def test_inference_in_one_geography_costs_a_tenth_more() -> None:
    usage = Usage(1_000, 100, 1_000, 1_000, 1_000)
    anywhere = prices_for_models(["claude-sonnet-5-5"], at=AT).cost("claude-sonnet-5-5", usage, "parallel")
    for geo, factor in (("us", 11), ("global", 10)):
        there = prices_for_models(["claude-sonnet-5-5"], at=AT, inference_geo=geo)
        cost = there.cost("claude-sonnet-5-5", usage, "parallel")
        assert anywhere is not None
        assert cost is not None
        assert cost * 10 == anywhere * factor


def test_fast_mode_has_prices_of_its_own() -> None:
    usage = Usage(1_000, 100, 1_000, 1_000, 1_000)
    for model in ("claude-opus-5-5", "claude-opus-5", "claude-opus-4-8", "claude-fable-5-2"):
        standard = prices_for_models([model], at=AT, speed="standard").cost(model, usage, "parallel")
        fast = prices_for_models([model], at=AT, speed="fast").cost(model, usage, "parallel")
        both = prices_for_models([model], at=AT, speed="fast", inference_geo="us").cost(model, usage, "parallel")
        assert standard is not None
        assert (fast, both) == (2 * standard, 2 * standard * 11 // 10)


def test_fast_mode_without_a_published_price_has_none() -> None:
    """A guess would be no upper bound, so that a cap is refused."""
    assert not prices_for_models(["claude-haiku-5-5"], at=AT, speed="fast").knows("claude-haiku-5-5")


def test_own_prices_double_in_fast_mode() -> None:
    prices = prices_for_models(["my-model"], at=AT, overrides={"my-model": OWN}, speed="fast")
    assert prices.models["my-model"].parallel == (Tier(0, Rates(2, 4, 6, 8, 10)),)


def test_batch_prices_are_asked_for_by_the_key_that_the_package_knows() -> None:
    """Another key is ignored by it without a word, and a batch would seem to cost double."""
    usage = genai_prices.Usage(input_tokens=1_000_000)
    standard = genai_prices.calc_price(usage, "claude-sonnet-5-5", provider_id="anthropic", genai_request_timestamp=AT)
    wrong = genai_prices.calc_price(
        usage,
        "claude-sonnet-5-5",
        provider_id="anthropic",
        genai_request_timestamp=AT,
        price_context={"service_tier": "batch"},
    )
    assert wrong.total_price == standard.total_price
    batch = prices_for_models(["claude-sonnet-5-5"], at=AT).cost("claude-sonnet-5-5", Usage(1_000_000), "batch")
    assert batch == int(standard.total_price * 10**12) // 2


def test_checking_a_job_does_not_import_the_price_package() -> None:
    code = "import runner.catalog.prices, runner.catalog.parameters, sys; sys.exit('genai_prices' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
