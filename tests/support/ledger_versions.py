"""Ledgers of older formats, made from one of today's."""

from __future__ import annotations

from pathlib import Path

import apsw

_TO_3 = """
DROP TABLE twins;
ALTER TABLE totals DROP COLUMN twins;
ALTER TABLE totals DROP COLUMN twins_open;
PRAGMA user_version = 3;
"""
_TO_2 = """
DROP TABLE tool_results;
PRAGMA user_version = 2;
"""
_TO_1 = """
DROP TABLE landings;
ALTER TABLE batches DROP COLUMN priming;
ALTER TABLE batches DROP COLUMN settled;
ALTER TABLE batches DROP COLUMN began_at;
ALTER TABLE batches DROP COLUMN ended_at;
ALTER TABLE batches DROP COLUMN tallies;
ALTER TABLE batches DROP COLUMN cause;
ALTER TABLE batches DROP COLUMN note;
ALTER TABLE batches DROP COLUMN first_row;
ALTER TABLE batches DROP COLUMN last_row;
CREATE INDEX leases_by_batch ON leases (batch) WHERE batch IS NOT NULL;
PRAGMA user_version = 1;
"""


_BACK = {3: _TO_3, 2: _TO_2, 1: _TO_1}


def turn_to_version(number: int, path: Path) -> None:
    """Make a closed ledger one that this version could have written (as far as it holds nothing newer)."""
    connection = apsw.Connection(str(path))
    for version, script in _BACK.items():
        if version >= number:
            connection.execute(script)
    connection.close()
