"""`log.jsonl`: ids and counts of what happened, never a word of a row or a reply."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from runner.errors import LedgerError
from runner.events import CoolingDown, RunEnded, RunStarted, SinkDelivered, StepEnded, StepSent, Stopping, Warned
from runner.execution import log
from runner.execution.log import RunLog
from runner.types import Failure, Step, Usage
from support.frozen_clock import FrozenClock


def ended(failure: Failure | None) -> StepEnded:
    return StepEnded(Step(3), 1, "failed" if failure else "succeeded", failure, Usage(), 0, False, 0)


def logged(folder: Path, *events: Any) -> list[dict[str, Any]]:
    kept = RunLog(folder / "log.jsonl", FrozenClock())
    for event in events:
        kept.notify(event)
    kept.close()
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


def test_a_full_log_is_rotated_and_one_older_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "ROTATE_BYTES", 1_000)
    logged(tmp_path, *[Warned("code", f"number {number}") for number in range(40)])
    older, newer = tmp_path / "log.jsonl.1", tmp_path / "log.jsonl"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "log.jsonl.1"]
    assert max(older.stat().st_size, newer.stat().st_size) <= 1_000
    assert b"number 39" in newer.read_bytes()


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    logged(tmp_path, Warned("a", "first"))
    assert [line["code"] for line in logged(tmp_path, Warned("b", "second"))] == ["a", "b"]
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(LedgerError):
        RunLog(tmp_path / "log.jsonl", FrozenClock())


def test_a_log_that_cannot_be_written_any_more_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = RunLog(tmp_path / "log.jsonl", FrozenClock())
    kept.notify(Warned("a", "first"))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        kept.notify(Warned("b", "second"))
    kept.notify(Warned("c", "third"))
    kept.close()
    assert (tmp_path / "log.jsonl").read_bytes().count(b"\n") == 1


def test_every_event_that_is_logged_is_an_object_with_its_time(tmp_path: Path) -> None:
    lines = logged(
        tmp_path,
        RunStarted("run-1", "x", "parallel", 5, 3, None, resumed=True),
        CoolingDown(1.23456, "rate_limit_error"),
        Stopping("budget", "the cap is reached"),
        SinkDelivered("jsonl", "out/x.jsonl", 5),
        RunEnded("run-1", "finished"),
    )
    assert [line["event"] for line in lines] == ["started", "cooling_down", "stopping", "delivered", "ended"]
    assert {line["at"] for line in lines} == {"2026-11-22T10:00:00.000Z"}
    assert lines[1]["seconds"] == 1.235
