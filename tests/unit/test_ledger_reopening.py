from __future__ import annotations

from pathlib import Path

import pytest

from runner.ledger import Ruling
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.types import Outcome, Step
from support.ledgers import accept, answer, failed, lease_all, new_ledger


def rule(outcome: Outcome) -> Ruling:
    """Row 3 expired, row 4 was canceled; else as usual."""
    state = {3: Ruling("expired"), 4: Ruling("canceled")}.get(outcome.step.row)
    return state if state is not None else accept(outcome)


def ended(folder: Path) -> SqliteLedger:
    ledger = new_ledger(folder, 6)
    lease_all(ledger, [Step(row) for row in range(5)])
    refused = failed(Step(2), kind="refusal")
    ledger.record([answer(Step(0)), failed(Step(1)), refused, failed(Step(3), kind="expired"), answer(Step(4))], rule)
    return ledger


@pytest.mark.parametrize(
    ("kinds", "keys", "rows"),
    [
        ((), (), [1, 2, 3, 4]),
        (("refusal",), (), [2]),
        (("expired", "canceled"), (), [3, 4]),
        (("failed",), (), [1, 2]),
        ((), ("key-1", "key-0", "key-5", "nobody"), [1]),
        (("refusal",), ("key-1", "key-2"), [2]),
        (("timeout",), (), []),
    ],
)
def test_the_rows_that_were_named_are_open_again(
    tmp_path: Path, kinds: tuple[str, ...], keys: tuple[str, ...], rows: list[int]
) -> None:
    with ended(tmp_path / "run") as ledger:
        assert ledger.reopen(kinds=kinds, keys=keys) == len(rows)
        assert [found.step.row for found in ledger.open_steps(None, 9)] == [*rows, 5]
        assert ledger.counts().open == len(rows) + 1
    assert audit(tmp_path / "run") == []


def test_a_reopened_row_has_fresh_tries_and_keeps_its_bill(tmp_path: Path) -> None:
    with ended(tmp_path / "run") as ledger:
        ledger.reopen(keys=["key-4"])
        found = ledger.open_steps(None, 9)[0]
        assert (found.step, found.attempts, found.tries) == (Step(4), 1, 0)
        lease_all(ledger, [Step(4)])
        ledger.record([answer(Step(4), 2)], accept)
        assert (ledger.result(4).status, ledger.result(4).cost_pico, ledger.result(4).attempts) == ("succeeded", 14, 2)
        assert ledger.counts().canceled == 0


def test_a_kind_that_nobody_has_any_more_is_not_counted(tmp_path: Path) -> None:
    with ended(tmp_path / "run") as ledger:
        ledger.reopen(kinds=["refusal"])
        assert ledger.counts().failures == {"api_error": 1}
