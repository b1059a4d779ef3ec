"""The running totals: rows by status, money, tokens. One table row, changed by differences in the causing transaction.

Owns   the tables `totals` and `failure_kinds`.
Knows  the contract's `Counts`, `Money` and `Usage`.
"""

from __future__ import annotations

from collections import Counter

import apsw
from msgspec import Struct, field

from runner.ledger import Counts, Money
from runner.ledger.database import fetch
from runner.types import RowStatus, Usage


class Changes(Struct):
    """Differences to add to `totals`: the fields bear the columns' names. `kinds` counts failed rows by failure."""

    rows_open: int = 0
    rows_succeeded: int = 0
    rows_failed: int = 0
    rows_expired: int = 0
    rows_canceled: int = 0
    rows_reused: int = 0
    twins: int = 0
    twins_open: int = 0
    attempts: int = 0
    requests: int = 0
    spent: int = 0
    reserved: int = 0
    doubtful: int = 0
    overhead: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_5m: int = 0
    cache_1h: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def add_rows(self, status: RowStatus, count: int) -> None:
        name = f"rows_{status}"
        setattr(self, name, getattr(self, name) + count)

    def end_rows(self, status: RowStatus, kind: str | None, count: int, *, reused: bool) -> None:
        """So many open rows have ended alike; `kind` is their failure's."""
        self.rows_open -= count
        self.add_rows(status, count)
        self.rows_reused += reused * count
        if status == "failed" and kind is not None:
            self.kinds[kind] += count

    def add_usage(self, usage: Usage) -> None:
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cache_read += usage.cache_read_input_tokens
        self.cache_5m += usage.ephemeral_5m_input_tokens
        self.cache_1h += usage.ephemeral_1h_input_tokens

    def write(self, connection: apsw.Connection) -> None:
        connection.execute(_ADD, [getattr(self, name) for name in _COLUMNS])
        if self.kinds:
            connection.executemany(_ADD_KIND, list(self.kinds.items()))


_COLUMNS = tuple(name for name in Changes.__struct_fields__ if name != "kinds")
_ADD = "UPDATE totals SET " + ", ".join(f"{name} = {name} + ?" for name in _COLUMNS)  # noqa: S608 - our own names

_ADD_KIND = "INSERT INTO failure_kinds VALUES (?1, ?2) ON CONFLICT (kind) DO UPDATE SET rows = rows + ?2"

_COUNTS = """
    SELECT rows_open, rows_succeeded, rows_failed, rows_expired, rows_canceled, rows_reused, twins, twins_open,
        attempts, requests
    FROM totals
"""
_KINDS = "SELECT kind, rows FROM failure_kinds WHERE rows > 0 ORDER BY kind"
_MONEY = "SELECT spent, reserved, doubtful, overhead, unpriced FROM totals"
_USAGE = "SELECT input_tokens, output_tokens, cache_read, cache_5m, cache_1h FROM totals"


def read_counts(connection: apsw.Connection) -> Counts:
    """Rows by status, in one snapshot."""
    with connection:
        by_status, failures = fetch(connection, _COUNTS)[0], dict(fetch(connection, _KINDS))
    opened, succeeded, failed, expired, canceled, reused, twins, open_twins, attempts, requests = by_status
    return Counts(
        total=opened + succeeded + failed + expired + canceled,
        open=opened,
        succeeded=succeeded,
        failed=failed,
        expired=expired,
        canceled=canceled,
        reused=reused + twins - open_twins,
        failures=failures,
        twins=twins,
        open_twins=open_twins,
        attempts=attempts,
        requests=requests,
    )


def read_money(connection: apsw.Connection) -> Money:
    return Money(*fetch(connection, _MONEY)[0])


def read_usage(connection: apsw.Connection) -> Usage:
    return Usage(*fetch(connection, _USAGE)[0])
