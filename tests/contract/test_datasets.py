"""Every built-in dataset passes the conformance suite."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard

from runner.datasets import Dataset, DatasetContext, SourceRow
from runner.datasets.options import TextOptions
from runner.plugins import dataset_for
from runner.testing.datasets import KINDS, check_dataset
from support.table_files import TABLE_WRITERS, arrow_table, write_xlsx

Rows = Sequence[Mapping[str, Any]]


def delimited(rows: Rows, delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(rows[0] if rows else ["id", "text"])
    writer.writerows(row.values() for row in rows)
    return text.getvalue()


WRITERS: dict[str, Callable[[Rows], str]] = {
    "csv": lambda rows: delimited(rows, ","),
    "tsv": lambda rows: delimited(rows, "\t"),
    "jsonl": lambda rows: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
    "json": lambda rows: json.dumps(rows, ensure_ascii=False, indent=2),
}
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("kind", WRITERS)
def test_a_text_file_keeps_the_contract(tmp_path: Path, kind: str, compression: str) -> None:
    numbers = itertools.count()

    def make(rows: Rows) -> Dataset:
        path = f"{next(numbers)}.{kind}{compression}"
        (tmp_path / path).write_bytes(COMPRESSORS[compression](WRITERS[kind](rows).encode()))
        plugin = dataset_for(path)
        dataset: Dataset = plugin.load()(plugin.options()(path=path), DatasetContext(tmp_path))
        return dataset

    keeps = ("boolean", "integer", "number", "list", "mapping") if kind in ("jsonl", "json") else ()
    check_dataset(make, keeps=keeps)


def test_several_files_keep_the_contract(tmp_path: Path) -> None:
    numbers = itertools.count()

    def make(rows: Rows) -> Dataset:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        for part in range(3):
            (folder / f"{part}.jsonl").write_text(
                WRITERS["jsonl"](rows[part * len(rows) // 3 : (part + 1) * len(rows) // 3])
            )
        plugin = dataset_for("*.jsonl")
        dataset: Dataset = plugin.load()(plugin.options()(path="*.jsonl"), DatasetContext(folder))
        return dataset

    check_dataset(make)


@pytest.mark.parametrize("kind", WRITERS)
def test_stdin_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def make(rows: Rows) -> Dataset:
        buffer = io.BufferedReader(io.BytesIO(WRITERS[kind](rows).encode()))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(buffer))
        options = TextOptions.model_validate({"path": "-", "format": kind})
        dataset: Dataset = dataset_for("-").load()(options, DatasetContext(tmp_path))
        return dataset

    check_dataset(make, reopens=False)


@dataclass
class Held:
    """A dataset of given rows, changed on their way by what a test wants to be noticed."""

    kept: Sequence[SourceRow]

    def columns(self) -> None:
        return None

    def rows(self) -> Iterator[SourceRow]:
        return iter(self.kept)


BROKEN: dict[str, Callable[[Rows], Iterable[SourceRow]]] = {
    "drops the last row": lambda rows: [SourceRow(row, "f") for row in rows[: max(1, len(rows) - 1)]],
    "turns them round": lambda rows: [SourceRow(row, "f") for row in reversed(rows)],
    "strips values": lambda rows: [SourceRow({k: v.strip() for k, v in row.items()}, "f") for row in rows],
    "makes numbers": lambda rows: [
        SourceRow({k: int(v) if v == "1" else v for k, v in row.items()}, "f") for row in rows
    ],
    "sorts columns": lambda rows: [SourceRow(dict(sorted(row.items())), "f") for row in rows],
    "names no file": lambda rows: [SourceRow(row, "") for row in rows],
    "sees an empty row": lambda rows: [SourceRow(row, "f") for row in rows or [{}]],
}


@pytest.mark.parametrize("broken", BROKEN)
def test_the_suite_notices_a_dataset_that(broken: str) -> None:
    with pytest.raises(AssertionError):
        check_dataset(lambda rows: Held(list(BROKEN[broken](rows))))


def test_the_suite_accepts_a_sound_dataset() -> None:
    check_dataset(lambda rows: Held([SourceRow(row, "f") for row in rows]))


ALL_BUT_NONE = tuple(KINDS)
ORC_KEEPS = tuple(kind for kind in KINDS if kind not in ("time", "duration", "datetime with a zone"))
"""ORC has no times and durations, and its timestamps with a zone are UTC's."""
SHEET_KEEPS = ("boolean", "integer", "number", "date", "datetime", "time", "duration")


@pytest.mark.parametrize("kind", TABLE_WRITERS)
def test_a_table_file_keeps_the_contract(tmp_path: Path, kind: str) -> None:
    numbers = itertools.count()

    def make(rows: Rows) -> Dataset:
        path = f"{next(numbers)}.{kind}"
        TABLE_WRITERS[kind](arrow_table(rows), tmp_path / path)
        return opened(path, tmp_path)

    check_dataset(make, keeps=ORC_KEEPS if kind == "orc" else ALL_BUT_NONE)


def test_several_table_files_keep_the_contract(tmp_path: Path) -> None:
    numbers = itertools.count()

    def make(rows: Rows) -> Dataset:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        table = arrow_table(rows)
        for part in range(3):
            start, stop = part * len(rows) // 3, (part + 1) * len(rows) // 3
            TABLE_WRITERS["parquet"](table.slice(start, stop - start), folder / f"{part}.parquet")
        return opened("*.parquet", folder)

    check_dataset(make, keeps=ALL_BUT_NONE)


@pytest.mark.parametrize("before", [0, 3])
def test_a_workbook_keeps_the_contract(tmp_path: Path, before: int) -> None:
    numbers = itertools.count()

    def make(rows: Rows) -> Dataset:
        path = f"{next(numbers)}.xlsx"
        write_xlsx(rows, tmp_path / path, before=before)
        return opened(path, tmp_path)

    check_dataset(make, keeps=SHEET_KEEPS, empty_is_null=True)


def opened(path: str, root: Path) -> Dataset:
    plugin = dataset_for(path)
    dataset: Dataset = plugin.load()(plugin.options()(path=path), DatasetContext(root))
    return dataset
