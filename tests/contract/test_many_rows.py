"""Many rows of each kind of table, in memory that does not grow with them: measured in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import ipc, orc
from pyarrow import parquet as pq

from support.many import MANY
from support.peak_memory import run_apart

ROWS = MANY
PART = 10_000
LIMIT = 150 * 2**20
"""Beyond what the process has once its libraries are loaded. As Python's values a million rows are more than 1 GB."""

SCRIPT = """
import json, sys
from pathlib import Path
from runner.datasets import DatasetContext
from runner.plugins import dataset_for
from support.peak_memory import peak_bytes

path = Path(sys.argv[1])
plugin = dataset_for(path.name)
options, dataset_class = plugin.options(), plugin.load()
dataset = dataset_class(options(path=path.name), DatasetContext(path.parent))
rows = dataset.rows()
count, total = 1, next(rows).values["n"]
before = peak_bytes()
for row in rows:
    count += 1
    total += row.values["n"]
print(json.dumps({"count": count, "total": total, "grown": peak_bytes() - before}))
"""


def parts(table_of: Callable[[int], pa.Table], write: Callable[[pa.Table], object]) -> None:
    for start in range(0, ROWS, PART):
        write(table_of(start))


def table_of(start: int) -> pa.Table:
    numbers = range(start, start + PART)
    return pa.table({
        "n": list(numbers),
        "text": [f"text number {number} " + "x" * 200 for number in numbers],
        "at": pa.array(numbers, pa.timestamp("us", "UTC")),
        "tags": [[str(number)] for number in numbers],
    })  # fmt: skip


def parquet_of_one_group(path: Path) -> None:
    table = pa.concat_tables(table_of(start) for start in range(0, ROWS, PART))
    pq.write_table(table, path, row_group_size=ROWS)


def parquet_of_groups(path: Path) -> None:
    with pq.ParquetWriter(path, table_of(0).schema) as writer:
        parts(table_of, writer.write_table)


def arrow_file(path: Path) -> None:
    with ipc.new_file(path, table_of(0).schema) as writer:
        parts(table_of, writer.write_table)


def arrow_stream(path: Path) -> None:
    with ipc.new_stream(path, table_of(0).schema) as writer:
        parts(table_of, writer.write_table)


def orc_file(path: Path) -> None:
    with orc.ORCWriter(path, stripe_size=16 * 2**20) as writer:
        parts(table_of, writer.write)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("one-group.parquet", parquet_of_one_group),
        ("groups.parquet", parquet_of_groups),
        ("file.arrow", arrow_file),
        ("stream.arrows", arrow_stream),
        ("stripes.orc", orc_file),
    ],
)
def test_many_rows_are_read_in_bounded_memory(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    found = json.loads(run_apart(SCRIPT, tmp_path / name))
    assert (found["count"], found["total"]) == (ROWS, ROWS * (ROWS - 1) // 2)
    assert found["grown"] < LIMIT, f"{found['grown'] / 2**20:.0f} MiB"
