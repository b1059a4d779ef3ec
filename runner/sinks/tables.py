"""The sink of a table file: parquet or arrow, one file or a partitioned folder.

Owns   the steps from records to a table in its place: settling the types, leaving out what does not fit, and what
       `contract` makes of a table that is there.
Knows  typed columns, batches and files of Arrow. The library is imported when the table is opened and not before.

The promises are those of the sink of a text file: a reader sees the old table or the new one, and a table that this job
did not write stays as it is.

Under `contract: evolve` the types are those that this run's records have. They are known before the first record is
written (`typed_columns`); should one not fit all the same, an integer of more than 64 bits in a field of integers, all
records are looked at and the table is begun anew. Under `freeze` the table that is there decides, where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from runner.column_types import ColumnType
from runner.errors import DeliveryError, Problem, SpecError
from runner.extras import require
from runner.sinks import SinkContext
from runner.sinks.fitting import LeftOut, agreed
from runner.sinks.folders import StagedFolder, check_folder
from runner.sinks.options import ParquetOptions, TableOptions
from runner.sinks.staged_sink import Staged, StagedSink, refuse_compression
from runner.sinks.staging import StagedFile
from runner.sinks.targets import told
from runner.sinks.typed_columns import typed_columns
from runner.storage import RemoteTarget
from runner.types import Record

if TYPE_CHECKING:
    import pyarrow as pa

    from runner.sinks.arrow_batches import BatchBuilder
    from runner.sinks.arrow_files import ArrowFile
    from runner.sinks.partitions import PartitionedFolder

_PORTION = 1_000
"""Records that are given at a time when a table is begun anew."""


class TableSink(StagedSink):
    """Records to one file of typed columns."""

    Options: ClassVar[type[TableOptions]] = TableOptions

    def __init__(self, options: TableOptions, context: SinkContext) -> None:
        """Raises SpecError for a URL that takes no files, columns that clash, or partitions that cannot be."""
        super().__init__(options.path, context, overwrite=options.overwrite)
        refuse_compression(options.path, options.format)
        require("pyarrow", f"the {options.format} sink")
        self._kind = options.format
        self._typed = typed_columns(options, context).opened()
        self._all_records = context.records
        self._contract = options.contract
        self._compression = None if options.compression == "none" else options.compression
        self._by = options.partition_by if isinstance(options, ParquetOptions) else ()
        self._builder: BatchBuilder | None = None
        self._file: ArrowFile | PartitionedFolder | None = None
        self._waits: list[Record] = []
        self._check_partitions()

    @property
    def kind(self) -> str:
        return self._kind

    # -- before anything is paid

    def _check_partitions(self) -> None:
        problems = [
            _bad_partition(f"there is no column {name!r}", name) for name in self._by if name not in self._typed.names
        ]
        if self._by and isinstance(self._place, RemoteTarget):
            message = f"{self._target} cannot be partitioned: a store has no folder that could be replaced at once"
            hint = "write one file to it, or a partitioned table to a path"
            problems.append(Problem("bad-partition", message, hint=hint))
        if self._by and set(self._typed.names) <= set(self._by):
            message = "all columns name partitions, and none is left for the files"
            problems.append(Problem("bad-partition", message, hint="leave one out of `partition_by`"))
        if problems:
            raise SpecError(problems)

    def check(self) -> None:
        super().check()
        there = self._there()
        lacking = () if there is None else tuple(name for name in self._typed.names if name not in there.names)
        if lacking:
            message = (
                f"{self._target} has no column {' and '.join(map(repr, lacking))}, and `contract: freeze` adds none"
            )
            hint = "leave it out of `columns`, or set `contract: evolve`"
            raise DeliveryError(message, hint=hint, code="frozen-table")

    def _check(self, known_sha256: frozenset[str]) -> None:
        if self._by and isinstance(self._place, Path):
            check_folder(self._place, self._target, overwrite=self._overwrite, known_sha256=known_sha256)
        else:
            super()._check(known_sha256)

    def _there(self) -> pa.Schema | None:
        """The schema of the table that is there, where that decides."""
        if self._contract != "freeze":
            return None
        from runner.sinks.arrow_there import schema_at

        with told(self._target):
            return schema_at(self._place, self._kind, self._target)

    # -- the steps

    def _begin(self, staging: Path) -> Staged:
        self._staging = staging
        self._is_surveyed = False
        self._waits = []
        if self._typed.is_settled or self._all_records is not None:
            records = () if self._all_records is None else self._all_records()
            return self._start(self._typed.settled(records))
        return StagedFile(staging / "none", "")  # until the first records have told the types

    def _start(self, settled: Sequence[ColumnType]) -> Staged:
        from runner.sinks.arrow_batches import BatchBuilder
        from runner.sinks.arrow_files import ArrowFile
        from runner.sinks.arrow_there import column_types
        from runner.sinks.arrow_types import arrow_schema
        from runner.sinks.partitions import PartitionedFolder

        types: Mapping[str, ColumnType] = dict(zip(self._typed.names, settled, strict=True))
        schema = self._there()
        if schema is None:
            schema = arrow_schema(types)
        else:
            types = agreed(types, column_types(schema), "freeze").types
        for name in self._by:
            if types[name].kind in ("list", "mapping"):
                raise SpecError([_bad_partition(f"the values of {name!r} are {types[name].kind}s", name)])
        self._left_out = LeftOut()
        self._builder = BatchBuilder(self._typed.columns, types, schema, self._left_out)
        if self._by:
            folder = StagedFolder(self._staging / "parts")
            self._file = PartitionedFolder(folder, schema, self._by, self._compression, self._target)
            return folder
        file = StagedFile(self._staging / "part", "")
        self._file = ArrowFile(file, self._kind, schema, self._compression)
        return file

    def _take(self, records: Sequence[Record]) -> None:
        if self._builder is None:  # nobody can say what all records hold: the first ones tell
            self._start_over(self._typed.settled(records))
        self._write(records)
        if self._left_out.count and self._contract == "evolve" and not self._is_surveyed and self._all_records:
            self._begin_anew(self._records + len(records))

    def _write(self, records: Sequence[Record]) -> None:
        assert self._builder is not None
        assert self._file is not None
        self._file.write(self._builder.add(records))

    def _begin_anew(self, count: int) -> None:
        """Write the records so far once more, with types that all records fit."""
        assert self._all_records is not None
        self._is_surveyed = True
        self._start_over(self._typed.surveyed(self._all_records()))
        again = islice(self._all_records(), count)
        while portion := list(islice(again, _PORTION)):
            self._write(portion)

    def _start_over(self, settled: Sequence[ColumnType]) -> None:
        self._give_up()
        self._opened().discard()
        self._staged = self._start(settled)

    def _end(self) -> None:
        if self._builder is None:
            self._start_over(self._typed.settled(()))
        assert self._builder is not None
        assert self._file is not None
        self._file.write(self._builder.rest())
        if self._left_out.count and self._contract == "evolve" and not self._is_surveyed and self._all_records:
            self._begin_anew(self._records)
            self._file.write(self._builder.rest())
        self._file.end()

    def _give_up(self) -> None:
        if self._file is not None:
            self._file.give_up()
        self._file = self._builder = None


def _bad_partition(what: str, name: str) -> Problem:
    message = f"the table cannot be partitioned by {name!r}: {what}"
    return Problem("bad-partition", message, hint="name columns of the table with few different, single values")
