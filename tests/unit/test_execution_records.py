"""Records as the interface fixes them (section 4): every status and every error, to the key and its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.engines.retry import RetryPolicy
from runner.execution.judging import make_judge, make_rule
from runner.execution.records import RecordMaker, to_usd
from runner.ledger import EnrolledRow, Lease
from runner.ledger.sqlite import SqliteLedger
from runner.message import parse_reply
from runner.replies.reply_check import ReplyCheck
from runner.replies.schema import Check
from runner.types import Failure, Outcome, Row, Step, Usage
from support.execution_fakes import MODEL, reply_body
from support.ledgers import NOON, new_ledger

SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
    "additionalProperties": False,
}
CHECK = ReplyCheck(Check(SCHEMA))
FIELDS = [
    "key", "index", "status", "output", "text", "stop_reason", "error", "row", "model", "mode", "attempts", "reused",
    "cost_usd", "usage", "run_id", "job", "request_hash", "message_id", "request_id", "batch_id", "started_at",
    "ended_at",
]  # fmt: skip
ERROR_FIELDS = ["kind", "message", "http_status", "request_id", "category"]
NO_USAGE = {
    "input_tokens": 0,
    "output_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
}


def test_a_row_of_a_record_has_its_values_as_they_are(tmp_path: Path) -> None:
    values = {"photo": b"\x00\xff", "parts": [{"data": b"x", "name": "a"}], "text": "plain"}
    ledger = SqliteLedger.create(tmp_path / "run", {})
    ledger.enrol([EnrolledRow(Row("k", 0, values), "d", None)])
    with ledger:
        record = RecordMaker("run", "job", MODEL, check=None).record(ledger.result(0))
    assert record.row == values


def sent(text: str, *, attempt: int = 1, stop_reason: str = "end_turn", reused: bool = False, **more: Any) -> Outcome:
    body = reply_body(text, stop_reason=stop_reason)
    values: dict[str, Any] = {
        "usage": Usage(61, 9, 1840, 7, 5),
        "cost_pico": 14_500_000,
        "request_id": "req_1",
        **({"usage": Usage(), "cost_pico": 0} if reused else {}),
        **more,
    }
    return Outcome(
        Step(0), attempt, "succeeded", "parallel", b"\x01" * 32, NOON, NOON + timedelta(seconds=2), body=body,
        reply=parse_reply(body, "req_1"), reused=reused, **values,
    )  # fmt: skip


def not_sent(kind: str, *, attempt: int = 1, end: Any = "errored", **more: Any) -> Outcome:
    failure = Failure(kind, f"because of {kind}", **more)
    return Outcome(
        Step(0), attempt, end, "parallel", b"\x01" * 32, NOON, NOON + timedelta(seconds=1), failure=failure,
        tries=attempt, request_id=failure.request_id,
    )  # fmt: skip


def record_after(folder: Path, outcomes: Sequence[Outcome], *, structured: bool = False) -> dict[str, Any]:
    """The record of a row that came to these outcomes, one after another."""
    with new_ledger(folder / "run", 1) as ledger:
        for outcome in outcomes:
            if not outcome.reused:
                ledger.lease([Lease(outcome.step, outcome.request_hash, 10**9)], None)
            ledger.record([outcome], rule_of(structured=structured))
        return made(ledger, structured=structured)


def rule_of(*, structured: bool) -> Callable[[Outcome], Any]:
    return make_rule(make_judge(CHECK if structured else None), RetryPolicy(3, 0.001, 2.0, 1.0))


def made(ledger: SqliteLedger, *, structured: bool) -> dict[str, Any]:
    (record,) = RecordMaker("run-1", "sentiment", MODEL, CHECK if structured else None).records(ledger)
    shown = record.to_dict()
    assert list(shown) == FIELDS
    if shown["error"] is not None:
        assert list(shown["error"]) == ERROR_FIELDS
    return shown


def test_a_row_with_free_text_has_its_text_as_output(tmp_path: Path) -> None:
    assert record_after(tmp_path, [sent("yes")]) == {
        "key": "key-0",
        "index": 0,
        "status": "succeeded",
        "output": "yes",
        "text": None,
        "stop_reason": "end_turn",
        "error": None,
        "row": {"n": 0, "text": "row 0"},
        "model": MODEL,
        "mode": "parallel",
        "attempts": 1,
        "reused": False,
        "cost_usd": 0.0000145,
        "usage": {
            "input_tokens": 61,
            "output_tokens": 9,
            "cache_read_input_tokens": 1840,
            "cache_creation_input_tokens": 12,
            "cache_creation": {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 5},
        },
        "run_id": "run-1",
        "job": "sentiment",
        "request_hash": "01" * 32,
        "message_id": "msg_1",
        "request_id": "req_1",
        "batch_id": None,
        "started_at": "2026-11-22T12:00:00.000Z",
        "ended_at": "2026-11-22T12:00:02.000Z",
    }


def test_a_row_with_a_schema_has_its_parsed_output_and_the_raw_text(tmp_path: Path) -> None:
    record = record_after(tmp_path, [sent('{"label": "good"}')], structured=True)
    assert (record["status"], record["output"], record["text"]) == ("succeeded", {"label": "good"}, '{"label": "good"}')


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize(
    ("stop_reason", "kind"), [("refusal", "refusal"), ("max_tokens", "truncated"), ("pause_turn", "unexpected_reply")]
)
def test_a_reply_that_is_no_answer_keeps_its_text_and_its_bill(
    tmp_path: Path, stop_reason: str, kind: str, *, structured: bool
) -> None:
    record = record_after(tmp_path, [sent("half of", stop_reason=stop_reason)], structured=structured)
    assert (record["status"], record["output"], record["text"]) == ("failed", None, "half of")
    assert (record["stop_reason"], record["error"]["kind"]) == (stop_reason, kind)
    assert record["error"]["request_id"] == "req_1"
    assert (record["cost_usd"], record["message_id"]) == (0.0000145, "msg_1")


@pytest.mark.parametrize("text", ['{"label": 1}', "no JSON", '{"label": "good"} and more'])
def test_an_output_that_does_not_fit_is_kept_as_text(tmp_path: Path, text: str) -> None:
    record = record_after(tmp_path, [sent(text)], structured=True)
    assert (record["status"], record["output"], record["text"]) == ("failed", None, text)
    assert record["error"]["kind"] == "schema_mismatch"


def test_an_error_of_the_api_is_told_in_its_words(tmp_path: Path) -> None:
    outcome = not_sent("invalid_request_error", http_status=400, request_id="req_9")
    record = record_after(tmp_path, [outcome])
    assert record["error"] == {
        "kind": "invalid_request_error",
        "message": "because of invalid_request_error",
        "http_status": 400,
        "request_id": "req_9",
        "category": None,
    }
    assert (record["status"], record["attempts"], record["cost_usd"]) == ("failed", 1, 0.0)
    assert (record["model"], record["message_id"], record["stop_reason"]) == (MODEL, None, None)
    assert record["usage"] == NO_USAGE


@pytest.mark.parametrize("status", ["expired", "canceled"])
def test_a_row_that_was_not_processed_has_a_status_of_its_own(tmp_path: Path, status: str) -> None:
    record = record_after(tmp_path, [not_sent("timeout", end=status)])
    assert (record["status"], record["output"], record["text"]) == (status, None, None)


def test_all_attempts_of_a_row_are_summed_and_the_last_one_decides(tmp_path: Path) -> None:
    overloaded = not_sent("overloaded_error", retryable=True, http_status=529)
    record = record_after(tmp_path, [overloaded, sent("yes", attempt=2)])
    assert (record["status"], record["attempts"], record["error"]) == ("succeeded", 2, None)
    assert record["cost_usd"] == 0.0000145


def test_tries_that_ran_out_are_told_with_the_last_error(tmp_path: Path) -> None:
    outcomes = [not_sent("overloaded_error", attempt=attempt, retryable=True) for attempt in (1, 2, 3)]
    record = record_after(tmp_path, outcomes)
    assert (record["status"], record["attempts"], record["error"]["kind"]) == ("failed", 3, "overloaded_error")


def test_a_reused_answer_costs_nothing(tmp_path: Path) -> None:
    record = record_after(tmp_path, [sent("yes", reused=True)])
    assert (record["status"], record["reused"], record["cost_usd"]) == ("succeeded", True, 0.0)
    assert (record["output"], record["usage"], record["message_id"]) == ("yes", NO_USAGE, "msg_1")


def test_a_row_without_an_answer_is_open(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        record = made(ledger, structured=True)
    assert (record["status"], record["attempts"], record["reused"]) == ("open", 0, False)
    nothing = ("output", "text", "stop_reason", "error", "mode", "request_hash", "message_id", "request_id")
    assert [record[name] for name in nothing] == [None] * len(nothing)
    assert (record["started_at"], record["ended_at"]) == (None, None)


def test_a_cost_that_nobody_knows_is_null(tmp_path: Path) -> None:
    assert record_after(tmp_path, [sent("yes", cost_pico=None)])["cost_usd"] is None


def test_columns_see_all_blocks(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        ledger.record([sent("yes")], rule_of(structured=False))
        (record,) = RecordMaker("run-1", "sentiment", MODEL, None).records(ledger)
    assert record.content == [{"type": "text", "text": "yes"}]


def test_money_is_exact_until_it_is_shown() -> None:
    assert to_usd(14_500_000) == 0.0000145
    assert to_usd(0) == 0.0
    assert to_usd(None) is None
