"""Datasets that are no files keep the contract of datasets: a function of the project, the Hub's library."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.datasets import Dataset, DatasetContext
from runner.plugins import find_dataset
from runner.testing.datasets import check_dataset

Rows = Sequence[Mapping[str, Any]]
_MODULES = itertools.count()


def opened(kind: str, options: Mapping[str, Any], root: Path) -> Dataset:
    plugin = find_dataset(kind)
    dataset: Dataset = plugin.load()(plugin.options().model_validate(options), DatasetContext(root))
    return dataset


def test_a_function_keeps_the_contract(tmp_path: Path) -> None:
    def make(rows: Rows) -> Dataset:
        name = f"rows_of_a_test_{next(_MODULES)}"
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
        reads = f"json.loads((pathlib.Path(__file__).parent / '{name}.json').read_text())"
        (tmp_path / f"{name}.py").write_text(f"import json, pathlib\n\ndef rows():\n    yield from {reads}\n")
        return opened("python", {"python": f"{name}:rows"}, tmp_path)

    check_dataset(make)


def test_a_million_rows_of_a_generator_need_no_memory(tmp_path: Path) -> None:
    (tmp_path / "generated_rows.py").write_text("def rows():\n    return ({'id': n} for n in range(1_000_000))\n")
    dataset = opened("python", {"python": "generated_rows:rows"}, tmp_path)
    tracemalloc.start()
    try:
        last = None
        for number, row in enumerate(dataset.rows()):  # the last one is looked at
            last = row
            if number == 100_000:  # the rest are alike, and tracing is slow
                break
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert last is not None
    assert last.values == {"id": 100_000}
    assert peak < 2_000_000


@pytest.mark.slow
def test_a_dataset_of_the_hub_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", tmp_path / "modules")
    numbers = itertools.count()

    def make(rows: Rows) -> Dataset:
        folder = tmp_path / f"data-{next(numbers)}"
        folder.mkdir()
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return opened("hub", {"hub": folder.name}, tmp_path)

    check_dataset(make)
