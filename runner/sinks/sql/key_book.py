"""Which record has which unique key, where nothing else keeps two of a run from having the same one.

Owns   one file in the run's folder: digests of unique keys, and the record that came with each first. So two records
       of one run never take each other's place in a table, however many parts and processes a delivery takes.
Knows  digests and names. Nothing of tables.

A key that is noted stays noted although its part may fail: it is the same record that brings it again.
"""

from __future__ import annotations

import os
import sqlite3
import unicodedata
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from runner.encoding import encode
from runner.values import json_form


class KeyBook:
    """The keys of one delivery. Raises OSError for a file that cannot be written."""

    def __init__(self, path: Path, delivery: str) -> None:
        """Open the book, empty where it was of another delivery."""
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite would make it for everybody to read
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            raise OSError(f"{path}: {error}") from error
        try:
            self._connection.executescript(
                "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;"
                "CREATE TABLE IF NOT EXISTS of (delivery TEXT NOT NULL);"
                "CREATE TABLE IF NOT EXISTS keys (key BLOB PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;"
            )
            if self._connection.execute("SELECT delivery FROM of").fetchall() != [(delivery,)]:
                self._connection.execute("BEGIN")
                self._connection.execute("DELETE FROM keys")
                self._connection.execute("DELETE FROM of")
                self._connection.execute("INSERT INTO of VALUES (?)", (delivery,))
                self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._connection.close()
            raise OSError(f"{path}: {error}") from error

    def claim(self, keys: Sequence[bytes], records: Sequence[str]) -> list[str]:
        """Note which record has which key; for each key the record that has it, which may be another one."""
        connection = self._connection
        try:
            connection.execute("BEGIN")
            connection.executemany("INSERT OR IGNORE INTO keys VALUES (?, ?)", zip(keys, records, strict=True))
            connection.execute("COMMIT")
            find = "SELECT record FROM keys WHERE key = ?"
            return [str(connection.execute(find, (key,)).fetchone()[0]) for key in keys]
        except sqlite3.Error as error:
            raise OSError(f"the keys of this delivery cannot be noted: {error}") from error

    def close(self) -> None:
        self._connection.close()


def key_digest(values: Sequence[Any], *, folded: Sequence[bool]) -> bytes:
    """What stands for the values of a unique key. `folded`: of which a collation may take unlike texts for equal, so
    that they are told apart only as far as every collation does."""
    plain = [_folded(value) if fold else json_form(value) for value, fold in zip(values, folded, strict=True)]
    return blake2b(encode(plain), digest_size=16).digest()


def _folded(value: Any) -> Any:
    """Without case, accents and trailing spaces."""
    if not isinstance(value, str):
        return json_form(value)
    apart = unicodedata.normalize("NFKD", value.casefold())
    return "".join(each for each in apart if not unicodedata.combining(each)).rstrip(" ")
