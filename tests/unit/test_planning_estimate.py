"""Estimates: the upper figure is the run's own reservation, the expected one counts cache reads."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from runner.catalog.models import ModelFacts, snapshot_facts
from runner.catalog.price_list import prices_for_models
from runner.planning import estimate as estimate_module
from runner.planning.estimate import (
    BATCH_FRAMING_BYTES,
    BATCH_READ_SHARE,
    Cost,
    Estimate,
    Estimator,
    least_prefix_bytes,
    tokens_in,
)
from runner.planning.pieces import CompiledMessage, TextBlock, text_block
from runner.planning.requests import CacheShape, CompiledJob
from runner.templating import TemplateSet
from runner.types import Prefix, Request, Row, Usage

MODEL = "claude-sonnet-5-5"
PRICES = prices_for_models([MODEL], at=datetime(2026, 11, 22, tzinfo=UTC))
FACTS = snapshot_facts(MODEL)
NOT_CACHED = CacheShape(0, False, {"parallel": None, "batch": None})
PREFIX_BYTES = 27_000
CACHED = CacheShape(PREFIX_BYTES, False, {"parallel": "5m", "batch": "1h"})


def compiled(cache: CacheShape, model: str = MODEL) -> CompiledJob:
    return CompiledJob(
        name="job",
        mode="parallel",
        shared={"model": model, "max_tokens": 400},
        messages=(),
        betas=(),
        context={},
        schema=None,
        cache=cache,
    )


def request(size_bytes: int = 35_000, model: str = MODEL, bound: int | None = 40_000) -> Request:
    return Request(b"h", b"p", b"x" * size_bytes, model, 400, bound, "5m")


def estimate(cache: CacheShape, requests: int, facts: ModelFacts | None = FACTS, **options: Any) -> Estimate:
    estimator = Estimator(compiled(cache), PRICES, facts, **options)
    for _ in range(requests):
        estimator.add(request())
    return estimator.result()


def cost(usage: Usage, mode: Any = "parallel") -> int:
    pico = PRICES.cost(MODEL, usage, mode)
    assert pico is not None
    return pico


def test_nothing_costs_nothing() -> None:
    nothing = estimate(NOT_CACHED, 0)
    assert (nothing.requests, nothing.input_tokens, nothing.output_tokens) == (0, 0, 0)
    assert nothing.cost["parallel"] == Cost(0, 0)


def test_tokens_are_guessed_from_bytes_by_the_models_tokenizer() -> None:
    assert tokens_in(3_500, snapshot_facts("claude-haiku-4-5")) == 1_000
    assert tokens_in(3_500, snapshot_facts("claude-haiku-5-5")) == tokens_in(3_500, None) == 1_300


def test_the_upper_figure_is_the_sum_of_the_reservations() -> None:
    found = estimate(CACHED, 3)
    for mode, ttl in CACHED.ttl.items():
        bound = PRICES.bound(MODEL, 40_000, 400, ttl, mode)
        assert bound is not None
        assert found.cost[mode].upper == 3 * bound
    assert (found.input_tokens_upper, found.output_tokens_upper) == (120_000, 1_200)


def test_a_quarter_of_max_tokens_is_expected_until_replies_tell_better() -> None:
    assert estimate(NOT_CACHED, 2).output_tokens == 200
    assert estimate(NOT_CACHED, 2, output_tokens=12.4).output_tokens == 24


def test_without_a_cache_every_request_pays_its_input() -> None:
    tokens = tokens_in(35_000, FACTS)
    assert estimate(NOT_CACHED, 2).cost["parallel"].expected == 2 * cost(Usage(tokens, 100))


def test_a_cached_prefix_is_written_once_and_then_read() -> None:
    tokens, prefix = tokens_in(35_000, FACTS), tokens_in(PREFIX_BYTES, FACTS)
    write = Usage(tokens - prefix, 100, 0, prefix, 0)
    read = Usage(tokens - prefix, 100, prefix, 0, 0)
    assert estimate(CACHED, 3).cost["parallel"].expected == cost(write) + 2 * cost(read)


def test_in_batch_mode_only_a_share_of_the_prefix_is_read() -> None:
    tokens, prefix = tokens_in(35_000, FACTS), tokens_in(PREFIX_BYTES, FACTS)
    read = round(prefix * BATCH_READ_SHARE)
    first = Usage(tokens - prefix, 100, 0, 0, prefix)
    later = Usage(tokens - prefix, 100, read, 0, prefix - read)
    assert estimate(CACHED, 2).cost["batch"].expected == cost(first, "batch") + cost(later, "batch")


def test_a_prefix_below_the_models_minimum_is_not_cached() -> None:
    short = CacheShape(100, False, CACHED.ttl)
    assert estimate(short, 2).cost["parallel"].expected == estimate(NOT_CACHED, 2).cost["parallel"].expected


def test_a_prefix_is_thought_too_short_only_where_it_has_less_than_half_of_the_minimum() -> None:
    least = least_prefix_bytes(FACTS)
    assert FACTS is not None
    assert FACTS.cache_minimum is not None
    assert tokens_in(round(least), FACTS) == FACTS.cache_minimum // 2
    assert least_prefix_bytes(None) == 0
    assert least_prefix_bytes(replace(FACTS, cache_minimum=None)) == 0


def with_documents(*documents: str, facts: ModelFacts | None = FACTS) -> Estimate:
    """A row for each: a long prompt that all share, and the row's document, both cached."""
    template = TemplateSet.from_sources({"document": "{{ row.text }}"}).template("document")
    shared = {"model": MODEL, "max_tokens": 400, "system": [text_block("x" * PREFIX_BYTES, "5m")]}
    blocks = (TextBlock("document", template, "5m"), TextBlock("question", "Why?"))
    job = CompiledJob(
        name="job", mode="parallel", shared=shared, messages=[CompiledMessage("user", blocks)], betas=(), context={},
        schema=None, cache=CacheShape(PREFIX_BYTES, True, CACHED.ttl),
    )  # fmt: skip
    estimator = Estimator(job, PRICES, facts)
    for number, document in enumerate(documents):
        made = job.request(Row(str(number), number, {"text": document}))
        assert isinstance(made, Request)
        estimator.add(made)
    return estimator.result()


def test_a_document_is_written_by_its_first_row_and_read_by_the_others() -> None:
    one, two = "a" * 7_000, "b" * 7_000
    prompt = tokens_in(PREFIX_BYTES, FACTS)

    def parallel(*documents: str) -> int:
        expected = with_documents(*documents).cost["parallel"].expected
        assert expected is not None
        return expected

    new, again, other = parallel(one), parallel(one, one) - parallel(one), parallel(one, two) - parallel(one)
    rates = PRICES.rates(MODEL, "parallel")
    assert rates is not None
    assert other == new - prompt * (rates.cache_write_5m - rates.cache_read), "it reads the prompt, and writes itself"
    assert 0 < again < other / 3
    assert with_documents(one, two, one, one, two).row_prefixes == 2
    assert parallel(one, two, one) == parallel(one, one, two), "wherever they stand"


def test_a_document_that_is_too_short_is_plain_input() -> None:
    minimum = 100_000
    facts = replace(FACTS, cache_minimum=minimum) if FACTS is not None else None
    estimate = with_documents("a" * 7_000, "a" * 7_000, facts=facts)
    assert estimate.row_prefixes == 0
    assert estimate.cost["parallel"].expected == 2 * cost(Usage(estimate.input_tokens // 2, 100))


def test_more_prefixes_than_are_remembered_count_as_new() -> None:
    many = estimate_module._REMEMBERED_PREFIXES
    taken = estimate_module._Prefixes(FACTS, 0)
    for number in [*range(many + 1), many]:
        read, cached = taken.take(replace(request(), prefixes=(Prefix(number.to_bytes(16, "little"), 35_000, "5m"),)))
        assert (read, cached) == (0, tokens_in(35_000, FACTS))
    assert taken.new == many + 2
    assert taken.take(replace(request(), prefixes=(Prefix(bytes(16), 35_000, "5m"),)))[0] > 0


def test_the_expected_figure_never_passes_the_upper_one() -> None:
    for shape in (NOT_CACHED, CACHED, CacheShape(0, True, CACHED.ttl)):
        for price in estimate(shape, 5).cost.values():
            assert price.expected is not None
            assert price.upper is not None
            assert price.expected <= price.upper


def test_an_unknown_price_gives_no_cost() -> None:
    estimator = Estimator(compiled(NOT_CACHED, "claude-none"), PRICES, None)
    estimator.add(request(model="claude-none"))
    assert estimator.result().cost["parallel"] == Cost(None, None)
    assert Cost(None, None).expected_usd is None


def test_an_input_that_bytes_do_not_bound_has_no_upper_figure() -> None:
    estimator = Estimator(compiled(NOT_CACHED), PRICES, FACTS)
    estimator.add(request(bound=None))
    estimator.add(request())
    result = estimator.result()
    assert result.input_tokens_upper is None
    assert result.cost["parallel"].upper is None
    assert result.cost["parallel"].expected is not None


def test_costs_are_shown_rounded_up_to_the_cent() -> None:
    assert (Cost(1, 10**10 + 1).expected_usd, Cost(1, 10**10 + 1).upper_usd) == (Decimal("0.01"), Decimal("0.02"))


def batches(sizes: list[int], **most: int) -> int:
    estimator = Estimator(compiled(NOT_CACHED), PRICES, FACTS, **most)
    for size_bytes in sizes:
        estimator.add(request(size_bytes))
    return estimator.result().batches


def test_batches_are_counted_by_requests_and_by_bytes() -> None:
    assert batches([]) == 0
    assert batches([100] * 10, batch_max_requests=4) == 3
    assert batches([1_000] * 10, batch_max_bytes=3 * (1_000 + BATCH_FRAMING_BYTES)) == 4
    assert batches([1_000] * 10, batch_max_requests=2, batch_max_bytes=3 * (1_000 + BATCH_FRAMING_BYTES)) == 5
    assert batches([5_000, 100, 5_000], batch_max_bytes=2_000) == 3
