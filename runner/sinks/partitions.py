"""A partitioned parquet table: a folder with a file for each combination of the values of some columns.

Owns   the names of the folders within it, and how many rows and files are held at a time.
Knows  record batches and a staged folder; nothing of records or targets.

    sales.parquet/country=DE/year=2026/part-0.parquet

Folders are named as Hive names them, which DuckDB, Spark, polars and pyarrow read: the value's text, percent-encoded
where a path could not have it, and `__HIVE_DEFAULT_PARTITION__` for null. The columns that name the folders are not in
the files again.

Rows wait in memory, by partition; where they are too many, the largest partition is written as a row group. Files that
have not been written to for longest are ended when too many are open, and go on as `part-1`. So memory does not grow
with the rows nor with the partitions, but a table of many small partitions is slow to read: there may be no more than
`MAX_PARTITIONS`.

Source: Apache Hive, "Dynamic Partitions" and `FileUtils.escapePathName`.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from runner.errors import DeliveryError
from runner.sinks.arrow_files import GROUP_ROWS, ArrowFile
from runner.sinks.folders import StagedFolder
from runner.values import json_form, text_form

if TYPE_CHECKING:
    import pyarrow as pa

MAX_PARTITIONS = 10_000
"""More are a column that is no partition, such as a key."""
MAX_OPEN = 64
"""Files that are open at a time, each with a writer's buffers."""
MAX_WAITING_BYTES = 64 << 20
_NULL = "__HIVE_DEFAULT_PARTITION__"
_ESCAPED = re.compile(r"""[\x00-\x1f\x7f"#%'*/:=?\\{}\[\]^]""")
"""What Hive writes as % and two digits in a folder's name."""

Values = tuple[Any, ...]


class PartitionedFolder:
    """The table in the making. Methods raise OSError, and DeliveryError for too many partitions."""

    def __init__(
        self, folder: StagedFolder, schema: pa.Schema, by: Sequence[str], compression: str | None, shown: str
    ) -> None:
        import pyarrow as pa

        self._folder = folder
        self._by = by
        self._inside = [name for name in schema.names if name not in by]
        self._schema = pa.schema([schema.field(name) for name in self._inside])
        self._compression = compression
        self._shown = shown
        self._waiting: dict[Values, _Waiting] = {}
        self._open: OrderedDict[Values, tuple[str, ArrowFile]] = OrderedDict()
        self._parts: dict[Values, int] = {}
        self._bytes = 0

    def write(self, batches: Iterable[pa.RecordBatch]) -> None:
        for batch in batches:
            for values, part in self._divided(batch):
                self._add(values, part)

    def end(self) -> None:
        """Write what waits. Nothing may be written afterwards."""
        if not self._parts and not self._waiting:  # a table without rows has its columns nevertheless
            self._new_file("part-0.parquet").end()
        for values in list(self._waiting):
            self._write(values)
        for values in list(self._open):
            self._end_file(values)

    def give_up(self) -> None:
        """Stop writing; what was written is of no use."""
        for _, file in self._open.values():
            file.give_up()
        self._open.clear()
        self._waiting.clear()

    def _divided(self, batch: pa.RecordBatch) -> Iterable[tuple[Values, pa.RecordBatch]]:
        """The rows of a batch by partition, in their order."""
        import pyarrow as pa

        columns = [batch.column(name).to_pylist() for name in self._by]
        places: dict[Values, list[int]] = {}
        for place, values in enumerate(zip(*columns, strict=True)):
            places.setdefault(tuple(map(_equal, values)), []).append(place)
        inside = batch.select(self._inside)
        if len(places) == 1:
            yield next(iter(places)), inside
            return
        for values, rows in places.items():
            yield values, inside.take(pa.array(rows, pa.int32()))

    def _add(self, values: Values, part: pa.RecordBatch) -> None:
        if values not in self._parts:
            if len(self._parts) >= MAX_PARTITIONS:
                message = f"{self._shown} would have more than {MAX_PARTITIONS:,} partitions"
                hint = f"name columns of few values in `partition_by`, not {' and '.join(map(repr, self._by))}"
                raise DeliveryError(message, hint=hint, code="too-many-partitions")
            self._parts[values] = 0
        waiting = self._waiting.setdefault(values, _Waiting())
        waiting.add(part)
        self._bytes += part.nbytes
        if waiting.rows >= GROUP_ROWS:
            self._write(values)
        while self._bytes > MAX_WAITING_BYTES:
            self._write(max(self._waiting, key=lambda each: self._waiting[each].size_bytes))

    def _write(self, values: Values) -> None:
        waiting = self._waiting.pop(values)
        self._bytes -= waiting.size_bytes
        file = self._file(values)
        file.write(waiting.batches)
        file.write_group()

    def _file(self, values: Values) -> ArrowFile:
        if values in self._open:
            self._open.move_to_end(values)
        else:
            if len(self._open) >= MAX_OPEN:
                self._end_file(next(iter(self._open)))
            name = f"{self._path(values)}/part-{self._parts[values]}.parquet"
            self._parts[values] += 1
            self._open[values] = name, self._new_file(name)
        return self._open[values][1]

    def _new_file(self, name: str) -> ArrowFile:
        return ArrowFile(self._folder.file(name), "parquet", self._schema, self._compression, beside=False)

    def _end_file(self, values: Values) -> None:
        name, file = self._open.pop(values)
        file.end()
        self._folder.seal_file(name)

    def _path(self, values: Values) -> str:
        return "/".join(f"{_escaped(name)}={folder_name(value)}" for name, value in zip(self._by, values, strict=True))


class _Waiting:
    """Rows of one partition that are not written yet."""

    def __init__(self) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.rows = self.size_bytes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch)
        self.rows += batch.num_rows
        self.size_bytes += batch.nbytes


def _equal(value: Any) -> Any:
    """The value, equal to itself."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def folder_name(value: Any) -> str:
    """What stands for a value in a folder's name."""
    if value is None:
        return _NULL
    text = value if isinstance(value, str) else text_form(json_form(value))
    return _escaped(text) or _NULL


def _escaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", text)
