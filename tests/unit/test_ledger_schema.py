from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import pytest

from runner.errors import LedgerError
from runner.ledger import schema
from runner.ledger.audit import audit
from runner.ledger.database import fetch, fetch_value
from runner.ledger.sqlite import SqliteLedger
from runner.types import Step
from support.ledger_batches import answered, collect, intend, move
from support.ledger_versions import turn_to_version
from support.ledgers import BOUND, accept, answer, lease_all, message, new_ledger


def columns(connection: apsw.Connection) -> dict[str, list[tuple[object, ...]]]:
    tables = fetch(connection, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    return {name: fetch(connection, f"PRAGMA table_info({name})") for (name,) in tables}


def indexes(connection: apsw.Connection) -> list[tuple[object, ...]]:
    return fetch(connection, "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql > '' ORDER BY name")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A run of the first format: row 0 succeeded, rows 1 to 3 are in a batch under way, batch 2 was not sent."""
    with new_ledger(tmp_path / "run", 5, job="x") as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([answer(Step(0), text="before")], accept)
        intend(ledger, [Step(1), Step(2), Step(3)])
        move(ledger, 1, "sending", "in_progress")
        intend(ledger, [Step(4)])
        move(ledger, 2, "not_sent")
    turn_to_version(1, tmp_path / "run/ledger.db")
    return tmp_path / "run"


def test_the_older_format_of_these_tests_is_the_first(old: Path) -> None:
    first, made = apsw.Connection(":memory:"), apsw.Connection(str(old / "ledger.db"))
    first.execute(schema.MIGRATIONS[0])
    assert columns(made) == columns(first)
    assert [index for index in indexes(made) if index[0] != "rows_by_key"] == indexes(first)
    made.close()


def test_an_older_run_is_read_as_it_is_without_being_changed(old: Path) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file() and "-shm" not in path.name}
    with SqliteLedger.open(old, read_only=True) as ledger:
        assert [(batch.state, batch.settled, batch.priming) for batch in ledger.batches()] == [
            ("in_progress", 0, False),
            ("not_sent", 0, False),
        ]
        assert (ledger.meta["job"], ledger.counts().succeeded, ledger.result(0).body) == ("x", 1, message("before"))
        assert [step.step.row for step in ledger.batch_steps(1, None, 9)] == [1, 2, 3]
        assert ledger.landed(1) is None
        assert ledger.attempts(1)[0].batch_id == "msgbatch_1"
    assert audit(old) == []
    after = {path: path.read_bytes() for path in old.rglob("*") if path.is_file() and "-shm" not in path.name}
    assert {path: data for path, data in after.items() if data} == {path: data for path, data in before.items() if data}


def test_an_older_run_goes_on_where_it_was(old: Path) -> None:
    with SqliteLedger.open(old) as ledger:
        assert fetch_value(ledger._connection, "PRAGMA user_version") == len(schema.MIGRATIONS)
        move(ledger, 1, "ended")
        settled = collect(ledger, 1, answered(Step(3), Step(1), Step(2)))
        assert len([ruling for ruling in settled.rulings if ruling is not None]) == 3
        assert move(ledger, 1, "closed").settled == 3
        assert ledger.money().reserved == 0
        with SqliteLedger.open(old, read_only=True) as beside:
            assert beside.result(0).body == message("before")
    assert audit(old) == []


def test_the_backup_of_a_migration_is_the_run_as_it_was(old: Path) -> None:
    SqliteLedger.open(old).close()
    backup = old / "ledger.db.v1"
    assert backup.stat().st_mode & 0o777 == 0o600
    shutil.copytree(old, old.with_name("again"))
    shutil.copy(backup, old.with_name("again") / "ledger.db")
    with SqliteLedger.open(old.with_name("again"), read_only=True) as ledger:
        assert (ledger.counts().open, ledger.money().reserved) == (4, 3 * BOUND)


def test_a_migrated_ledger_is_a_new_one(old: Path, tmp_path: Path) -> None:
    new_ledger(tmp_path / "new", 5).close()
    SqliteLedger.open(old).close()
    made, migrated = apsw.Connection(str(tmp_path / "new/ledger.db")), apsw.Connection(str(old / "ledger.db"))
    assert columns(made) == columns(migrated)
    assert indexes(made) == indexes(migrated)
    made.close()
    migrated.close()


def test_a_batch_of_an_older_run_keeps_what_it_has_settled(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger:
        intend(ledger, [Step(0), Step(1), Step(2)])
        move(ledger, 1, "sending", "in_progress", "ended")
        collect(ledger, 1, answered(Step(1)))
    turn_to_version(1, tmp_path / "run/ledger.db")
    with SqliteLedger.open(tmp_path / "run", read_only=True) as ledger:
        assert ledger.batch(1).settled == 1
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.batch(1).settled == 1
        with pytest.raises(LedgerError, match="2 of its steps"):
            move(ledger, 1, "closed")
