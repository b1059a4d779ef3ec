"""Table files: which values Arrow's types become, which columns are read, and what is wrong with a file."""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from pyarrow import ipc
from pyarrow import parquet as pq

from runner.datasets import DatasetContext
from runner.datasets.options import TableOptions
from runner.datasets.table_files import open_table
from runner.datasets.tables import TableDataset
from runner.errors import InputError
from runner.ledger import EnrolledRow
from runner.ledger.sqlite import SqliteLedger
from runner.types import Row
from support.table_files import TABLE_WRITERS

BERLIN = ZoneInfo("Europe/Berlin")
LISTS = pa.list_(pa.dictionary(pa.int8(), pa.string()))
NOON = dt.datetime.fromisoformat("2026-01-31T12:00:00.000001")


def dataset(path: str, root: Path, used: Sequence[str] | None = None) -> TableDataset:
    return TableDataset(TableOptions(path=path), DatasetContext(root, used=used))


def read(table: pa.Table, folder: Path, kind: str = "parquet") -> tuple[list[Any], str]:
    """The values of the column `x`, and its type."""
    TABLE_WRITERS[kind](table, folder / f"t.{kind}")
    found = dataset(f"t.{kind}", folder)
    return [row.values["x"] for row in found.rows()], str(found.column_types()["x"])


TYPES: list[tuple[pa.Array, list[Any], str]] = [
    (pa.array([1, None], pa.int8()), [1, None], "integer"),
    (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1], "integer"),
    (pa.array([0.5, float("inf")], pa.float32()), [0.5, float("inf")], "number"),
    (pa.array([1.5], pa.float16()), [1.5], "number"),
    (pa.array(["a", None, "b", "a"]).dictionary_encode(), ["a", None, "b", "a"], "string"),
    (pa.array(["é"], pa.large_string()), ["é"], "string"),
    (pa.array(["é"], pa.string_view()), ["é"], "string"),
    (pa.array([b"x"], pa.large_binary()), [b"x"], "bytes"),
    (pa.array([b"xy"], pa.binary(2)), [b"xy"], "bytes"),
    (pa.array([Decimal("1.50")], pa.decimal128(5, 2)), [Decimal("1.50")], "decimal(5, 2)"),
    (pa.array([Decimal("1.50")], pa.decimal256(60, 2)), [Decimal("1.50")], "decimal(60, 2)"),
    (pa.array([1_999], pa.timestamp("ns")), [dt.datetime.fromisoformat("1970-01-01T00:00:00.000001")], "datetime"),
    (pa.array([NOON], pa.timestamp("us")), [NOON], "datetime"),
    (pa.array([NOON], pa.timestamp("us", "UTC")), [NOON.replace(tzinfo=dt.UTC)], "datetime(UTC)"),
    (
        pa.array([1_999], pa.timestamp("ns", "Europe/Berlin")),
        [dt.datetime(1970, 1, 1, 1, 0, 0, 1, tzinfo=BERLIN)],
        "datetime(Europe/Berlin)",
    ),
    (pa.array([86_400_000], pa.date64()), [dt.date(1970, 1, 2)], "date"),
    (pa.array([1_999], pa.time64("ns")), [dt.time(0, 0, 0, 1)], "time"),
    (pa.array([1_999], pa.duration("ns")), [dt.timedelta(microseconds=1)], "duration"),
    (pa.array([[1, None], None, []], pa.large_list(pa.int64())), [[1, None], None, []], "list(integer)"),
    (pa.array([[1, 2]], pa.list_(pa.int64(), 2)), [[1, 2]], "list(integer)"),
    (
        pa.array([[{"at": 1_999, "n": None}]], pa.list_(pa.struct([("at", pa.timestamp("ns")), ("n", pa.int64())]))),
        [[{"at": dt.datetime.fromisoformat("1970-01-01T00:00:00.000001"), "n": None}]],
        "list(mapping)",
    ),
    (
        pa.array([[("a", 1), ("b", None)], None], pa.map_(pa.string(), pa.int64())),
        [{"a": 1, "b": None}, None],
        "mapping",
    ),
    (
        pa.array([[(dt.date(2026, 1, 31), [("a", 1)])]], pa.map_(pa.date32(), pa.map_(pa.string(), pa.int8()))),
        [{"2026-01-31": {"a": 1}}],
        "mapping",
    ),
    (pa.array([None, None], pa.null()), [None, None], "null"),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_arrows_types_become_the_values_of_rows(tmp_path: Path, kind: str) -> None:
    for array, expected, column_type in TYPES:
        if kind == "parquet" and (array.type == pa.string_view() or array.type == pa.duration("ns")):
            continue  # parquet gives them back as other types
        found, told = read(pa.table({"x": array}), tmp_path, kind)
        assert (found, told) == (expected, column_type), array.type
        assert list(map(type, found)) == list(map(type, expected)), array.type


def test_arrow_holds_what_parquet_does_not(tmp_path: Path) -> None:
    one = uuid.UUID(int=1)
    cases: list[tuple[pa.Array, list[Any], str]] = [
        (pa.array([one.bytes], pa.uuid()), [str(one)], "string"),
        (
            pa.array([pa.MonthDayNano([1, 2, 3])], pa.month_day_nano_interval()),
            [{"months": 1, "days": 2, "nanoseconds": 3}],
            "mapping",
        ),
        (
            pa.array([["a", "b"], ["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
            [["a", "b"], ["a"]],
            "list(string)",
        ),
        (pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]), ["a", "a", "b"], "string"),
    ]
    for array, expected, column_type in cases:
        assert read(pa.table({"x": array}), tmp_path, "arrow") == (expected, column_type), array.type


def test_every_value_can_be_kept_by_a_run(tmp_path: Path) -> None:
    for place, (array, expected, _) in enumerate(TYPES):
        found, _ = read(pa.table({"x": array}), tmp_path, "arrow")
        with SqliteLedger.create(tmp_path / str(place), {}) as ledger:
            ledger.enrol(EnrolledRow(Row(str(n), n, {"x": value}), "d", None) for n, value in enumerate(found))
            assert [row.values["x"] for row in ledger.rows()] == expected


def test_a_time_that_python_does_not_hold_is_told_with_its_row(tmp_path: Path) -> None:
    table = pa.table({"id": list(range(2_000)), "x": pa.array([0] * 1_700 + [10**17] * 300, pa.timestamp("s"))})
    TABLE_WRITERS["arrow"](table, tmp_path / "t.arrow")
    with pytest.raises(InputError) as caught:
        list(dataset("t.arrow", tmp_path).rows())
    assert str(caught.value.problems[0].where) == "t.arrow:1701"
    assert "before the year 1 or after the year 9999" in caught.value.problems[0].message
    rows = list(dataset("t.arrow", tmp_path, used=["id"]).rows())
    assert rows[1999].values == {"id": 1999}
    assert rows[1999].line == 2000


@pytest.mark.parametrize("kind", TABLE_WRITERS)
def test_only_the_columns_that_are_used_are_read(tmp_path: Path, kind: str) -> None:
    table = pa.table({"a": ["1", "2"], "b.c": ["x", "y"], "d": [[1], [2]]})
    TABLE_WRITERS[kind](table, tmp_path / f"t.{kind}")
    some = dataset(f"t.{kind}", tmp_path, used=["d", "a", "absent"])
    assert [row.values for row in some.rows()] == [{"a": "1", "d": [1]}, {"a": "2", "d": [2]}]
    assert tuple(some.column_types()) == ("a", "d")
    assert some.columns() == ("a", "b.c", "d")
    assert [row.values for row in dataset(f"t.{kind}", tmp_path, used=["b.c"]).rows()] == [{"b.c": "x"}, {"b.c": "y"}]
    assert [row.values for row in dataset(f"t.{kind}", tmp_path, used=[]).rows()] == [{}, {}]


def problem(path: str, root: Path) -> str:
    with pytest.raises(InputError) as caught:
        list(dataset(path, root).rows())
    (one,) = caught.value.problems
    return f"{one.where}: [{one.code}] {one.message} ({one.hint})"


@pytest.mark.parametrize("kind", TABLE_WRITERS)
def test_a_damaged_file_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"t.{kind}"
    TABLE_WRITERS[kind](pa.table({"a": [str(n) * 50 for n in range(5_000)]}), path)
    data = path.read_bytes()
    for cut in (0, 3, 100, len(data) // 2, len(data) - 3):
        path.write_bytes(data[:cut])
        if kind == "arrows" and cut > len(data) - 10:
            continue  # only its end mark is gone
        found = problem(path.name, tmp_path)
        assert found.startswith(f"t.{kind}: [damaged-file]"), (cut, found)


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"id,text\n1,a\n", "t.parquet", "[damaged-file] is no parquet file"),
        (b"PAR1" + b"0" * 50, "t.arrow", "is no arrow file: it is parquet (end its name in .parquet)"),
        (b"ARROW1" + b"0" * 50, "t.orc", "is no orc file: it is arrow (end its name in .arrow)"),
        (b"FEA1" + b"0" * 50, "t.feather", "Feather of version 1"),
        (b"\x1f\x8b" + b"0" * 50, "t.parquet.gz", "compressed by gzip (unpack it first"),
        (b"PK\x03\x04" + b"0" * 50, "t.parquet", "Excel"),
    ],
)
def test_what_is_another_format_is_told(tmp_path: Path, data: bytes, name: str, expected: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert expected in problem(name, tmp_path)


def write(folder: Path, name: str, **columns: Any) -> None:
    pq.write_table(pa.table(columns), folder / name)


def test_files_of_other_columns_are_told_with_both(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", a=["x"], b=[1])
    write(tmp_path, "2.parquet", b=[2], a=["y"])
    assert [row.values for row in dataset("*.parquet", tmp_path).rows()] == [{"a": "x", "b": 1}, {"a": "y", "b": 2}]
    write(tmp_path, "3.parquet", a=["z"], c=[3])
    assert problem("*.parquet", tmp_path).startswith(
        "3.parquet: [header-mismatch] its columns are not those of 1.parquet: it lacks 'b' and it also has 'c'"
    )


def test_files_whose_types_differ_in_kind_are_told_with_both(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", a=pa.array([1], pa.int8()), b=pa.array([None], pa.null()))
    write(tmp_path, "2.parquet", a=pa.array([2**64 - 1], pa.uint64()), b=["x"])
    both = dataset("*.parquet", tmp_path)
    assert [row.values["b"] for row in both.rows()] == [None, "x"]
    assert (both.column_types()["a"].wide, str(both.column_types()["b"])) == (True, "string")
    write(tmp_path, "3.parquet", a=["text"], b=["x"])
    assert problem("*.parquet", tmp_path).startswith(
        "3.parquet: [schema-mismatch] the column 'a' is string, but integer in 1.parquet"
    )
    write(tmp_path, "3.parquet", a=[1], b=[1])
    assert problem("*.parquet", tmp_path).startswith(
        "3.parquet: [schema-mismatch] the column 'b' is integer, but string in 2.parquet"
    )


def test_files_are_compared_without_reading_a_row(tmp_path: Path) -> None:
    for number in range(1, 4):
        write(tmp_path, f"{number}.parquet", a=[number], b=["x"])
    sound = dataset("*.parquet", tmp_path).compare_files(100)
    assert (sound.looked_at, sound.files, list(sound.problems)) == (3, 3, [])
    write(tmp_path, "2.parquet", a=[1])
    write(tmp_path, "3.parquet", a=["text"], b=["x"])
    write(tmp_path, "4.parquet", a=[None], b=["x"])
    (tmp_path / "5.parquet").write_bytes(b"PAR1")
    compared = dataset("*.parquet", tmp_path).compare_files(100)
    told = [f"{problem.where}: {problem.code}" for problem in compared.problems]
    assert (compared.looked_at, compared.files) == (5, 5)
    assert told == ["2.parquet: header-mismatch", "3.parquet: schema-mismatch", "5.parquet: damaged-file"]


@pytest.mark.parametrize(("files", "chosen"), [(1, [1]), (2, [1, 2]), (5, [1, 3, 5]), (100, [1, 50, 100])])
def test_of_many_files_some_are_compared_from_the_first_to_the_last(
    tmp_path: Path, files: int, chosen: list[int]
) -> None:
    for number in range(1, files + 1):
        write(tmp_path, f"{number:03}.parquet", **{"a" if number == 1 else "other": [number]})
    compared = dataset("*.parquet", tmp_path).compare_files(3)
    assert (compared.looked_at, compared.files) == (len(chosen), files)
    assert [str(problem.where) for problem in compared.problems] == [f"{number:03}.parquet" for number in chosen[1:]]


def test_no_more_files_are_looked_at_once_many_are_wrong(tmp_path: Path) -> None:
    for number in range(60):
        write(tmp_path, f"{number:03}.parquet", **{"other" if number else "a": [number]})
    compared = dataset("*.parquet", tmp_path).compare_files(100)
    assert (compared.looked_at, len(compared.problems)) == (21, 20)


def test_two_columns_of_one_name_are_told(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    TABLE_WRITERS["arrow"](table, tmp_path / "t.arrow")
    assert "two columns are named 'a'" in problem("t.arrow", tmp_path)


def test_a_parquet_file_is_read_in_small_batches_whatever_its_row_groups(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["x" * 20_000] * 3_000}), tmp_path / "t.parquet", use_dictionary=False)
    with open_table(tmp_path / "t.parquet", "t.parquet", "parquet") as table:
        assert max(batch.num_rows for batch in table.batches(["a"])) < 1_000


@pytest.mark.parametrize("form", ["file", "stream"])
def test_offsets_that_lead_out_of_an_arrow_file_are_told(tmp_path: Path, form: str) -> None:
    table = pa.table({"x": ["abc", "def", "ghi"]})
    new = ipc.new_file if form == "file" else ipc.new_stream
    with new(tmp_path / "t.arrow", table.schema) as writer:
        writer.write_table(table)
    data = (tmp_path / "t.arrow").read_bytes()
    offsets, beyond = (struct.pack("<4i", *each) for each in ((0, 3, 6, 9), (0, 1 << 30, 6, 9)))
    assert data.count(offsets) == 1
    (tmp_path / "t.arrow").write_bytes(data.replace(offsets, beyond))
    with pytest.raises(InputError, match="damaged"):
        list(dataset("t.arrow", tmp_path).rows())
