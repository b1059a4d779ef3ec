"""The index of uploaded files: which id a content has at an API, so that nobody sends it twice.

Owns   `uploads.db` in the state folder, and the claims beside it: one lock a content, held while it is being sent.
Knows  contents by their SHA-256 and media type, scopes and ids. Nothing of how a file is sent, or of who asks.

Shared by all runs and processes of the state folder. Who wants to send a content claims it first, looks again, notes
the intent, sends, and notes the id; whoever else wants it waits for the claim and then finds the id. A claim is a
`flock`, which the kernel gives up when its process ends, however it ends. An intent that nobody holds a claim for is
`doubtful`: the file may be at the API although its id was never heard.

A file's name at the API holds the index's random mark and the content's digest (`name_of`), so that a file which
arrived unheard can be found there and is proven to be ours.

An index that is damaged, or of another format, is thrown away: what it knew is sent again.

A scope is a digest of whose files these are: the API's address, whether it is simulated, and the credential.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import apsw
from msgspec import Struct

from runner.clock import to_rfc3339
from runner.errors import LedgerError
from runner.ledger.database import all_or_nothing, fetch, fetch_value, translated
from runner.ledger.folder import make_private, open_private
from runner.ledger.refusals import damaged, disk_errors

_FORMAT = 1
_BUSY_TIMEOUT_MS = 30_000

_SCHEMA = """
BEGIN;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE files (
    number INTEGER PRIMARY KEY,            -- in the order in which they were sent
    scope TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    file_id TEXT NOT NULL,
    uploaded_at TEXT NOT NULL,
    expires_at TEXT,                       -- by the API's clock
    seen_at TEXT NOT NULL,                 -- when the API last said that it is there
    is_gone INTEGER NOT NULL DEFAULT 0,
    UNIQUE (scope, file_id)
) STRICT;
CREATE INDEX by_content ON files (scope, sha256, media_type);
CREATE TABLE intents (                     -- sent, or about to be, and no id noted
    scope TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (scope, sha256, media_type)
) STRICT, WITHOUT ROWID;
CREATE TABLE uses (
    scope TEXT NOT NULL,
    file_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (scope, file_id, run_id)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;
"""
_FILES = "scope, sha256, media_type, size_bytes, file_id, uploaded_at, expires_at, seen_at"
_PREFIX = "runner-"


class Content(Struct, frozen=True):
    """What is sent: bytes by their digest (SHA-256) and the media type that they are sent as."""

    sha256: bytes
    media_type: str


class Upload(Struct, frozen=True):
    """A file of ours at the API. `expires_at` None: it does not expire."""

    scope: str
    content: Content
    size_bytes: int
    file_id: str
    uploaded_at: datetime
    expires_at: datetime | None
    seen_at: datetime


class UploadIndex:
    """The index in one file, with its claims in a folder beside it. One thread at a time may use one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._claims = path.with_suffix(".claims")
        self._held: dict[Path, int] = {}
        """Descriptors of the claims that were taken here."""
        self._connection = self._open()
        self.mark = str(fetch_value(self._connection, "SELECT value FROM facts WHERE name = 'mark'"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for path in list(self._held):
            self._release(path)
        self._sweep()
        self._connection.close()

    def name_of(self, content: Content) -> str:
        """What the file is called at the API."""
        return f"{_PREFIX}{self.mark}-{content.sha256.hex()[:32]}{_EXTENSIONS.get(content.media_type, '')}"

    def scope_of(self, owner: bytes) -> str:
        """The scope of an owner's files. Salted with the mark: an owner is told by a credential, and nobody shall
        compare those of two state folders."""
        return hashlib.sha256(self.mark.encode() + owner).hexdigest()[:32]

    def is_ours(self, filename: str) -> bool:
        """Whether a file of this name was sent by way of this index."""
        return filename.startswith(f"{_PREFIX}{self.mark}-")

    # -- looking up ------------------------------------------------------------------------------------------------

    def find(self, scope: str, content: Content) -> Upload | None:
        """The newest file with this content that is not known to be gone; it may have expired."""
        found = self._select(
            "scope = ? AND sha256 = ? AND media_type = ? AND NOT is_gone ORDER BY number DESC LIMIT 1",
            (scope, content.sha256, content.media_type),
        )
        return found[0] if found else None

    def all(self) -> list[Upload]:
        """Every file that is not known to be gone, oldest first."""
        return self._select("NOT is_gone ORDER BY number", ())

    def is_doubtful(self, scope: str, content: Content) -> bool:
        """Whether the content may be at the API although its id was never heard. Of a content that is claimed."""
        query = "SELECT count(*) FROM intents WHERE scope = ? AND sha256 = ? AND media_type = ?"
        return bool(fetch_value(self._connection, query, (scope, content.sha256, content.media_type)))

    def runs_using(self, scope: str, file_id: str) -> list[str]:
        """Ids of the runs whose requests named the file."""
        query = "SELECT run_id FROM uses WHERE scope = ? AND file_id = ? ORDER BY run_id"
        return [run_id for (run_id,) in fetch(self._connection, query, (scope, file_id))]

    # -- noting ----------------------------------------------------------------------------------------------------

    def intend(self, scope: str, content: Content) -> None:
        """Note, before anything is sent, that the content may soon be there."""
        self._write("INSERT OR IGNORE INTO intents VALUES (?, ?, ?)", (scope, content.sha256, content.media_type))

    def give_up(self, scope: str, content: Content) -> None:
        """Note that nothing of it is there: it was refused, or never left."""
        self._write(_FULFIL, (scope, content.sha256, content.media_type))

    def keep(self, upload: Upload) -> None:
        """Note a file that is there."""
        content = upload.content
        values = (
            upload.scope, content.sha256, content.media_type, upload.size_bytes, upload.file_id,
            to_rfc3339(upload.uploaded_at), None if upload.expires_at is None else to_rfc3339(upload.expires_at),
            to_rfc3339(upload.seen_at),
        )  # fmt: skip
        with self._transaction():
            self._connection.execute(f"INSERT OR REPLACE INTO files ({_FILES}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608 - our own names
            self._connection.execute(_FULFIL, (upload.scope, content.sha256, content.media_type))

    def saw(self, scope: str, file_id: str, at: datetime) -> None:
        self._write("UPDATE files SET seen_at = ? WHERE scope = ? AND file_id = ?", (to_rfc3339(at), scope, file_id))

    def forget(self, scope: str, file_id: str) -> None:
        """Note that the API does not have the file any more."""
        self._write("UPDATE files SET is_gone = 1 WHERE scope = ? AND file_id = ?", (scope, file_id))

    def use(self, scope: str, file_id: str, run_id: str) -> bool:
        """Note that requests of a run name the file; before they do. False: it was taken out in the meantime."""
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO uses VALUES (?, ?, ?)", (scope, file_id, run_id))
            return self._has(scope, file_id)

    def take_out(self, scope: str, file_id: str, is_open: Callable[[str], bool]) -> list[str]:
        """Note that a file is gone, before it is deleted, so that no run names it any more. Where runs that are open
        name it, it stays as it is; returns these."""
        with self._transaction():
            query = "UPDATE files SET is_gone = 1 WHERE scope = ? AND file_id = ?"
            self._connection.execute(query, (scope, file_id))
            named_by = [run_id for run_id in self.runs_using(scope, file_id) if is_open(run_id)]
            if named_by:
                self._put_back(scope, file_id)
        return named_by

    def put_back(self, scope: str, file_id: str) -> None:
        """Note that a file which was taken out is there all the same."""
        with self._transaction():
            self._put_back(scope, file_id)

    def _put_back(self, scope: str, file_id: str) -> None:
        query = "UPDATE files SET is_gone = 0 WHERE scope = ? AND file_id = ?"
        self._connection.execute(query, (scope, file_id))

    def _has(self, scope: str, file_id: str) -> bool:
        query = "SELECT count(*) FROM files WHERE scope = ? AND file_id = ? AND NOT is_gone"
        return bool(fetch_value(self._connection, query, (scope, file_id)))

    # -- claims ----------------------------------------------------------------------------------------------------

    def claim(self, scope: str, content: Content) -> bool:
        """Take the right to send a content, until `release` or `close`; False while somebody else has it."""
        make_private(self._claims)
        path = self._claim_path(scope, content)
        while True:
            with disk_errors(path):
                descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            if _is_still(path, descriptor):
                self._held[path] = descriptor
                return True
            os.close(descriptor)  # of a claim that was given up in between

    def claim_unheard(self, scope: str, filename: str, file_id: str) -> bool:
        """Take the right to say that nobody heard of a file that the API has, until `close`; False where somebody is
        just sending it, or has noted it."""
        # In this order: what is noted when the intents are read is no intent any more.
        query = "SELECT sha256, media_type FROM intents WHERE scope = ?"
        for sha256, media_type in fetch(self._connection, query, (scope,)):
            content = Content(sha256, media_type)
            if self.name_of(content) != filename or self._claim_path(scope, content) in self._held:
                continue  # of two files with one content, the claim is for both
            if not self.claim(scope, content):
                return False
        return not self._has(scope, file_id)

    def release(self, scope: str, content: Content) -> None:
        self._release(self._claim_path(scope, content))

    def _release(self, path: Path) -> None:
        descriptor = self._held.pop(path, None)
        if descriptor is not None:
            path.unlink(missing_ok=True)  # while it is held, so that it is ours
            os.close(descriptor)

    def _sweep(self) -> None:
        """Remove the claims that killed processes left: nobody holds them."""
        for path in list(self._claims.iterdir()) if self._claims.is_dir() else ():
            with contextlib.suppress(OSError):  # it was given up, or taken, meanwhile
                descriptor = os.open(path, os.O_RDWR)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_still(path, descriptor):
                        path.unlink()
                finally:
                    os.close(descriptor)

    def _claim_path(self, scope: str, content: Content) -> Path:
        whole = f"{scope}/{content.media_type}/".encode() + content.sha256
        return self._claims / hashlib.sha256(whole).hexdigest()[:32]

    # -- the file --------------------------------------------------------------------------------------------------

    def _open(self) -> apsw.Connection:
        make_private(self._path.parent)
        with disk_errors(self._path):
            guard = open_private(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)  # only one process at a time makes, checks or removes the file
            try:
                return self._connect()
            except LedgerError as error:
                if error.code != "damaged":
                    raise
                for suffix in ("-wal", "-shm", ""):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                return self._connect()
        finally:
            os.close(guard)

    def _connect(self) -> apsw.Connection:
        if not self._path.exists():
            with disk_errors(self._path):
                os.close(open_private(self._path, os.O_RDWR | os.O_CREAT))
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            with translated(self._path):
                connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
                connection.pragma("journal_mode", "wal")
                connection.pragma("synchronous", 1)  # a power cut costs an upload, a sync for each file costs more
                if not fetch(connection, "SELECT 1 FROM sqlite_schema LIMIT 1"):
                    connection.execute(_SCHEMA)
                    connection.execute("INSERT INTO facts VALUES ('mark', ?)", (secrets.token_hex(8),))
                if connection.pragma("user_version") != _FORMAT or connection.pragma("quick_check", 1) != "ok":
                    raise damaged(f"{self._path} is of another format, or damaged")
        except BaseException:
            connection.close()
            raise
        return connection

    def _select(self, where: str, values: tuple[Any, ...]) -> list[Upload]:
        rows = fetch(self._connection, f"SELECT {_FILES} FROM files WHERE {where}", values)  # noqa: S608 - our own names
        return [_read(row) for row in rows]

    def _write(self, sql: str, values: tuple[Any, ...]) -> None:
        with self._transaction():
            self._connection.execute(sql, values)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with translated(self._path), all_or_nothing(self._connection):
            yield


_FULFIL = "DELETE FROM intents WHERE scope = ? AND sha256 = ? AND media_type = ?"
_EXTENSIONS = {
    "application/pdf": ".pdf", "text/plain": ".txt", "image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif",
    "image/webp": ".webp",
}  # fmt: skip


def _read(row: tuple[Any, ...]) -> Upload:
    scope, sha256, media_type, size_bytes, file_id, uploaded_at, expires_at, seen_at = row
    return Upload(
        scope,
        Content(sha256, media_type),
        size_bytes,
        file_id,
        datetime.fromisoformat(uploaded_at),
        None if expires_at is None else datetime.fromisoformat(expires_at),
        datetime.fromisoformat(seen_at),
    )


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file that was locked is still the one of that name."""
    try:
        named, locked = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino)
