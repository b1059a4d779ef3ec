from __future__ import annotations

from pathlib import Path

from runner.ledger import Delivery, Ledger
from runner.ledger.sqlite import SqliteLedger
from runner.types import Step
from support.ledgers import accept, answer, lease_all, new_ledger


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    ledger: Ledger = SqliteLedger.create(tmp_path / "run", {})  # mypy is half of this test
    public = {name for name in vars(Ledger) if not name.startswith("_")}
    assert public <= set(dir(ledger))
    ledger.close()


def test_meta_holds_any_json_and_survives(tmp_path: Path) -> None:
    with SqliteLedger.create(tmp_path / "run", {"job": "x", "cap": 10**18, "half": "\ud83d"}) as ledger:
        ledger.set_meta({"cap": None, "list": [1, {"a": 0.5}]})
    with SqliteLedger.open(tmp_path / "run", read_only=True) as ledger:
        assert ledger.meta == {"job": "x", "cap": None, "half": "\ud83d", "list": [1, {"a": 0.5}]}


def test_deliveries_are_replaced_by_sink(tmp_path: Path) -> None:
    staged = Delivery(1, "file", "out/a.jsonl", "staged")
    done = Delivery(1, "file", "out/a.jsonl", "delivered", 3, "ab", None)
    broken = Delivery(0, "file", "caf\udce9.csv", "failed", error="no \ud83d space")
    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        for delivery in (staged, broken, done):
            ledger.set_delivery(delivery)
        [first, second] = ledger.deliveries()
        assert (first.state, first.target, second) == ("failed", "caf\ufffd.csv", done)


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger:
        lease_all(ledger, [Step(1)])
        ledger.record([answer(Step(1))], accept)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert [found.step for found in ledger.open_steps(None, 9)] == [Step(0), Step(2)]
        lease_all(ledger, [Step(0), Step(2)])
        ledger.record([answer(Step(2)), answer(Step(0))], accept)
        assert ledger.counts().succeeded == 3


def test_a_folder_can_be_copied_and_moved(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([answer(Step(0))], accept)
    (tmp_path / "run").rename(tmp_path / "moved")
    with SqliteLedger.open(tmp_path / "moved") as ledger:
        assert ledger.result(0).body == answer(Step(0)).body
