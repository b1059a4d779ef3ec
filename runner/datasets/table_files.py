"""One file of a table: parquet, Arrow (Feather) or ORC, as record batches.

Owns   which reader of Arrow's takes a file, how much of it is held at a time, and what is said where it is damaged.
Knows  a file on disk or at a URL. Nothing of rows.

A parquet file is read a few hundred rows at a time, whatever its row groups; an Arrow file by its record batches; an
ORC file by its stripes. Arrow's own threads are not used: making Python's values costs more than reading does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa
from pyarrow import ipc, orc
from pyarrow import parquet as pq

from runner.datasets.problems import data_error
from runner.errors import InputError
from runner.storage import RemoteFile

TableFormat = Literal["parquet", "arrow", "orc"]

_MAX_BATCH_ROWS = 1024
_BATCH_BYTES = 8 * 1024 * 1024
"""What a batch of parquet rows may come to, by the sizes that the file notes."""
_READ_BYTES = 1024 * 1024
"""Read of a column at a time, instead of all that a row group has of it."""


class OpenTable(Protocol):
    """An opened file. `schema` has all its columns."""

    schema: pa.Schema

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All rows; each batch has at least the columns that are named."""
        ...


@contextmanager
def open_table(file: Path | RemoteFile, name: str, table_format: TableFormat) -> Iterator[OpenTable]:
    """A file's table; errors of reading it within the block are told of the file `name`. Raises InputError."""
    with told(name, table_format), _bytes_of(file) as stream:
        _look(stream, name, table_format)
        yield _OPENERS[table_format](stream)


@contextmanager
def told(name: str, table_format: TableFormat) -> Iterator[None]:
    """Tell what Arrow finds wrong with a file, with its name."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _damaged(name, table_format, error) from error
    except OSError as error:
        if error.errno is None:  # Arrow says so of damage: no error of the system
            raise _damaged(name, table_format, error) from error
        raise data_error("unreadable-file", f"cannot be read: {error.strerror}", name) from error


def _damaged(name: str, table_format: TableFormat, error: Exception) -> InputError:
    first, *_ = str(error).splitlines() or [type(error).__name__]
    message = f"is no {table_format} file, or damaged or cut off: {first}"
    return data_error("damaged-file", message, name, hint="make or fetch the file again")


@contextmanager
def _bytes_of(file: Path | RemoteFile) -> Iterator[pa.NativeFile]:
    if isinstance(file, RemoteFile):
        with file.open() as stream, closing(pa.PythonFile(stream, mode="r")) as opened:
            if not stream.seekable():
                hint = "fetch the file first, and name the copy"
                raise data_error("not-seekable", "the server does not say how long it is", file.name, hint=hint)
            yield opened
        return
    with closing(pa.OSFile(str(file))) as opened:
        yield opened


def _look(stream: pa.NativeFile, name: str, table_format: TableFormat) -> None:
    """Refuse what its first bytes show to be something else."""
    head = stream.read(_LONGEST_MAGIC)
    stream.seek(0)
    if not head:
        hint = f"a {table_format} file names its columns also where it has no rows"
        raise data_error("damaged-file", "has no bytes at all", name, hint=hint)
    for magic, what, cure in _OTHERS:
        if head.startswith(magic):
            raise data_error("wrong-format", f"is no {table_format} file: it is {what}", name, hint=cure)
    for magic, kind in _MAGIC:
        if head.startswith(magic) and kind != table_format:
            raise data_error(
                "wrong-format", f"is no {table_format} file: it is {kind}", name, hint=f"end its name in .{kind}"
            )


_MAGIC: Sequence[tuple[bytes, TableFormat]] = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b"ORC", "orc"))
_OTHERS = (
    (b"FEA1", "Feather of version 1", "write it again: pyarrow.feather.write_feather(table, path, version=2)"),
    (b"PARE", "encrypted parquet", "decrypt it first"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it first: tables are compressed within"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it first: tables are compressed within"),
    (b"PK\x03\x04", "a zip archive (an Excel workbook is one too)", "unpack it, or end the name in .xlsx"),
)
_LONGEST_MAGIC = 8


class _Parquet:
    def __init__(self, stream: pa.NativeFile) -> None:
        self._file = pq.ParquetFile(stream, buffer_size=_READ_BYTES, pre_buffer=False)
        self.schema = self._file.schema_arrow

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from self._file.iter_batches(batch_size=self._batch_rows(), columns=list(names), use_threads=False)

    def _batch_rows(self) -> int:
        metadata = self._file.metadata
        sizes: list[int] = [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
        a_row: int = sum(sizes) // max(metadata.num_rows, 1)
        return max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES // max(a_row, 1)))


class _ArrowFile:
    """The format with its batches listed at the end."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self.schema = ipc.open_file(stream).schema

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        reader = ipc.open_file(self._stream, options=_only(self.schema, names))
        yield from map(_sound, (reader.get_batch(number) for number in range(reader.num_record_batches)))


class _ArrowStream:
    """The format whose batches follow on one another. Its schema is read once, and the stream from its beginning."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self.schema = ipc.open_stream(stream).schema

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        self._stream.seek(0)
        yield from map(_sound, ipc.open_stream(self._stream, options=_only(self.schema, names)))


class _Orc:
    def __init__(self, stream: pa.NativeFile) -> None:
        self._file = orc.ORCFile(stream)
        self.schema = self._file.schema

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for stripe in range(self._file.nstripes):
            yield self._file.read_stripe(stripe, columns=list(names))


def _only(schema: pa.Schema, names: Sequence[str]) -> ipc.IpcReadOptions:
    return ipc.IpcReadOptions(included_fields=[schema.get_field_index(name) for name in names], use_threads=False)


def _sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, whose offsets point nowhere else: Arrow takes them from the file as they are, and would follow them
    out of its memory. Raises ArrowInvalid."""
    batch.validate(full=True)
    return batch


def _open_arrow(stream: pa.NativeFile) -> OpenTable:
    is_file = stream.read(len(b"ARROW1")) == b"ARROW1"
    stream.seek(0)
    return _ArrowFile(stream) if is_file else _ArrowStream(stream)


_OPENERS: dict[TableFormat, Any] = {"parquet": _Parquet, "arrow": _open_arrow, "orc": _Orc}
