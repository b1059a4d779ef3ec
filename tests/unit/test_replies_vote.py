"""Votes: which value wins, with which share, and that nothing but the replies decides it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.replies.vote import Vote, majority, value_of


def vote(*values: Any, asked: int | None = None) -> Vote:
    found = majority({number: {"label": value} for number, value in enumerate(values)}, "label", asked or len(values))
    assert found is not None
    return found


def test_the_majority_wins_with_its_share() -> None:
    assert vote("a", "b", "b", asked=5).to_dict() == {
        "field": "label",
        "value": "b",
        "share": 2 / 3,
        "counts": {"b": 2, "a": 1},
        "samples": 3,
        "asked": 5,
        "tie": False,
    }


def test_of_equal_votes_the_earliest_sample_s_value_wins_and_the_tie_is_told() -> None:
    found = vote("b", "a", "a", "b", "c")
    assert (found.value, found.sample, found.share, found.tie) == ("b", 0, 0.4, True)
    assert list(found.counts) == ["b", "a", "c"]


def test_the_record_is_that_of_the_first_sample_that_said_so() -> None:
    assert vote("a", "b", "b").sample == 1


def test_nobody_voted() -> None:
    assert majority({}, "label", 3) is None


def test_values_are_the_same_where_their_json_is() -> None:
    assert vote(1, True, 1.0, "1").counts == {"1": 1, "true": 1, "1.0": 1, '"1"': 1}
    assert vote({"x": 1, "y": 2}, {"y": 2, "x": 1}).counts == {'{"x": 1, "y": 2}': 2}
    assert vote(None, "null").counts == {"null": 1, '"null"': 1}


@pytest.mark.parametrize(
    ("output", "field", "value"),
    [
        ({"label": "a"}, "label", "a"),
        ({"score": 1}, "label", None),
        ("42", "output", "42"),
        ({"a": 1}, "output", {"a": 1}),
        ({"output": 7}, "output", 7),
        ("text", "label", None),
    ],
)
def test_what_an_output_says_in_a_field(output: Any, field: str, value: Any) -> None:
    assert value_of(output, field) == value


values = st.one_of(st.integers(-2, 2), st.booleans(), st.sampled_from(["a", "b", "1"]), st.none())


@given(st.lists(values, min_size=1, max_size=9))
def test_no_value_has_more_votes_than_the_winner_and_all_votes_count(said: list[Any]) -> None:
    found = vote(*said)
    assert sum(found.counts.values()) == len(said)
    assert max(found.counts.values()) == round(found.share * len(said))
    assert found.tie == (list(found.counts.values()).count(max(found.counts.values())) > 1)
    assert said[found.sample] is found.value or said[found.sample] == found.value
