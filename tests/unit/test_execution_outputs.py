"""Which files are a job's own: kept through what a delivery may come to, and through what a full disk may leave."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runner.execution.folders import Line, RunInfo, StateFolder
from runner.execution.outputs import OUTPUTS, note_beside, note_in, own_outputs
from runner.ledger import Delivery
from runner.ledger.sqlite import SqliteLedger

LINE = Line("jobs/x.yaml", None, "https://api.example", simulated=False)
A, B, C = ("aa" * 32, "bb" * 32, "cc" * 32)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / ".runner")


def make_run(state: StateFolder, job_file: str = "jobs/x.yaml") -> RunInfo:
    meta = {"job": "x", "job_file": job_file, "line": LINE.digest, "trial": False, "state": "open"}
    info, ledger = state.new_run(LINE, meta, datetime(2026, 11, 22, tzinfo=UTC))
    ledger.close()
    return info


def delivery(state: Any, sha256: str | None = A) -> Delivery:
    return Delivery(0, "jsonl", "out/x.jsonl", state, 3, sha256)


def test_every_output_that_was_about_to_be_seen_is_the_job_s_own(state: StateFolder) -> None:
    info = make_run(state)
    with SqliteLedger.open(info.folder) as ledger:
        note = note_in(ledger, info.folder)
        for sha256 in (A, B):
            note(delivery("staged", sha256))
            note(delivery("delivered", sha256))
        note(delivery("staged", C))
        note(delivery("failed", None))
        assert [kept.state for kept in ledger.deliveries()] == ["failed"]
    assert own_outputs(state, "jobs/x.yaml") == {A, B, C}


def test_a_note_beside_needs_no_ledger(state: StateFolder) -> None:
    info = make_run(state)
    with SqliteLedger.open(info.folder):
        note_beside(info.folder)(delivery("staged"))
    assert own_outputs(state, "jobs/x.yaml") == {A}


def test_what_has_no_digest_is_not_noted(state: StateFolder) -> None:
    info = make_run(state)
    note_beside(info.folder)(delivery("staged", None))
    assert not (info.folder / OUTPUTS).exists()


def test_outputs_of_all_runs_of_the_job_count_and_of_no_other(state: StateFolder) -> None:
    for job_file, sha256 in (("jobs/x.yaml", A), ("jobs/x.yaml", B), ("jobs/y.yaml", C)):
        note_beside(make_run(state, job_file).folder)(delivery("staged", sha256))
    assert own_outputs(state, "jobs/x.yaml") == {A, B}


def test_a_line_that_a_full_disk_tore_spoils_no_other(state: StateFolder) -> None:
    info = make_run(state)
    note = note_beside(info.folder)
    note(delivery("staged", A))
    with (info.folder / OUTPUTS).open("a") as file:
        file.write(B[:20])
    note(delivery("staged", C))
    assert own_outputs(state, "jobs/x.yaml") == {A, C}


def test_the_file_is_private(state: StateFolder) -> None:
    info = make_run(state)
    note_beside(info.folder)(delivery("staged"))
    assert (info.folder / OUTPUTS).stat().st_mode & 0o777 == 0o600
