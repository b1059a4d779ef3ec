"""Writers of table files for tests: rows to parquet, Arrow (file and stream), ORC and xlsx."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import xlsxwriter
from pyarrow import feather, ipc, orc
from pyarrow import parquet as pq

Rows = Sequence[Mapping[str, Any]]


def arrow_table(rows: Rows) -> pa.Table:
    """A table of rows; without any it has the columns `id` and `text`."""
    if not rows:
        return pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())})
    return pa.Table.from_pylist([dict(row) for row in rows])


def write_arrow_stream(table: pa.Table, path: Path) -> None:
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=500)


def write_arrow_file(table: pa.Table, path: Path) -> None:
    with ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=500)


TABLE_WRITERS: dict[str, Callable[[pa.Table, Path], object]] = {
    "parquet": lambda table, path: pq.write_table(table, path, row_group_size=2_000),
    "arrow": write_arrow_file,
    "arrows": write_arrow_stream,
    "feather": lambda table, path: feather.write_feather(table, path, compression="zstd"),
    "orc": lambda table, path: orc.write_table(table, path, stripe_size=64 * 1024),
}


def write_xlsx(rows: Rows, path: Path, *, sheet: str = "Sheet1", before: int = 0) -> None:
    """A workbook with one sheet more than the rows' own; `before` empty rows stand above the header."""
    with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
        formats = {
            dt.datetime: book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"}),
            dt.date: book.add_format({"num_format": "yyyy-mm-dd"}),
            dt.time: book.add_format({"num_format": "hh:mm:ss"}),
            dt.timedelta: book.add_format({"num_format": "[h]:mm:ss"}),
        }
        own = book.add_worksheet(sheet)
        for line, row in enumerate([{name: name for name in rows[0]} if rows else {"id": "id", "text": "text"}, *rows]):
            for column, value in enumerate(row.values()):
                if type(value) in formats:
                    own.write_datetime(line + before, column, value, formats[type(value)])
                elif isinstance(value, str):
                    own.write_string(line + before, column, value)
                elif value is not None:
                    own.write(line + before, column, value)
        book.add_worksheet("another").write_row(0, 0, ["other"])
