from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.simulator.models import card_of
from runner.simulator.prompt import Prompt, echo_of, read_prompt

CARD = card_of("claude-haiku-5-5")
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
BASE: dict[str, Any] = {
    "model": CARD.id,
    "max_tokens": 100,
    "system": [{"type": "text", "text": "Be brief."}],
    "tools": [{"name": "a", "input_schema": {"type": "object"}}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}],
}


def read(**changes: Any) -> Prompt:
    return read_prompt(BASE | changes, CARD)


@given(st.lists(WORDS, min_size=1, max_size=4), WORDS, st.booleans())
def test_text_never_counts_for_more_tokens_than_the_body_has_bytes(texts: list[str], system: str, flat: bool) -> None:
    content = [{"type": "text", "text": words} for words in texts]
    messages = (
        [{"role": "user", "content": words} for words in texts] if flat else [{"role": "user", "content": content}]
    )
    body = {"model": CARD.id, "max_tokens": 1, "system": system, "messages": messages}
    assert read_prompt(body, CARD).tokens <= len(orjson.dumps(body))


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-haiku-4-5"])
@given(size=st.integers(min_value=0, max_value=10**6))
def test_tokens_and_bytes_are_each_others_inverse_bound(model: str, size: int) -> None:
    card = card_of(model)
    assert card.tokens(size) <= size
    assert card.tokens(card.bytes_within(size)) <= size < card.tokens(card.bytes_within(size) + 1)


@pytest.mark.parametrize(
    "change",
    [
        {"stream": True},
        {"metadata": {"user_id": "u"}},
        {"service_tier": "standard_only"},
        {"cache_control": {"type": "ephemeral"}},
        {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
        {"tools": [{**BASE["tools"][0], "cache_control": {"type": "ephemeral"}}]},
    ],
)
def test_what_the_model_does_not_see_changes_no_digest(change: dict[str, Any]) -> None:
    assert read(**change).digest == read().digest


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 101},
        {"system": "Be brief!"},
        {"tools": []},
        {"stop_sequences": ["x"]},
        {"output_config": {"effort": "low"}},
        {"messages": [{"role": "user", "content": "Why not?"}]},
    ],
)
def test_what_the_model_sees_changes_the_digest(change: dict[str, Any]) -> None:
    assert read(**change).digest != read().digest


def test_text_moved_from_one_block_to_the_next_changes_the_digest() -> None:
    def split(*texts: str) -> str:
        content = [{"type": "text", "text": words} for words in texts]
        return read(messages=[{"role": "user", "content": content}]).digest

    assert len({split("ab", "c"), split("a", "bc"), split("abc")}) == 3


def test_the_echo_is_of_the_last_user_turn() -> None:
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "reply"},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "system", "content": "note"},
    ]
    assert read(messages=turns).echo == echo_of("one\n\ntwo")


def test_attachments_count_as_the_api_counts_them_and_not_by_their_bytes() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/x.png"}}
    two_pages = "JVBERi0gL1R5cGUgL1BhZ2UgL1R5cGUgL1BhZ2U="  # "%PDF- /Type /Page /Type /Page"
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": two_pages}}
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x" * 400}}
    tokens = [read(messages=[{"role": "user", "content": [block]}]).tokens for block in (image, pdf, plain)]
    without = read(messages=[{"role": "user", "content": [{"type": "text", "text": ""}]}]).tokens
    assert [count - without for count in tokens] == [4_784, 9_928, 130]
