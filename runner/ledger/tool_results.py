"""Results of tools: what functions of the project gave to a reply's calls, so that they are not run again.

Owns   the table `tool_results`: by the step whose reply called, and the call's id.
Knows  steps and results. What was called, and why, is in the step's reply.

They stand in the database and not in the spool, because they are no outcomes: nothing is billed, nothing is ruled on.
A result is committed with FULL durability before the request that has it leaves; a call whose result was not committed
when the process died is made again. Longer ones are compressed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw
import zstandard

from runner.encoding import printable
from runner.ledger.database import fetch
from runner.ledger.steps import step_key
from runner.tools import ToolResult
from runner.types import Step

_WORTH_COMPRESSING: Final = 1024
_MOST_BYTES: Final = 1 << 30

_KEEP: Final = "INSERT OR REPLACE INTO tool_results VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_OF_STEP: Final = """
    SELECT id, is_error, packed, content FROM tool_results WHERE row = ? AND turn = ? AND sample = ? AND round = ?
"""


def keep(connection: apsw.Connection, step: Step, results: Sequence[ToolResult]) -> None:
    """Note results of calls of the reply to a step; one that is there already is replaced."""
    connection.executemany(_KEEP, [(*step_key(step), *_columns(result)) for result in results])


def results_of(connection: apsw.Connection, step: Step) -> dict[str, ToolResult]:
    """The results that are known of calls of the reply to a step, by the call's id."""
    found = fetch(connection, _OF_STEP, step_key(step))
    return {name: ToolResult(name, _text(packed, content), bool(is_error)) for name, is_error, packed, content in found}


def _columns(result: ToolResult) -> tuple[str, bool, bool, bytes]:
    content = printable(result.content).encode()
    packed = len(content) >= _WORTH_COMPRESSING
    return result.id, result.is_error, packed, zstandard.compress(content, 1) if packed else content


def _text(packed: int, content: bytes) -> str:
    return (zstandard.decompress(content, _MOST_BYTES) if packed else content).decode()
