"""A streamed reply equals the one that was not streamed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.message import parse_reply
from runner.providers.stream import StreamBroken, StreamedMessage


def sse(*events: dict[str, Any], newline: str = "\n") -> bytes:
    lines = "".join(f"event: {event['type']}{newline}data: {json.dumps(event)}{newline}{newline}" for event in events)
    return lines.encode()


def start(**usage: Any) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 7, "output_tokens": 1, "cache_read_input_tokens": 3, **usage},
    }  # fmt: skip
    return {"type": "message_start", "message": message}


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, *parts: str) -> list[dict[str, Any]]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": part} for part in parts))


def end(stop_reason: str = "end_turn", output_tokens: int = 9, **usage: Any) -> list[dict[str, Any]]:
    delta = {"stop_reason": stop_reason, "stop_sequence": None, "container": None}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": output_tokens, **usage}},
        {"type": "message_stop"},
    ]


def assemble(*chunks: bytes) -> StreamedMessage:
    message = StreamedMessage()
    for chunk in chunks:
        message.feed(chunk)
    return message


def message_of(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(assemble(sse(*events)).body())
    return value


def test_text_and_usage_come_out_as_one_message() -> None:
    message = message_of([start(), {"type": "ping"}, *text(0, "Hel", "lo"), *end(input_tokens=8)])
    assert message["content"] == [{"type": "text", "text": "Hello"}]
    assert message["usage"] == {"input_tokens": 8, "output_tokens": 9, "cache_read_input_tokens": 3}
    assert message["stop_reason"] == "end_turn"
    assert "container" not in message
    assert parse_reply(json.dumps(message).encode()).usage.output_tokens == 9


def test_a_count_that_is_null_at_the_end_keeps_what_the_start_said() -> None:
    assert (
        message_of([start(), *text(0, "x"), *end(cache_read_input_tokens=None)])["usage"]["cache_read_input_tokens"]
        == 3
    )


def test_thinking_its_signature_and_citations_are_kept() -> None:
    thinking = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "a"},
        {"type": "thinking_delta", "thinking": "b"},
        {"type": "signature_delta", "signature": "sig"},
    )
    cited = block(
        1,
        {"type": "text", "text": "", "citations": None},
        {"type": "citations_delta", "citation": {"n": 1}},
        {"type": "text_delta", "text": "so"},
        {"type": "citations_delta", "citation": {"n": 2}},
    )
    assert message_of([start(), *thinking, *cited, *end()])["content"] == [
        {"type": "thinking", "thinking": "ab", "signature": "sig"},
        {"type": "text", "text": "so", "citations": [{"n": 1}, {"n": 2}]},
    ]


def test_a_tools_input_is_put_together_from_its_pieces() -> None:
    pieces = [
        {"type": "input_json_delta", "partial_json": part} for part in ("", '{"a": 1', "23456789012345678901", "}")
    ]
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    assert message_of([start(), *block(0, tool, *pieces), *end("tool_use")])["content"][0]["input"] == {
        "a": 123456789012345678901
    }
    assert message_of([start(), *block(0, tool), *end("tool_use")])["content"][0]["input"] == {}
    assert message_of([start(), *block(0, tool, *pieces[:2]), *end("max_tokens")])["content"][0]["input"] == {}


def test_a_refusal_keeps_its_details() -> None:
    delta = {"stop_reason": "refusal", "stop_sequence": None, "stop_details": {"type": "refusal", "category": "cyber"}}
    events = [
        start(),
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    assert message_of(events)["stop_details"] == {"type": "refusal", "category": "cyber"}


def test_line_separators_of_unicode_are_ordinary_characters() -> None:
    raw = json.dumps("a\u2028b\u0085c\rd", ensure_ascii=False).encode()
    data = sse(start()) + sse(*text(0, "@@")).replace(b'"@@"', raw) + sse(*end())
    assert json.loads(assemble(data).body())["content"][0]["text"] == "a\u2028b\u0085c\rd"


def test_a_lone_surrogate_survives() -> None:
    data = sse(start(), *text(0, "cut \ud83d"), *end())
    assert parse_reply(assemble(data).body()).content[0]["text"] == "cut \ud83d"


def test_it_has_begun_with_the_first_event_and_is_complete_with_the_last() -> None:
    message = StreamedMessage()
    seen = []
    for events in ([], [{"type": "ping"}], [start()], [*text(0, "x"), *end()[:1]], [{"type": "message_stop"}]):
        message.feed(sse(*events))
        seen.append((message.begun, message.complete))
        if not message.complete:
            with pytest.raises(StreamBroken):
                message.body()
    assert seen == [(False, False), (False, False), (True, False), (True, False), (True, True)]


def test_an_error_event_ends_it() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    message = assemble(sse(start(), error), sse(*text(0, "x"), *end()))
    assert message.error == error
    assert not message.complete


def test_events_of_unknown_types_are_passed_over_and_unknown_deltas_are_not() -> None:
    assert message_of([start(), {"type": "weather", "data": 1}, *text(0, "x"), *end()])["content"][0]["text"] == "x"
    with pytest.raises(StreamBroken, match="unknown type 'smell_delta'"):
        assemble(sse(start(), *block(0, {"type": "text", "text": ""}, {"type": "smell_delta", "smell": "x"})))


@pytest.mark.parametrize(
    "events",
    [
        text(0, "x"),
        end(),
        [{"type": "message_stop"}],
        [start(), *text(1, "x")],
        [start(), *text(0, "x")[:2], *end()],
        [start(), {"type": "content_block_delta", "index": 4, "delta": {"type": "text_delta", "text": "x"}}],
        [start(), {"type": "content_block_stop", "index": 0}],
        [{"type": "message_start", "message": {"content": None}}],
        [{"type": "message_start"}],
        [{"no": "type"}],
    ],
)
def test_events_out_of_order_are_no_message(events: list[dict[str, Any]]) -> None:
    data = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    with pytest.raises(StreamBroken):
        assemble(data).body()


@pytest.mark.parametrize(
    "data",
    [
        b"data: not json\n\n",
        b"data: [1]\n\n",
        b"data: NaN\n\n",
        b"data: \xff\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_data_that_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(StreamBroken):
        assemble(data)


@given(st.data(), st.sampled_from(["\n", "\r\n"]))
def test_where_the_bytes_are_cut_does_not_matter(data: st.DataObject, newline: str) -> None:
    whole = sse(start(), *text(0, "héllo ", "wörld 🙂"), *text(1, "", "z"), *end(), newline=newline)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=30)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert assemble(*pieces).body() == assemble(whole).body()


@given(st.integers(0, 10_000))
def test_a_stream_that_is_cut_short_is_never_complete(at: int) -> None:
    whole = sse(start(), *text(0, "hello"), *end())
    cut = whole[: min(at, len(whole) - 2)]
    assert not assemble(cut).complete
