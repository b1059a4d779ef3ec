"""Sinks of tables take many records in bounded memory."""

from __future__ import annotations

import pytest

from support.many import MANY
from support.peak_memory import run_apart

pytestmark = pytest.mark.slow

PROGRAM = """\
import sys, tempfile
from pathlib import Path
from runner.plugins import sink_for
from runner.sinks import SinkContext
from runner.testing.sinks import sample_record
from support.peak_memory import peak_bytes
path, count, by = sys.argv[1], int(sys.argv[2]), tuple(sys.argv[3:])
with tempfile.TemporaryDirectory() as folder:
    plugin = sink_for(path)
    given = {"partition_by": by} if by else {}
    options = plugin.options()(path=path, include_row=("text", "part"), **given)
    sink = plugin.load()(options, SinkContext(Path(folder), row_columns=("text", "part")))
    sink.open(Path(folder) / "staged")
    for start in range(0, count, 50):
        sink.write([
            sample_record(index, row={"text": f"{index} " * 20, "part": index % 100})
            for index in range(start, start + 50)
        ])
    assert sink.seal().records == count
    sink.commit()
print(peak_bytes())
"""


def peak_mb(path: str, count: int, *by: str) -> float:
    return int(run_apart(PROGRAM, path, count, *by, timeout_s=500)) / 1e6


@pytest.mark.parametrize(
    ("path", "by", "few", "many"),
    [
        ("x.parquet", (), 300_000, MANY),
        ("x.arrow", (), 300_000, MANY),
        ("x.parquet", ("part",), 300_000, MANY),
        ("x.xlsx", (), 20_000, MANY // 10),
        ("x.csv", (), 20_000, MANY),
    ],
    ids=["parquet", "arrow", "partitioned", "xlsx", "csv"],
)
def test_memory_does_not_grow_with_the_records(path: str, by: tuple[str, ...], few: int, many: int) -> None:
    large = peak_mb(path, many, *by)
    assert large < 450
    if many > few:  # a table's group is full, and memory at its height, only after some 100,000 records
        small = peak_mb(path, few, *by)
        assert large < small * 1.25, f"{small:.0f} MB for {few:,} records, {large:.0f} MB for {many:,}"
