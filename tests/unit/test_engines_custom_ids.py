"""Custom ids: one way to write each, one way to read it, and nothing else is read."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engines.custom_ids import MAX_MARK, base36, custom_id, id_head, id_tail, read_custom_id
from runner.types import Step

marks = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=MAX_MARK)
parts = st.integers(0, 36**4 - 1)
steps = st.builds(Step, st.integers(0, 36**12 - 1), parts, parts, st.integers(0, 36**8 - 1))
numbers = st.integers(0, 36**8 - 1)


@given(marks, numbers, steps)
def test_what_is_written_is_read_back_and_the_api_admits_it(mark: str, number: int, step: Step) -> None:
    text = custom_id(mark, number, step)
    assert re.fullmatch("[a-zA-Z0-9_-]{1,64}", text)
    assert text == id_head(mark, number) + id_tail(step)
    assert read_custom_id(text) == (mark, number, step)


@given(st.one_of(st.text(), st.from_regex(r"[0-9a-zA-Z]+-[0-9a-z]+-[0-9a-z]+(-[tsr]\w{1,9})*", fullmatch=True)))
def test_what_is_read_is_written_in_one_way_only(text: str) -> None:
    read = read_custom_id(text)
    assert read is None or custom_id(*read) == text


@given(st.integers(0, 36**12))
def test_base_36_is_what_int_reads(number: int) -> None:
    assert int(base36(number), 36) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "row-17",
        "abc-1",
        "abc-01-2",
        "abc-1-02",
        "abc-1-2-t0",
        "abc-1-2-r1-t1",
        "ABC-1-2",
        "abc-1-2\n",
        "abc-1-\u0661",
        "abc-1-2-",
        "abc-1-" + "z" * 13,
        "a" * 21 + "-1-2",
    ],
)
def test_a_foreign_id_is_none_of_ours(text: str) -> None:
    assert read_custom_id(text) is None


@pytest.mark.parametrize(
    ("mark", "number", "step"),
    [
        ("", 1, Step(0)),
        ("a" * 21, 1, Step(0)),
        ("Aa", 1, Step(0)),
        ("a-b", 1, Step(0)),
        ("a", 36**8, Step(0)),
        ("a", 1, Step(36**12)),
        ("a", 1, Step(-1)),
        ("a", 1, Step(0, turn=36**4)),
        ("a", 1, Step(0, round=36**8)),
    ],
)
def test_what_no_id_can_hold_is_refused(mark: str, number: int, step: Step) -> None:
    with pytest.raises(ValueError, match="no custom id"):
        custom_id(mark, number, step)
