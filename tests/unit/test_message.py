"""Reading the API's message object: what is no message is refused before it reaches the ledger."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runner.message import MAX_TOKENS, parse_reply, parse_usage, reply_of
from runner.types import Usage


def message(**fields: Any) -> bytes:
    whole = {"type": "message", "id": "msg_1", "model": "m", "stop_reason": "end_turn", "content": [], "usage": {}}
    return json.dumps({**whole, **fields}).encode()


def test_a_message_is_read_with_its_unknown_blocks() -> None:
    reply = parse_reply(message(content=[{"type": "new"}], usage={"input_tokens": 3}), "req_1")
    assert (reply.message_id, reply.request_id, reply.model, reply.stop_reason) == ("msg_1", "req_1", "m", "end_turn")
    assert (reply.content, reply.usage) == ([{"type": "new"}], Usage(input_tokens=3))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        message(type="error"),
        message(content=None),
        message(content=["text"]),
        message(usage=None),
        message(stop_reason=1),
        message(stop_details=[]),
        b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        parse_reply(body)


@pytest.mark.parametrize("count", [-1, 1.5, True, "3", [], MAX_TOKENS + 1, 2**64])
def test_a_count_that_no_request_can_have_is_refused(count: object) -> None:
    """What is billed by it would not fit the ledger's integers, and the run could not be opened again."""
    with pytest.raises(ValueError, match="output_tokens"):
        parse_usage({"output_tokens": count})


def test_cache_writes_are_split_by_their_time_to_live() -> None:
    split = {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 5}
    assert parse_usage({"cache_creation_input_tokens": 7, "cache_creation": split}) == Usage(0, 0, 0, 2, 5)
    assert parse_usage({"cache_creation_input_tokens": 7}) == Usage(0, 0, 0, 7, 0)
    assert parse_usage({"input_tokens": None, "cache_creation": None}) == Usage()


def test_a_decoded_message_is_read_as_its_bytes_are() -> None:
    body = message(content=[{"type": "text", "text": "x"}], stop_details={"type": "refusal"}, stop_reason="refusal")
    assert reply_of(json.loads(body), "req_1") == parse_reply(body, "req_1")
