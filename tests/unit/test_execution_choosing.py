"""The mode of a new run: by what there is to send, counted as cheaply as that can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.execution_batches import BatchBench
from support.execution_fakes import Bench

SETTINGS = "batch_min_rows = 6\nbatch_poll_first_s = 0.01\nbatch_poll_longest_s = 0.02\n"


def bench_of(folder: Path, rows: int) -> BatchBench:
    bench = BatchBench(folder / "project", rows)
    (bench.root / "runner.toml").write_text(SETTINGS)
    return bench


def auto(bench: BatchBench, **options: Any) -> tuple[str, str]:
    meta = Bench.run(bench, **options).meta
    return meta["mode"], meta["mode_why"]


@pytest.mark.parametrize(("rows", "mode"), [(5, "parallel"), (6, "batch")])
def test_from_a_number_of_requests_on_batches_are_used(tmp_path: Path, rows: int, mode: str) -> None:
    chosen, why = auto(bench_of(tmp_path, rows))
    assert (chosen, f"{rows} requests" in why) == (mode, True)


def test_rows_that_have_their_answer_do_not_count(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 8)
    assert auto(bench)[0] == "batch"
    bench.rows(f"text {number}" for number in range(13))
    assert auto(bench) == ("parallel", "5 requests are fewer than the 6 from which batches are used")
    bench.rows(f"text {number}" for number in range(19))
    assert auto(bench)[0] == "batch"
    assert auto(bench, new=True, reuse=False)[0] == "batch"


def test_a_trial_is_answered_at_once_and_the_choice_is_never_made_again(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 8)
    assert auto(bench, trial=True)[0] == "parallel"
    bench.provider.hangs = True
    assert Bench.run(bench, detach=True, reuse=False).mode == "batch"
    bench.provider.hangs = False
    (bench.root / "runner.toml").write_text(SETTINGS.replace("= 6", "= 600"))
    summary = Bench.run(bench)
    assert (summary.status, summary.mode, len(bench.provider.made)) == ("finished", "batch", 1)
