"""The stand-in's books: every request it accepted and billed, append-only, in its state folder.

Owns   `accounts.db`, and the order of things: an entry is committed before its reply is sent, so the books are never
       behind what a client has been told, however the stand-in ends. Batches are entered twice: each one as accepted,
       before its create is answered, and each succeeded request when it was processed.
Knows  entries; nothing of HTTP or of runner's ledger, against which tests hold it. `batch_store` keeps its own tables
       in the same file, so that a batch's progress and its bill are one commit.

Entries of one turn of the event loop share a commit. A commit reaches the operating system (`synchronous=OFF`): it
outlives SIGKILL, not a power cut, which is all that a test can do to it. The books work on the loop's thread: a commit
costs some ten microseconds, a hand-over to another thread costs more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
from msgspec import Struct

from runner.types import Mode, Usage

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
    delivered INTEGER NOT NULL DEFAULT 0,  -- the reply was written to the socket to its end
    mode TEXT NOT NULL DEFAULT 'parallel', -- or 'batch'
    batch_id TEXT,
    custom_id TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS accepted_batches (   -- append-only: what a client has bought, whatever it was told of it
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    at TEXT NOT NULL,
    workspace TEXT NOT NULL,
    requests INTEGER NOT NULL,
    body_sha256 TEXT NOT NULL,
    custom_ids_sha256 TEXT NOT NULL,            -- of the ids in their order, each followed by a line end
    first_custom_id TEXT NOT NULL,
    fault TEXT                                  -- what happened to the reply to its create
) STRICT;
CREATE TABLE IF NOT EXISTS delivered_batches (id TEXT PRIMARY KEY) STRICT;  -- results were written to their end
CREATE TABLE IF NOT EXISTS clock (ahead_s REAL NOT NULL) STRICT;
"""
_ADDED = (("mode", "TEXT NOT NULL DEFAULT 'parallel'"), ("batch_id", "TEXT"), ("custom_id", "TEXT"))
"""Columns that books of an earlier version lack."""

_COLUMNS = (
    "id, at, request_hash, echo, message_id, model, input_tokens, output_tokens, cache_read_input_tokens, "
    "ephemeral_5m_input_tokens, ephemeral_1h_input_tokens, cost_pico, fault, mode, batch_id, custom_id"
)
_INSERT = f"INSERT INTO billed ({_COLUMNS}) VALUES ({', '.join('?' * 16)})"  # noqa: S608 - names of our own
_DELIVERED = "max(delivered, coalesce(batch_id IN (SELECT id FROM delivered_batches), 0))"
_TOTALS: Mapping[str, str] = {
    "requests": "count(*)",
    "delivered": f"sum({_DELIVERED})",
    "input_tokens": "sum(input_tokens)",
    "output_tokens": "sum(output_tokens)",
    "cache_read_input_tokens": "sum(cache_read_input_tokens)",
    "ephemeral_5m_input_tokens": "sum(ephemeral_5m_input_tokens)",
    "ephemeral_1h_input_tokens": "sum(ephemeral_1h_input_tokens)",
    "cost_pico": "sum(cost_pico)",
    "unpriced": "sum(cost_pico IS NULL)",
    "cache_writes": "sum(ephemeral_5m_input_tokens + ephemeral_1h_input_tokens > 0)",
}
"""What `totals` tells, and how it is summed up. `cache_writes` counts requests that wrote."""

_DELIVERY_DELAY_S = 0.05
"""How long the note that a reply was delivered may wait for company. It is only a note: nothing is told by it."""


class Entry(Struct, frozen=True):
    """One accepted request."""

    at: str
    request_hash: str
    echo: str
    message_id: str
    model: str
    usage: Usage
    cost_pico: int | None
    fault: str | None = None
    mode: Mode = "parallel"
    batch_id: str | None = None
    custom_id: str | None = None

    def values(self, number: int) -> tuple[Any, ...]:
        """The entry as a row, in the order of `_COLUMNS`."""
        usage = self.usage
        tokens = (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens)
        writes = (usage.ephemeral_5m_input_tokens, usage.ephemeral_1h_input_tokens)
        names = (self.at, self.request_hash, self.echo, self.message_id, self.model)
        source = (self.fault, self.mode, self.batch_id, self.custom_id)
        return (number, *names, *tokens, *writes, self.cost_pico, *source)


class AcceptedBatch(Struct, frozen=True):
    """One accepted create. Two with one `body_sha256` are a batch bought twice."""

    id: str
    at: str
    workspace: str
    requests: int
    body_sha256: str
    custom_ids_sha256: str
    first_custom_id: str
    fault: str | None = None


class Accounts:
    """The books in `folder`, which is made where it is missing. To be used on one event loop, or on none to read."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._database = apsw.Connection(str(folder / "accounts.db"))
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute(_SCHEMA)
        self._add_columns()
        self._next_id = int(self._value("SELECT coalesce(max(id), 0) FROM billed")) + 1
        self._pending: list[tuple[Any, ...]] = []
        self._delivered: list[tuple[int]] = []
        self._group: asyncio.Future[None] | None = None
        self._delivery_due = False

    @property
    def database(self) -> apsw.Connection:
        """The connection, for tables that must be committed together with the books."""
        return self._database

    def enter(self, entries: Sequence[Entry]) -> None:
        """Enter requests at once, within the caller's transaction."""
        first = self._next_id
        self._next_id += len(entries)
        self._database.executemany(_INSERT, [entry.values(first + place) for place, entry in enumerate(entries)])

    def accept(self, batch: AcceptedBatch) -> None:
        """Enter an accepted batch, within the caller's transaction."""
        names = ", ".join(AcceptedBatch.__struct_fields__)
        values = [getattr(batch, name) for name in AcceptedBatch.__struct_fields__]
        query = f"INSERT INTO accepted_batches ({names}) VALUES ({', '.join('?' * len(values))})"  # noqa: S608 - as above
        self._database.execute(query, values)

    def accepted_batches(self) -> list[dict[str, Any]]:
        """Every accepted batch, in the order of acceptance."""
        names = AcceptedBatch.__struct_fields__
        rows = self._database.execute(f"SELECT {', '.join(names)} FROM accepted_batches ORDER BY number")  # noqa: S608
        return [dict(zip(names, row, strict=True)) for row in rows]

    def batch_delivered(self, batch_id: str) -> None:
        """Note that the results of a batch were sent to their end: so were all of its entries."""
        self._database.execute("INSERT OR IGNORE INTO delivered_batches VALUES (?)", (batch_id,))

    def ahead_s(self) -> float:
        """How far the clock had been turned."""
        return float(self._value("SELECT coalesce(max(ahead_s), 0.0) FROM clock"))

    def set_ahead_s(self, seconds: float) -> None:
        with self._database:
            self._database.execute("DELETE FROM clock")
            self._database.execute("INSERT INTO clock VALUES (?)", (seconds,))

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
        """Sums over everything billed, and the same by mode under `modes` (modes with entries only).

        `most_repeated` is how often the most frequent request was billed. `batches` and `batch_requests` count what
        was accepted by create, billed or not; `batches_repeated` those whose body had been accepted before.
        """
        self.flush()
        modes = self._totals_by_mode()
        totals = {name: sum(sums[name] for sums in modes.values()) for name in _TOTALS}
        distinct, most = self._repeats()
        for mode, sums in modes.items():
            sums["distinct"] = self._repeats(mode)[0] if len(modes) > 1 else distinct
        repeats = {"distinct": distinct, "most_repeated": most}
        return {**totals, **repeats, **self._batch_totals(), "modes": modes}

    def _repeats(self, mode: str = "%") -> tuple[int, int]:
        """How many different requests were billed, and how often the most frequent one."""
        distinct, most = self._row(
            "SELECT count(*), coalesce(max(n), 0) FROM "
            "(SELECT count(*) AS n FROM billed WHERE mode LIKE ? GROUP BY request_hash)",
            mode,
        )
        return distinct, most

    def _batch_totals(self) -> dict[str, int]:
        row = self._row(
            "SELECT count(*), coalesce(sum(requests), 0), count(*) - count(DISTINCT workspace || body_sha256) "
            "FROM accepted_batches"
        )
        return dict(zip(("batches", "batch_requests", "batches_repeated"), row, strict=True))

    def _totals_by_mode(self) -> dict[str, dict[str, int]]:
        rows = self._database.execute(f"SELECT mode, {', '.join(_TOTALS.values())} FROM billed GROUP BY mode")  # noqa: S608
        return {row[0]: {name: value or 0 for name, value in zip(_TOTALS, row[1:], strict=True)} for row in rows}

    def counts(self) -> dict[str, int]:
        """How often each request was billed, by its hash."""
        self.flush()
        return dict(self._database.execute("SELECT request_hash, count(*) FROM billed GROUP BY request_hash"))

    def entries(self) -> list[dict[str, Any]]:
        """Everything billed, in the order of acceptance."""
        self.flush()
        names = [*_COLUMNS.split(", "), "delivered"]
        rows = self._database.execute(f"SELECT {_COLUMNS}, {_DELIVERED} FROM billed ORDER BY id")  # noqa: S608 - as above
        return [dict(zip(names, row, strict=True)) for row in rows]

    def clear(self) -> None:
        self.flush()
        self._database.execute("DELETE FROM billed")
        self._database.execute("DELETE FROM accepted_batches")
        self._database.execute("DELETE FROM delivered_batches")

    def close(self) -> None:
        self.flush()
        self._database.close()

    def _add_columns(self) -> None:
        known = {row[1] for row in self._database.execute("PRAGMA table_info(billed)")}
        for name, kind in _ADDED:
            if name not in known:
                self._database.execute(f"ALTER TABLE billed ADD COLUMN {name} {kind}")

    def _row(self, query: str, *values: str) -> tuple[Any, ...]:
        return tuple(next(iter(self._database.execute(query, values))))

    def _value(self, query: str) -> Any:
        return self._row(query)[0]
