from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from runner.ledger.frames import (
    BrokenFrame,
    FrameDecoder,
    FrameEncoder,
    failure_from_text,
    failure_to_text,
    from_millis,
    read_prefix,
    to_millis,
)
from runner.types import Failure, Outcome, Step, Usage
from support.ledgers import answer, failed, message


def round_trip(outcome: Outcome) -> Outcome:
    return FrameDecoder().outcome(FrameEncoder().encode(outcome, synced=0))


def test_an_outcome_comes_back_as_it_was() -> None:
    outcome = answer(Step(3, 1, 2, 4), 5, batch_id="msgbatch_1", reused=True)
    back = round_trip(outcome)
    assert replace(back, reply=None) == outcome
    assert back.reply is not None
    assert (back.reply.message_id, back.reply.request_id, back.reply.stop_reason) == ("msg_1", "req_3", "end_turn")
    assert back.reply.content == [{"type": "text", "text": "yes"}]
    assert back.reply.usage == Usage(10, 5, 3, 2, 1)


def test_a_failure_comes_back_with_all_its_fields() -> None:
    failure = Failure("rate_limit_error", "slow \ud83d down", True, 2.5, 429, "req_9", "job", True, "cyber")
    outcome = replace(failed(Step(0)), failure=failure, cost_pico=None)
    back = round_trip(outcome)
    assert (back.failure, back.reply, back.body, back.cost_pico) == (failure, None, b"", None)


@pytest.mark.parametrize("wait", [float("inf"), float("nan")])
def test_a_wait_that_json_cannot_hold_is_left_out(wait: float) -> None:
    back = failure_from_text(failure_to_text(Failure("api_error", "x", retry_after_s=wait)))
    assert back == Failure("api_error", "x")


def test_a_long_body_is_compressed_and_comes_back() -> None:
    body = message("again and again " * 1000)
    frame = FrameEncoder().encode(answer(Step(0), body=body), synced=0)
    assert len(frame) < len(body) / 10
    assert FrameDecoder().body(frame) == body


def test_a_body_with_lone_surrogate_escapes_keeps_its_bytes() -> None:
    body = message("half").replace(b"half", rb"\ud83d")
    back = round_trip(answer(Step(0), body=body))
    assert back.body == body
    assert back.reply is not None
    assert back.reply.content == [{"type": "text", "text": "\ud83d"}]


def test_a_reply_nested_as_deeply_as_one_may_arrive_comes_back() -> None:
    depth = 1_010  # beyond what the standard library's decoder takes
    body = message("deep").replace(b'"usage"', b'"extra":' + b"[" * depth + b"]" * depth + b',"usage"')
    assert round_trip(answer(Step(0), body=body)).body == body


def test_a_frame_whose_body_is_no_message_is_broken() -> None:
    with pytest.raises(BrokenFrame, match="of no message"):
        round_trip(answer(Step(0), body=b"{}"))


def test_every_flipped_bit_of_a_frame_is_noticed() -> None:
    frame = bytearray(FrameEncoder().encode(answer(Step(0)), synced=77))
    for place in range(len(frame)):
        frame[place] ^= 0x10
        with pytest.raises(BrokenFrame):
            FrameDecoder().outcome(bytes(frame))
        frame[place] ^= 0x10
    assert read_prefix(bytes(frame)).synced == 77


def test_times_are_cut_to_milliseconds_and_survive_any_zone() -> None:
    moment = datetime(2026, 11, 22, 10, 5, 0, 123_999, tzinfo=UTC)
    assert from_millis(to_millis(moment)) == moment.replace(microsecond=123_000)
    before = datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    assert from_millis(to_millis(before)) == before
    assert to_millis(moment + timedelta(hours=1)) - to_millis(moment) == 3_600_000
