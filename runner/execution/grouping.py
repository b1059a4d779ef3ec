"""Rows that share a cached prefix of their own run together, wherever they stand in the dataset.

Owns   the order in which open steps are fed where a job's breakpoints stand behind text of the row: the steps of one
       document side by side, documents in the order in which they first appear; and which prefixes are a row's alone.
Knows  a compiled job, a ledger that can be read, and a file of its own on the disk of the run's folder.

One pass renders every open row up to its last breakpoint, no further, and notes the digests; SQLite sorts them. So the
second row about a document comes right behind the first, while what that one wrote can be read, and not a thousand
documents later. Memory does not grow with the rows: what is noted is in the file, 8 bytes a prefix, and sorting spills
to disk. The file means nothing to anybody else and loses its name as soon as it is open: every pass makes its own of
what is open then, so after a crash there is nothing to mend, and a prefix that shrank to one open row is known as such.

Other jobs have nothing to do with any of this: `feeder` asks for it only where a row has prefixes of its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import apsw

from runner.ledger import Ledger, OpenStep
from runner.ledger.database import translated
from runner.ledger.refusals import disk_errors
from runner.planning.requests import CompiledJob
from runner.types import Prefix, Row, Step

_NOTED_AT_ONCE: Final = 500
_DIGEST_BYTES: Final = 8
"""Of a digest that are noted. Two documents that agree in them would only be fed side by side."""
_PRAGMAS: Final = {
    "journal_mode": "off",
    "synchronous": 0,
    "locking_mode": "exclusive",
    "temp_store": 1,  # FILE, as in the ledger
    "cache_size": -8_000,  # KiB
}

_CREATE: Final = """
    CREATE TABLE noted (
        place INTEGER PRIMARY KEY, row INTEGER, turn INTEGER, sample INTEGER, round INTEGER,
        attempts INTEGER, tries INTEGER{}
    ) STRICT
"""
_INSERT: Final = "INSERT INTO noted VALUES (NULL, ?, ?, ?, ?, ?, ?{})"

ALL: Final = 4
"""Prefixes of a request at most: the API takes no more breakpoints (prompt caching guide)."""

Opened = tuple[OpenStep, Row, int]
"""An open step with its row, and how many of its prefixes are of use, counted from the shortest."""


def grouped(
    opened: Iterable[Opened],
    ledger: Ledger,
    compiled: CompiledJob,
    folder: Path,
    *,
    least_bytes: float,
    stopped: Callable[[], bool],
) -> Generator[Opened]:
    """The same steps, those of a prefix together. Of use are prefixes that all rows share, and those of a row's own
    that other open steps have too.

    Args:
        least_bytes: a prefix with less text is surely not cached, so nothing is moved for it.
        stopped: asked now and then during the pass before the first step; once it says so, nothing comes.
    """
    levels = compiled.row_prefixes
    with _database(folder, levels) as connection:
        noted = _noted(opened, compiled, least_bytes)
        while some := list(islice(noted, _NOTED_AT_ONCE)):
            if stopped():
                return
            connection.executemany(_INSERT.format(", ?" * levels), some)
        connection.execute("COMMIT")
        for row, turn, sample, round_, attempts, tries, *sizes in connection.execute(_in_groups(levels)):
            useful = len(compiled.shared_prefixes) + sum(size > 1 for size in sizes)
            yield OpenStep(Step(row, turn, sample, round_), attempts, tries), ledger.row(row), useful


def _noted(opened: Iterable[Opened], compiled: CompiledJob, least_bytes: float) -> Iterator[tuple[int | None, ...]]:
    shared, levels = len(compiled.shared_prefixes), compiled.row_prefixes
    for opened_step, row, _ in opened:
        step, prefixes = opened_step.step, compiled.prefixes(row)
        own: Sequence[Prefix] = () if prefixes is None else prefixes[shared:]
        digests = [_number(prefix) if prefix.size_bytes >= least_bytes else None for prefix in own]
        digests += [None] * (levels - len(digests))
        yield step.row, step.turn, step.sample, step.round, opened_step.attempts, opened_step.tries, *digests


def _number(prefix: Prefix) -> int:
    return int.from_bytes(prefix.digest[:_DIGEST_BYTES], signed=True)


def _in_groups(levels: int) -> str:
    """All steps: by the first appearance of their outermost prefix, within it by that of the next, and so on.

    A prefix that is not noted, being too short, goes with the one around it; a step without any is a group of its own,
    where it stands. Every digest covers all that is within its prefix, so none needs the others beside it.
    """
    keys = [", ".join([*(f"prefix_{inner}" for inner in range(level, levels)), "place"]) for level in range(levels)]
    windows = ", ".join(f"w{level} AS (PARTITION BY coalesce({key}))" for level, key in enumerate(keys))
    sizes = ", ".join(f"count(*) OVER w{level}" for level in range(levels))
    order = ", ".join(f"min(place) OVER w{level}" for level in range(levels))
    return (
        f"SELECT row, turn, sample, round, attempts, tries, {sizes} FROM noted "  # noqa: S608 - our own names
        f"WINDOW {windows} ORDER BY {order}, place"
    )


@contextmanager
def _database(folder: Path, levels: int) -> Iterator[apsw.Connection]:
    """An empty one, in a transaction that is open, and of which nothing is worth a sync."""
    with disk_errors(folder), translated(folder):
        descriptor, name = tempfile.mkstemp(prefix="grouping-", dir=folder)  # its owner's alone
        try:
            os.close(descriptor)
            connection = apsw.Connection(name)
        finally:
            Path(name).unlink()  # so that a process that is killed leaves none; what is open stays until it is closed
        with closing(connection):
            for pragma, value in _PRAGMAS.items():
                connection.pragma(pragma, value)
            prefixes = "".join(f", prefix_{level} INTEGER" for level in range(levels))
            connection.execute("BEGIN")
            connection.execute(_CREATE.format(prefixes))
            yield connection
