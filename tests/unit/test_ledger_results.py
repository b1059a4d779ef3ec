from __future__ import annotations

import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest

from runner.ledger import EnrolledRow, Ruling
from runner.ledger.sqlite import SqliteLedger
from runner.types import Outcome, Row, Step, Usage
from support.ledgers import NOON, accept, answer, failed, lease_all, new_ledger


def try_again(outcome: Outcome) -> Ruling:
    return Ruling("open", outcome.failure)


def test_results_come_in_order_whatever_order_they_were_recorded_in(tmp_path: Path) -> None:
    count = 1203  # more than two windows
    with new_ledger(tmp_path / "run", count) as ledger:
        order = [(number * 7) % count for number in range(count)]
        for start in range(0, count, 200):
            steps = [Step(row) for row in order[start : start + 200]]
            lease_all(ledger, steps)
            ledger.record([answer(step, text=f"reply {step.row}") for step in steps], accept)
        results = list(ledger.results())
        assert [result.row.index for result in results] == list(range(count))
        assert all(f'"reply {result.row.index}"'.encode() in result.body for result in results)
        assert [result.row.index for result in ledger.results(1200)] == [1200, 1201, 1202]
        assert ledger.result(600) == results[600]


def test_sums_are_over_all_attempts_and_the_reply_is_the_last(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([failed(Step(0), retryable=True, http_status=529)], try_again)
        assert ledger.result(0).status == "open"
        assert (ledger.result(0).failure, ledger.result(0).body) == (None, b"")
        lease_all(ledger, [Step(0)])
        later = NOON + timedelta(minutes=1)
        ledger.record(
            [answer(Step(0), 2, started_at=later, ended_at=later, mode="batch", batch_id="msgbatch_1")], accept
        )
        result = ledger.result(0)
        assert (result.attempts, result.usage, result.cost_pico) == (2, Usage(10, 5, 3, 2, 1), 7)
        assert (result.mode, result.batch_id, result.request_id) == ("batch", "msgbatch_1", "req_0")
        assert (result.started_at, result.ended_at, result.failure) == (NOON, later, None)
        [first, second] = ledger.attempts(0)
        assert first.failure is not None
        assert (first.end, first.failure.http_status, second.end, second.number) == ("errored", 529, "succeeded", 2)


def test_a_row_that_was_never_tried_has_an_empty_result(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        result = ledger.result(0)
        assert (result.status, result.attempts, result.body, result.cost_pico) == ("open", 0, b"", 0)
        assert (result.request_hash, result.mode, result.started_at) == (None, None, None)
        assert ledger.attempts(0) == []
        for index in (-1, 1):
            with pytest.raises(IndexError):
                ledger.result(index)


def test_a_reader_beside_the_writer_sees_the_last_commit(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger, SqliteLedger.open(tmp_path / "run", read_only=True) as beside:
        reading = beside.results()
        assert next(reading).status == "open"
        lease_all(ledger, [Step(0)])
        assert beside.attempts(0)[0].end is None
        ledger.record([answer(Step(0))], accept)
        assert beside.result(0).status == "succeeded"
        assert beside.counts() == ledger.counts()
        assert len(list(reading)) == 1


def test_reading_changes_no_file_and_takes_no_lock(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        lease_all(ledger, [Step(0)])
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir() if path.is_file()}
    with SqliteLedger.open(tmp_path / "run", read_only=True) as ledger:
        assert ledger.money().doubtful == 0
        assert ledger.attempts(0)[0].end is None
        with SqliteLedger.open(tmp_path / "run") as writer:
            assert writer.money().doubtful > 0
    del before["ledger.db"], before["commits"], before["lock"]
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    assert before.items() <= after.items()


def test_large_rows_are_read_one_by_one(tmp_path: Path) -> None:
    """A window holds what the tables say of its rows, not their values."""
    size, count = 100_000, 100
    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        ledger.enrol(EnrolledRow(Row(str(n), n, {"text": f"{n}" + "x" * size}), "data", None) for n in range(count))
        tracemalloc.start()
        try:
            assert sum(1 for _ in ledger.results()) == count
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 40 * size  # a few blocks of rows are kept
