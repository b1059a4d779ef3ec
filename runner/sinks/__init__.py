"""Sinks: where records go. This module is the contract of the plugin folder.

A sink is a projection of what is durable, and there are two kinds of them.

A `Sink` is a target that is replaced as a whole (a file). It is given the records of a run in the dataset's order and
must leave its target as it was until `commit`. After a crash it is simply run again from the first record.

    sink = FileSink(options, context)   constructed from its Options and what it may know of the run; touches nothing
    sink.check()                        before anything is paid: what would stop the delivery
    sink.open(staging)                  a folder of its own inside the run's folder, made if need be
    sink.write(records)                 any number of times
    sink.seal() -> Delivered            no more records; all of it durable in the staging folder
    sink.commit()                       the reader sees the old or the new, never half
    sink.abort()                        instead of commit, at any time; removes what was staged

A `PartSink` is a target that takes records a part at a time (a table, a webhook), and is given only what it lacks
(docs/decisions/0030). Which rows make up a part, and what they were like, is durable in the run's folder before the
part is sent; so after a crash the same part is sent again under the same number and id, or not at all where the target
says that it has it.

    sink = TableSink(options, context)  constructed as above; touches nothing
    sink.check()                        before anything is paid: what local facts and the target show
    sink.begin(delivery) -> int | None  connect, fence older processes off; the number of the last part that it has
    sink.deliver(part) -> [Refused]     all of a part or nothing, durable when this returns; any number of times
    sink.finish()                       the target has everything there is for now
    sink.close()                        at any time, more than once; gives up the connection

What goes wrong outside (a full disk, a closed pipe) is raised as `errors.DeliveryError`, with the target and the cure.

The folder, in the order to read it in:

    targets         where a file sink writes, and whether it may
    columns         a record as a list of cells
    files           jsonl, csv, tsv
      encoders        from records to bytes
      spreadsheets    texts that would be taken for formulas
    stdout          standard output
    xlsx            a workbook
    tables          parquet and arrow
      partitions      a folder with a file for each combination of values
      arrow_files     one such file
      arrow_batches   records to record batches
      arrow_types     columns in Arrow
      arrow_there     the table that is there
      hub             … pushed to the Hugging Face Hub
      in_memory       … as what `to_arrow` gives
    staged_sink     what sinks of files have in common
      staging         a file on its way
      folders         a folder on its way
    typed_columns   which type each column of a table has
      schema_types    … by a JSON Schema
      fitting         does a record fit?
    sql             tables of databases
    webhook         an address that records are posted to
      signing         what a request is signed with
    function        a function of the project
    options         what a job may set of each; light
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from runner.clock import Clock, SystemClock, pause
from runner.column_types import ColumnType
from runner.connections import Connection
from runner.templating import Expression
from runner.types import Record

if TYPE_CHECKING:
    from typing_extensions import TypeIs  # in `typing` from Python 3.13 on


class MakeExpression(Protocol):
    """Makes an expression of a text and a name for messages; `TemplateSet.expression` and `Expression` are two."""

    def __call__(self, text: str, name: str, /, *, null_safe: bool = False) -> Expression: ...


class SinkContext(Struct, frozen=True):
    """What a sink may know of the run it writes for.

    `root` is what relative targets resolve against. `row_columns` are the columns of the dataset in order, for the
    default columns of a table; `row_types` says of each what its values are, as far as it is known: before a run, and
    of rows that differ without bound, it may lack some. `schema` is the output's JSON Schema, where there is one.
    `expression` compiles a column. `known_sha256` are digests (hex) of what this job delivered, or was about to
    deliver, before: a file with one of them may be replaced. `written` is the sink as the job has it, with the
    `${NAME}`s unreplaced: what of it is shown, noted or hashed shows no secret. `pause` waits so many seconds, and says
    False where the run is being given up meanwhile: then a sink stops trying. `records` gives all
    records that the sink is to have, once more each time: for a sink that must know something of all of them before it
    takes the first; None where they cannot be had. `row_count` is the number of rows that the run has; None before it
    has any. `connection` is what `url` names where that is a database. `key_columns` are the dataset's columns that a
    record's key is made of. `memory` is a file of this sink's own in the run's folder, for what it has to know again in
    another process.
    """

    root: Path
    row_columns: Sequence[str] = ()
    schema: Mapping[str, Any] | None = None
    expression: MakeExpression = Expression
    known_sha256: Collection[str] = frozenset()
    row_types: Mapping[str, ColumnType] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict)
    pause: Callable[[float], bool] = pause
    clock: Clock = field(default_factory=SystemClock)
    records: Callable[[], Iterator[Record]] | None = None
    row_count: int | None = None
    connection: Connection | None = None
    key_columns: Sequence[str] = ()
    memory: Path | None = None


class Delivered(Struct, frozen=True):
    """What a sink wrote. `sha256` (hex) is of the whole target where it is a file, else None. `left_out` counts the
    records that the target cannot hold, and `refused` tells the first of them; all others are in it."""

    kind: str
    target: str
    records: int
    sha256: str | None = None
    left_out: int = 0
    refused: tuple[Refused, ...] = ()


class Sink(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def target(self) -> str:
        """Where it writes, for people and for the ledger; without secrets."""
        ...

    def check(self) -> None:
        """Raise DeliveryError for what would stop the delivery (a target that is not ours); changes nothing."""
        ...

    def open(self, staging: Path) -> None: ...

    def write(self, records: Sequence[Record]) -> None: ...

    def seal(self) -> Delivered:
        """End the writing: what `commit` will make visible is durable. Its digest is noted before `commit` is called,
        so that after a crash in between the target is known as our own."""
        ...

    def commit(self) -> None: ...

    def abort(self) -> None: ...


class PartLimits(Struct, frozen=True):
    """How large a part may be: `records`, and about so many bytes of them as JSON. One record is never divided."""

    records: int
    size_bytes: int = 8 << 20


class DeliveryId(Struct, frozen=True):
    """Which delivery this is. `id` stands for a run, a sink of it and what the job says of that sink: it stays the same
    over crashes, resumes, retries and exports, and it is another one where the sink is to start anew.

    `owner` is drawn anew by each process: a target that can do so refuses parts of an owner before the last one.
    """

    id: str
    run_id: str
    owner: str


class Part(Struct, frozen=True):
    """Records that a target takes together. Parts are numbered from 1 without regard to what is in them; a number may
    be left out, and none comes again once a later one has come.

    `id` names this part of this delivery wherever it is told twice (an idempotency key). A record may come again in a
    later part, as it is by then: a row that was sent again (`runner retry`) or judged again. `merge` replaces the
    earlier one, `append` has both.
    """

    number: int
    id: str
    records: Sequence[Record]


class Refused(Struct, frozen=True):
    """A record that its target cannot hold, and why. The others of its part are delivered; it is offered again by each
    later delivery."""

    key: str
    message: str


class PartSink(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def target(self) -> str:
        """Where it writes, for people and for the ledger; without secrets."""
        ...

    @property
    def limits(self) -> PartLimits: ...

    @property
    def is_replaced(self) -> bool:
        """Whether the target shows only what one delivery brings it, from `finish` on (`write: replace`). Where a
        record of such a target has changed, everything is delivered anew, under another `DeliveryId`."""
        ...

    def check(self) -> None:
        """Raise DeliveryError for what would stop the delivery; changes nothing. `runner check` does not call it."""
        ...

    def begin(self, delivery: DeliveryId) -> int | None:
        """Make ready to take parts, and make every older owner's parts fail. Returns the number of the last part of
        this delivery that is in the target (0: none); None where the target keeps no such mark. Where a sink with a
        mark has a property `left_out`, it is now the records (as Refused) that this last part was delivered without,
        for a process that died before it had noted them. Raises DeliveryError."""
        ...

    def deliver(self, part: Part) -> Sequence[Refused]:
        """Put a part in the target, with its number as the mark in the same transaction where there is one. Durable
        when this returns. Tries again by itself, within bounds; raises DeliveryError where that led nowhere."""
        ...

    def finish(self) -> None:
        """All records there are have been delivered. After a crash it is called again, and then changes nothing."""
        ...

    def close(self) -> None: ...


def takes_parts(sink: Sink | PartSink) -> TypeIs[PartSink]:
    """Which of the two kinds a sink is."""
    return hasattr(type(sink), "deliver")
