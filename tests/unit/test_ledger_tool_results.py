from __future__ import annotations

from pathlib import Path

import apsw

from runner.ledger.schema import MIGRATIONS
from runner.ledger.sqlite import SqliteLedger
from runner.tools import ToolResult
from runner.types import Step
from support.ledger_versions import turn_to_version
from support.ledgers import new_ledger


def test_results_are_found_by_the_step_whose_reply_called(tmp_path: Path) -> None:
    results = [ToolResult("a", "found"), ToolResult("b", "no such thing", is_error=True), ToolResult("c", "")]
    step = Step(1, 2, 3, 1 << 40)
    with new_ledger(tmp_path / "run", 3) as ledger:
        ledger.keep_tool_results(step, results[:2])
        ledger.keep_tool_results(step, results[2:])
        ledger.keep_tool_results(Step(2), [ToolResult("a", "another row's")])
        assert ledger.tool_results(step) == {result.id: result for result in results}
        assert ledger.tool_results(Step(0)) == {}


def test_results_are_there_for_a_reader_beside_and_after_opening_again(tmp_path: Path) -> None:
    long = ToolResult("a", "ä\ud83d " * 2_000)
    with new_ledger(tmp_path / "run", 1) as ledger, SqliteLedger.open(tmp_path / "run", read_only=True) as beside:
        ledger.keep_tool_results(Step(0), [long])
        assert beside.tool_results(Step(0))["a"].content == "ä\ufffd " * 2_000
    with SqliteLedger.open(tmp_path / "run") as again:
        again.keep_tool_results(Step(0), [ToolResult("a", "now")])
        assert again.tool_results(Step(0)) == {"a": ToolResult("a", "now")}


def test_a_run_from_before_there_were_tools_has_no_results(tmp_path: Path) -> None:
    new_ledger(tmp_path / "run", 1).close()
    turn_to_version(2, tmp_path / "run/ledger.db")
    with SqliteLedger.open(tmp_path / "run", read_only=True) as ledger:
        assert ledger.tool_results(Step(0)) == {}
    with SqliteLedger.open(tmp_path / "run") as ledger:
        ledger.keep_tool_results(Step(0), [ToolResult("a", "found")])
        assert ledger.tool_results(Step(0)) == {"a": ToolResult("a", "found")}
    connection = apsw.Connection(str(tmp_path / "run/ledger.db"))
    assert connection.pragma("user_version") == len(MIGRATIONS)
    connection.close()
