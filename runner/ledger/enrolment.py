"""Enrolment: every selected row is copied into the run and gets its open first step, all of them or none.

Owns   loading the tables `rows`, `blocks`, `sources` and the first steps, in one transaction.
Knows  rows and their origins. Keys are compared by a 16-byte hash, by an index made after loading: checking each row
       as it comes would cost a random access each.

An interrupted enrolment leaves files in `rows/` that no table speaks of; the next one removes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import apsw

from runner.encoding import decode, encode, printable
from runner.errors import InputError, LedgerError, Location, Problem
from runner.ledger import EnrolledRow
from runner.ledger.bulk import insert_flat
from runner.ledger.database import Database, fetch, fetch_value
from runner.ledger.refusals import disk_errors
from runner.ledger.rows import RowReader, RowWriter
from runner.ledger.schema import OPEN
from runner.ledger.totals import Changes
from runner.values import held, json_form

_SHOWN_CLASHES = 20
_LOADED_VALUES = 4 * 1_024
"""Of the table `rows`, inserted at a time: four of each row."""

SAMPLES = "samples"
"""In the run's meta: how many conversations each row has, where that is more than one."""

_FIRST_STEPS = "INSERT INTO steps SELECT idx, 0, 0, 0, ?1, 0, 0, 0 FROM rows WHERE ?2 ORDER BY idx"
_FIRST_STEPS_OF_SAMPLES = """
    WITH RECURSIVE samples (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM samples WHERE number + 1 < ?2)
    INSERT INTO steps SELECT idx, 0, number, 0, ?1, 0, 0, 0 FROM rows CROSS JOIN samples ORDER BY idx, number
"""


def samples_of(connection: apsw.Connection) -> int:
    """How many samples each row of the run has."""
    found = fetch_value(connection, "SELECT value FROM meta WHERE name = ?", (SAMPLES,))
    return 1 if found is None else int(decode(found))


def key_hash(key: str) -> bytes:
    """16 bytes: two of 10 million keys clash by chance once in 10**24 runs. Lone surrogates are hashed as they are."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def enrol(database: Database, folder: Path, rows: Iterable[EnrolledRow], samples: int = 1) -> int:
    """See `Ledger.enrol`; `folder` is the run's `rows/`."""
    if fetch(database.connection, "SELECT 1 FROM meta WHERE name = 'rows_sha256'"):
        raise LedgerError("this run has its rows already", code="enrolled")
    with disk_errors(folder):
        _remove_files(folder)
        writer = RowWriter(folder)
    try:
        with database.transaction(durable=True) as connection:
            return _load(connection, folder, writer, rows, samples)
    except BaseException:
        _remove_files(folder)
        raise
    finally:
        writer.close()


def _remove_files(folder: Path) -> None:
    for path in folder.glob("*.rows"):
        path.unlink()


def _load(
    connection: apsw.Connection, folder: Path, writer: RowWriter, rows: Iterable[EnrolledRow], samples: int
) -> int:
    sources: dict[str, int] = {}
    loading = chain.from_iterable(_loading(rows, writer, sources))
    while some := list(islice(loading, _LOADED_VALUES)):
        insert_flat(connection, "INSERT INTO rows VALUES ", "({},{},{},{},0,NULL,0)", some)
    writer.finish()
    connection.executemany(
        "INSERT INTO sources VALUES (?, ?)", [(number, printable(file)) for file, number in sources.items()]
    )
    connection.executemany("INSERT INTO blocks VALUES (?, ?, ?, ?)", writer.blocks)
    try:
        connection.execute("CREATE UNIQUE INDEX rows_by_key ON rows (key_hash)")
    except apsw.ConstraintError:
        raise InputError(_clashes(connection, folder)) from None
    count = int(fetch_value(connection, "SELECT count(*) FROM rows"))
    connection.execute(_FIRST_STEPS if samples == 1 else _FIRST_STEPS_OF_SAMPLES, (OPEN, samples))
    connection.execute("INSERT INTO meta VALUES ('rows_sha256', ?)", (encode(writer.sha256).decode(),))
    if samples > 1:
        connection.execute("INSERT INTO meta VALUES (?, ?)", (SAMPLES, encode(samples).decode()))
    Changes(rows_open=count).write(connection)
    return count


def _loading(
    rows: Iterable[EnrolledRow], writer: RowWriter, sources: dict[str, int]
) -> Iterator[tuple[int, bytes, int, int | None]]:
    add = writer.add
    for index, enrolled in enumerate(rows):
        row = enrolled.row
        if row.index != index:
            raise ValueError(f"row {row.key!r} has index {row.index} at place {index}")
        try:
            add(row)
        except (TypeError, ValueError, RecursionError) as error:
            raise _unusable(enrolled, error) from error
        yield index, key_hash(row.key), sources.setdefault(enrolled.file, len(sources)), enrolled.line


def _unusable(enrolled: EnrolledRow, error: Exception) -> InputError:
    """A value that no row holds, with its column."""
    column, why = "", str(error)
    for name, value in enrolled.row.values.items():
        try:
            encode(json_form(held(value)))
        except (TypeError, ValueError, RecursionError) as found:
            deep = "a value that is nested too deep cannot stand in a row"
            column, why = f"the column {name!r}: ", deep if isinstance(found, RecursionError) else str(found)
            break
    message = f"the row {enrolled.row.key!r} cannot be kept: {column}{why}"
    hint = "give texts, numbers, dates, times, bytes, and lists or mappings of these"
    return InputError([Problem("unusable-value", message, Location(enrolled.file, enrolled.line), hint)])


def _clashes(connection: apsw.Connection, folder: Path) -> list[Problem]:
    reader = RowReader(connection, folder)
    connection.execute("CREATE INDEX rows_by_key ON rows (key_hash)")
    found = fetch(
        connection,
        """
        SELECT again.idx, there.file, again.line, here.file, first.line
        FROM (SELECT key_hash, min(idx) AS idx FROM rows GROUP BY key_hash HAVING count(*) > 1) AS clash
        JOIN rows AS first ON first.idx = clash.idx
        JOIN rows AS again ON again.key_hash = clash.key_hash AND again.idx > clash.idx
        JOIN sources AS here ON here.id = first.source
        JOIN sources AS there ON there.id = again.source
        ORDER BY again.idx LIMIT ?
        """,
        (_SHOWN_CLASHES,),
    )
    return [
        Problem(
            "repeated-key",
            f"the key {reader.row(index).key!r} appears twice: first at {Location(first_file, first_line)}",
            Location(file, line),
            "`key` must name columns that together are unique; leave it out to number the rows",
        )
        for index, file, line, first_file, first_line in found
    ]
