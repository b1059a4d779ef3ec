from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from runner.errors import LedgerError
from runner.ledger.folder import Lock, file_system_of, is_owned, refuse_network
from runner.ledger.sqlite import SqliteLedger
from runner.types import Step
from support.ledgers import accept, answer, lease_all, new_ledger


def test_everything_in_a_run_is_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with new_ledger(tmp_path / "runs/a", 2) as ledger:
            lease_all(ledger, [Step(0)])
            ledger.record([answer(Step(0))], accept)
            found = {
                path: path.stat().st_mode & 0o777 for path in [tmp_path / "runs/a", *(tmp_path / "runs/a").rglob("*")]
            }
    finally:
        os.umask(old)
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o600}
    assert {"ledger.db", "ledger.db-wal", "000001.seg", "000001.rows"} <= {path.name for path in found}


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1):
        with pytest.raises(LedgerError, match=f"by process {os.getpid()} on ") as caught:
            SqliteLedger.open(tmp_path / "run")
        assert (caught.value.code, caught.value.exit_status) == ("locked", 4)
        assert caught.value.hint
    SqliteLedger.open(tmp_path / "run").close()


def test_an_owner_that_has_not_written_its_name_is_still_an_owner(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    (tmp_path / "lock").write_text("{half")
    with pytest.raises(LedgerError, match=r"is in use$"):
        Lock(tmp_path)
    lock.close()


def test_a_run_is_owned_as_long_as_somebody_writes_it(tmp_path: Path) -> None:
    assert not is_owned(tmp_path / "run")
    with new_ledger(tmp_path / "run", 1):
        assert is_owned(tmp_path / "run")
        (tmp_path / "run" / "lock").write_bytes(b"")
        assert is_owned(tmp_path / "run"), "also where its owner could not write its name"
    assert not is_owned(tmp_path / "run")


def test_looking_for_an_owner_keeps_nobody_out(tmp_path: Path) -> None:
    new_ledger(tmp_path / "run", 1).close()
    assert not is_owned(tmp_path / "run")
    with SqliteLedger.open(tmp_path / "run"):
        assert is_owned(tmp_path / "run")


def test_the_file_system_is_that_of_the_device(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 0:99 / /proc rw,nosuid shared:5 - proc proc rw\n"
        f"29 1 {os.major(device)}:{os.minor(device)} / /mnt/share\\040x rw shared:1 - nfs4 server:/x rw\n"
    )
    assert file_system_of(tmp_path, mounts) == "nfs4"
    assert file_system_of(tmp_path, tmp_path / "missing") is None


def test_a_network_file_system_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.ledger.folder.file_system_of", lambda _: "nfs4")
    with pytest.raises(LedgerError, match=re.escape("(nfs4)")) as caught:
        refuse_network(tmp_path)
    assert caught.value.code == "network-disk"
    assert "RUNNER_STATE_DIR" in str(caught.value.hint)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError) as caught:
        SqliteLedger.create(tmp_path / "file" / "run", {})
    assert caught.value.code == "cannot-write"
