"""Estimating: what a job will cost, before anything is sent.

Owns   two figures a mode. The *upper* one is what can be spent at most, request by request, as the run itself
       reserves it. The *expected* one is a guess from bytes, and says so.
Knows  requests and prices. Rows are seen once and never kept, so memory does not grow with them.

How the expected figure is guessed
  * Input tokens from UTF-8 bytes, at `BYTES_PER_TOKEN`; of images and PDFs by the API's formulas (`media.tokens`).
  * Output tokens as a quarter of `max_tokens`, unless earlier replies of the job tell their mean.
  * Shared prefix above the model's cache minimum: one write, then reads. In batch mode only a share of the rows read
    it, the others write: docs quote 30 to 98 % (batch guide, "Using prompt caching"), of which the lower end is
    taken, and the upper one behind a priming batch.
  * Further turns hold what was said before, replies of that length among it; samples cost as much each.
  * A prefix with a row's own text in it is written by the first row that has it and read by the others, to the same
    shares; `_REMEMBERED_PREFIXES` different ones are remembered, and any further one counts as new each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from runner.catalog.api import MAX_BATCH_BYTES, MAX_BATCH_REQUESTS
from runner.catalog.models import ModelFacts
from runner.catalog.prices import Prices, usd_rounded_up
from runner.planning.requests import CompiledJob
from runner.planning.turns import LaterRequest, later_requests
from runner.types import Mode, Request, Row, Usage

_Way = Literal["parallel", "batch", "primed"]

BYTES_PER_TOKEN = 3.5
"""Bytes of UTF-8 text a token, for the older tokenizer: the API's glossary says about 3.5 English characters. Scripts
of three bytes a character have about one token a character, which is near the same."""
WIDE_TOKENIZER_FACTOR = 1.3
"""Models from 4.7 on make about 30 % more tokens of the same text (models overview)."""
EXPECTED_OUTPUT_SHARE = 0.25
"""Of `max_tokens`. An assumption, made so that a guess exists before the first trial; a trial's mean replaces it."""
BATCH_READ_SHARE = 0.3
PRIMED_READ_SHARE = 0.98
"""Of the rows of a batch, how many read the shared prefix: unprimed, and behind a priming batch."""
BATCH_FRAMING_BYTES = 64
"""About what a batch puts around a request: its `custom_id` and some JSON."""

_REMEMBERED_SIZES = 4_096
_REMEMBERED_PREFIXES = 50_000
"""At about 100 bytes each."""

_MODES: tuple[Mode, ...] = ("parallel", "batch")
_READ_SHARES: Mapping[_Way, float] = {"parallel": 1.0, "batch": BATCH_READ_SHARE, "primed": PRIMED_READ_SHARE}


class Cost(Struct, frozen=True):
    """Pico-dollars; None where the model's price is unknown (or, for `upper`, where bytes do not bound the input)."""

    expected: int | None
    upper: int | None

    @property
    def expected_usd(self) -> Decimal | None:
        """Rounded up to the cent, to be shown."""
        return usd_rounded_up(self.expected) if self.expected is not None else None

    @property
    def upper_usd(self) -> Decimal | None:
        """Rounded up to the cent, to be shown."""
        return usd_rounded_up(self.upper) if self.upper is not None else None


class Estimate(Struct, frozen=True):
    """All requests together. `input_tokens_upper` is None where bytes do not bound the input of some request.

    `primed`: what `cost` expects of batch mode supposes a priming batch. `batches` is how many batches there would be,
    without it, in `waves` one behind the other, one a turn. `row_prefixes`: how many different prefixes with text of
    rows are written; 0 where there are none.
    """

    requests: int
    input_tokens: int
    input_tokens_upper: int | None
    output_tokens: int
    output_tokens_upper: int
    cost: Mapping[Mode, Cost]
    primed: bool = False
    batches: int = 0
    row_prefixes: int = 0
    waves: int = 0
    tool_rounds: int = 0
    """How often a row may be asked again because it calls for tools. Only first requests are counted; what further ones
    hold is not known before, so nothing bounds the cost."""


def tokens_in(size_bytes: int, facts: ModelFacts | None) -> int:
    """About how many tokens a text of that many UTF-8 bytes has; the wide tokenizer where the model is not known."""
    wide = facts is None or facts.wide_tokenizer
    return round(size_bytes / BYTES_PER_TOKEN * (WIDE_TOKENIZER_FACTOR if wide else 1))


def least_prefix_bytes(facts: ModelFacts | None) -> float:
    """UTF-8 bytes of text below which a prefix is surely not cached; 0 where the model's minimum is not known.

    A guess of tokens from bytes may be off by some, hardly by half: what is wrongly thought to be cached costs a wait
    for one reply, what is wrongly thought not to be would cost a write a request.
    """
    minimum = facts.cache_minimum if facts is not None else None
    return 0.0 if minimum is None else minimum / 2 / tokens_in(1_000_000, facts) * 1_000_000


class Estimator:
    """Sums up requests one by one.

    `facts` are what is known of the model, `output_tokens` the mean length of a reply where one has been measured, and
    the two sizes what a batch may hold. Each row is asked `samples` times.
    """

    def __init__(
        self,
        compiled: CompiledJob,
        prices: Prices,
        facts: ModelFacts | None,
        *,
        output_tokens: float | None = None,
        samples: int = 1,
        batch_max_requests: int = MAX_BATCH_REQUESTS,
        batch_max_bytes: int = MAX_BATCH_BYTES,
        tool_rounds: int = 0,
    ) -> None:
        self._compiled = compiled
        self._prices = prices
        self._facts = facts
        expected = compiled.max_tokens * EXPECTED_OUTPUT_SHARE if output_tokens is None else output_tokens
        self._reply_tokens = max(1, round(expected))
        self._prefix_tokens = self._cached_prefix_tokens()
        self._prefixes = _Prefixes(facts, len(compiled.shared_prefixes))
        self._tool_rounds = tool_rounds
        self._requests = 0
        self._input_tokens = 0
        self._input_upper: int | None = 0
        self._expected: dict[_Way, int | None] = dict.fromkeys(_READ_SHARES, 0)
        self._upper: dict[Mode, int | None] = dict.fromkeys(_MODES, 0)
        self._batch_max_requests, self._batch_max_bytes = batch_max_requests, batch_max_bytes
        self._batches: list[_Batches] = []
        self._samples = samples
        # Rows of one length cost the same, and most rows have the length of some other row.
        self._costs = lru_cache(_REMEMBERED_SIZES)(self._costs_of)

    @property
    def most_input_tokens(self) -> int | None:
        """The longest prompt that the model reads; None where it is not known."""
        return self._facts.max_input_tokens if self._facts is not None else None

    def add_row(self, row: Row, request: Request) -> int:
        """Count a row in: its first request and those of its further turns, once for each sample. Returns about how
        many tokens its longest prompt has."""
        later = later_requests(self._compiled, row, request, round(self._reply_tokens * BYTES_PER_TOKEN))
        longest = 0
        for _ in range(self._samples):
            longest = self.add(request)
            for turn, one in enumerate(later, 1):
                longest = self._add_later(turn, one, request)
        return longest

    def _add_later(self, turn: int, later: LaterRequest, first: Request) -> int:
        """Of what was said before it counts as read from the cache what all rows share; a breakpoint behind a turn
        saves more."""
        cached, model, max_tokens = self._prefix_tokens, self._compiled.model, self._compiled.max_tokens
        text_bytes = later.size_bytes - first.silent_bytes
        self._of_turn(turn).add(later.size_bytes + BATCH_FRAMING_BYTES)
        return self._count(text_bytes, first.media_tokens, later.input_bound, model, max_tokens, cached, cached)

    def _of_turn(self, turn: int) -> _Batches:
        """The batches of a turn: they can be made once those of the turn before have ended."""
        while len(self._batches) <= turn:
            self._batches.append(_Batches(self._batch_max_requests, self._batch_max_bytes))
        return self._batches[turn]

    def add(self, request: Request) -> int:
        """Count one request in; returns about how many tokens its prompt has."""
        text_bytes = len(request.body) - request.silent_bytes
        cached = self._prefix_tokens
        read = cached if self._requests else 0
        if self._compiled.row_prefixes:
            read, cached = self._prefixes.take(request)
        self._of_turn(0).add(len(request.body) + BATCH_FRAMING_BYTES)
        return self._count(
            text_bytes, request.media_tokens, request.input_bound, request.model, request.max_tokens, read, cached
        )

    def _count(
        self, text_bytes: int, media: int, bound: int | None, model: str, max_tokens: int, read: int, cached: int
    ) -> int:
        tokens, upper, expected = self._costs(text_bytes, media, bound, model, max_tokens, read, cached)
        self._requests += 1
        self._input_tokens += tokens
        self._input_upper = _sum(self._input_upper, bound)
        for mode, pico in upper.items():
            self._upper[mode] = _sum(self._upper[mode], pico)
        for way, pico in expected.items():
            self._expected[way] = _sum(self._expected[way], pico)
        return tokens

    def _costs_of(
        self, text_bytes: int, media_tokens: int, bound: int | None, model: str, max_tokens: int, read: int, cached: int
    ) -> tuple[int, Mapping[Mode, int | None], Mapping[_Way, int | None]]:
        """Input tokens, and what a request of that size costs at most and as expected, with so many tokens of it cached
        and so many of these read where all goes well."""
        tokens = max(tokens_in(text_bytes, self._facts) + media_tokens, cached)
        ttl = self._compiled.cache.ttl
        upper = {mode: self._prices.bound(model, bound, max_tokens, ttl[mode], mode) for mode in _MODES}
        expected = {way: self._expected_cost(tokens, way, read, cached) for way in _READ_SHARES}
        return tokens, upper, expected

    def result(self, *, primed: bool = False) -> Estimate:
        """The estimate of all that was added. `primed`: as batch mode it expects a run that primes."""
        batch: _Way = "primed" if primed else "batch"
        return Estimate(
            requests=self._requests,
            input_tokens=self._input_tokens,
            input_tokens_upper=None if self._tool_rounds else self._input_upper,
            output_tokens=self._requests * self._reply_tokens,
            output_tokens_upper=self._requests * self._compiled.max_tokens * (1 + self._tool_rounds),
            cost={
                "parallel": Cost(self._expected["parallel"], self._bound("parallel")),
                "batch": Cost(self._expected[batch], self._bound("batch")),
            },
            primed=primed,
            batches=sum(batches.count for batches in self._batches),
            waves=len(self._batches),
            row_prefixes=self._prefixes.new,
            tool_rounds=self._tool_rounds,
        )

    def _bound(self, mode: Mode) -> int | None:
        return None if self._tool_rounds else self._upper[mode]

    def _cached_prefix_tokens(self) -> int:
        """Tokens of the shared prefix; 0 where it is too short to be cached, or the model's minimum is not known."""
        minimum = self._facts.cache_minimum if self._facts is not None else None
        tokens = tokens_in(self._compiled.cache.shared_prefix_bytes, self._facts)
        return tokens if minimum is not None and tokens >= minimum else 0

    def _expected_cost(self, tokens: int, way: _Way, read: int, cached: int) -> int | None:
        mode: Mode = "parallel" if way == "parallel" else "batch"
        read = round(read * _READ_SHARES[way])
        written = cached - read
        one_hour = self._compiled.cache.ttl[mode] == "1h"
        usage = Usage(
            input_tokens=tokens - cached,
            output_tokens=self._reply_tokens,
            cache_read_input_tokens=read,
            ephemeral_5m_input_tokens=0 if one_hour else written,
            ephemeral_1h_input_tokens=written if one_hour else 0,
        )
        return self._prices.cost(self._compiled.model, usage, mode)


class _Prefixes:
    """What of a request has been in a request before it, where rows have cached prefixes of their own."""

    def __init__(self, facts: ModelFacts | None, shared: int) -> None:
        self._facts = facts
        self._shared = shared
        self._minimum = (facts.cache_minimum if facts is not None else None) or 0
        self._known: set[bytes] = set()
        self.new = 0
        """Prefixes that were not known; the first `shared` of a request are every row's and do not count."""

    def take(self, request: Request) -> tuple[int, int]:
        """Tokens up to the last prefix that is known, and up to the last that is cached; takes note of all of them."""
        read = cached = 0
        for place, prefix in enumerate(request.prefixes):
            tokens = tokens_in(prefix.size_bytes, self._facts)
            if tokens < self._minimum:
                continue
            cached = tokens
            digest = prefix.digest[:8]
            if digest in self._known:
                read = tokens
                continue
            self.new += place >= self._shared
            if len(self._known) < _REMEMBERED_PREFIXES:
                self._known.add(digest)
        return read, cached


class _Batches:
    """How many batches requests fill, taken in their order."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._requests = self._bytes = self.count = 0

    def add(self, size_bytes: int) -> None:
        full = self._requests == self._max_requests or self._bytes + size_bytes > self._max_bytes
        if full or not self.count:
            self.count += 1
            self._requests = self._bytes = 0
        self._requests += 1
        self._bytes += size_bytes


def _sum(total: int | None, part: int | None) -> int | None:
    return total + part if total is not None and part is not None else None
