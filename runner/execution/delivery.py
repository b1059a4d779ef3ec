"""Delivery: the records of a run are projected to its sinks, each whole or not at all.

Owns   opening the sinks that are replaced as a whole, one pass over the records for all of them, and the ledger's note
       of each. Those that take parts are `parts`.
Knows  sinks by their contract and by name. A sink that fails is told and stops no other; the run then ends with
       status 4 and `runner export` delivers again.

    pending ─▶ staged (sealed: every byte on disk, its digest noted) ─▶ delivered (visible)

A crash at any point is mended by projecting again from the first record: the digest noted at `staged` tells our own
output from a file that somebody else put there (`outputs`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from runner.errors import RunnerError
from runner.events import Observer, SinkDelivered, Warned
from runner.ledger import Delivery
from runner.sinks import Delivered, PartSink, Refused, Sink
from runner.types import Record

CHUNK_WEIGHT = 2**18
"""Characters of text that are handed to the sinks at a time: enough that a call costs nothing, few enough that records
are still in the processor's cache when they are encoded (21 µs a record; 29 with chunks of 2**22)."""
RECORD_WEIGHT = 4 * 2**10
"""What a record counts beside its text, so that a few dozen small ones make a chunk too."""


class Target(Struct, frozen=True):
    """One sink of a run: `number` is its place in the job, `wants` says which records it gets."""

    number: int
    sink: Sink
    wants: Callable[[Record], bool]


class PartTarget(Struct, frozen=True):
    """One sink of a run that takes parts. `definition` is a digest (hex) of what the job says of it: where that
    changes, it starts anew. A `live` one is given records while the run goes on."""

    number: int
    sink: PartSink
    wants: Callable[[Record], bool]
    definition: str
    live: bool = False


def wants(rows: str) -> Callable[[Record], bool]:
    """What `rows: all | succeeded | failed` means: failed are all that did not succeed."""
    match rows:
        case "succeeded":
            return lambda record: record.status == "succeeded"
        case "failed":
            return lambda record: record.status != "succeeded"
        case _:
            return lambda _: True


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Records in groups that are worth a call and can be held, however large a record is."""
    chunk: list[Record] = []
    weight = 0
    for record in records:
        chunk.append(record)
        weight += RECORD_WEIGHT + _weight(record)
        if weight >= CHUNK_WEIGHT:
            yield chunk
            chunk, weight = [], 0
    if chunk:
        yield chunk


def _weight(record: Record) -> int:
    """About how much text a record holds: its reply's, and its row's longest values."""
    reply = len(record.text or "") + (len(record.output) if isinstance(record.output, str) else 0)
    return reply + row_weight(record)


def row_weight(record: Record) -> int:
    """About how much text the row of a record holds: its longest values'."""
    return sum([len(value) if type(value) is str else _length(value) for value in record.row.values()])


def _length(value: Any) -> int:
    """By `repr`, which every value has: in a list may be dates, bytes, numbers that JSON has no form for."""
    return len(repr(value)) if isinstance(value, list | dict | bytes) else 0


def left_out(count: int, delivered: int, first: Refused) -> str:
    """What is told of a target that does not hold all records."""
    many = f"{count:,} records do" if count > 1 else "1 record does"
    return f"{many} not fit and {delivered:,} are delivered: {first.key!r}: {first.message}"


def told(error: OSError | RunnerError) -> str:
    """What is kept of why a sink failed."""
    hint = error.hint if isinstance(error, RunnerError) and error.hint else None
    return f"{error}; {hint}" if hint else str(error)


Note = Callable[[Delivery], None]
"""Keeps how a delivery stands, durably: `staged` is noted before anything is visible."""


def deliver(
    records: Iterable[Record], targets: Sequence[Target], staging: Path, observer: Observer, *, note: Note
) -> list[Delivery]:
    """Write all records to all targets; returns how each ended, in the job's order. Raises what `records` and `note`
    raise; nothing is left in `staging` then, and targets that are not delivered are as they were."""
    shutil.rmtree(staging, ignore_errors=True)  # what a killed delivery left
    projections = [_Projection(target, staging, observer, note) for target in targets]
    try:
        for projection in projections:
            projection.open()
        for chunk in _chunks(records) if projections else ():
            for projection in projections:
                projection.write(chunk)
        return [projection.finish() for projection in projections]
    finally:
        for projection in projections:
            projection.let_go()
        shutil.rmtree(staging, ignore_errors=True)


class _Projection:
    """One target on its way; after its first failure it only remembers it."""

    def __init__(self, target: Target, staging: Path, observer: Observer, note: Note) -> None:
        self._keep = note
        self._target = target
        self._sink = target.sink
        self._staging = staging / str(target.number)
        self._observer = observer
        self._error: str | None = None
        self._ended = False

    def open(self) -> None:
        self._try(lambda: self._sink.open(self._staging))

    def write(self, records: Sequence[Record]) -> None:
        wanted = [record for record in records if self._target.wants(record)]
        if wanted:
            self._try(lambda: self._sink.write(wanted))

    def finish(self) -> Delivery:
        sealed = self._seal()
        if sealed is not None:
            self._note("staged", sealed)
            self._try(self._sink.commit)
        if sealed is None or self._error is not None:
            return self._failed()
        self._ended = True
        if sealed.left_out:
            return self._all_but(sealed)
        delivery = self._note("delivered", sealed)
        self._observer.notify(SinkDelivered(sealed.kind, sealed.target, sealed.records))
        return delivery

    def _all_but(self, sealed: Delivered) -> Delivery:
        """How a target stands that has all records but those that it cannot hold."""
        for each in sealed.refused:
            message = f"{sealed.target} cannot hold the record {each.key!r}: {each.message}"
            self._observer.notify(Warned("record-refused", message))
        self._error = left_out(sealed.left_out, sealed.records, sealed.refused[0])
        return self._failed(sealed)

    def let_go(self) -> None:
        """Give up what is neither delivered nor given up yet."""
        if not self._ended:
            self._ended = True
            with suppress(OSError, RunnerError):  # what could not be removed is in a folder that goes as a whole
                self._sink.abort()

    def _seal(self) -> Delivered | None:
        if self._error is not None:
            return None
        try:
            return self._sink.seal()
        except (OSError, RunnerError) as error:
            self._fail(error)
            return None

    def _try(self, act: Callable[[], None]) -> None:
        if self._error is not None:
            return
        try:
            act()
        except (OSError, RunnerError) as error:
            self._fail(error)

    def _fail(self, error: OSError | RunnerError) -> None:
        self._error = told(error)
        self.let_go()
        self._observer.notify(Warned("sink-failed", f"{self._sink.target} was not delivered: {self._error}"))

    def _note(self, state: str, sealed: Delivered) -> Delivery:
        delivery = Delivery(
            self._target.number, sealed.kind, sealed.target, "staged" if state == "staged" else "delivered",
            sealed.records, sealed.sha256
        )  # fmt: skip
        self._keep(delivery)
        return delivery

    def _failed(self, sealed: Delivered | None = None) -> Delivery:
        records, sha256 = (0, None) if sealed is None else (sealed.records, sealed.sha256)
        delivery = Delivery(
            self._target.number, self._sink.kind, self._sink.target, "failed", records, sha256, self._error
        )
        self._keep(delivery)
        return delivery
