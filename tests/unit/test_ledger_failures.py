"""Rows that ended without success: which they are, in order, and why each did."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from runner.ledger import EnrolledRow, FailedRow, Ruling
from runner.ledger.sqlite import SqliteLedger
from runner.types import Failure, Outcome, Row, Step
from support.ledger_versions import turn_to_version
from support.ledgers import accept, answer, failed, lease_all, new_ledger, rows


def end(ledger: SqliteLedger, *outcomes: Outcome) -> None:
    lease_all(ledger, [outcome.step for outcome in outcomes])
    ledger.record(outcomes, accept)


def indices(ledger: SqliteLedger, *kinds: str) -> list[int]:
    return [row.index for row in ledger.failed_rows(kinds)]


def test_failed_rows_come_in_the_dataset_s_order_with_what_their_results_say(tmp_path: Path) -> None:
    count = 1_203  # more than two windows
    with new_ledger(tmp_path / "run", count) as ledger:
        steps = [Step(row) for row in reversed(range(count))]
        end(ledger, *(answer(step) if step.row % 3 else failed(step, kind=f"kind-{step.row % 2}") for step in steps))
        found = list(ledger.failed_rows())
        assert [row.index for row in found] == list(range(0, count, 3))
        for row in (found[0], found[-1]):
            result = ledger.result(row.index)
            assert row == FailedRow(result.row.key, result.row.index, "failed", result.failure, 1)


def test_rows_that_expired_or_were_canceled_are_among_them_and_open_ones_are_not(tmp_path: Path) -> None:
    def by_end(outcome: Outcome) -> Ruling:
        return Ruling("expired", outcome.failure) if outcome.end == "expired" else accept(outcome)

    with new_ledger(tmp_path / "run", 4) as ledger:
        lease_all(ledger, [Step(0), Step(1)])
        late = Failure("expired", "not answered within 24 hours", retryable=True)
        ledger.record([answer(Step(0), end="expired", body=b"", failure=late), failed(Step(1))], by_end)
        assert indices(ledger) == [0, 1]
        ledger.cancel_open()
        told = [(row.status, row.failure and row.failure.kind, row.attempts) for row in ledger.failed_rows()]
        assert ledger.first_failed(["expired"]) == {}, "that is no kind of failed rows"
        assert told == [("expired", "expired", 1), ("failed", "api_error", 1)] + [("canceled", None, 0)] * 2


def test_kinds_choose_as_they_do_for_a_retry(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 5) as ledger:
        end(ledger, failed(Step(0), kind="refusal"), failed(Step(1), kind="timeout"), failed(Step(2), kind="truncated"))
        ledger.cancel_open()
        assert indices(ledger, "truncated", "refusal") == [0, 2]
        assert indices(ledger, "canceled", "timeout") == [1, 3, 4]
        assert indices(ledger, "none-of-them") == []
        assert ledger.reopen(kinds=("canceled", "timeout")) == 3
        assert indices(ledger) == [0, 2]


def test_the_attempt_that_decided_a_row_says_why_and_all_are_counted(tmp_path: Path) -> None:
    def second_is_final(outcome: Outcome) -> Ruling:
        return accept(outcome) if outcome.attempt == 2 else Ruling("open", outcome.failure)

    with new_ledger(tmp_path / "run", 1) as ledger:
        for attempt, kind in ((1, "overloaded_error"), (2, "refusal")):
            lease_all(ledger, [Step(0)])
            ledger.record([failed(Step(0), attempt, kind=kind)], second_is_final)
        [row] = ledger.failed_rows()
        assert (row.failure and row.failure.kind, row.attempts) == ("refusal", 2)


def test_a_row_of_several_samples_has_the_reason_of_its_first(tmp_path: Path) -> None:
    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        ledger.enrol(rows(1), samples=2)
        end(ledger, failed(Step(0, sample=1), kind="truncated"), failed(Step(0), kind="refusal"))
        [row] = ledger.failed_rows()
        assert (row.failure and row.failure.kind, row.attempts) == ("refusal", 2)
        assert ledger.first_failed(["refusal"]) == {"refusal": row}


def test_twins_fail_with_their_first_row_and_have_no_attempts(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 6) as ledger:
        assert ledger.note_twins(letter.encode() for letter in "abacab") == 3
        end(ledger, failed(Step(0), kind="refusal"), answer(Step(1)), failed(Step(3), kind="timeout"))
        assert [(row.index, row.attempts, row.key) for row in ledger.failed_rows()] == [
            (0, 1, "key-0"),
            (2, 0, "key-2"),
            (3, 1, "key-3"),
            (4, 0, "key-4"),
        ]
        assert indices(ledger, "refusal") == [0, 2, 4]
        assert {row.failure for row in ledger.failed_rows(["refusal"])} == {Failure("refusal", "it did not work")}


def test_the_first_of_each_kind_is_found(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 8) as ledger:
        kinds = {1: "timeout", 3: "refusal", 4: "timeout", 6: "truncated", 7: "refusal"}
        end(ledger, *(failed(Step(row), kind=kinds[row]) if row in kinds else answer(Step(row)) for row in range(8)))
        found = ledger.first_failed(["refusal", "timeout", "never"])
        assert {kind: row.index for kind, row in found.items()} == {"timeout": 1, "refusal": 3}
        assert found["refusal"] == next(ledger.failed_rows(["refusal"]))
        assert ledger.first_failed([]) == {}


def test_a_ledger_of_the_first_version_is_read_too(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        end(ledger, answer(Step(0)), failed(Step(1)))
    turn_to_version(1, tmp_path / "run/ledger.db")
    with SqliteLedger.open(tmp_path / "run", read_only=True) as ledger:
        assert indices(ledger) == [1]
        assert ledger.first_failed(["api_error"])["api_error"].key == "key-1"


def test_failed_rows_are_read_some_at_a_time(tmp_path: Path) -> None:
    """Neither their values nor their messages are all in memory at once."""
    size, count = 10_000, 3_000
    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        ledger.enrol(EnrolledRow(Row(str(n), n, {"text": f"{n}" + "x" * size}), "data", None) for n in range(count))
        for start in range(0, count, 500):
            steps = [Step(row) for row in range(start, start + 500)]
            lease_all(ledger, steps)
            long = Failure("api_error", "x" * size)
            ledger.record([answer(step, end="errored", body=b"", failure=long) for step in steps], accept)
        tracemalloc.start()
        try:
            assert sum(1 for _ in ledger.failed_rows()) == count
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 1_500 * size  # of all messages together 3,000
