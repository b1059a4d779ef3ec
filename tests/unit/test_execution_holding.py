from __future__ import annotations

import pytest

from runner.events import HeldBack
from runner.execution.holding import HeldTime, held_of_all, held_words
from runner.spec.job import Limits
from support.engine_fakes import HandClock


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (HeldBack(None), ""),
        (HeldBack("requests", 3_000), "limited by the API: 3,000 requests a minute"),
        (HeldBack("input_tokens", 2_000_000), "limited by the API: 2,000,000 input tokens a minute"),
        (HeldBack("output_tokens", 400_000), "limited by the API: 400,000 output tokens a minute"),
        (HeldBack("requests", 100, own=True), "limited by `limits.requests_per_minute`: 100 requests a minute"),
        (HeldBack("connections", 90), "limited by the API: 90 requests at a time"),
        (HeldBack("connections", 50, own=True), "limited by `limits.max_concurrency`: 50 requests at a time"),
        (HeldBack("pause"), "waiting as the API asked"),
        (HeldBack("busy"), "the API is busy"),
        (HeldBack("unreachable"), "nothing answers at the API's address"),
    ],
)
def test_what_holds_back_is_said_in_few_words(event: HeldBack, words: str) -> None:
    assert held_words(event) == words


NOTHING, OWN_PART = HeldBack(None), HeldBack("connections", 50, own=True)


@pytest.mark.parametrize(
    ("told", "whole"),
    [
        ([], NOTHING),
        ([NOTHING, NOTHING], NOTHING),
        ([OWN_PART, NOTHING, NOTHING, NOTHING], HeldBack("connections", 200, own=True)),
        ([HeldBack("pause"), OWN_PART, OWN_PART], HeldBack("connections", 200, own=True)),
        ([HeldBack("requests", 25, own=True), NOTHING], HeldBack("requests", 100, own=True)),
        ([HeldBack("requests", 3_000), HeldBack("requests", 3_000)], HeldBack("requests", 3_000)),
        ([HeldBack("connections", 20), HeldBack("connections", 22)], HeldBack("connections", 42)),
        ([HeldBack("connections", 20), HeldBack("connections", 22), NOTHING], HeldBack("connections")),
    ],
)
def test_several_processes_are_held_back_by_what_most_of_them_say_of_the_whole(
    told: list[HeldBack], whole: HeldBack
) -> None:
    assert held_of_all(told, Limits(max_concurrency=200, requests_per_minute=100)) == whole


def test_what_held_back_longest_is_told_at_the_end() -> None:
    clock = HandClock()
    held = HeldTime(clock)
    for seconds, event in ((10, HeldBack("pause")), (60, HeldBack("requests", 3_000)), (5, HeldBack(None))):
        held.notify(event)
        clock.time += seconds
    assert held.words() == "limited by the API: 3,000 requests a minute"


def test_what_held_back_for_a_moment_is_not_worth_a_word() -> None:
    clock = HandClock()
    held = HeldTime(clock)
    held.notify(HeldBack("pause"))
    clock.time += 5
    held.notify(HeldBack(None))
    clock.time += 95
    assert held.words() is None
    assert HeldTime(clock).words() is None
