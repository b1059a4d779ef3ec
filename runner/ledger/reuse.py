"""The reply index: which run holds an answer to a request that was asked before, so that nobody pays for it twice.

Owns   `replies.db`, a map from a request's identity to a frame or a landed line in some run's spool.
Knows  run folders and their ledgers, which it only reads; `holders` reads what is at a place.

The index is never truth: it can be deleted at any time and is made again from the runs. So a damaged
one, or one of another format, is thrown away without a word, a run that cannot be read is passed over, and what
`find` returns has been read from the spool and checked against the identity that was asked for.

Only accepted replies of rows that succeeded are in it: no failures, refusals, truncations or invalid replies. A reply
belongs to a scope (a digest over the API's address and whether it was simulated), which a run states in its meta
as `scope`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import apsw
from msgspec import Struct

from runner.encoding import decode
from runner.errors import LedgerError
from runner.ledger.database import Database, all_or_nothing, fetch, fetch_one, fetch_value, translated
from runner.ledger.folder import DATABASE, open_private
from runner.ledger.holders import Holders
from runner.ledger.refusals import damaged, disk_errors
from runner.ledger.schema import END_CODE, ROW_CODE
from runner.ledger.spool import Place
from runner.types import Reply

_FORMAT = 4
_BUSY_TIMEOUT_MS = 30_000

_SCHEMA = """
BEGIN;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    folder TEXT NOT NULL UNIQUE,
    scope TEXT NOT NULL,
    stamp TEXT NOT NULL,  -- of the ledger's files when they were read last
    segment INTEGER NOT NULL, offset INTEGER NOT NULL,  -- frames before it are in the index, or never will be,
    landing INTEGER NOT NULL,  -- and so are the landed files up to this one
    judged INTEGER NOT NULL  -- how often its replies had been judged anew by then
) STRICT;
CREATE TABLE replies (
    request_hash BLOB NOT NULL,
    sample INTEGER NOT NULL,  -- equal requests of a row's samples have a reply each
    run INTEGER NOT NULL,
    row INTEGER NOT NULL,
    segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    PRIMARY KEY (request_hash, sample, run)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 4;
COMMIT;
"""

_ACCEPTED = """
SELECT a.request_hash, a.sample, a.row, a.segment, a.offset, a.length
FROM attempts AS a JOIN rows AS r ON r.idx = a.row
WHERE a.end = ? AND a.failure IS NULL AND r.status = ?
    AND ((a.segment > 0 AND (a.segment, a.offset) >= (?, ?)) OR a.segment < -?)
"""

_HOLDERS = """
SELECT runs.folder, replies.row, replies.segment, replies.offset, replies.length
FROM replies JOIN runs ON runs.id = replies.run
WHERE replies.request_hash = ? AND replies.sample = ? AND runs.scope = ? ORDER BY runs.id DESC
"""
_REGISTER = """
INSERT INTO runs (folder, scope, stamp, segment, offset, landing, judged) VALUES (?, ?, ?, 1, 0, 0, ?)
ON CONFLICT (folder) DO UPDATE SET stamp = excluded.stamp RETURNING id, judged, segment, offset, landing
"""
_FORGET_REPLIES = "DELETE FROM replies WHERE run = ?"
_READ_ANEW = "UPDATE runs SET segment = 1, offset = 0, landing = 0, judged = ? WHERE id = ?"

_END_OF_FINISHED = """
SELECT segment, offset, (SELECT coalesce(max(id), 0) FROM landings) FROM spool_mark
WHERE (SELECT rows_open FROM totals) = 0
"""


class Found(Struct, frozen=True):
    """A reply that another run paid for. `run` is that run's folder name; `body` the message object as JSON bytes."""

    run: str
    body: bytes
    reply: Reply
    request_id: str | None
    batch_id: str | None


class ReplyIndex:
    """The index in one file. Several processes may use it at once; one thread a `ReplyIndex`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = self._open()
        self._holders = Holders()
        self._worth_asking: dict[tuple[str, str | None], bool] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._holders.close()
        self._connection.close()

    # -- opening ---------------------------------------------------------------------------------------------------
    def _open(self) -> apsw.Connection:
        with disk_errors(self._path), self._alone():
            try:
                return self._connect()
            except LedgerError as error:
                if error.code != "damaged":
                    raise
                self._remove()
                return self._connect()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one process at a time makes, checks or removes the file."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = open_private(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _connect(self) -> apsw.Connection:
        if not self._path.exists():
            os.close(open_private(self._path, os.O_RDWR | os.O_CREAT))
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            with translated(self._path):
                connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
                connection.pragma("journal_mode", "wal")
                connection.pragma("synchronous", 1)
                if not fetch(connection, "SELECT 1 FROM sqlite_schema LIMIT 1"):
                    connection.execute(_SCHEMA)
                if connection.pragma("user_version") != _FORMAT or connection.pragma("quick_check", 1) != "ok":
                    raise damaged(f"{self._path} is of another format, or damaged")
        except BaseException:
            connection.close()
            raise
        return connection

    def _remove(self) -> None:
        # The log first: a new file must never meet the log of an old one.
        for suffix in ("-wal", "-shm", ""):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _start_over(self) -> None:
        self._connection.close()
        with self._alone():
            self._remove()
        self._connection = self._open()

    # -- taking up -------------------------------------------------------------------------------------------------
    def catch_up(self, runs_folder: Path) -> None:
        """Take up the replies that the runs in this folder have got since the last time, and forget runs that are
        gone."""
        self._worth_asking.clear()
        try:
            self._catch_up(runs_folder)
        except LedgerError as error:
            if error.code != "damaged":
                raise
            self._start_over()
            self._catch_up(runs_folder)

    def _catch_up(self, runs_folder: Path) -> None:
        for run, folder in fetch(self._connection, "SELECT id, folder FROM runs"):
            if not (Path(folder) / DATABASE).exists():
                with self._transaction():
                    self._connection.execute(_FORGET_REPLIES, (run,))
                    self._connection.execute("DELETE FROM runs WHERE id = ?", (run,))
        for path in sorted(runs_folder.absolute().glob(f"*/{DATABASE}")):
            with contextlib.suppress(
                LedgerError
            ):  # of a newer version, damaged, just being made: nothing to reuse there
                self._take_up(path.parent)

    def _take_up(self, folder: Path) -> None:
        stamp = _stamp(folder)
        if stamp == fetch_value(self._connection, "SELECT stamp FROM runs WHERE folder = ?", (str(folder),)):
            return
        try:
            database = Database(folder / DATABASE, read_only=True)
        except LedgerError:
            return  # of a newer version, or damaged: nothing to reuse there
        try:
            with contextlib.suppress(_UnreadableRun), self._transaction():
                self._copy(database.connection, folder, stamp)
        finally:
            database.close()

    def _copy(self, ledger: apsw.Connection, folder: Path, stamp: str) -> None:
        scope = _scope_of(ledger)
        if scope is None:
            return
        judged = _meta(ledger, "judged") or 0
        run, judged_then, *known = fetch(self._connection, _REGISTER, (str(folder), scope, stamp, judged))[0]
        if judged_then != judged:  # what was accepted may not be any more, and what was not may be
            self._connection.execute(_FORGET_REPLIES, (run,))
            self._connection.execute(_READ_ANEW, (judged, run))
            known = [1, 0, 0]
        with ledger:  # one snapshot: the mark must not be newer than the replies
            end = fetch_one(ledger, _END_OF_FINISHED)
            self._connection.executemany(
                "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((request_hash, sample, run, *place) for request_hash, sample, *place in _accepted(ledger, known)),
            )
        if end is not None:  # while rows are open, a reply that is known may yet become an accepted one
            self._connection.execute("UPDATE runs SET segment = ?, offset = ?, landing = ? WHERE id = ?", (*end, run))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with translated(self._path), all_or_nothing(self._connection):
            yield

    # -- looking up ------------------------------------------------------------------------------------------------
    def find(self, scope: str, request_hash: bytes, *, sample: int = 0, but_not: str | None = None) -> Found | None:
        """The newest run's reply to this request in this scope; None where no run that is still there has one. A row's
        further samples, by their number, find replies of their own.

        `but_not` is the folder name of a run that is passed over: the one that asks. A first run that another process
        has taken up since the last `catch_up` is not seen.
        """
        try:
            if not self._has_others(scope, but_not):
                return None
            candidates = fetch(self._connection, _HOLDERS, (request_hash, sample, scope))
        except LedgerError as error:
            if error.code != "damaged":
                raise
            self._start_over()
            return None
        for folder, row, *place in candidates:
            if Path(folder).name == but_not:
                continue
            held = self._holders.read(folder, row, Place(*place), request_hash)
            if held is not None:
                return Found(Path(folder).name, *held)
        return None

    def _has_others(self, scope: str, but_not: str | None) -> bool:
        """Whether any other run can have a reply. Remembered: a first run of many rows would ask in vain for each, at
        some 40 microseconds a question."""
        asked = (scope, but_not)
        known = self._worth_asking.get(asked)
        if known is None:
            folders = fetch(self._connection, "SELECT folder FROM runs WHERE scope = ?", (scope,))
            known = any(Path(folder).name != but_not for (folder,) in folders)
            self._worth_asking[asked] = known
        return known


class _UnreadableRun(Exception):
    """A run's ledger is damaged: the index is not, and goes on without it."""


def _scope_of(ledger: apsw.Connection) -> str | None:
    scope = _meta(ledger, "scope")
    return None if scope is None else str(scope)


def _meta(ledger: apsw.Connection, name: str) -> Any:
    try:
        value = fetch_value(ledger, "SELECT value FROM meta WHERE name = ?", (name,))
    except LedgerError as error:
        raise _UnreadableRun from error
    return None if value is None else decode(value)


def _accepted(ledger: apsw.Connection, known: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Request hash and place of each accepted reply from the mark `known` on; a cursor, so that memory stays flat."""
    try:
        yield from ledger.execute(_ACCEPTED, (END_CODE["succeeded"], ROW_CODE["succeeded"], *known))
    except apsw.Error as error:
        raise _UnreadableRun from error


def _stamp(folder: Path) -> str:
    """Changes whenever a commit changes the ledger."""
    parts = []
    for name in (DATABASE, f"{DATABASE}-wal"):
        with contextlib.suppress(FileNotFoundError):
            found = (folder / name).stat()
            parts.append(f"{found.st_size}:{found.st_mtime_ns}")
    return " ".join(parts)
