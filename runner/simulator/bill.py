"""What a reply costs, computed apart from runner's own catalog.

Owns   the rates of `genai-prices` as exact integers, by model and by the tier that the prompt's length selects.
Knows  usages; nothing of requests. A test holds the result equal to `calc_price` of that library.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import cache

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from genai_prices.types import TieredPrices
from msgspec import Struct

from runner.simulator.answers import Answer
from runner.simulator.prompt_cache import CacheUse
from runner.types import Mode, Usage

_PICO_PER_TOKEN = 10**6
"""USD a million tokens, times this, is pico-dollars a token."""

_ASKED_AT = datetime(2026, 11, 22, tzinfo=UTC)
"""Prices as of this day, so that the accounts do not depend on when a test runs."""


_SEARCH_PICO = 10**10
"""A web search: 10 USD a thousand, in both modes (web search page)."""


def used_by(answer: Answer, cache: CacheUse) -> Usage:
    """What a reply has used, tokens that its tools have read included."""
    return Usage(
        cache.uncached + answer.read_tokens,
        answer.output_tokens,
        cache.read,
        cache.written_5m,
        cache.written_1h,
        answer.searches,
    )


class _Rates(Struct, frozen=True):
    """Pico-dollars a token, by field of a usage; tiers as (prompt tokens above which it holds, rate), highest first."""

    by_field: tuple[tuple[str, int, tuple[tuple[int, int], ...]], ...]


def cost_pico(
    model: str, usage: Usage, mode: Mode = "parallel", *, fast: bool = False, geo: str | None = None
) -> int | None:
    """The cost of a usage in pico-dollars, None where the model's price is not known. `geo`: `us` costs a tenth more
    (data-residency page)."""
    rates = _rates(model, mode, fast)
    if rates is None:
        return None
    prompt = usage.prompt_tokens
    total = 0
    for field, base, tiers in rates.by_field:
        rate = next((price for above, price in tiers if prompt > above), base)
        total += rate * int(getattr(usage, field))
    total = total * 11 // 10 if geo == "us" else total
    return total + _SEARCH_PICO * usage.web_search_requests


@cache
def _rates(model: str, mode: Mode, fast: bool) -> _Rates | None:
    try:
        price = calc_price(
            PricedUsage(input_tokens=1),
            model,
            provider_id="anthropic",
            genai_request_timestamp=_ASKED_AT,
            # another key is ignored without a word
            price_context={"processing": "batch"} if mode == "batch" else {"speed": "fast"} if fast else None,
        ).model_price
    except LookupError:
        return None
    fields = (
        ("input_tokens", price.input_mtok),
        ("output_tokens", price.output_mtok),
        ("cache_read_input_tokens", price.cache_read_mtok),
        ("ephemeral_5m_input_tokens", price.cache_write_mtok),
        ("ephemeral_1h_input_tokens", price.cache_write_1h_mtok),
    )
    return _Rates(tuple((name, _pico(_base(rate)), _tiers(rate)) for name, rate in fields))


def _base(rate: Decimal | TieredPrices | None) -> Decimal | None:
    return rate.base if isinstance(rate, TieredPrices) else rate


def _tiers(rate: Decimal | TieredPrices | None) -> tuple[tuple[int, int], ...]:
    tiers = rate.tiers if isinstance(rate, TieredPrices) else []
    return tuple(sorted(((tier.start, _pico(tier.price)) for tier in tiers), reverse=True))


def _pico(usd_per_million: Decimal | None) -> int:
    return int((usd_per_million or Decimal(0)) * _PICO_PER_TOKEN)
