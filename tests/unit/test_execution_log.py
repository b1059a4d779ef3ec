"""`log.jsonl`: ids and counts of what happened, never a word of a row or a reply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.events import StepEnded, StepSent
from runner.execution.log import RunLog
from runner.types import Failure, Step, Usage
from support.frozen_clock import FrozenClock


def ended(failure: Failure | None) -> StepEnded:
    return StepEnded(Step(3), 1, "failed" if failure else "succeeded", failure, Usage(), 0, False, 0)


def logged(folder: Path, *events: Any) -> list[dict[str, Any]]:
    log = RunLog(folder / "log.jsonl", FrozenClock())
    for event in events:
        log.notify(event)
    log.close()
    return [json.loads(line) for line in (folder / "log.jsonl").read_bytes().splitlines()]


def test_a_row_that_succeeds_is_not_logged(tmp_path: Path) -> None:
    assert logged(tmp_path, StepSent(Step(0), 1, 1), ended(None)) == []


def test_the_api_s_error_is_logged_in_its_own_words(tmp_path: Path) -> None:
    (line,) = logged(tmp_path, ended(Failure("rate_limit_error", "slow down", http_status=429, request_id="req_1")))
    assert line["message"] == "slow down"
    assert (line["event"], line["row"], line["kind"], line["request_id"]) == ("failure", 3, "rate_limit_error", "req_1")


@pytest.mark.parametrize(
    "failure",
    [
        Failure("render_error", "row 'k1': 'S3CRET' is no number"),
        Failure("schema_mismatch", "/label: 'S3CRET' is not one of ['a']"),
        Failure("refusal", "the model refused: S3CRET"),
        Failure("connection_error", "the reply is no message: b'S3CRET'", http_status=200),
    ],
)
def test_what_a_message_quotes_of_rows_and_replies_is_left_out(tmp_path: Path, failure: Failure) -> None:
    (line,) = logged(tmp_path, ended(failure))
    assert (line["kind"], line["message"]) == (failure.kind, None)
    assert b"S3CRET" not in (tmp_path / "log.jsonl").read_bytes()
