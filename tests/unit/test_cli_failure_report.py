"""What people read of rows that failed."""

from __future__ import annotations

import json
from collections.abc import Iterator

from syrupy.assertion import SnapshotAssertion

from runner.cli.failure_report import failed_as_json, failed_lines, none_failed, paged, what_next, why_failed
from runner.execution.reasons import FailureReason
from runner.ledger import Counts, FailedRow
from runner.types import Failure
from support.summaries import summary

REASONS = [
    FailureReason("schema_mismatch", 1_200, "k4", "/score: expected at most 10, found 11", "raise `output.repair`"),
    FailureReason("timeout", 30, "k\x1b[2J9", "no answer\nwithin 600 s"),
    FailureReason("input_error", 2, "k2", "no file", "mend it"),
    FailureReason("render_error", 2, "k1", "x.j2:2: no", "mend it"),
    FailureReason("api_error", 1),
]
FAILURES = {reason.kind: reason.rows for reason in REASONS} | {"conflict_error": 1, "too_large": 1}
FAILED = Counts(total=5_000, succeeded=3_763, failed=1_237, failures=FAILURES)


def test_reasons_are_told_with_an_example_each_and_advice_once() -> None:
    told = summary(counts=FAILED, reasons=REASONS)
    assert why_failed(told) == [
        (
            "failed",
            "1,237 (schema_mismatch 1,200, timeout 30, input_error 2, render_error 2, api_error 1, others 2)",
        ),
        ("", "schema_mismatch, such as row k4: /score: expected at most 10, found 11"),
        ("", "timeout, such as row k\x1b[2J9: no answer\nwithin 600 s"),
        ("", "input_error, such as row k2: no file"),
        ("", "render_error, such as row k1: x.j2:2: no"),
    ]
    assert what_next(told)[2:] == ["schema_mismatch: raise `output.repair`", "input_error, render_error: mend it"]


def test_what_the_summary_says_of_failures_is_harmless_and_fits(snapshot: SnapshotAssertion) -> None:
    from runner.cli.report import lines

    assert lines(summary(counts=FAILED, reasons=REASONS, exit_status=5), 100) == snapshot


def test_a_run_without_failures_says_nothing_of_them() -> None:
    assert why_failed(summary()) == []
    assert what_next(summary()) == []


ROWS = [
    FailedRow("k4", 4, "failed", Failure("refusal", "the model\nrefused\x1b[2J", category="cyber"), 2),
    FailedRow("a longer key", 5, "canceled", None, 0),
    FailedRow("k\x1b[31m7", 1_007, "expired", Failure("expired", "not answered within 24 hours"), 1_500),
]


def test_failed_rows_are_listed_one_a_line() -> None:
    assert list(failed_lines(ROWS)) == [
        "key           kind      attempts  message",
        "k4            refusal          2  the model refused",
        "a longer key  canceled         0",
        "k7            expired      1,500  not answered within 24 hours",
    ]
    assert list(failed_lines([])) == []


def test_a_row_that_was_canceled_after_a_try_is_listed_as_what_a_kind_chooses_it_by() -> None:
    _, line = failed_lines([FailedRow("k1", 1, "canceled", Failure("connection_error", "refused"), 3)])
    assert line.split() == ["k1", "canceled", "3", "refused"]


def test_where_no_row_is_of_the_kinds_that_were_named_those_that_there_are_are_told() -> None:
    some = summary(counts=Counts(total=9, failed=3, expired=1, failures={"refusal": 2, "timeout": 1}))
    run = f"run {some.run_id} has no"
    assert none_failed(some, chosen=True) == f"{run} such failed rows, but 4 (refusal 2, expired 1, timeout 1)"
    assert none_failed(summary(), chosen=True) == none_failed(summary(), chosen=False) == f"{run} failed rows"


def test_failed_rows_as_json_are_parts_of_their_records() -> None:
    first, second, _ = map(json.loads, failed_as_json(ROWS))
    assert first == {
        "key": "k4",
        "index": 4,
        "status": "failed",
        "error": {
            "kind": "refusal",
            "message": "the model\nrefused\x1b[2J",
            "http_status": None,
            "request_id": None,
            "category": "cyber",
        },
        "attempts": 2,
    }
    assert (second["error"], second["status"]) == (None, "canceled")


def test_lines_are_told_while_rows_are_still_being_read() -> None:
    read = []

    def many() -> Iterator[FailedRow]:
        for number in range(100_000):
            read.append(number)
            yield ROWS[0]

    pages = paged(failed_lines(many()))
    assert next(pages).startswith("key ")
    assert len(read) < 1_000
    assert sum(len(page.splitlines()) for page in pages) + 500 == 100_001


def test_a_long_key_makes_no_other_line_long() -> None:
    _, long, short = failed_lines([FailedRow("x" * 500, 0, "canceled", None, 0), ROWS[0]])
    assert "x" * 500 in long
    assert len(short) < 120
