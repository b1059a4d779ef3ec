"""What a sink of parquet takes, beside what pyarrow takes for the same table: the program that is measured.

    python -m benchmarks.table_sink ROWS PAIRS FOLDER

Owns   the records, and what is timed. All of them are in memory before anything is, so that nothing but the sink is;
       the three are taken in turns.

    sink     the sink of the built-in plugin: opened, given records in portions as delivery gives them, sealed (durable,
             with its SHA-256) and put in its place
    bare     pyarrow alone, from an Arrow table that is in memory: `ParquetWriter`, `write_table`, `close`; no fsync and
             no digest; compression as the sink's, row groups of as many rows as it has at most
    rows     pyarrow alone, from the same rows as Python dicts, which is what the sink starts from:
             `Table.from_pylist` with a schema and `write_table`, a row group at a time

Prints a JSON object: for each of the three the seconds of every turn and their CPU seconds.
"""

from __future__ import annotations

import datetime as dt
import gc
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from benchmarks.project import texts
from runner.column_types import DATE, INTEGER, NUMBER, STRING, ColumnType
from runner.plugins import sink_for
from runner.sinks import SinkContext
from runner.sinks.arrow_files import GROUP_ROWS
from runner.testing.sinks import sample_record
from runner.types import Record

PORTION = 55
"""Records of this size that delivery gives at a time."""
ROW_TYPES: Mapping[str, ColumnType] = {"id": STRING, "text": STRING, "stars": INTEGER, "price": NUMBER, "day": DATE}
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["positive", "negative"]},
        "score": {"type": "number"},
        "why": {"type": ["string", "null"]},
    },
    "required": ["label", "score", "why"],
    "additionalProperties": False,
}
COMPRESSION = "zstd"


def row(index: int, text: str) -> dict[str, Any]:
    """A row of the dataset: a key, a text, and values of three other types."""
    day = dt.date(2026, 1, 1) + dt.timedelta(days=index % 365)
    return {"id": f"row-{index:07}", "text": text, "stars": index % 5 + 1, "price": index % 1_000 / 8, "day": day}


def _records(rows: int) -> Iterator[Record]:
    for index, text in enumerate(texts(rows)):
        why = None if index % 3 else f"because of {index}"
        output = {"label": ("positive", "negative")[index % 2], "score": index % 100 / 100, "why": why}
        yield sample_record(index, row=row(index, text), output=output)


def main() -> None:
    rows, pairs, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    records = list(_records(rows))
    table, schema = _table(records, folder)
    dicts = table.to_pylist()
    gc.collect()
    gc.freeze()
    turns: Mapping[str, Callable[[], None]] = {
        "sink": lambda: _sink(records, folder),
        "bare": lambda: _bare(table, folder),
        "rows": lambda: _from_rows(dicts, schema, folder),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for turn in range(pairs):
        for name in list(turns)[turn % 3 :] + list(turns)[: turn % 3]:
            wall, cpu = time.perf_counter(), time.process_time()
            turns[name]()
            taken[name].append((round(time.perf_counter() - wall, 4), round(time.process_time() - cpu, 4)))
    print(
        json.dumps({"taken": taken, "file_bytes": (folder / "x.parquet").stat().st_size, "table_bytes": table.nbytes})
    )


def _sink(records: Sequence[Record], folder: Path) -> None:
    plugin = sink_for("x.parquet")
    context = SinkContext(folder, row_columns=tuple(ROW_TYPES), row_types=ROW_TYPES, schema=SCHEMA)
    sink = plugin.load()(plugin.options()(path="x.parquet", overwrite=True, compression=COMPRESSION), context)
    sink.open(folder / "staged")
    for start in range(0, len(records), PORTION):
        sink.write(records[start : start + PORTION])
    sink.seal()
    sink.commit()


def _bare(table: pa.Table, folder: Path) -> None:
    with parquet.ParquetWriter(folder / "bare.parquet", table.schema, compression=COMPRESSION) as writer:
        writer.write_table(table, row_group_size=GROUP_ROWS)


def _from_rows(dicts: Sequence[dict[str, Any]], schema: pa.Schema, folder: Path) -> None:
    with parquet.ParquetWriter(folder / "rows.parquet", schema, compression=COMPRESSION) as writer:
        for start in range(0, len(dicts), GROUP_ROWS):
            group = pa.Table.from_pylist(dicts[start : start + GROUP_ROWS], schema)
            writer.write_table(group, row_group_size=GROUP_ROWS)


def _table(records: Sequence[Record], folder: Path) -> tuple[pa.Table, pa.Schema]:
    """What the sink writes of these records, in memory; checked to be what the records hold."""
    _sink(records, folder)
    table = parquet.read_table(folder / "x.parquet")
    first, last = table.slice(0, 1).to_pylist()[0], table.slice(len(records) - 1).to_pylist()[0]
    for there, record in ((first, records[0]), (last, records[-1])):
        assert there == {
            "key": record.key,
            **record.row,
            **{f"output_{name}": value for name, value in record.output.items()},
            "status": "succeeded",
            "error_kind": None,
            "error_message": None,
        }
    shutil.rmtree(folder / "staged", ignore_errors=True)
    return table, table.schema


if __name__ == "__main__":
    main()
