"""Histories: what a row may hold as a conversation, and how each mistake in one is told."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from runner.media.tokens import HIGH
from runner.planning.content import Sight
from runner.planning.history import BadHistory, past_messages
from support.media import picture

HELLO = {"role": "user", "content": "Hello"}


def read(value: Any) -> list[Any]:
    return [json.loads(message.encoded) for message in past_messages(value, Sight())]


def test_a_text_becomes_a_list_of_one_block_so_that_equal_conversations_have_equal_bytes() -> None:
    assert read([HELLO]) == read([{"content": [{"type": "text", "text": "Hello"}], "role": "user"}])


def test_blocks_pass_as_they_are() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"b": 1, "a": 2}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "3"}
    turns = [HELLO, {"role": "assistant", "content": [thought, call]}, {"role": "user", "content": [result]}]
    assert [message["content"] for message in read(turns)[1:]] == [[thought, call], [result]]
    assert all(message.weight.bound is not None for message in past_messages(turns, Sight()))


def test_what_bytes_do_not_bound_is_known_as_such() -> None:
    at = {"type": "url", "url": "https://example.org/a"}
    for kind, bound in (("image", HIGH.tokens), ("document", None), ("container_upload", None)):
        (message,) = past_messages([{"role": "user", "content": [{"type": kind, "source": at}]}], Sight())
        assert message.weight.bound == bound


def test_content_is_hashed_by_what_it_is_and_not_by_how_it_is_written() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(picture(40, 30)).decode()}
    (message,) = past_messages([{"role": "user", "content": [{"type": "image", "source": source}]}], Sight())
    digest = hashlib.sha256(picture(40, 30)).hexdigest()
    assert json.loads(message.seen)["content"] == [{"type": "image", "source": {"sha256": digest}}]
    assert (message.weight.bound, message.weight.images, message.weight.largest_edge) == (4, 1, 40)


def test_a_csv_column_may_hold_it_as_json() -> None:
    assert read(json.dumps([HELLO])) == read([HELLO])


@pytest.mark.parametrize("value", [None, [], (), "", "  ", "[]"])
def test_nothing_is_an_empty_conversation(value: Any) -> None:
    assert past_messages(value, Sight()) == []


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("hello", "expected a list of {role, content}, found a text that is no JSON: 'hello'"),
        ({"role": "user"}, "expected a list of {role, content}, found a mapping"),
        (7, "found the number 7"),
        (b"x", "found bytes"),
        (True, "found true"),
        (["Hello"], "item 0: expected {role, content}, found the text 'Hello'"),
        ([HELLO, {"content": "x"}], "item 1: `role` is missing"),
        ([{"role": "user"}], "item 0: `content` is missing"),
        (
            [{"role": "system", "content": "x"}],
            "item 0: the role must be `user` or `assistant`, found the text 'system'",
        ),
        ([{**HELLO, "name": "Ann"}], "item 0: the API takes `role` and `content` here, and no `name`"),
        ([{"role": "user", "content": None}], "item 0: `content` must be a text or a list of blocks, found null"),
        ([{"role": "user", "content": []}], "item 0: `content` is empty"),
        ([{"role": "user", "content": " "}], "item 0: the text is empty"),
        ([{"role": "user", "content": "\ud800"}], "item 0: the text holds half of a surrogate pair"),
        ([{"role": "user", "content": ["x"]}], "item 0, content 0: expected a block of the API, a mapping"),
        ([{"role": "user", "content": [{"text": "x"}]}], "item 0, content 0: a block needs its `type`"),
        ([{"role": "user", "content": [{"type": "text"}]}], "content 0: the `text` of a text block must be a text"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}],
            "`cache_control` is for the job to give",
        ),
        (
            [{"role": "user", "content": [{"type": "text", "text": "x", "citations": [{}]}]}],
            "content 0: the API takes no citations in a turn of the user",
        ),
        (
            [{"role": "user", "content": [{"type": "search_result", "content": [{"type": "text", "citations": [1]}]}]}],
            "content 0: the API takes no citations in a turn of the user",
        ),
        (
            [HELLO, {"role": "assistant", "content": [{"type": "document", "source": {}}]}],
            "item 1, content 0: the API takes a block of type `document` in a turn of the user only",
        ),
        (
            [{"role": "user", "content": [{"type": "thinking", "thinking": "", "signature": ""}]}],
            "the API takes a block of type `thinking` in a turn of the assistant only",
        ),
        ([{"role": "user", "content": [{"type": "image", "source": b"x"}]}], "item 0: it cannot be written as JSON"),
        (
            [{"role": "user", "content": [{"type": "image", "at": float("nan")}]}],
            "item 0: it cannot be written as JSON",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(value: Any, told: str) -> None:
    with pytest.raises(BadHistory) as raised:
        past_messages(value, Sight())
    assert told in str(raised.value)


def test_an_answer_may_have_citations() -> None:
    cited = {"type": "text", "text": "x", "citations": [{"type": "page_location"}]}
    assert read([HELLO, {"role": "assistant", "content": [cited]}])[1]["content"] == [cited]
