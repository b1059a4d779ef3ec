"""Where prices come from: the genai-prices package, and what the user's own file says instead.

Owns   reading that package's data into `Prices`. The only importer of it (0.2 s), so commands that price nothing do
       not pay for it.
Knows  the package's shapes as of 0.2.3. Never its network update: prices change when the lock file does, and are then
       told by `Prices.version`.

Traps of the source, each with a test
  * The context keys are `processing` (batch) and `speed` (fast); any other is ignored without a word, and batches then
    bill double.
  * Batch prices are dated (from 14 October 2026), so a moment must be given.
  * A key it does not know is not priced: only the five kinds of tokens that `Usage` tells apart are read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from runner.catalog.prices import ModelPrice, Prices, Rates, Tier, pico_per_token
from runner.deferred import kept_from_loading

with kept_from_loading("httpx2"):  # only the package's network update needs it, and it takes 15 ms
    import genai_prices
    from genai_prices import data_snapshot
    from genai_prices import types as source

_BATCH = {"processing": "batch"}
_FAST = {"speed": "fast"}

_KEYS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write_5m": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}
"""Our names to the package's price keys, each USD per million tokens."""

US_ONLY_FACTOR = Fraction(11, 10)
"""Price factor of `inference_geo: us` on all tokens (platform.claude.com about-claude/pricing, "Data residency")."""

FAST_FACTOR = Fraction(2)
"""Price factor of fast mode on all tokens, for a user's own prices (fast-mode guide, "Pricing": twice the standard
rates of every model that has it, November 2026). Published prices say their own."""


def prices_for_models(
    models: Iterable[str],
    *,
    at: datetime,
    overrides: Mapping[str, ModelPrice] | None = None,
    inference_geo: str | None = None,
    speed: str | None = None,
    price_list: str = "anthropic",
    factor: Fraction = Fraction(1),
) -> Prices:
    """The prices of `models` at a moment. A model that neither the package nor `overrides` knows is left out.

    `overrides` (see `price_overrides`) replace a model's price wholly. `inference_geo` and `speed` are the job's own:
    keeping inference in one geography costs more, and so does fast mode. What the API serves at standard speed after
    all is billed as such, so that these prices never lie below the bill. `price_list` is whose prices hold,
    `factor` what the place of a platform adds to them.
    """
    overrides = overrides or {}
    is_fast = speed == "fast"
    found = {
        model: _own(overrides[model], is_fast) if model in overrides else _published(model, at, is_fast, price_list)
        for model in models
    }
    geo = US_ONLY_FACTOR if inference_geo not in (None, "global") else Fraction(1)
    own = sorted(model for model in found if model in overrides)
    version = f"genai-prices {genai_prices.__version__}" + (f", own prices for {', '.join(own)}" if own else "")
    factors = {model: geo if model in overrides else geo * factor for model in found}
    known = {model: price for model, price in found.items() if price is not None}
    return Prices(version, {model: _times(price, factors[model]) for model, price in known.items()})


def _own(price: ModelPrice, is_fast: bool) -> ModelPrice:
    return _times(price, FAST_FACTOR) if is_fast else price


def _published(model: str, at: datetime, is_fast: bool, price_list: str) -> ModelPrice | None:
    try:
        _, info = data_snapshot.get_snapshot().find_provider_model(model, None, price_list, None)
    except LookupError:
        return None
    standard = info.get_prices(at)
    price = info.get_prices(at, _FAST) if is_fast else standard
    parallel = _tiers(price)
    if is_fast and parallel is not None and price == standard:
        return None  # no price of fast mode is published: a guess would be no bound
    # A model without batch prices keeps its standard ones: too high by half, but never below the bill.
    batch = _tiers(info.get_prices(at, _BATCH))
    return ModelPrice(parallel, batch) if parallel is not None and batch is not None else None


def _tiers(price: source.ModelPrice) -> tuple[Tier, ...] | None:
    values = {ours: getattr(price, theirs) for ours, theirs in _KEYS.items()}
    if any(value is None for value in values.values()):
        return None
    starts = {0}
    for value in values.values():
        if isinstance(value, source.TieredPrices):
            starts |= {tier.start for tier in value.tiers}
    return tuple(
        Tier(start, Rates(**{ours: pico_per_token(_value_above(value, start)) for ours, value in values.items()}))
        for start in sorted(starts)
    )


def _value_above(value: Decimal | source.TieredPrices, start: int) -> Decimal:
    """The value that holds for a prompt just longer than `start`."""
    if isinstance(value, Decimal):
        return value
    reached = [tier.price for tier in value.tiers if tier.start <= start]
    return reached[-1] if reached else value.base


def _times(price: ModelPrice, factor: Fraction) -> ModelPrice:
    def tiers(before: Iterable[Tier]) -> tuple[Tier, ...]:
        return tuple(
            Tier(
                tier.above,
                Rates(*(_rounded_up(getattr(tier.rates, name) * factor) for name in Rates.__struct_fields__)),
            )
            for tier in before
        )

    return ModelPrice(tiers(price.parallel), tiers(price.batch))


def _rounded_up(pico: Fraction) -> int:
    return -(-pico.numerator // pico.denominator)
