"""Where batches live: one row and a few files each, in the stand-in's state folder.

Owns   the table `batches` (in the books' database, so that progress and bill are one commit) and the folder `batches`:
       `ID.requests` (a line for each request) and `ID.shapes` (what requests share, once), both dropped when the batch
       has ended, `ID.partial` (results in the order of
       processing) and `ID.results` (shuffled, once ended). All of it outlives SIGKILL.
Knows  batches as values; nothing of HTTP, and nothing of how requests are answered.

Times are seconds since the epoch by the stand-in's clock.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import orjson
from msgspec import Struct, field
from msgspec.structs import replace

from runner.simulator.accounts import AcceptedBatch, Accounts, Entry
from runner.simulator.batch_shapes import Shape

State = Literal["in_progress", "canceling", "ended"]

LIFETIME_S = 24 * 3600.0
"""After this a batch expires. Source: batch guide."""

RETENTION_S = 29 * 24 * 3600.0
"""So long after its creation the results of a batch can be had. Source: batch guide."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY,            -- in the order of creation
    id TEXT NOT NULL UNIQUE,
    workspace TEXT NOT NULL,
    version TEXT NOT NULL,                 -- the API version and the betas that its create named
    betas TEXT NOT NULL,
    created_at REAL NOT NULL,
    latency_s REAL NOT NULL,               -- how long all of its requests take
    total INTEGER NOT NULL,
    is_foreign INTEGER NOT NULL,           -- somebody else's: not billed
    traits TEXT NOT NULL,                  -- JSON: what was made to go wrong with it
    state TEXT NOT NULL,
    end_now_at REAL,                       -- ended by a control call
    cancel_at REAL,
    ended_at REAL,
    is_deleted INTEGER NOT NULL,
    done INTEGER NOT NULL,                 -- so far: requests processed, and where the files stand
    requests_offset INTEGER NOT NULL,
    results_bytes INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    errored INTEGER NOT NULL,
    canceled INTEGER NOT NULL,
    expired INTEGER NOT NULL
) STRICT;
"""


class Batch(Struct, frozen=True):
    """One batch, as the table has it. The tallies (`succeeded` and on) grow while it is processed."""

    number: int
    id: str
    workspace: str
    version: str
    betas: str
    created_at: float
    latency_s: float
    total: int
    is_foreign: bool = False
    traits: Mapping[str, Any] = field(default_factory=dict)
    state: State = "in_progress"
    end_now_at: float | None = None
    cancel_at: float | None = None
    ended_at: float | None = None
    is_deleted: bool = False
    done: int = 0
    requests_offset: int = 0
    results_bytes: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def expires_at(self) -> float:
        return self.created_at + LIFETIME_S

    @property
    def archived_at(self) -> float:
        return self.created_at + RETENTION_S

    def values(self) -> tuple[Any, ...]:
        """As a row of the table."""
        plain = (getattr(self, name) for name in _NAMES)
        return tuple(orjson.dumps(value).decode() if isinstance(value, Mapping) else value for value in plain)


_NAMES = Batch.__struct_fields__
_COLUMNS = ", ".join(_NAMES)
_PUT = f"INSERT OR REPLACE INTO batches ({_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))})"  # noqa: S608


class BatchStore:
    """All batches, newest last. To be used on one event loop."""

    def __init__(self, folder: Path, accounts: Accounts) -> None:
        self._folder = folder / "batches"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._accounts = accounts
        self._database = accounts.database
        self._database.execute(_SCHEMA)
        rows = self._database.execute(f"SELECT {_COLUMNS} FROM batches ORDER BY number")  # noqa: S608 - names of our own
        self._batches = {batch.id: batch for batch in map(_read, rows)}
        self._sweep()

    def new_id(self) -> str:
        return f"msgbatch_01{secrets.token_hex(11)}"

    def incoming_file(self) -> Path:
        """A path for a body that is being received; never seen again if the stand-in ends before `create`."""
        return self._folder / f"{secrets.token_hex(8)}.incoming"

    def requests_file(self, batch_id: str) -> Path:
        return self._folder / f"{batch_id}.requests"

    def shapes_file(self, batch_id: str) -> Path:
        return self._folder / f"{batch_id}.shapes"

    def partial_file(self, batch_id: str) -> Path:
        return self._folder / f"{batch_id}.partial"

    def results_file(self, batch_id: str) -> Path:
        return self._folder / f"{batch_id}.results"

    def get(self, batch_id: str) -> Batch | None:
        return self._batches.get(batch_id)

    def all(self) -> list[Batch]:
        """In the order of creation."""
        return list(self._batches.values())

    def next_number(self) -> int:
        return 1 + max((batch.number for batch in self._batches.values()), default=0)

    def queued(self) -> int:
        """Requests in batches that have not ended."""
        return sum(batch.total for batch in self._batches.values() if batch.state != "ended" and not batch.is_foreign)

    def create(
        self, batch: Batch, requests: Path, shapes: Iterable[Shape] = (), accepted: AcceptedBatch | None = None
    ) -> None:
        """Take in a batch whose requests were received; durable when it returns.

        Args:
            accepted: its entry in the books; None for one that nobody here has bought.
        """
        self.shapes_file(batch.id).write_bytes(b"".join(shape.to_line() for shape in shapes))
        requests.rename(self.requests_file(batch.id))
        with self._database:
            self._database.execute(_PUT, batch.values())
            if accepted is not None:
                self._accounts.accept(accepted)
        self._batches[batch.id] = batch

    def update(self, batch: Batch, entries: Iterable[Entry] = ()) -> Batch:
        """Replace a batch and enter what its requests cost, in one commit."""
        with self._database:
            self._accounts.enter(list(entries))
            self._database.execute(_PUT, batch.values())
        self._batches[batch.id] = batch
        return batch

    def end(self, batch: Batch, ended_at: float) -> None:
        """A batch whose results file is complete has ended."""
        self.update(replace(batch, state="ended", ended_at=ended_at))
        self.requests_file(batch.id).unlink(missing_ok=True)
        self.shapes_file(batch.id).unlink(missing_ok=True)
        self.partial_file(batch.id).unlink(missing_ok=True)

    def delete(self, batch: Batch) -> None:
        self.update(replace(batch, is_deleted=True))
        self.results_file(batch.id).unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget every batch."""
        self._database.execute("DELETE FROM batches")
        self._batches.clear()
        self._sweep()

    def _sweep(self) -> None:
        """Remove the files of batches that are not there, and those that an ended one no longer needs."""
        for path in self._folder.iterdir():
            batch = self._batches.get(path.stem)
            ended = batch is not None and batch.state == "ended"
            if batch is None or batch.is_deleted or (ended and path.suffix != ".results"):
                path.unlink(missing_ok=True)


def _read(row: tuple[Any, ...]) -> Batch:
    values = dict(zip(_NAMES, row, strict=True))
    values["traits"] = orjson.loads(values["traits"])
    return Batch(**values | {name: bool(values[name]) for name in ("is_foreign", "is_deleted")})
