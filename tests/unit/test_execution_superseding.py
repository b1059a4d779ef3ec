"""Runs that a new one takes the place of: what is told while they are not settled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import LedgerError
from runner.events import RunStarted
from support.execution_batches import BatchBench
from support.execution_fakes import folder_in_memory


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[BatchBench]:
    with folder_in_memory(tmp_path) as folder:
        bench = BatchBench(folder / "project", 2)
        bench.provider.hangs = True
        yield bench


def test_a_new_run_that_has_to_wait_says_that_it_has_not_begun(bench: BatchBench) -> None:
    bench.run(detach=True)
    (old,) = bench.runs()
    summary = bench.run("params.max_tokens=40", new=True, detach=True)
    assert (summary.run_id, summary.exit_status) == (old.run_id, 6)
    assert any("the new run has not begun" in warning for warning in summary.warnings)
    assert bench.events.of(RunStarted)[-1].task == "collect"


def test_a_cancel_that_cannot_end_names_what_ends_it(bench: BatchBench) -> None:
    bench.provider.lost = 1
    bench.run(detach=True)
    with bench.open_last() as ledger:
        ledger.set_meta({"canceling": True})
    with pytest.raises(LedgerError, match="is being canceled, and has not ended") as caught:
        bench.run()
    assert f"`runner resume {bench.runs()[-1].run_id} --resend`" in str(caught.value.hint)
