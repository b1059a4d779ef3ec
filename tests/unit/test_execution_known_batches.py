"""Which batch ids are known on this machine: those of every ledger that can be read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from runner.events import Warned
from runner.execution.folders import StateFolder
from runner.execution.known_batches import KnownBatches
from runner.ledger import BatchFacts, Lease
from runner.ledger.sqlite import SqliteLedger
from runner.types import Step
from support.engine_fakes import Listener
from support.ledgers import BOUND, new_ledger

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def with_batch(ledger: SqliteLedger, row: int, batch_id: str) -> None:
    leases = [Lease(Step(row), bytes(32), BOUND, "batch")]
    batch = ledger.intend_batch(leases, body_sha256=bytes(32), watermark=None, cap_pico=None, now=NOON)
    assert batch is not None
    ledger.mark_batch(batch.number, "sending")
    ledger.mark_batch(batch.number, "in_progress", BatchFacts(batch_id=batch_id))


def test_ids_of_all_runs_are_known_also_those_that_come_later(tmp_path: Path) -> None:
    state, listener = StateFolder(tmp_path), Listener()
    state.create()
    known = KnownBatches(state, listener)
    assert known.ids() == set()
    with new_ledger(state.runs_path / "one", 3) as one, new_ledger(state.runs_path / "two", 3) as two:
        with_batch(one, 0, "msgbatch_1")
        with_batch(two, 0, "msgbatch_2")
        assert known.ids() == {"msgbatch_1", "msgbatch_2"}
        with_batch(two, 1, "msgbatch_3")
        assert known.ids() == {"msgbatch_1", "msgbatch_2", "msgbatch_3"}
    assert listener.of(Warned) == []


def test_a_ledger_that_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    state, listener = StateFolder(tmp_path), Listener()
    state.create()
    with new_ledger(state.runs_path / "one", 1) as one:
        with_batch(one, 0, "msgbatch_1")
    broken = state.runs_path / "two" / "ledger.db"
    broken.parent.mkdir()
    broken.write_bytes(b"this is no database" * 100)
    known = KnownBatches(state, listener)
    assert known.ids() == known.ids() == {"msgbatch_1"}
    broken.write_bytes(b"nor is this" * 100)
    assert known.ids() == {"msgbatch_1"}
    assert [event.code for event in listener.of(Warned)] == ["unreadable-run"]
