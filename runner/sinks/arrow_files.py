"""Files of Arrow's world: parquet and arrow (IPC, which is feather version 2 too).

Owns   how record batches become the bytes of such a file, in bounded memory.
Knows  pyarrow and a place to write bytes to; nothing of records or targets.

Batches are gathered to row groups (parquet) or larger batches (arrow), which are encoded by a thread of their own: the
library does that without holding the interpreter, so the next batches are made meanwhile. One group is being written
and one gathered at a time. What is written depends on the batches alone, not on when they come.

Sources: Apache Parquet, "Row group size" (a group is what a reader reads at once); Arrow Columnar Format, "IPC File
Format" and "Feather Format".
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

ArrowFormat = Literal["parquet", "arrow"]

_BUFFER = 4 << 20
"""Bytes that are handed on at a time: the thread that encodes needs the interpreter for each, and waits for it."""
GROUP_ROWS = 122_880
"""Rows of a group: 15 batches; DuckDB's own groups have as many, and its readers share work by groups."""
GROUP_BYTES = 48 << 20
"""Bytes of a group in memory, from which on it is written although it has fewer rows."""


class Output(Protocol):
    def write(self, data: bytes, /) -> object: ...


class ArrowFile:
    """One file in the making. `write` and `end` raise what the output raises (OSError)."""

    def __init__(
        self,
        output: Output,
        file_format: ArrowFormat,
        schema: pa.Schema,
        compression: str | None,
        *,
        beside: bool = True,
    ) -> None:
        """`beside`: groups are encoded by a thread; of many files at a time each would have one."""
        self._schema = schema
        self._batches: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._stream = _buffered(output)
        self._writer = _writer(self._stream, file_format, schema, compression)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="table-sink") if beside else None
        self._writing: Future[None] | None = None

    def write(self, batches: Iterable[pa.RecordBatch]) -> None:
        for batch in batches:
            self._batches.append(batch)
            self._rows += batch.num_rows
            self._bytes += batch.nbytes
            if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
                self.write_group()

    def end(self) -> None:
        """Write what waits and the file's end. Nothing may be written afterwards."""
        self.write_group()
        self._wait()
        self._writer.close()
        self._stream.close()
        self._let_go()

    def give_up(self) -> None:
        """Stop writing; what was written is of no use. Harmless after `end`, and more than once."""
        self._batches = []
        with suppress(Exception):  # whatever kept it from being written has been told, or does not matter any more
            self._wait()
        self._let_go()
        for each in (self._writer, self._stream):
            with suppress(Exception):  # the library insists on writing the file's end
                each.close()

    def write_group(self) -> None:
        """Make a group of what waits, if anything does."""
        import pyarrow as pa

        if not self._batches:
            return
        group = pa.Table.from_batches(self._batches, schema=self._schema)
        self._batches, self._rows, self._bytes = [], 0, 0
        self._wait()
        if self._thread is None:
            self._writer.write(group)
        else:
            self._writing = self._thread.submit(self._writer.write, group)

    def _let_go(self) -> None:
        if self._thread is not None:
            self._thread.shutdown()

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()


class _ParquetWriter:
    def __init__(self, stream: Any, schema: pa.Schema, compression: str | None) -> None:
        from pyarrow import parquet

        self._writer = parquet.ParquetWriter(stream, schema, compression=compression or "none")

    def write(self, group: pa.Table) -> None:
        self._writer.write_table(group, row_group_size=group.num_rows)

    def close(self) -> None:
        self._writer.close()


class _IpcWriter:
    def __init__(self, stream: Any, schema: pa.Schema, compression: str | None) -> None:
        import pyarrow as pa

        options = pa.ipc.IpcWriteOptions(compression=compression)
        self._writer = pa.ipc.new_file(stream, schema, options=options)

    def write(self, group: pa.Table) -> None:
        self._writer.write_table(group.combine_chunks(), max_chunksize=group.num_rows)

    def close(self) -> None:
        self._writer.close()


def _buffered(output: Output) -> Any:
    import pyarrow as pa

    return pa.BufferedOutputStream(pa.PythonFile(_Stream(output), "w"), _BUFFER)


def _writer(stream: Any, file_format: ArrowFormat, schema: pa.Schema, compression: str | None) -> Any:
    make = _ParquetWriter if file_format == "parquet" else _IpcWriter
    return make(stream, schema, compression)


class _Stream:
    """An output as pyarrow takes one for a file."""

    closed = False

    def __init__(self, output: Output) -> None:
        self._output = output
        self._place = 0

    def write(self, data: bytes) -> int:
        self._output.write(data)
        self._place += len(data)
        return len(data)

    def tell(self) -> int:
        return self._place

    def flush(self) -> None:
        """Nothing: the file's owner decides when it is durable."""

    def close(self) -> None:
        """Nothing, for the same reason."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False
