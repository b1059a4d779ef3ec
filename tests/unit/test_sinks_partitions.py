"""Partitioned parquet: what other programs read of it, its bounds, and what is refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyarrow import dataset, parquet

from runner.errors import DeliveryError, SpecError
from runner.sinks import Delivered, SinkContext, partitions
from runner.sinks.options import ParquetOptions
from runner.sinks.partitions import folder_name
from runner.sinks.tables import TableSink
from runner.testing.sinks import sample_record
from runner.types import Record


def deliver(folder: Path, records: Sequence[Record], by: Sequence[str], **given: Any) -> Delivered:
    options = ParquetOptions(path="x.parquet", partition_by=tuple(by), **given)
    made = TableSink(options, SinkContext(folder, records=lambda: iter(records)))
    made.check()
    made.open(folder / "staged")
    for start in range(0, len(records), 500):
        made.write(records[start : start + 500])
    sealed = made.seal()
    made.commit()
    return sealed


COLUMNS = {"k": "key", "a": "row.a", "b": "row.b"}
AWKWARD = ["plain", "a/b", "..", "50%", "x=y", "日本 é", "a b+c", "", None, "'q'", '"', "#?:*\\", "\n"]


def test_other_programs_read_the_table_with_all_its_values(tmp_path: Path) -> None:
    records = [sample_record(index, row={"a": value, "b": index % 2}) for index, value in enumerate(AWKWARD)]
    deliver(tmp_path, records, ["a", "b"], columns=COLUMNS)
    expected = {record.key: (record.row["a"] or None, record.row["b"]) for record in records}
    query = f"select k, a, b from read_parquet('{tmp_path}/x.parquet/**/*.parquet', hive_partitioning = true)"
    assert {key: (a, b) for key, a, b in duckdb.execute(query).fetchall()} == expected
    found = dataset.dataset(tmp_path / "x.parquet", partitioning="hive").to_table().to_pylist()
    assert {row["k"]: (row["a"], row["b"]) for row in found} == expected


def test_a_folder_is_named_for_its_value(tmp_path: Path) -> None:
    day = dt.date(2026, 11, 22)
    assert [folder_name(value) for value in (day, 7, True, 1.5, None)] == [
        "2026-11-22",
        "7",
        "true",
        "1.5",
        "__HIVE_DEFAULT_PARTITION__",
    ]
    records = [sample_record(output={"day": "2026-11-22"})]
    schema = {"properties": {"day": {"type": "string", "format": "date"}, "n": {"type": "number"}}}
    options = ParquetOptions(path="x.parquet", partition_by=("output_day",))
    made = TableSink(options, SinkContext(tmp_path, schema=schema))
    made.open(tmp_path / "staged")
    made.write(records)
    made.commit()
    assert [path.name for path in (tmp_path / "x.parquet").iterdir()] == ["output_day=2026-11-22"]


def test_memory_and_open_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "MAX_OPEN", 3)
    monkeypatch.setattr(partitions, "MAX_WAITING_BYTES", 200_000)
    records = [sample_record(index, row={"a": index % 7, "b": "x" * 50}) for index in range(30_000)]
    deliver(tmp_path, records, ["a"], columns=COLUMNS)
    files = sorted((tmp_path / "x.parquet" / "a=0").iterdir())
    assert len(files) > 1, "a file that is ended goes on as another"
    assert files[0].name == "part-0.parquet"
    found = dataset.dataset(tmp_path / "x.parquet", partitioning="hive").to_table()
    assert sorted(found.column("k").to_pylist()) == sorted(record.key for record in records)
    keys = [key for path in files for key in parquet.ParquetFile(path).read().column("k").to_pylist()]
    assert sorted(keys, key=lambda key: int(key[2:])) == [f"k-{index}" for index in range(0, 30_000, 7)]


def test_values_that_are_not_equal_to_themselves_are_one_partition(tmp_path: Path) -> None:
    records = [sample_record(index, row={"a": float("nan"), "b": 1}) for index in range(20)]
    deliver(tmp_path, records, ["a"], columns=COLUMNS)
    assert [path.name for path in (tmp_path / "x.parquet").iterdir()] == ["a=NaN"]


def test_too_many_partitions_are_told_and_leave_the_target_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MAX_PARTITIONS", 10)
    records = [sample_record(index) for index in range(11)]
    with pytest.raises(DeliveryError, match=r"x\.parquet would have more than 10 partitions") as found:
        deliver(tmp_path, records, ["k"], columns={"k": "key", "i": "index"})
    assert "not 'k'" in str(found.value.hint)
    assert not (tmp_path / "x.parquet").exists()


def test_a_table_of_no_records_has_its_columns(tmp_path: Path) -> None:
    deliver(tmp_path, [], ["status"])
    (path,) = (tmp_path / "x.parquet").iterdir()
    assert parquet.read_schema(path).names == ["key", "output", "error_kind", "error_message"]


def test_an_own_table_is_replaced_and_stale_partitions_go(tmp_path: Path) -> None:
    first = deliver(tmp_path, [sample_record(output="a"), sample_record(1, output="b")], ["output"])
    assert first.sha256 is not None
    made = TableSink(
        ParquetOptions(path="x.parquet", partition_by=("output",)), SinkContext(tmp_path, known_sha256={first.sha256})
    )
    made.open(tmp_path / "staged")
    made.write([sample_record(output="b")])
    made.commit()
    assert [path.name for path in (tmp_path / "x.parquet").iterdir()] == ["output=b"]
    with pytest.raises(DeliveryError, match="this job did not write it"):
        made.check()


@pytest.mark.parametrize(
    ("columns", "by", "told"),
    [
        (None, ["nothing"], "cannot be partitioned by 'nothing': there is no column 'nothing'"),
        ({"a": "key"}, ["a"], "all columns name partitions"),
    ],
)
def test_partitions_that_cannot_be_are_errors_of_the_job(
    tmp_path: Path, columns: Any, by: list[str], told: str
) -> None:
    options = ParquetOptions(path="x.parquet", columns=columns, partition_by=tuple(by))
    with pytest.raises(SpecError, match=told):
        TableSink(options, SinkContext(tmp_path))


def test_lists_name_no_partitions(tmp_path: Path) -> None:
    records = [sample_record(row={"a": [1], "b": 1})]
    with pytest.raises(SpecError, match="cannot be partitioned by 'a': the values of 'a' are lists"):
        deliver(tmp_path, records, ["a"], columns=COLUMNS)


def test_a_frozen_table_may_be_partitioned(tmp_path: Path) -> None:
    records = [sample_record(index, row={"a": index % 2, "b": index}) for index in range(4)]
    deliver(tmp_path, records, ["a"], columns=COLUMNS)
    again = [sample_record(0, row={"a": 1, "b": 7}), sample_record(1, row={"a": 0, "b": "no number"})]
    sealed = deliver(tmp_path, again, ["a"], columns=COLUMNS, contract="freeze", overwrite=True)
    assert (sealed.records, [refused.key for refused in sealed.refused]) == (1, ["k-1"])
    found = dataset.dataset(tmp_path / "x.parquet", partitioning="hive").to_table().to_pylist()
    assert [(row["k"], row["b"], row["a"]) for row in found] == [("k-0", 7, 1)]
