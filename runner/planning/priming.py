"""Priming: whether one request goes first, in a batch of its own, so that the others find its shared block cached.

Owns   the arithmetic before a run, and what the cache cost and saved after it. Pure; in pico-dollars.
Knows  the shape of a job's cache marks, prices, and what is known of the model.

An entry of the cache can be read once the reply that wrote it has begun (prompt caching guide), and nobody knows when
the requests of one batch start. Where many start at once, each of them writes the shared block, at twice the price of
plain input; a request that has ended before the rest is sent leaves it to be read at a tenth or less. What that costs
is time: a batch has to end before the rest may begin, mostly minutes, at worst the hour after which the engine goes on
without.
"""

from __future__ import annotations

from msgspec import Struct

from runner.catalog.models import ModelFacts
from runner.catalog.prices import Prices, Rates
from runner.planning.estimate import BATCH_READ_SHARE, PRIMED_READ_SHARE, tokens_in
from runner.planning.requests import CacheShape
from runner.types import PICO_PER_USD, CacheTtl, Mode, Usage

LEAST_SAVING_PICO = PICO_PER_USD // 100
"""A cent. An assumption: for less nobody waits for another batch."""
LEAST_DEADLINE_S = 4 * 3600.0
"""A deadline below this leaves no time to prime: at worst one hour for the priming batch, one or two for the others
(most batches end within one, batch guide), and one to finish in parallel."""


class Priming(Struct, frozen=True):
    """Whether it pays; `why` completes the sentence "the shared block is (not) primed, because …".

    `saved_pico`: the expected saving against sending all at once; None where it was not worked out.
    """

    pays: bool
    why: str
    saved_pico: int | None = None


def consider_priming(
    cache: CacheShape,
    *,
    model: str,
    facts: ModelFacts | None,
    prices: Prices,
    requests: int,
    deadline_s: float | None = None,
) -> Priming:
    """Whether a run in batch mode that sends so many requests should prime. Decided once, and stored with the run."""
    obstacle = _obstacle(cache, model, facts, requests, deadline_s)
    if obstacle is not None:
        return Priming(False, obstacle)
    tokens = tokens_in(cache.shared_prefix_bytes, facts)
    rates = prices.rates(model, "batch", tokens)
    if rates is None:
        return Priming(False, f"the price of {model} is not known")
    saved = shared_cost(tokens, requests, rates, BATCH_READ_SHARE) - shared_cost(
        tokens, requests, rates, PRIMED_READ_SHARE
    )
    if saved < LEAST_SAVING_PICO:
        return Priming(False, "it would save less than a cent, which is not worth the wait for another batch", saved)
    shared = f"{requests - 1:,} requests can read about {tokens:,} tokens that the first has written"
    return Priming(True, f"{shared}, which saves about ${saved / PICO_PER_USD:,.2f}", saved)


def _shared_usage(tokens: int, read_share: float, ttl: CacheTtl) -> Usage:
    """How the shared block of one request is expected to be billed, where a share of the rows reads it."""
    read = round(tokens * read_share)
    written = tokens - read
    return Usage(
        cache_read_input_tokens=read,
        ephemeral_5m_input_tokens=written if ttl == "5m" else 0,
        ephemeral_1h_input_tokens=written if ttl == "1h" else 0,
    )


def shared_cost(tokens: int, requests: int, rates: Rates, read_share: float, ttl: CacheTtl = "1h") -> int:
    """What the shared block costs over all requests, of which the first writes it."""
    others = rates.cost(_shared_usage(tokens, read_share, ttl))
    return rates.cost(_shared_usage(tokens, 0, ttl)) + (requests - 1) * others


def why_not_shared(cache: CacheShape, model: str, facts: ModelFacts | None, requests: int) -> str | None:
    """Why there is nothing that a first request could write and others read; None where there is, as far as known."""
    if not cache.shared_prefix_bytes:
        return "no block that all rows share is marked with `cache`"
    minimum = facts.cache_minimum if facts is not None else None
    if minimum is None:
        return f"from how many tokens on {model} caches is not known"
    tokens = tokens_in(cache.shared_prefix_bytes, facts)
    if tokens < minimum:
        return f"the shared block has about {tokens:,} tokens, and {model} caches from {minimum:,} on"
    if requests < 2:
        return "there is no other request to read what the first has written"
    return None


def _obstacle(
    cache: CacheShape, model: str, facts: ModelFacts | None, requests: int, deadline_s: float | None
) -> str | None:
    if cache.shared_prefix_bytes and cache.ttl["batch"] == "5m":
        return "a `cache: 5m` is gone before the other requests begin; in batches write `cache: 1h`"
    if deadline_s is not None and deadline_s < LEAST_DEADLINE_S:
        late = f"a deadline in less than {LEAST_DEADLINE_S / 3600:.0f} hours leaves no time for it"
        return why_not_shared(cache, model, facts, requests) or late
    return why_not_shared(cache, model, facts, requests)


class CacheBill(Struct, frozen=True):
    """What the cache cost, and what it saved, over the replies of a run.

    `cost_pico`: the written and the read tokens as billed. `saved_pico`: against paying for each of those tokens as
    plain input; negative where the cache cost more than it saved. `saved_unread_pico`: against writing them for every
    request, which is what unprimed batches come to at worst.
    """

    written_tokens: int
    read_tokens: int
    written_pico: int
    read_pico: int
    saved_pico: int
    saved_unread_pico: int

    @property
    def cost_pico(self) -> int:
        return self.written_pico + self.read_pico


def cache_saving(usage: Usage, prices: Prices, model: str, mode: Mode, *, requests: int = 1) -> CacheBill | None:
    """The cache's part of a bill, from the sums of a run; None where nothing was cached or the price is not known.

    Where prices go by the length of a prompt, the mean over `requests` decides, so the figure is then an estimate.
    """
    written, read = usage.cache_creation_input_tokens, usage.cache_read_input_tokens
    rates = prices.rates(model, mode, usage.prompt_tokens // max(1, requests))
    if rates is None or not (written or read):
        return None
    written_pico = (
        usage.ephemeral_5m_input_tokens * rates.cache_write_5m + usage.ephemeral_1h_input_tokens * rates.cache_write_1h
    )
    read_pico = read * rates.cache_read
    dearest = rates.cache_write_1h if usage.ephemeral_1h_input_tokens or mode == "batch" else rates.cache_write_5m
    return CacheBill(
        written_tokens=written,
        read_tokens=read,
        written_pico=written_pico,
        read_pico=read_pico,
        saved_pico=(written + read) * rates.input - written_pico - read_pico,
        saved_unread_pico=read * dearest - read_pico,
    )
