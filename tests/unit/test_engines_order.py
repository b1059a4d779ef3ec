"""One request first, the others when its reply has begun."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.engines import Prepared
from runner.engines.order import WarmUp
from runner.types import CacheTtl
from support.engine_fakes import HandClock, prepared

A, B = b"a" * 16, b"b" * 16


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def order(clock: HandClock) -> WarmUp:
    return WarmUp(clock, lambda _: True)


def step(row: int, prefix: bytes = A, ttl: CacheTtl | None = "5m") -> Prepared:
    item = prepared(row, prefix=prefix)
    return replace(item, request=replace(item.request, cache_ttl=ttl))


def test_the_first_leads_and_the_others_wait_until_it_has_begun(order: WarmUp) -> None:
    first, second, third = step(1), step(2), step(3)
    assert [order.place(item) for item in (first, second, third)] == ["lead", "wait", "wait"]
    assert order.waiting == 2
    assert list(order.begun(first.request)) == [second, third]
    assert order.place(second) == "follow"
    assert order.waiting == 0


def test_prefixes_do_not_wait_for_one_another(order: WarmUp) -> None:
    assert [order.place(step(1, A)), order.place(step(2, B)), order.place(step(3, b""))] == ["lead", "lead", "follow"]


def test_a_prefix_that_is_too_short_to_be_cached_makes_nobody_wait(clock: HandClock) -> None:
    order = WarmUp(clock, lambda _: False)
    assert [order.place(step(row)) for row in (1, 2)] == ["follow", "follow"]


def test_after_a_leader_that_failed_the_next_one_leads(order: WarmUp) -> None:
    first, second, third = step(1), step(2), step(3)
    for item in (first, second, third):
        order.place(item)
    assert list(order.failed(first.request)) == [second, third]
    assert [order.place(item) for item in (second, third)] == ["lead", "wait"]


def test_to_begin_twice_changes_nothing(order: WarmUp) -> None:
    first = step(1)
    order.place(first)
    order.begun(first.request)
    assert list(order.begun(first.request)) == []


@pytest.mark.parametrize(("ttl", "seconds"), [("5m", 300.0), (None, 300.0), ("1h", 3_600.0)])
def test_an_entry_lives_from_its_last_use(
    order: WarmUp, clock: HandClock, ttl: CacheTtl | None, seconds: float
) -> None:
    first = step(1, ttl=ttl)
    order.place(first)
    order.begun(first.request)
    for row in (2, 3, 4):
        clock.time += seconds - 1
        assert order.place(step(row, ttl=ttl)) == "follow"
    clock.time += seconds
    assert order.place(step(5, ttl=ttl)) == "lead"


def test_a_run_that_stops_gets_everything_back(order: WarmUp) -> None:
    items = [step(1, A), step(2, A), step(3, B), step(4, B)]
    for item in items:
        order.place(item)
    assert list(order.clear()) == [items[1], items[3]]
    assert order.waiting == 0


def test_memory_does_not_grow_with_the_prefixes(order: WarmUp) -> None:
    for row in range(10_000):
        item = step(row, row.to_bytes(16))
        assert order.place(item) == "lead"
        order.begun(item.request)
    assert len(order._readable_until) <= 4_096  # what is bounded is inside
