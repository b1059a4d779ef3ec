from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from runner.ledger.audit import audit
from runner.types import Step
from support.ledger_batches import answered, collect, ended_batch
from support.ledgers import accept, answer, failed, lease_all, new_ledger


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DELETE FROM steps WHERE row = 0", "rows without a step"),
        ("UPDATE rows SET status = 0 WHERE idx = 0", "open rows without a step to do"),
        ("DELETE FROM leases", "leased steps without a lease"),
        ("DELETE FROM attempts WHERE row = 0", "steps whose attempts are not all there"),
        ("UPDATE totals SET rows_failed = 5", "rows by status"),
        ("UPDATE failure_kinds SET rows = 2", "failures by kind"),
        ("UPDATE totals SET spent = spent + 1", "money or tokens"),
        ("UPDATE leases SET reserved = 0", "money or tokens"),
    ],
)
def test_books_that_do_not_add_up_are_told(tmp_path: Path, change: str, told: str) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger:
        lease_all(ledger, [Step(0), Step(1), Step(2)])
        ledger.record([answer(Step(0)), failed(Step(1))], accept)
    assert audit(tmp_path / "run") == []
    connection = apsw.Connection(str(tmp_path / "run/ledger.db"))
    connection.execute(change)
    connection.close()
    assert any(told in problem for problem in audit(tmp_path / "run"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE batches SET settled = 1 WHERE number = 1", "neither under way nor settled"),
        ("UPDATE leases SET batch = 7 WHERE batch = 2", "leases of no batch"),
        ("UPDATE batches SET last_row = first_row - 1", "leases of no batch"),
        ("UPDATE attempts SET batch_id = 'msgbatch_2' WHERE row = 0", "settled steps are not their attempts"),
        ("UPDATE attempts SET batch_id = 'other' WHERE row = 0", "attempts of no batch"),
        ("UPDATE batches SET batch_id = 'msgbatch_1' WHERE number = 2", "batches that share an id"),
        ("DELETE FROM landings", "files that have not landed"),
        ("UPDATE landings SET batch = 2", "another batch brought"),
        ("UPDATE attempts SET length = length * 9 WHERE row = 0", "files that have not landed"),
        ("UPDATE attempts SET offset = 0", "two attempts from one line"),
        ("UPDATE landings SET bytes = bytes + 1", "landed files that are missing"),
        ("UPDATE batches SET state = 'closed' WHERE number = 2", "closed batches with steps under way"),
        ("UPDATE leases SET reserved = 0", "money or tokens"),
    ],
)
def test_batches_that_do_not_add_up_are_told(tmp_path: Path, change: str, told: str) -> None:
    with new_ledger(tmp_path / "run", 4) as ledger:
        number = ended_batch(ledger, [Step(0), Step(1)])
        collect(ledger, number, answered(Step(0), Step(1)))
        ended_batch(ledger, [Step(2), Step(3)])
    assert audit(tmp_path / "run") == []
    connection = apsw.Connection(str(tmp_path / "run/ledger.db"))
    connection.execute(change)
    connection.close()
    assert any(told in problem for problem in audit(tmp_path / "run"))
