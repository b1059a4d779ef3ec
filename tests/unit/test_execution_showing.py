"""Looking at runs: one row of a batch that is in doubt, and results that nobody has collected."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from runner.execution.showing import read_row, read_summary
from runner.settings import load_settings
from support.execution_batches import BatchBench
from support.execution_fakes import folder_in_memory


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[BatchBench]:
    with folder_in_memory(tmp_path) as folder:
        yield BatchBench(folder / "project", 2)


def test_results_that_will_soon_be_gone_are_told_by_all_who_look(bench: BatchBench) -> None:
    bench.provider.hangs = True
    bench.run(detach=True)
    (info,) = bench.runs()
    assert read_summary(info, bench.clock).warnings == []
    bench.clock.ahead = timedelta(days=25)
    (told,) = read_summary(info, bench.clock).warnings
    assert told.startswith("the results of batch 1 (msgbatch_01) are not collected, and are kept until")
    assert told in bench.resume().warnings


def test_a_row_whose_batch_is_in_doubt_says_so(bench: BatchBench) -> None:
    bench.provider.lost = 1
    bench.run(detach=True)
    shown = read_row(bench.runs()[-1], load_settings(bench.root, {}), "k0")
    assert "under way (in a batch whose id is not known)" in shown.text()
