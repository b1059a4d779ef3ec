"""The journal of one sink that takes parts: which rows it has been given, and what they were like then.

Owns   `deliveries/<sink>.db` in a run's folder: for each row a version (8 bytes, 0: never given), and the one part that
       may be under way. A file for each sink, and none of them the ledger: who delivers while the run goes on never
       waits for who writes the ledger, nor the other way round.
Knows  rows by number, and versions as numbers. Nothing of records, targets or why a part is made.

A part is noted before it is sent (`intend`), and again when its target has it (`settle`); both are durable when they
return. So after a crash there is at most one part of which nobody here knows whether it arrived, and what it was made
of is known. A part that did not arrive is either sent again as it was, less the rows that have changed since, or given
up (`withdraw`): its number is never used for another one.

One process at a time, the one that owns the run's folder.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import apsw
from msgspec import Struct

from runner.errors import LedgerError
from runner.ledger.database import all_or_nothing, fetch_one, translated
from runner.ledger.folder import make_private, open_private
from runner.ledger.refusals import disk_errors

JOURNALS: Final = "deliveries"
BLOCK: Final = 512
"""Rows whose versions are kept together: a page of SQLite's."""
_APPLICATION_ID: Final = 0x52554E44
_FORMAT: Final = 1
_BUSY_TIMEOUT_MS = 10_000

_SCHEMA = f"""
CREATE TABLE delivery (  -- one row
    definition TEXT NOT NULL,
    epoch INTEGER NOT NULL,    -- how often it was started
    part INTEGER NOT NULL,     -- the last that was intended
    settled INTEGER NOT NULL,  -- the last that is known to have arrived
    records INTEGER NOT NULL,  -- rows with a version
    state TEXT NOT NULL
) STRICT;
CREATE TABLE intended (  -- the part under way, if there is one
    part INTEGER NOT NULL,
    rows BLOB NOT NULL,      -- 8 bytes each, little-endian, as the versions
    versions BLOB NOT NULL
) STRICT;
CREATE TABLE versions (block INTEGER PRIMARY KEY, versions BLOB NOT NULL) STRICT;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT};
"""


class Intended(Struct, frozen=True):
    """A part that was noted, and may or may not be in its target: its rows, and their versions at that time."""

    number: int
    rows: Sequence[int]
    versions: Sequence[int]


class Journal:
    """One sink's journal, open for writing; use it in a `with` statement. Raises LedgerError."""

    last_part: int
    """The number of the last part that was intended; 0 where there was none."""
    last_settled: int
    """Of the last that is known to have arrived."""
    records: int
    """How many rows have been given, each once."""
    is_finished: bool

    def __init__(self, run: Path, sink: int, definition: str) -> None:
        """Open or make the journal in a run's folder. Where it is of a sink that was defined otherwise, all it knew is
        forgotten: that delivery starts anew."""
        self._path = journal_path(run, sink)
        self._sink = sink
        with disk_errors(self._path), translated(self._path):
            make_private(self._path.parent)
            os.close(open_private(self._path, os.O_RDWR | os.O_CREAT))
            self._connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                self._prepare(definition)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, definition: str) -> None:
        connection = self._connection
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", 2)
        version = int(connection.pragma("user_version"))
        if version > _FORMAT:
            message = f"{self._path} was written by a newer runner (format {version}, this one knows {_FORMAT})"
            raise LedgerError(message, code="newer-version", hint="upgrade runner")
        with all_or_nothing(connection):
            if not version:
                connection.execute(_SCHEMA)
                connection.execute("INSERT INTO delivery VALUES (?, 1, 0, 0, 0, 'under way')", (definition,))
        self._take_up()
        if self._definition != definition:
            self.start_anew(definition)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    # -- what is known -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What names this delivery among those of its run: the sink's place, its definition, and how often it was
        started."""
        return f"{self._sink}.{self._definition[:12]}.{self._epoch}"

    @property
    def intended(self) -> Intended | None:
        """The part that may or may not be in the target."""
        found = fetch_one(self._connection, "SELECT part, rows, versions FROM intended")
        return Intended(found[0], _numbers(found[1]), _numbers(found[2])) if found is not None else None

    def versions(self, block: int) -> Sequence[int]:
        """The versions of the rows from `block * BLOCK` on, `BLOCK` of them."""
        found = fetch_one(self._connection, "SELECT versions FROM versions WHERE block = ?", (block,))
        return _numbers(found[0]) if found is not None else _NONE

    # -- what happens --------------------------------------------------------------------------------------------------

    def intend(self, rows: Sequence[int], versions: Sequence[int]) -> int:
        """Note a part that is about to be sent; its number. There may be none under way."""
        number = self.last_part + 1
        with self._transaction():
            self._connection.execute(
                "INSERT INTO intended VALUES (?, ?, ?)", (number, _packed(rows), _packed(versions))
            )
            self._connection.execute("UPDATE delivery SET part = ?, state = 'under way'", (number,))
        self.last_part, self.is_finished = number, False
        return number

    def settle(self, part: Intended, without: Collection[int] = ()) -> None:
        """Note that the part under way is in its target, but for some of its rows."""
        new = 0
        with self._transaction():
            changed: dict[int, array[int]] = {}
            for row, version in zip(part.rows, part.versions, strict=True):
                if row in without:
                    continue
                block, place = divmod(row, BLOCK)
                if block not in changed:
                    changed[block] = array("Q", self.versions(block))
                new += not changed[block][place]
                changed[block][place] = version
            self._connection.executemany(
                "INSERT OR REPLACE INTO versions VALUES (?, ?)",
                [(block, _packed(versions)) for block, versions in changed.items()],
            )
            self._connection.execute("DELETE FROM intended")
            self._connection.execute("UPDATE delivery SET records = records + ?, settled = ?", (new, part.number))
        self.records += new
        self.last_settled = part.number

    def withdraw(self) -> None:
        """Note that the part under way did not arrive, and will not be sent."""
        with self._transaction():
            self._connection.execute("DELETE FROM intended")

    def finish(self) -> None:
        with self._transaction():
            self._connection.execute("UPDATE delivery SET state = 'finished'")
        self.is_finished = True

    def start_anew(self, definition: str | None = None) -> None:
        """Forget what was given: from now on it is another delivery, with a name of its own."""
        with self._transaction():
            self._connection.execute("DELETE FROM versions")
            self._connection.execute("DELETE FROM intended")
            self._connection.execute(
                "UPDATE delivery SET definition = ?, epoch = epoch + 1, part = 0, settled = 0, records = 0,"
                " state = 'under way'",
                (definition or self._definition,),
            )
        self._take_up()

    def _take_up(self) -> None:
        found = fetch_one(self._connection, "SELECT definition, epoch, part, settled, records, state FROM delivery")
        if found is None:
            raise LedgerError(f"{self._path} is damaged: it names no delivery", code="damaged")
        self._definition, self._epoch, self.last_part, self.last_settled, self.records, state = found
        self.is_finished = state == "finished"

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with translated(self._path), all_or_nothing(self._connection):
            yield


def journal_path(run: Path, sink: int) -> Path:
    """Where the journal of a sink is, which there need not be one of."""
    return run / JOURNALS / f"{sink}.db"


def records_given(run: Path, sink: int) -> int | None:
    """How many rows a sink has been given, also while another process gives it more; None where there is no journal
    that can be read: it may be in the making."""
    try:
        connection = apsw.Connection(str(journal_path(run, sink)), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            found = fetch_one(connection, "SELECT records FROM delivery")
        finally:
            connection.close()
    except (apsw.Error, LedgerError):
        return None
    return int(found[0]) if found is not None else None


_NONE: Final = array("Q", bytes(8 * BLOCK))


def _packed(numbers: Iterable[int]) -> bytes:
    packed = numbers if isinstance(numbers, array) and numbers.typecode == "Q" else array("Q", numbers)
    if sys.byteorder == "big":
        packed = array("Q", packed)
        packed.byteswap()
    return packed.tobytes()


def _numbers(packed: bytes) -> array[int]:
    numbers = array("Q", packed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
