"""What `plan` says of the example jobs, at prices and on a day that do not change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace
from syrupy.assertion import SnapshotAssertion

from runner.cli.report import plan_lines
from runner.execution import RunOptions, plan_job
from support.frozen_clock import FrozenClock
from support.harness import ROOT

EXAMPLES = ROOT / "runner" / "examples"
PRICES = """
["claude-haiku-5-5"]
input = 1
output = 5
["claude-sonnet-5-5"]
input = 3
output = 15
"""


@pytest.mark.parametrize("job", sorted(path.stem for path in (EXAMPLES / "jobs").glob("*.yaml")))
def test_the_plan_of_an_example(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snapshot: SnapshotAssertion
) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "starter")
    (tmp_path / "prices.toml").write_text(PRICES)
    monkeypatch.setenv("RUNNER_PRICES", str(tmp_path / "prices.toml"))
    monkeypatch.setenv("HOME", str(tmp_path))
    planned = plan_job(tmp_path / "starter" / "jobs" / f"{job}.yaml", RunOptions(), FrozenClock())
    assert planned.warnings == ()
    assert "own prices" in planned.prices, "the list of the day would change the figures"
    assert plan_lines(replace(planned, prices="own")) == snapshot
