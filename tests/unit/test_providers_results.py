"""Reading the lines of a batch's results: against the SDK's own decoder, and against anything at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.messages import MessageBatchIndividualResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.clock import SystemClock
from runner.message import parse_reply
from runner.providers import BatchLine
from runner.providers.results import read_result
from runner.types import Failure
from support.engine_fakes import body_of

MESSAGE = json.loads(body_of("hello"))


def line(result: Any, custom_id: Any = "k-1") -> bytes:
    return json.dumps({"custom_id": custom_id, "result": result}).encode()


def errored(kind: str, message: str = "no", **error: Any) -> bytes:
    inner = {"type": kind, "message": message, **error}
    return line({"type": "errored", "error": {"type": "error", "error": inner, "request_id": "req_9"}})


def failure_of(read: BatchLine) -> Failure:
    assert read.reply is None
    assert read.failure is not None
    return read.failure


def test_a_succeeded_line_is_read_as_its_message_would_be() -> None:
    read = read_result(line({"type": "succeeded", "message": MESSAGE}))
    assert read == BatchLine("k-1", "succeeded", parse_reply(body_of("hello")))
    assert type(read) is BatchLine


@pytest.mark.parametrize(
    ("kind", "expected", "retryable", "scope"),
    [
        ("invalid_request_error", "invalid_request_error", False, "row"),
        ("request_too_large", "too_large", False, "row"),
        ("authentication_error", "authentication_error", False, "job"),
        ("permission_error", "permission_error", False, "job"),
        ("not_found_error", "not_found_error", False, "job"),
        ("billing_error", "billing_error", False, "job"),
        ("rate_limit_error", "rate_limit_error", True, "row"),
        ("timeout_error", "timeout_error", True, "row"),
        ("api_error", "api_error", True, "row"),
        ("overloaded_error", "overloaded_error", True, "row"),
        ("brand_new_error", "api_error", True, "row"),
    ],
)
def test_an_error_is_classed_by_its_type_and_is_never_billed(
    kind: str, expected: str, retryable: bool, scope: str
) -> None:
    read = read_result(errored(kind))
    failure = failure_of(read)
    assert (read.end, read.request_id, failure.request_id) == ("errored", "req_9", "req_9")
    assert (failure.kind, failure.retryable, failure.scope) == (expected, retryable, scope)
    assert (failure.may_be_billed, failure.http_status, failure.message) == (False, None, "no")


@pytest.mark.parametrize(
    "data",
    [
        errored("invalid_request_error", "Your credit balance is too low to access the API."),
        errored("rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}),
    ],
)
def test_money_that_is_gone_is_the_jobs_affair(data: bytes) -> None:
    failure = failure_of(read_result(data))
    assert (failure.kind, failure.scope, failure.retryable) == ("billing_error", "job", False)


def test_a_file_that_is_gone_is_the_rows_affair() -> None:
    failure = failure_of(read_result(errored("not_found_error", "File not found: file_1")))
    assert (failure.kind, failure.scope) == ("not_found_error", "row")


@pytest.mark.parametrize("error", [None, [], {}, {"type": "error"}, {"type": "error", "error": {"type": 5}}])
def test_an_error_of_an_unknown_shape_may_be_tried_again(error: Any) -> None:
    failure = failure_of(read_result(line({"type": "errored", "error": error})))
    assert (failure.kind, failure.retryable, failure.may_be_billed) == ("api_error", True, False)


def test_a_credential_in_a_message_is_taken_out() -> None:
    failure = failure_of(read_result(errored("invalid_request_error", "key s3cret here"), ("s3cret",)))
    assert failure.message == "key [redacted] here"


@pytest.mark.parametrize("end", ["expired", "canceled"])
def test_what_was_not_processed_may_be_sent_again(end: str) -> None:
    read = read_result(line({"type": end}))
    failure = failure_of(read)
    assert (read.end, failure.kind, failure.retryable, failure.may_be_billed) == (end, end, True, False)


@pytest.mark.parametrize(
    "message", [None, "text", {}, MESSAGE | {"content": None}, MESSAGE | {"usage": {"output_tokens": -1}}]
)
def test_a_message_that_cannot_be_read_is_paid_and_not_tried_again(message: Any) -> None:
    read = read_result(line({"type": "succeeded", "message": message}))
    failure = failure_of(read)
    assert (read.end, failure.kind) == ("errored", "unexpected_reply")
    assert (failure.retryable, failure.may_be_billed) == (False, True)


def test_a_text_cut_inside_an_emoji_is_read() -> None:
    data = line({"type": "succeeded", "message": json.loads(body_of("half \\ud83d"))})
    assert b"\\ud83d" in data
    read = read_result(data)
    assert read.reply is not None
    assert read.reply.content[0]["text"] == "half \ud83d"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"7",
        b'"custom_id"',
        b"[]",
        b"{}",
        b'{"custom_id":"a"}',
        b'{"custom_id":"a","result":[]}',
        b'{"custom_id":"a","result":null}',
        b'{"custom_id":"a","result":{}}',
        line({"type": "paused"}),
        line({"type": None}),
        line({"type": ["succeeded"]}),
        line({"type": "expired"}, custom_id=""),
        line({"type": "expired"}, custom_id=7),
        line({"type": "expired"}, custom_id=None),
        line({"type": "expired"})[:-1],
        line({"type": "expired"}) + b"x",
        line({"type": "expired"}).replace(b"k-1", b"\xff"),
        line({"type": "expired"}).replace(b"k-1", b"\xed\xa0\xbd"),
        line({"type": "expired"}).decode().encode("utf-16"),
        b"\xef\xbb\xbf" + line({"type": "expired"}),
        line({"type": "succeeded", "message": MESSAGE}).replace(b"10", b"NaN"),
        line({"type": "succeeded", "message": MESSAGE}).replace(b"10", b"1e999"),
        b"[" * 1_000_000,
        b'{"custom_id":"a","result":' + b"[" * 100_000,
    ],
)
def test_what_is_no_result_is_refused_with_a_short_reason(data: bytes) -> None:
    with pytest.raises(ValueError) as refused:
        read_result(data)
    assert len(str(refused.value)) < 300


_texts = st.text(max_size=40)
_counts = st.integers(0, 10**6)
_usages = st.fixed_dictionaries(
    {
        "input_tokens": _counts,
        "output_tokens": _counts,
        "cache_read_input_tokens": st.none() | _counts,
        "cache_creation_input_tokens": st.just(0),
    }
)
_blocks = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text, "citations": None}, _texts),
    st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "s"}, _texts),
)
_messages = st.builds(
    lambda blocks, usage, stop: MESSAGE | {"content": blocks, "usage": usage, "stop_reason": stop},
    st.lists(_blocks, max_size=4),
    _usages,
    st.sampled_from(["end_turn", "max_tokens", "refusal", "stop_sequence"]),
)
_kinds = st.sampled_from(["invalid_request_error", "overloaded_error", "api_error", "billing_error"])
_results = st.one_of(
    st.builds(lambda message: {"type": "succeeded", "message": message}, _messages),
    st.builds(
        lambda kind, text: {
            "type": "errored",
            "error": {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"},
        },
        _kinds,
        _texts,
    ),
    st.sampled_from([{"type": "canceled"}, {"type": "expired"}]),
)


@settings(max_examples=60, deadline=None)
@given(result=_results, custom_id=st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True))
def test_it_reads_what_the_sdk_reads(result: Any, custom_id: str) -> None:
    data = line(result, custom_id)
    read, theirs = read_result(data), MessageBatchIndividualResponse.model_validate_json(data)
    assert (read.custom_id, read.end) == (theirs.custom_id, theirs.result.type)
    if theirs.result.type == "succeeded":
        assert read.reply is not None
        message = theirs.result.message
        assert (read.reply.message_id, read.reply.stop_reason) == (message.id, message.stop_reason)
        assert read.reply.usage.output_tokens == message.usage.output_tokens
        assert read.reply.usage.cache_read_input_tokens == (message.usage.cache_read_input_tokens or 0)
        dumped = [block.model_dump() for block in message.content]
        assert [
            block | dict(read_block) for block, read_block in zip(dumped, read.reply.content, strict=True)
        ] == dumped
    elif theirs.result.type == "errored":
        assert read.failure is not None
        assert read.failure.message == theirs.result.error.error.message
        assert read.request_id == theirs.result.error.request_id


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_nearly = st.builds(
    lambda custom_id, kind, rest: json.dumps({"custom_id": custom_id, "result": {"type": kind, **rest}}).encode(),
    _json,
    st.sampled_from(["succeeded", "errored", "canceled", "expired", "paused"]) | _json,
    st.dictionaries(st.sampled_from(["message", "error"]), _json | _messages, max_size=2),
)


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=200) | _nearly | st.builds(lambda value: json.dumps(value).encode(), _json))
def test_anything_is_a_line_or_a_value_error(data: bytes) -> None:
    try:
        read = read_result(data)
    except ValueError:
        return
    assert (read.reply is None) != (read.failure is None)
    assert (read.end == "succeeded") == (read.reply is not None)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_line_is_a_line_or_a_value_error(data: st.DataObject) -> None:
    damaged = bytearray(line({"type": "succeeded", "message": MESSAGE}))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_result(bytes(damaged))
    except ValueError:
        return


@pytest.mark.parametrize("text", ["x", "\\n", "\\ud83d"])
def test_the_time_is_linear_in_the_line(text: str) -> None:
    """20 MB in the time of a few decodings, also by the slow way; the SDK's decoder takes minutes."""
    whole = line({"type": "succeeded", "message": MESSAGE}).replace(b"hello", text.encode() * (20_000_000 // len(text)))
    clock = SystemClock()
    began = clock.monotonic()
    assert read_result(whole).end == "succeeded"
    assert clock.monotonic() - began < 10
