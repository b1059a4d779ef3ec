from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import pytest

from runner.errors import LedgerError
from runner.ledger.database import Database, fetch_value
from runner.ledger.schema import APPLICATION_ID, MIGRATIONS
from runner.ledger.sqlite import SqliteLedger
from support.ledgers import new_ledger

NEXT = (*MIGRATIONS, "CREATE TABLE extra (x INTEGER) STRICT;")


def alter(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


def code_of_opening(folder: Path, *, read_only: bool = False) -> str:
    with pytest.raises(LedgerError) as caught:
        SqliteLedger.open(folder, read_only=read_only)
    return caught.value.code


def test_settings_are_what_was_asked_for(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        pragma = ledger._connection.pragma
        assert (pragma("journal_mode"), pragma("temp_store"), pragma("trusted_schema")) == ("wal", 1, 0)
        assert (pragma("application_id"), pragma("user_version")) == (APPLICATION_ID, len(MIGRATIONS))


def test_promises_are_synchronous_full_and_outcomes_normal(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        for durable, level in ((True, 2), (False, 1)):
            with ledger._database.transaction(durable=durable) as connection:
                assert connection.pragma("synchronous") == level
        with ledger.together():
            for durable in (False, True):
                with ledger._database.transaction(durable=durable) as connection:
                    assert connection.pragma("synchronous") == 2, "what shares a transaction is as durable as any of it"


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    new_ledger(tmp_path / "run", 1).close()
    alter(tmp_path / "run/ledger.db", f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    assert code_of_opening(tmp_path / "run") == "newer-version"
    assert code_of_opening(tmp_path / "run", read_only=True) == "newer-version"


def test_a_file_of_another_application_is_refused(tmp_path: Path) -> None:
    new_ledger(tmp_path / "run", 1).close()
    alter(tmp_path / "run/ledger.db", "PRAGMA application_id = 1")
    assert code_of_opening(tmp_path / "run") == "foreign-file"


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    new_ledger(tmp_path / "run", 1).close()
    (tmp_path / "run/ledger.db").write_bytes(b"not a database" * 1000)
    assert code_of_opening(tmp_path / "run") == "damaged"


def test_a_folder_without_a_ledger_is_told(tmp_path: Path) -> None:
    assert code_of_opening(tmp_path) == "no-ledger"
    assert code_of_opening(tmp_path / "missing", read_only=True) == "no-ledger"


def test_creating_twice_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    new_ledger(tmp_path / "run", 2, job="a").close()
    with pytest.raises(LedgerError) as caught:
        SqliteLedger.create(tmp_path / "run", {"job": "b"})
    assert caught.value.code == "exists"
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert (ledger.meta["job"], ledger.counts().total) == ("a", 2)


def test_a_creation_that_was_killed_leaves_no_ledger_and_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/ledger.db.new").write_bytes(b"half")
    assert code_of_opening(tmp_path / "run") == "no-ledger"
    new_ledger(tmp_path / "run", 1).close()


def test_an_older_ledger_is_migrated_after_a_backup(tmp_path: Path) -> None:
    new_ledger(tmp_path / "run", 3).close()
    path = tmp_path / "run/ledger.db"
    with pytest.raises(LedgerError) as caught:
        Database(path, read_only=True, migrations=NEXT)
    assert caught.value.code == "older-version"
    database = Database(path, read_only=False, migrations=NEXT)
    assert database.connection.pragma("user_version") == len(NEXT)
    assert fetch_value(database.connection, "SELECT count(*) FROM extra") == 0
    database.close()
    backup = tmp_path / f"run/ledger.db.v{len(MIGRATIONS)}"
    assert backup.stat().st_mode & 0o777 == 0o600
    shutil.move(backup, path)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.counts().total == 3


def test_a_failing_migration_leaves_the_old_version(tmp_path: Path) -> None:
    new_ledger(tmp_path / "run", 3).close()
    path = tmp_path / "run/ledger.db"
    with pytest.raises(apsw.SQLError):
        Database(path, read_only=False, migrations=(*MIGRATIONS, "CREATE TABLE extra (x); SELECT broken;"))
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.counts().total == 3


def test_a_removed_write_ahead_log_is_noticed(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger:
        ledger.set_meta({"x": 1})
        shutil.copytree(tmp_path / "run", tmp_path / "left")
    shutil.copytree(tmp_path / "left", tmp_path / "whole")
    (tmp_path / "left/ledger.db-wal").unlink()
    assert code_of_opening(tmp_path / "left") == "damaged"
    with SqliteLedger.open(tmp_path / "whole") as ledger:
        assert ledger.meta["x"] == 1


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1, a=1) as ledger:
        with pytest.raises(TypeError):
            ledger.set_meta({"a": 2, "b": object()})
        assert ledger.meta["a"] == 1
        ledger.set_meta({"a": 3})
        assert ledger.meta["a"] == 3
