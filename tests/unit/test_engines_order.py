"""One request first, the others when its reply has begun: for each prefix, and for those within it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runner.engines import Prepared
from runner.engines.order import PATIENCE_S, Order
from runner.types import CacheTtl, Prefix
from support.engine_fakes import HandClock, prepared

BYTES = 10_000
A, B = b"a" * 16, b"b" * 16


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def order(clock: HandClock) -> Order:
    return Order(clock)


def step(row: int, *digests: bytes, ttl: CacheTtl = "5m", size: int = BYTES) -> Prepared:
    return prepared(row, prefixes=tuple(Prefix(digest, size, ttl) for digest in digests or (A,)))


def of_document(row: int, document: int) -> Prepared:
    """A row with the prompt that all share, and a document."""
    return step(row, A, document.to_bytes(16))


def rows_of(steps: Sequence[Prepared]) -> list[int]:
    return [item.step.row for item in steps]


def test_the_first_leads_and_the_others_wait_until_it_has_begun(order: Order) -> None:
    first, second, third = step(1), step(2), step(3)
    assert [order.place(item) for item in (first, second, third)] == ["lead", "wait", "wait"]
    assert order.waiting == 2
    assert list(order.begun(first.request)) == [second, third]
    assert order.place(second) == "follow"
    assert order.waiting == 0


def test_prefixes_do_not_wait_for_one_another(order: Order) -> None:
    assert [order.place(step(1, A)), order.place(step(2, B)), order.place(prepared(3))] == ["lead", "lead", "follow"]


def test_a_prefix_that_is_too_short_to_be_cached_makes_nobody_wait(clock: HandClock) -> None:
    order = Order(clock, least_bytes=BYTES + 1)
    assert [order.place(step(row)) for row in (1, 2)] == ["follow", "follow"]


def test_after_a_leader_that_failed_the_next_one_leads(order: Order) -> None:
    first, second, third = step(1), step(2), step(3)
    for item in (first, second, third):
        order.place(item)
    assert list(order.failed(first.request)) == [second, third]
    assert [order.place(item) for item in (second, third)] == ["lead", "wait"]


def test_to_begin_twice_changes_nothing(order: Order) -> None:
    first = step(1)
    order.place(first)
    order.begun(first.request)
    assert list(order.begun(first.request)) == []


# -- prefixes within prefixes ----------------------------------------------------------------------------------------


def test_one_goes_first_of_all_then_one_for_each_document_then_the_rest(order: Order) -> None:
    items = [of_document(row, document=row // 3) for row in range(9)]
    assert [order.place(item) for item in items] == ["lead", *["wait"] * 8]
    freed = order.begun(items[0].request)
    assert rows_of(freed) == list(range(1, 9))
    assert [order.place(item) for item in freed] == [
        "follow", "follow", "lead", "wait", "wait", "lead", "wait", "wait",
    ]  # fmt: skip
    assert rows_of(order.begun(items[6].request)) == [7, 8], "each document's rows wait for their own leader"
    assert rows_of(order.begun(items[3].request)) == [4, 5]
    assert order.waiting == 0


def test_a_documents_leader_that_fails_holds_up_its_own_rows_alone(order: Order) -> None:
    items = [of_document(row, document=row // 2) for row in range(6)]
    order.place(items[0])
    order.begun(items[0].request)
    assert [order.place(item) for item in items[1:]] == ["follow", "lead", "wait", "lead", "wait"]
    assert rows_of(order.failed(items[2].request)) == [3]
    assert order.place(items[3]) == "lead"
    assert rows_of(order.begun(items[4].request)) == [5]


def test_a_document_that_is_too_short_waits_for_the_shared_prompt_only(clock: HandClock) -> None:
    # What is within a prefix is shorter, so only the longest can be long enough.
    order = Order(clock, least_bytes=100)
    first, second = (
        prepared(row, prefixes=(Prefix(A, 100, "5m"), Prefix(row.to_bytes(16), 120, "5m"))) for row in (1, 2)
    )
    assert [order.place(first), order.place(second)] == ["lead", "wait"]
    order.begun(first.request)
    assert order.place(second) == "lead"
    short = Order(clock, least_bytes=110)
    assert [short.place(first), short.place(second)] == ["lead", "lead"], "the prompt alone is not cached"


def test_a_document_that_can_be_read_needs_no_prompt(order: Order, clock: HandClock) -> None:
    def mixed(row: int) -> Prepared:
        return prepared(row, prefixes=(Prefix(A, BYTES, "5m"), Prefix(B, BYTES, "1h")))

    first = mixed(1)
    order.place(first)
    order.begun(first.request)
    clock.time = 400.0
    assert order.place(step(2, A)) == "lead", "the prompt is gone after five minutes"
    assert order.place(mixed(3)) == "follow"


# -- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ttl", "seconds"), [("5m", 290.0), ("1h", 3_590.0)])
@pytest.mark.parametrize("shared", [False, True])
def test_an_entry_lives_from_its_last_use_and_is_led_again_a_little_before_its_end(
    order: Order, clock: HandClock, ttl: CacheTtl, seconds: float, *, shared: bool
) -> None:
    prefixes = (Prefix(A, BYTES, ttl),)

    def next_step(row: int) -> Prepared:
        return prepared(row, prefixes=prefixes if shared else (Prefix(A, BYTES, ttl),))

    first = next_step(1)
    order.place(first)
    clock.time += 5.0
    order.begun(first.request)
    clock.time -= 5.0
    for row in (2, 3, 4):
        clock.time += seconds - 1
        item = next_step(row)
        assert order.place(item) == "follow"
        order.used(item.request, clock.time)
    clock.time += seconds
    late = [next_step(5), next_step(6)]
    assert [order.place(item) for item in late] == ["lead", "wait"], "led once, not written by each"


def test_a_request_that_got_no_reply_renews_nothing(order: Order, clock: HandClock) -> None:
    first = step(1)
    order.place(first)
    order.begun(first.request)
    clock.time = 289.0
    assert order.place(step(2)) == "follow"
    clock.time = 290.0
    assert order.place(step(3)) == "lead"


def test_a_reply_renews_from_when_its_request_left(order: Order, clock: HandClock) -> None:
    first, second = step(1), step(2)
    order.place(first)
    order.begun(first.request)
    clock.time = 100.0
    order.place(second)
    clock.time = 280.0
    order.used(second.request, 100.0)
    clock.time = 389.0
    assert order.place(step(3)) == "follow"
    clock.time = 390.0
    assert order.place(step(4)) == "lead"


def test_a_document_renews_the_prompt_before_it(order: Order, clock: HandClock) -> None:
    first = of_document(1, 1)
    order.place(first)
    order.begun(first.request)
    clock.time = 200.0
    order.used(first.request, 200.0)
    clock.time = 400.0
    assert order.place(of_document(2, 2)) == "lead"
    assert order.place(step(3, A)) == "follow"


def test_a_leader_that_takes_too_long_to_begin_is_not_waited_for(order: Order, clock: HandClock) -> None:
    first, second, third = step(1), step(2), step(3)
    clock.time = 7.0
    order.place(first)
    looks = [order.look_at]
    order.place(second)
    order.place(third)
    looks.append(order.look_at)
    clock.time = 7.0 + PATIENCE_S - 1
    assert list(order.late()) == []
    clock.time = 7.0 + PATIENCE_S
    assert looks == [None, 150.0], "nobody waits for it, then they do; not every leader has a moment of its own"
    assert list(order.late()) == [second, third]
    assert [order.place(item) for item in (second, third)] == ["lead", "wait"]
    order.used(first.request, 7.0)
    assert order.place(step(4)) == "follow", "it came after all"
    assert list(order.begun(second.request)) == [third]


# -- ends ------------------------------------------------------------------------------------------------------------


def test_a_run_that_stops_gets_everything_back(order: Order) -> None:
    items = [step(1, A), step(2, A), step(3, B), step(4, B)]
    for item in items:
        order.place(item)
    assert list(order.clear()) == [items[1], items[3]]
    assert order.waiting == 0


def test_memory_does_not_grow_with_the_prefixes(order: Order) -> None:
    for row in range(10_000):
        item = of_document(row, row)
        assert order.place(item) == "lead"
        order.begun(item.request)
        order.used(item.request, 0.0)
    assert len(order._readable_until) <= 4_096  # what is bounded is inside
    assert not order._leads
    assert not order._waiting
    assert order.place(step(10_000, A)) == "follow", "what is in use is not forgotten"
