"""Further requests: what it may cost at most that replies are asked about again.

Owns   an upper bound beside the estimate: as if every row needed all that its job allows.
Knows  requests and prices. Rows are seen once and never kept.

The run reserves each further request when it is leased, like any other; this figure only tells a person how far it may
go. Each is taken at the largest limit, of the dearest model that may be asked, behind as many replies to be mended as
there may be, each as long as the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

from runner.catalog.prices import Prices
from runner.planning.requests import CompiledJob
from runner.types import Mode, Request

REPAIR_TOKENS = 4_096
"""A generous bound of what a repair says: a few problems of some hundred characters (`replies.schema`), each at most
three bytes."""

_MODES: tuple[Mode, ...] = ("parallel", "batch")
_REMEMBERED = 4_096


class Further(Struct, frozen=True):
    """At most so many requests on top of the first ones, and pico-dollars; None where the cost is not known."""

    requests: int
    cost: Mapping[Mode, int | None]


class FurtherRequests:
    """Sums up requests one by one.

    `repairs`, `limits` and `models` are what a job allows: how often a reply is mended, the larger limits, the other
    models.
    """

    def __init__(
        self,
        compiled: CompiledJob,
        prices: Prices,
        *,
        repairs: int,
        limits: tuple[int, ...],
        models: tuple[str, ...],
    ) -> None:
        self._compiled = compiled
        self._prices = prices
        self._repairs = repairs
        self._max_tokens = max((compiled.max_tokens, *limits))
        self._models = (compiled.model, *models)
        self._each = repairs + len(limits) + len(models)
        self._requests = 0
        self._cost: dict[Mode, int | None] = dict.fromkeys(_MODES, 0)
        self._costs = lru_cache(_REMEMBERED)(self._costs_of)

    def add(self, request: Request) -> None:
        """Count one row's first request in."""
        if not self._each:
            return
        self._requests += self._each
        for mode, cost in self._costs(request.input_bound).items():
            so_far = self._cost[mode]
            self._cost[mode] = None if so_far is None or cost is None else so_far + cost

    def result(self) -> Further | None:
        """None where the job allows none."""
        return Further(self._requests, self._cost) if self._each else None

    def _costs_of(self, bound: int | None) -> Mapping[Mode, int | None]:
        if bound is not None:
            bound += self._repairs * (self._max_tokens + REPAIR_TOKENS)
        return {mode: self._cost_of(bound, mode) for mode in _MODES}

    def _cost_of(self, bound: int | None, mode: Mode) -> int | None:
        ttl = self._compiled.cache.ttl[mode]
        costs = [self._prices.bound(model, bound, self._max_tokens, ttl, mode) for model in self._models]
        known = [cost for cost in costs if cost is not None]
        return self._each * max(known) if len(known) == len(costs) else None
