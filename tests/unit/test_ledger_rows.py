from __future__ import annotations

import datetime as dt
import errno
import os
import random
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from runner.encoding import encode
from runner.errors import InputError, LedgerError
from runner.ledger import EnrolledRow, rows
from runner.ledger.folder import open_private
from runner.ledger.sqlite import SqliteLedger
from runner.types import Row
from runner.values import TypedValues
from support.ledgers import new_ledger

VALUES: list[dict[str, Any]] = [
    {"text": "naïve 日本 \U0001f600", "n": 12345678901234567890123, "x": 0.1, "none": None, "yes": True},
    {"list": [1, [2, {"a": "b"}]], "line": "one\ntwo\r\n\u2028three", "": "empty name"},
    {"half": "\ud83d", "quote": '"\\'},
    {},
]


def enrolled(tmp_path: Path, values: list[dict[str, Any]]) -> SqliteLedger:
    ledger = SqliteLedger.create(tmp_path / "run", {})
    ledger.enrol(EnrolledRow(Row(f"k{index}", index, value), "d", None) for index, value in enumerate(values))
    return ledger


def test_values_come_back_exactly(tmp_path: Path) -> None:
    with enrolled(tmp_path, VALUES) as ledger:
        assert [row.values for row in ledger.rows()] == VALUES
        assert [ledger.row(index).values for index in range(4)] == VALUES
        assert list(ledger.row(0).values) == list(VALUES[0])


def test_bytes_come_back_as_bytes_wherever_they_stand(tmp_path: Path) -> None:
    values: list[dict[str, Any]] = [
        {"photo": b"\x89PNG\x00\xff", "name": "a", "n": 12345678901234567890123},
        {"name": "text alone"},
        {"parts": [{"data": b""}, "x", [b"y"]], "half": "\ud83d"},
    ]
    with enrolled(tmp_path, values) as ledger:
        assert [row.values for row in ledger.rows()] == values
        assert [type(ledger.row(index).values) for index in range(3)] == [TypedValues, dict, TypedValues]


TYPED: list[dict[str, Any]] = [
    {"price": Decimal("12.50"), "day": dt.date(2026, 1, 31), "at": dt.datetime(2026, 1, 31, 12, 0, 0, 1)},
    {"at": dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), "t": dt.time(1, 2, 3)},
    {"at": dt.datetime(2026, 1, 31, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30))), "n": 2**80},
    {"lasts": dt.timedelta(days=-1, microseconds=1), "big": Decimal("1E+999999"), "odd": Decimal("NaN")},
    {"list": [{"day": dt.date(1, 1, 1), "x": b"\0"}, Decimal(1)], "half": "\ud83d", "inf": float("-inf")},
    {"text": "2026-01-31", "n": 1, "x": 1.5},
]


def test_typed_values_come_back_as_they_were(tmp_path: Path) -> None:
    with enrolled(tmp_path, TYPED) as ledger:
        found = [dict(row.values) for row in ledger.rows()]
        assert list(map(repr, found)) == list(map(repr, TYPED))
        assert [type(ledger.row(index).values) for index in (0, 5)] == [TypedValues, dict]
        assert found[1]["at"].utcoffset() == dt.timedelta(hours=1)


def test_nan_comes_back(tmp_path: Path) -> None:
    with enrolled(tmp_path, [{"x": float("nan"), "y": [float("nan")]}]) as ledger:
        assert repr(dict(ledger.row(0).values)) == "{'x': nan, 'y': [nan]}"


def test_rows_that_json_holds_are_the_bytes_they_always_were(tmp_path: Path) -> None:
    for place, values in enumerate([*VALUES, {"text": "a", "n": None}, {"a": "b"}]):
        line, magic = rows._encoded("k", values)
        assert (line, magic) == (encode(("k", values)), rows._MAGIC), place


def test_what_no_row_holds_is_told_with_its_column(tmp_path: Path) -> None:
    for value in (object(), [{1, 2}], {b"a": 1}):
        with (
            pytest.raises(InputError, match=r"column 'x'.*type"),
            enrolled(tmp_path / str(type(value)), [{"x": value}]),
        ):
            pass


NESTED: list[Any] = []
NESTED.append(NESTED)
TOO_MUCH = {"more than 4,300 digits": 10**5000, "nested too deep": NESTED}


@pytest.mark.parametrize("why", TOO_MUCH)
def test_what_cannot_be_written_is_told_with_its_column(tmp_path: Path, why: str) -> None:
    with pytest.raises(InputError, match=f"column 'x'.*{why}"), enrolled(tmp_path, [{"a": 1, "x": TOO_MUCH[why]}]):
        pass


def test_a_version_that_knows_no_bytes_refuses_a_block_that_has_some(tmp_path: Path) -> None:
    with enrolled(tmp_path, [{"photo": b"x"}]):
        (segment,) = (tmp_path / "run" / "rows").iterdir()
        assert segment.read_bytes()[:4] == rows._MAGIC_WITH_BYTES
    with enrolled(tmp_path / "types", [{"photo": b"x"}, {"day": dt.date(2026, 1, 31)}, {"photo": b"x"}]):
        (segment,) = (tmp_path / "types" / "run" / "rows").iterdir()
        assert segment.read_bytes()[:4] == rows._MAGIC_WITH_TYPES


def test_rows_of_many_blocks_are_read_in_any_order(tmp_path: Path) -> None:
    values: list[dict[str, Any]] = [{"n": n, "text": random.Random(n).randbytes(500).hex()} for n in range(2000)]
    with enrolled(tmp_path, values) as ledger:
        order = random.Random(1).sample(range(2000), 300)
        assert [ledger.row(index).values["n"] for index in order] == order
        for start in (0, 1, 1000, 1999, 2000):
            assert [row.index for row in ledger.rows(start)] == list(range(start, 2000))


def test_a_row_that_is_not_there_is_an_index_error(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger:
        for index in (-1, 3):
            with pytest.raises(IndexError):
                ledger.row(index)
    with new_ledger(tmp_path / "empty", 0) as ledger:
        assert list(ledger.rows()) == []
        with pytest.raises(IndexError):
            ledger.row(0)


def test_a_segment_that_cannot_be_begun_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def open_one(path: Path, flags: int) -> int:
        if opened:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        opened.append(path)
        return open_private(path, flags)

    monkeypatch.setattr(rows, "open_private", open_one)
    monkeypatch.setattr(rows, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(rows, "_SEGMENT_BYTES", 100)
    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        with pytest.raises(LedgerError) as caught:
            ledger.enrol(EnrolledRow(Row(str(n), n, {"text": "x" * 50}), "data", None) for n in range(20))
        assert caught.value.code == "disk-full"
        assert ledger.counts().total == 0


@pytest.mark.parametrize("change", ["flip", "cut", "remove"])
def test_damaged_rows_are_refused(tmp_path: Path, change: str) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger:
        path = tmp_path / "run/rows/000001.rows"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data[:-4] if change == "cut" else data)
        if change == "remove":
            path.unlink()
        with pytest.raises(LedgerError) as caught:
            ledger.row(0)
        assert caught.value.code == "damaged"


def test_the_digest_tells_rows_apart(tmp_path: Path) -> None:
    digests = set()
    different: list[list[dict[str, Any]]] = [[{"a": "b"}], [{"a": "c"}], [{"a": "b"}, {}], []]
    for number, values in enumerate(different):
        with enrolled(tmp_path / str(number), values) as ledger:
            digests.add(ledger.meta["rows_sha256"])
    assert len(digests) == 4
