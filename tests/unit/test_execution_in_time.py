"""Deadlines that cannot be kept: in a plan, and when a run begins or goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from runner.engines.deadline import parallel_rate
from runner.execution.in_time import told_of_deadline
from support.execution_batches import BatchBench
from support.execution_fakes import folder_in_memory


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[BatchBench]:
    with folder_in_memory(tmp_path) as folder:
        yield BatchBench(folder / "project", 4)


def test_what_parallel_mode_is_assumed_to_manage_decides() -> None:
    assert told_of_deadline(100, 20.0, parallel_rate(10)) is None
    assert told_of_deadline(100, 19.0, parallel_rate(10)) == (
        "100 requests are assumed to take 20 seconds in parallel, and the deadline is in 19 seconds"
    )
    assert told_of_deadline(1, -5.0, 5.0) == "the deadline has passed, and 1 request is still to be answered"
    assert told_of_deadline(0, -5.0, parallel_rate(10)) is None


def test_a_run_says_so_before_it_sends_and_that_it_has_left_batches(bench: BatchBench) -> None:
    summary = bench.run("limits.deadline=1s", "limits.max_concurrency=1")
    assert summary.exit_status == 0
    assert any("4 requests are assumed to take 8 seconds" in warning for warning in summary.warnings)
    assert any("leaves no more time for batches" in warning for warning in summary.warnings)


def test_a_run_that_is_resumed_too_late_says_so(bench: BatchBench) -> None:
    bench.provider.hangs = True
    assert bench.run("limits.deadline=6h", detach=True).exit_status == 6
    bench.clock.ahead = timedelta(hours=7)
    assert any(warning.startswith("the deadline has passed") for warning in bench.resume(wait=True).warnings)
