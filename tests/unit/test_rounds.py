"""Rounds: one number for what was asked again, whose order is the order of time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.rounds import (
    MAX_ROUND,
    Counter,
    Rounds,
    asked_again,
    first_round,
    is_first_request,
    most,
    step_words,
)
from runner.types import Step

COUNTERS: tuple[Counter, ...] = ("repairs", "longer", "models", "continued", "tools", "restarts")

rounds = st.builds(Rounds, **{counter: st.integers(0, most(counter)) for counter in COUNTERS})


@given(rounds)
def test_every_count_is_read_back(value: Rounds) -> None:
    assert Rounds.of(value.number) == value
    assert 0 <= value.number <= MAX_ROUND < 36**8, "it fits a custom id"


@given(rounds, st.sampled_from(COUNTERS))
def test_asking_again_comes_later_and_raises_one_counter(value: Rounds, counter: Counter) -> None:
    step = Step(3, 1, 2, value.number)
    if getattr(value, counter) == most(counter):
        with pytest.raises(ValueError, match=counter):
            asked_again(step, counter)
        return
    following = asked_again(step, counter)
    assert following > step
    before, after = Rounds.of(step.round), Rounds.of(following.round)
    raised = [name for name in COUNTERS if getattr(after, name) != getattr(before, name)]
    assert raised == [counter]


@given(st.integers(0, MAX_ROUND * 2))
def test_a_number_is_read_in_one_way_or_refused(number: int) -> None:
    try:
        value = Rounds.of(number)
    except ValueError:
        return
    assert value.number == number


@pytest.mark.parametrize("number", [1 << 28, 1 << 41, -1])
def test_spare_bits_are_no_round(number: int) -> None:
    with pytest.raises(ValueError, match=r"round|at most"):
        Rounds.of(number)


def test_the_places_of_the_counters_are_in_ledgers_and_in_open_batches() -> None:
    """To move one would misread both."""
    numbers = {counter: asked_again(Step(0), counter).round for counter in COUNTERS}
    assert numbers == {
        "repairs": 1,
        "longer": 64,
        "models": 1 << 10,
        "continued": 1 << 12,
        "tools": 1 << 20,
        "restarts": 1 << 31,
    }


@given(rounds)
def test_a_turn_begins_with_its_first_request(value: Rounds) -> None:
    step = Step(3, 0, 2, value.number)
    first = first_round(step)
    assert is_first_request(first)
    assert first <= step
    assert is_first_request(step) == (first == step)
    assert not is_first_request(Step(3, turn=1))


def test_a_step_is_named_in_words() -> None:
    assert step_words(Step(5)) == ""
    assert step_words(Step(5, round=2)) == "repair 2"
    assert step_words(Step(5, turn=1, sample=2)) == "sample 3, turn 2"
    value = Rounds(repairs=1, longer=2, models=1, continued=3, tools=4, restarts=1)
    assert step_words(Step(5, round=value.number)) == (
        "begun again (1), other model (1), larger limit (2), continued (3), tool round 4, repair 1"
    )
