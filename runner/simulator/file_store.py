"""Where uploaded files live: a row each in the books' database, and the bytes in the folder `files`.

Owns   the tables `uploads` (append-only: what was ever accepted, whatever the client was told of it) and `files` (what
       is there now). Both outlive SIGKILL, as the bytes do.
Knows  files as values; nothing of HTTP, and nothing of who refers to them.

Times are seconds since the epoch by the stand-in's clock. A file's bytes go when it expires or is deleted; its row
stays, so that the two are told apart.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
from msgspec import Struct

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    at TEXT NOT NULL,
    workspace TEXT NOT NULL,
    filename TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    fault TEXT                      -- what happened to the reply
) STRICT;
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY,     -- in the order of creation
    id TEXT NOT NULL UNIQUE,
    workspace TEXT NOT NULL,
    filename TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    pages INTEGER NOT NULL,         -- of a PDF; of anything else 0
    width INTEGER NOT NULL,         -- of an image; of anything else 0
    height INTEGER NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL,
    is_deleted INTEGER NOT NULL DEFAULT 0
) STRICT;
"""
_COLUMNS = (
    "id, workspace, filename, mime_type, size_bytes, sha256, pages, width, height, created_at, expires_at, is_deleted"
)
_UPLOADED = "id, at, workspace, filename, mime_type, size_bytes, sha256, fault"


class StoredFile(Struct, frozen=True):
    """An uploaded file. `pages` are those of a PDF, `width` and `height` those of an image."""

    id: str
    workspace: str
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str
    pages: int
    width: int
    height: int
    created_at: float
    expires_at: float | None = None
    is_deleted: bool = False

    def has_expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at


class FileStore:
    """All files of one stand-in. To be used on one event loop."""

    def __init__(self, folder: Path, database: apsw.Connection) -> None:
        self._folder = folder / "files"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._database = database
        self._database.execute(_SCHEMA)
        for partial in self._folder.glob("*.partial"):
            partial.unlink()

    def incoming(self) -> Path:
        """Where the bytes of an upload go while they arrive."""
        return self._folder / f"{secrets.token_hex(8)}.partial"

    def new_id(self) -> str:
        return "file_sim" + secrets.token_hex(12)

    def add(self, file: StoredFile, received: Path, *, at: str, fault: str | None) -> None:
        """Take a file in; durable when it returns."""
        received.rename(self.content(file.id))
        values = tuple(getattr(file, name) for name in StoredFile.__struct_fields__)
        uploaded = (file.id, at, file.workspace, file.filename, file.mime_type, file.size_bytes, file.sha256, fault)
        with self._database:
            self._database.execute(f"INSERT INTO files ({_COLUMNS}) VALUES ({', '.join('?' * 12)})", values)  # noqa: S608 - names of our own
            self._database.execute(f"INSERT INTO uploads ({_UPLOADED}) VALUES ({', '.join('?' * 8)})", uploaded)  # noqa: S608

    def get(self, file_id: str) -> StoredFile | None:
        rows = list(self._database.execute(f"SELECT {_COLUMNS} FROM files WHERE id = ?", (file_id,)))  # noqa: S608
        return _read(rows[0]) if rows else None

    def of_workspace(self, workspace: str) -> list[StoredFile]:
        """What is there, newest first; also what has expired."""
        query = f"SELECT {_COLUMNS} FROM files WHERE workspace = ? AND NOT is_deleted ORDER BY number DESC"  # noqa: S608
        return [_read(row) for row in self._database.execute(query, (workspace,))]

    def delete(self, file_id: str) -> None:
        self._database.execute("UPDATE files SET is_deleted = 1 WHERE id = ?", (file_id,))
        self.drop_content(file_id)

    def drop_content(self, file_id: str) -> None:
        self.content(file_id).unlink(missing_ok=True)

    def content(self, file_id: str) -> Path:
        return self._folder / file_id

    def uploads(self) -> list[dict[str, Any]]:
        """Every accepted upload, in order."""
        names = _UPLOADED.split(", ")
        rows = self._database.execute(f"SELECT {_UPLOADED} FROM uploads ORDER BY number")  # noqa: S608
        return [dict(zip(names, row, strict=True)) for row in rows]

    def clear(self) -> None:
        """Forget all files and what was ever uploaded."""
        with self._database:
            self._database.execute("DELETE FROM uploads")
            self._database.execute("DELETE FROM files")
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)


def _read(row: Sequence[Any]) -> StoredFile:
    return StoredFile(*[*row[:-1], bool(row[-1])])
