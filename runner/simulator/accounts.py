"""The stand-in's books: every request it accepted and billed, append-only, in its state folder.

Owns   `accounts.db`, and the order of things: an entry is committed before its reply is sent, so the books are never
       behind what a client has been told, however the stand-in ends.
Knows  entries; nothing of HTTP or of runner's ledger, against which tests hold it.

Entries of one turn of the event loop share a commit. A commit reaches the operating system (`synchronous=OFF`): it
outlives SIGKILL, not a power cut, which is all that a test can do to it. The books work on the loop's thread: a commit
costs some ten microseconds, a hand-over to another thread costs more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from runner.types import Usage

_SCHEMA = """
CREATE TABLE IF NOT EXISTS billed (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,                      -- UTC, when the request was accepted
    request_hash TEXT NOT NULL,
    echo TEXT NOT NULL,
    message_id TEXT NOT NULL,
    model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_input_tokens INTEGER NOT NULL,
    ephemeral_5m_input_tokens INTEGER NOT NULL,
    ephemeral_1h_input_tokens INTEGER NOT NULL,
    cost_pico INTEGER,                     -- NULL where the model's price is not known
    fault TEXT,
    delivered INTEGER NOT NULL DEFAULT 0   -- the reply was written to the socket to its end
) STRICT;
"""
_COLUMNS = (
    "id, at, request_hash, echo, message_id, model, input_tokens, output_tokens, cache_read_input_tokens, "
    "ephemeral_5m_input_tokens, ephemeral_1h_input_tokens, cost_pico, fault"
)
_INSERT = f"INSERT INTO billed ({_COLUMNS}) VALUES ({', '.join('?' * 13)})"  # noqa: S608 - names of our own
_TOTALS: Mapping[str, str] = {
    "requests": "count(*)",
    "delivered": "sum(delivered)",
    "input_tokens": "sum(input_tokens)",
    "output_tokens": "sum(output_tokens)",
    "cache_read_input_tokens": "sum(cache_read_input_tokens)",
    "ephemeral_5m_input_tokens": "sum(ephemeral_5m_input_tokens)",
    "ephemeral_1h_input_tokens": "sum(ephemeral_1h_input_tokens)",
    "cost_pico": "sum(cost_pico)",
    "unpriced": "sum(cost_pico IS NULL)",
    "cache_writes": "sum(ephemeral_5m_input_tokens + ephemeral_1h_input_tokens > 0)",
    "distinct": "count(DISTINCT request_hash)",
}
"""What `totals` tells, and how it is summed up. `cache_writes` counts requests that wrote."""

_DELIVERY_DELAY_S = 0.05
"""How long the note that a reply was delivered may wait for company. It is only a note: nothing is told by it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted request."""

    at: str
    request_hash: str
    echo: str
    message_id: str
    model: str
    usage: Usage
    cost_pico: int | None
    fault: str | None = None

    def values(self, number: int) -> tuple[Any, ...]:
        """The entry as a row, in the order of `_COLUMNS`."""
        usage = self.usage
        tokens = (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens)
        writes = (usage.ephemeral_5m_input_tokens, usage.ephemeral_1h_input_tokens)
        names = (self.at, self.request_hash, self.echo, self.message_id, self.model)
        return (number, *names, *tokens, *writes, self.cost_pico, self.fault)


class Accounts:
    """The books in `folder`, which is made where it is missing. To be used on one event loop, or on none to read."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._database = apsw.Connection(str(folder / "accounts.db"))
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute(_SCHEMA)
        self._next_id = int(self._value("SELECT coalesce(max(id), 0) FROM billed")) + 1
        self._pending: list[tuple[Any, ...]] = []
        self._delivered: list[tuple[int]] = []
        self._group: asyncio.Future[None] | None = None
        self._delivery_due = False

    async def bill(self, entry: Entry) -> int:
        """Enter a request; returns its number once the entry is committed."""
        number = self._next_id
        self._next_id += 1
        self._pending.append(entry.values(number))
        if self._group is None:
            loop = asyncio.get_running_loop()
            self._group = loop.create_future()
            loop.call_soon(self.flush)
        await asyncio.shield(self._group)
        return number

    def delivered(self, number: int) -> None:
        """Note that a reply was sent to its end; committed a little later."""
        self._delivered.append((number,))
        if not self._delivery_due:
            self._delivery_due = True
            asyncio.get_running_loop().call_later(_DELIVERY_DELAY_S, self.flush)

    def flush(self) -> None:
        """Commit everything that waits."""
        group, self._group = self._group, None
        pending, self._pending = self._pending, []
        delivered, self._delivered = self._delivered, []
        self._delivery_due = False
        try:
            if pending or delivered:
                with self._database:
                    self._database.executemany(_INSERT, pending)
                    self._database.executemany("UPDATE billed SET delivered = 1 WHERE id = ?", delivered)
        except apsw.Error as error:
            if group is None:
                raise
            group.set_exception(error)  # those who wait for their entry must not answer
        else:
            if group is not None:
                group.set_result(None)

    def totals(self) -> dict[str, Any]:
        """Sums over everything billed. `most_repeated` is how often the most frequent request was billed."""
        self.flush()
        row = self._row(f"SELECT {', '.join(_TOTALS.values())} FROM billed")  # noqa: S608 - as above
        totals = {name: value or 0 for name, value in zip(_TOTALS, row, strict=True)}
        most = self._value("SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM billed GROUP BY request_hash)")
        return {**totals, "most_repeated": most}

    def counts(self) -> dict[str, int]:
        """How often each request was billed, by its hash."""
        self.flush()
        return dict(self._database.execute("SELECT request_hash, count(*) FROM billed GROUP BY request_hash"))

    def entries(self) -> list[dict[str, Any]]:
        """Everything billed, in the order of acceptance."""
        self.flush()
        names = [*_COLUMNS.split(", "), "delivered"]
        rows = self._database.execute(f"SELECT {_COLUMNS}, delivered FROM billed ORDER BY id")  # noqa: S608 - as above
        return [dict(zip(names, row, strict=True)) for row in rows]

    def clear(self) -> None:
        self.flush()
        self._database.execute("DELETE FROM billed")

    def close(self) -> None:
        self.flush()
        self._database.close()

    def _row(self, query: str) -> tuple[Any, ...]:
        return tuple(next(iter(self._database.execute(query))))

    def _value(self, query: str) -> Any:
        return self._row(query)[0]
