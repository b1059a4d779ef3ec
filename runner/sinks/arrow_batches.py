"""Records to record batches: the columns of a table, filled from many records at a time.

Owns   `BatchBuilder`, and how many records make a batch.
Knows  columns, Arrow's arrays, and which records do not fit; nothing of files.

A million records are ten million cells, so nothing is done a cell that can be done a column: values are gathered into
one list a column, and each list becomes an array at once. A record that does not fit is left out of all columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runner.column_types import ColumnType
from runner.sinks import Refused
from runner.sinks.arrow_types import ArrowColumn
from runner.sinks.columns import Columns
from runner.sinks.fitting import LeftOut
from runner.types import Record

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 8_192
"""Records of a batch: enough that what is done a batch costs nothing, few enough that their values are held as Python
objects (about 1 KB a record without long texts)."""
BATCH_WEIGHT = 16 << 20
"""About how many characters of text are gathered before a batch is made of fewer records."""
_LIGHT = 32
"""Portions of more records than this are taken to be light: delivery makes the portions of heavy ones smaller."""


class BatchBuilder:
    """Gathers records and makes batches of them."""

    def __init__(self, columns: Columns, types: Mapping[str, ColumnType], schema: pa.Schema, left_out: LeftOut) -> None:
        """`types` and `schema` may have columns that `columns` does not name: they are null."""
        self._columns = columns
        self._schema = schema
        self._left_out = left_out
        self._arrays = [ArrowColumn(types[name], schema.field(name).type) for name in columns.names]
        self._absent = [name for name in schema.names if name not in columns.names]
        self._start()

    def _start(self) -> None:
        self._keys: list[str] = []
        self._values: list[list[Any]] = [[] for _ in self._arrays]
        self._weight = 0

    def add(self, records: Sequence[Record]) -> Iterator[pa.RecordBatch]:
        """Take records; yields the batches that are full with them."""
        start = 0
        while start < len(records):
            portion = records[start : start + BATCH_ROWS - len(self._keys)]
            start += len(portion)
            self._keys += [record.key for record in portion]
            columns = self._columns.by_column(portion)
            for values, more in zip(self._values, columns, strict=True):
                values += more
            if len(portion) < _LIGHT:
                self._weight += sum(_weight(value) for column in columns for value in column)
            if len(self._keys) >= BATCH_ROWS or self._weight >= BATCH_WEIGHT:
                yield self._batch()

    def rest(self) -> Iterator[pa.RecordBatch]:
        """A batch of the records that make no full one."""
        if self._keys:
            yield self._batch()

    def _batch(self) -> pa.RecordBatch:
        import pyarrow as pa

        made = [column.array(values) for column, values in zip(self._arrays, self._values, strict=True)]
        arrays = dict(zip(self._columns.names, (array for array, _ in made), strict=True))
        count = len(self._keys)
        for name in self._absent:
            arrays[name] = pa.nulls(count, self._schema.field(name).type)
        batch = pa.RecordBatch.from_arrays([arrays[name] for name in self._schema.names], schema=self._schema)
        misfits = self._misfits([reasons for _, reasons in made])
        for place in sorted(misfits):
            self._left_out.add(misfits[place])
        if misfits:
            batch = batch.take(pa.array([place for place in range(count) if place not in misfits], pa.int32()))
        self._start()
        return batch

    def _misfits(self, reasons: Sequence[Mapping[int, str]]) -> dict[int, Refused]:
        """The records that do not fit, by their places, each told of its first column that does not."""
        found: dict[int, Refused] = {}
        for name, of_column in zip(self._columns.names, reasons, strict=True):
            for place, why in of_column.items():
                found.setdefault(place, Refused(self._keys[place], f"column {name!r}: {why}"))
        return found


def _weight(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes) else 0 if value is None else len(str(value))
