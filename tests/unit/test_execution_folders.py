"""The state folder: which run a name means, what is passed over, and who may work on a job."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner.errors import LedgerError, UsageError
from runner.execution.folders import Line, RunInfo, StateFolder
from runner.ledger.sqlite import SqliteLedger

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LINE = Line("jobs/x.yaml", None, "https://api.anthropic.com", simulated=False)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / ".runner")


def make_run(
    state: StateFolder, line: Line = LINE, *, after_s: float = 0, job: str = "x", trial: bool = False, run: str = "open"
) -> RunInfo:
    meta = {"job": job, "job_file": line.job, "line": line.digest, "trial": trial, "state": run}
    info, ledger = state.new_run(line, meta, NOON + timedelta(seconds=after_s))
    ledger.close()
    return info


# -- lines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        Line("jobs/y.yaml", None, "https://api.anthropic.com", simulated=False),
        Line("jobs/x.yaml", "cheap", "https://api.anthropic.com", simulated=False),
        Line("jobs/x.yaml", None, "https://gateway.example", simulated=False),
        Line("jobs/x.yaml", None, "https://api.anthropic.com", simulated=True),
        Line("jobs/x.yaml", None, "https://api.anthropic.com", simulated=False, betas=("one-1",)),
    ],
    ids=["job", "profile", "address", "simulated", "betas"],
)
def test_a_run_belongs_to_job_profile_address_betas_and_whether_it_is_simulated(
    state: StateFolder, other: Line
) -> None:
    made = make_run(state)
    make_run(state, other, after_s=1)
    assert [info.run_id for info in state.of_line(LINE)] == [made.run_id]


def test_replies_are_shared_by_jobs_of_one_api(state: StateFolder) -> None:
    assert LINE.scope == Line("jobs/y.yaml", "cheap", LINE.address, simulated=False).scope
    assert LINE.scope != Line(LINE.job, None, LINE.address, simulated=True).scope
    assert LINE.scope != Line(LINE.job, None, LINE.address, simulated=False, betas=("one-1",)).scope


# -- finding a run -------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_id_the_beginning_of_it_its_job_and_as_the_latest(state: StateFolder) -> None:
    old = make_run(state, job="x")
    new = make_run(state, after_s=1, job="x")
    other = make_run(state, after_s=2, job="y")
    assert state.find(old.run_id).run_id == old.run_id
    assert state.find(old.run_id[:-1]).run_id == old.run_id
    assert state.find("x").run_id == new.run_id
    assert state.find("latest").run_id == other.run_id


def test_a_prefix_of_several_runs_is_refused_with_what_it_may_mean(state: StateFolder) -> None:
    first, second = make_run(state), make_run(state, after_s=1)
    with pytest.raises(UsageError) as caught:
        state.find("2026")
    assert caught.value.code == "ambiguous-run"
    assert first.run_id in (caught.value.hint or "")
    assert second.run_id in (caught.value.hint or "")


def test_an_id_that_is_the_beginning_of_another_is_no_ambiguity(state: StateFolder) -> None:
    made = make_run(state)
    make_run(state, after_s=1)
    made.folder.rename(made.folder.with_name("20261122"))
    assert state.find("20261122").run_id == "20261122"


def test_a_name_that_means_nothing_is_told_with_what_there_is(state: StateFolder) -> None:
    with pytest.raises(UsageError) as nothing:
        state.find("latest")
    assert nothing.value.code == "no-runs"
    make_run(state, job="sentiment")
    with pytest.raises(UsageError) as unknown:
        state.find("sentimental")
    assert unknown.value.code == "unknown-run"
    assert "sentiment" in (unknown.value.hint or "")


def test_a_run_that_never_began_is_not_found(state: StateFolder) -> None:
    """It has no rows and perhaps no stored job: there is nothing to show, to resume or to export."""
    begun = make_run(state)
    never = make_run(state, after_s=1, run="enrolling")
    assert state.find("latest").run_id == begun.run_id
    with pytest.raises(UsageError):
        state.find(never.run_id)


# -- what is passed over -------------------------------------------------------------------------------------------


def test_a_folder_without_a_ledger_is_no_run(state: StateFolder) -> None:
    made, emptied = make_run(state), make_run(state, after_s=1)
    (emptied.folder / "ledger.db").unlink()
    (state.runs_path / "notes.txt").touch()
    assert [info.run_id for info in state.runs()] == [made.run_id]
    assert state.find("latest").run_id == made.run_id


def damage(info: RunInfo) -> None:
    ledger = info.folder / "ledger.db"
    ledger.write_bytes(b"x" * 100 + ledger.read_bytes()[100:])


def test_a_damaged_run_does_not_hide_the_others(state: StateFolder) -> None:
    made, broken = make_run(state), make_run(state, after_s=1)
    damage(broken)
    assert [info.run_id for info in state.runs()] == [made.run_id]
    assert state.find("latest").run_id == made.run_id


def test_a_damaged_run_that_is_asked_for_is_refused(state: StateFolder) -> None:
    make_run(state)
    broken = make_run(state, after_s=1)
    damage(broken)
    for name in (broken.run_id, broken.run_id[:-1]):
        with pytest.raises(LedgerError) as caught:
            state.find(name)
        assert caught.value.code in ("damaged", "foreign-file")


def test_a_damaged_run_may_be_the_job_s_so_nobody_begins_another_unknowing(state: StateFolder) -> None:
    make_run(state)
    broken = make_run(state, after_s=1)
    state.require_readable()
    damage(broken)
    with pytest.raises(LedgerError) as caught:
        state.require_readable()
    assert str(broken.folder) in caught.value.message
    assert "--new" in (caught.value.hint or "")


# -- making and removing -------------------------------------------------------------------------------------------


def test_a_run_s_folder_is_private_and_its_id_sorts_by_time(state: StateFolder) -> None:
    first, second = make_run(state), make_run(state, after_s=0.001)
    assert first.run_id < second.run_id
    assert first.run_id.startswith("20261122-120000-000-")
    assert [path.stat().st_mode & 0o777 for path in (state.path, state.runs_path, first.folder)] == [0o700] * 3


def test_what_a_killed_making_left_is_removed_by_the_next_of_the_same_kind(state: StateFolder) -> None:
    state.create()
    mine = state.runs_path / f".new-{LINE.digest}-run-20261122-115900-000-abcd"
    trial = state.runs_path / f".new-{LINE.digest}-trial-20261122-115900-000-abcd"
    other = state.runs_path / f".new-{'0' * 32}-run-20261122-115900-000-abcd"
    for left in (mine, trial, other):
        left.mkdir()
    assert state.runs() == []
    make_run(state)
    assert (mine.exists(), trial.exists(), other.exists()) == (False, True, True)


def test_a_discarded_run_is_gone_at_once_and_whole(state: StateFolder) -> None:
    made = make_run(state)
    state.discard(made.folder)
    assert state.runs() == []
    assert list(state.runs_path.iterdir()) == []


def test_what_a_killed_removal_left_is_no_run_and_is_removed(state: StateFolder) -> None:
    made = make_run(state)
    made.folder.rename(made.folder.with_name(f".gone-{made.run_id}"))
    assert state.runs() == []
    second = make_run(state, after_s=1)
    assert [path.name for path in state.runs_path.iterdir()] == [second.run_id]


# -- owning a line -------------------------------------------------------------------------------------------------


def test_two_owners_of_a_line_exclude_one_another(state: StateFolder) -> None:
    with state.own(LINE, trial=False):
        with pytest.raises(LedgerError) as caught, state.own(LINE, trial=False):
            pass
        assert caught.value.code == "locked"
        assert "jobs/x.yaml" in caught.value.message
    with state.own(LINE, trial=False):
        pass


def test_a_trial_and_a_run_of_one_job_do_not_exclude_one_another(state: StateFolder) -> None:
    with state.own(LINE, trial=False), state.own(LINE, trial=True):
        pass


def test_a_line_is_free_once_its_owner_was_killed(state: StateFolder) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from runner.execution.folders import Line, StateFolder\n"
        f"with StateFolder(pathlib.Path({str(state.path)!r})).own("
        f"Line({LINE.job!r}, None, {LINE.address!r}, simulated=False), trial=False):\n"
        "    print('owned', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "owned\n"
        with pytest.raises(LedgerError, match=f"pid {child.pid}"), state.own(LINE, trial=False):
            pass
        child.kill()
        child.wait()
    with state.own(LINE, trial=False):
        pass


def test_a_state_folder_whose_path_is_no_utf8_is_told_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as caught:
        StateFolder(tmp_path / os.fsdecode(b"caf\xe9") / ".runner").create()
    assert (caught.value.code, "state_dir" in str(caught.value.hint)) == ("not-utf8", True)
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_that_cannot_be_made_is_told_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state = StateFolder(tmp_path / "file" / ".runner")
    with pytest.raises(LedgerError) as caught, state.own(LINE, trial=False):
        pass
    assert caught.value.code == "cannot-write"
    assert caught.value.exit_status == 4


def test_a_file_in_the_state_folder_s_place_is_told_by_whoever_looks(tmp_path: Path) -> None:
    (tmp_path / ".runner").touch()
    state = StateFolder(tmp_path / ".runner")
    for look in (state.runs, state.create, lambda: state.find("latest")):
        with pytest.raises(LedgerError, match="is no folder") as caught:
            look()
        assert caught.value.code == "cannot-write"
        assert "state_dir" in (caught.value.hint or "")


def test_the_meta_of_a_run_is_read_from_its_ledger(state: StateFolder) -> None:
    made = make_run(state, run="open", trial=True)
    with SqliteLedger.open(made.folder) as ledger:
        ledger.set_meta({"state": "finished"})
    (read,) = state.runs()
    assert (read.job, read.trial, read.finished, read.unfinished) == ("x", True, True, False)
