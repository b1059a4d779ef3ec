"""The text and the output of a reply, whatever blocks it begins with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.replies.extract import has_text, text_of

THINKING = {"type": "thinking", "thinking": "", "signature": "s"}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def test_text_is_found_behind_thinking_and_joined() -> None:
    assert text_of([THINKING, text("a"), {"type": "server_tool_use"}, text("b")]) == "ab"


def test_a_reply_without_text_has_empty_text() -> None:
    assert text_of([]) == text_of([THINKING]) == ""


@pytest.mark.parametrize("block", [{"type": "text"}, {"type": "text", "text": None}, {"type": "text", "text": 5}])
def test_a_text_block_without_a_text_counts_as_none(block: dict[str, object]) -> None:
    assert text_of([block, text("a")]) == "a"


@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "thinking"])},
            optional={"text": st.sampled_from(["", " ", "\n\t", "a", " b ", None, 3, "\u2003"])},
        ),
        max_size=4,
    )
)
def test_there_is_text_where_the_text_is_more_than_white_space(content: list[dict[str, object]]) -> None:
    assert has_text(content) == bool(text_of(content).strip())
