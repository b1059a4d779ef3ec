"""What a usage costs, in integer pico-dollars.

Owns   rates as a run uses them, the cost of a reply's usage, and the upper bound of a request that has not been sent.
Knows  tokens and money. Where rates come from is `price_list`; they are stored with the run (`to_json`), so a resume
       never prices anew.

A rate is pico-dollars a token: USD 0.01 per million tokens is 10,000, so every published price is a whole number here.
Some models are priced by the length of the prompt: the tier whose start the prompt (all input tokens, cached or not)
exceeds gives the rate of *every* token of the request, output too.

Invariants (held by property tests)
  * cost is exact and never negative; two usages of one tier cost what their sum costs.
  * bound(...) >= cost of any usage within the bounds it was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from runner.catalog.server_tools import WEB_SEARCH_PICO
from runner.types import PICO_PER_USD, CacheTtl, Mode, Usage

PRICES_FORMAT = 1


class Rates(Struct, frozen=True):
    """Pico-dollars a token."""

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int

    def cost(self, usage: Usage) -> int:
        return (
            usage.input_tokens * self.input
            + usage.output_tokens * self.output
            + usage.cache_read_input_tokens * self.cache_read
            + usage.ephemeral_5m_input_tokens * self.cache_write_5m
            + usage.ephemeral_1h_input_tokens * self.cache_write_1h
            + usage.web_search_requests * WEB_SEARCH_PICO
        )

    def dearest_input(self, cache_ttl: CacheTtl | None) -> int:
        """The most that one input token can cost where nothing longer than `cache_ttl` is marked."""
        if cache_ttl is None:
            return self.input
        if cache_ttl == "5m":
            return max(self.input, self.cache_read, self.cache_write_5m)
        return max(self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h)


class Tier(Struct, frozen=True):
    """`rates` hold for requests whose prompt has more than `above` tokens (0 for the first tier)."""

    above: int
    rates: Rates


class ModelPrice(Struct, frozen=True):
    """Tiers in ascending order, the first above 0, for each mode."""

    parallel: Sequence[Tier]
    batch: Sequence[Tier]

    def tiers(self, mode: Mode) -> Sequence[Tier]:
        return self.batch if mode == "batch" else self.parallel


class Prices(Struct, frozen=True):
    """The prices of a run's models. `version` says where they come from, for people and for the record."""

    version: str
    models: Mapping[str, ModelPrice]

    def knows(self, model: str) -> bool:
        return model in self.models

    def cost(self, model: str, usage: Usage, mode: Mode) -> int | None:
        """The cost of one reply (not of a sum: the tier goes by one request's prompt); None where the price is
        unknown."""
        price = self.models.get(model)
        if price is None:
            return None
        tiers = price.tiers(mode)
        rates = tiers[0].rates if len(tiers) == 1 else _rates_for(tiers, usage.prompt_tokens)
        return rates.cost(usage)

    def bound(
        self, model: str, input_bound: int | None, max_tokens: int, cache_ttl: CacheTtl | None, mode: Mode
    ) -> int | None:
        """The most that a request can cost; None where the price is unknown or bytes do not bound its input.

        Every input token is taken at the dearest rate that its cache marks allow, in the dearest tier that
        `input_bound` can reach, and the output as `max_tokens` long.
        """
        price = self.models.get(model)
        if price is None or input_bound is None:
            return None
        tiers = price.tiers(mode)
        if len(tiers) == 1:  # nearly all models, and each row of each run comes by here
            rates = tiers[0].rates
            return input_bound * rates.dearest_input(cache_ttl) + max_tokens * rates.output
        return max(
            input_bound * tier.rates.dearest_input(cache_ttl) + max_tokens * tier.rates.output
            for tier in tiers
            if tier.above == 0 or input_bound > tier.above
        )

    def rates(self, model: str, mode: Mode, prompt_tokens: int = 0) -> Rates | None:
        """The rates of a request with that many input tokens."""
        price = self.models.get(model)
        return _rates_for(price.tiers(mode), prompt_tokens) if price is not None else None

    def to_json(self) -> dict[str, Any]:
        """As stored in a run's `inputs/`; `from_json` gives an equal value back."""
        return {
            "format": PRICES_FORMAT,
            "unit": "pico-USD per token",
            "version": self.version,
            "models": {
                model: {mode: [_tier_to_json(tier) for tier in price.tiers(mode)] for mode in ("parallel", "batch")}
                for model, price in self.models.items()
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Prices:
        """Read what `to_json` wrote. Raises ValueError for another format."""
        if value.get("format") != PRICES_FORMAT:
            raise ValueError(f"prices of format {value.get('format')!r}; this version reads {PRICES_FORMAT}")
        return cls(
            version=value["version"],
            models={
                model: ModelPrice(
                    parallel=tuple(_tier_from_json(tier) for tier in tiers["parallel"]),
                    batch=tuple(_tier_from_json(tier) for tier in tiers["batch"]),
                )
                for model, tiers in value["models"].items()
            },
        )


def _rates_for(tiers: Sequence[Tier], prompt_tokens: int) -> Rates:
    for tier in reversed(tiers):
        if prompt_tokens > tier.above:
            return tier.rates
    return tiers[0].rates


def _tier_to_json(tier: Tier) -> dict[str, int]:
    return {"above": tier.above, **asdict(tier.rates)}


def _tier_from_json(value: Mapping[str, int]) -> Tier:
    return Tier(value["above"], Rates(**{name: value[name] for name in Rates.__struct_fields__}))


def pico_per_token(usd_per_million: Decimal) -> int:
    """USD per million tokens as pico-dollars a token. Raises ValueError for a price finer than a pico-dollar, or
    below 0."""
    pico = Fraction(usd_per_million) * PICO_PER_USD / 1_000_000
    if pico < 0 or pico.denominator != 1:
        raise ValueError(f"{usd_per_million} USD per million tokens is no whole number of pico-dollars a token")
    return pico.numerator


def usd_rounded_up(pico: int) -> Decimal:
    """Dollars rounded up to the cent: for showing an estimate, never for sums."""
    return (Decimal(pico) / PICO_PER_USD).quantize(Decimal("0.01"), rounding=ROUND_CEILING)
