"""Datasets by the `datasets` library, streamed: folders of data files, and a server that stands for the Hub."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runner.datasets import DatasetContext
from runner.datasets.hub import HubDataset
from runner.datasets.options import HubOptions
from runner.errors import InputError
from support.media import picture

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", tmp_path / "modules")


def dataset(root: Path, hub: str = "data", used: Sequence[str] | None = None, **options: Any) -> HubDataset:
    return HubDataset(HubOptions(hub=hub, **options), DatasetContext(root, used))


def rows(root: Path, hub: str = "data", **options: Any) -> list[dict[str, Any]]:
    return [dict(row.values) for row in dataset(root, hub, **options).rows()]


def write_parquet(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_a_split_is_streamed_with_its_types(tmp_path: Path) -> None:
    when = dt.datetime(2026, 1, 2, 3, 4, 5)
    write_parquet(
        tmp_path / "data/train-00000.parquet",
        {"id": [1, 2], "when": [when, None], "tags": [["a"], []], "text": ["é", None]},
    )
    write_parquet(tmp_path / "data/test-00000.parquet", {"id": [3], "when": [when], "tags": [["b"]], "text": ["t"]})
    assert rows(tmp_path) == [
        {"id": 1, "when": when, "tags": ["a"], "text": "é"},
        {"id": 2, "when": None, "tags": [], "text": None},
    ]
    assert [row["id"] for row in rows(tmp_path, split="test")] == [3]
    assert dataset(tmp_path).columns() == ("id", "when", "tags", "text")
    assert [row.line for row in dataset(tmp_path).rows()] == [1, 2]


def test_only_the_columns_that_are_used_come(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data/train.parquet", {"id": [1], "text": ["t"], "more": ["m"]})
    found = [dict(row.values) for row in dataset(tmp_path, used=("id", "text")).rows()]
    assert found == [{"id": 1, "text": "t"}]


def test_an_image_comes_as_its_bytes(tmp_path: Path) -> None:
    import datasets

    photo = picture(40, 30)
    features = datasets.Features({"id": datasets.Value("int64"), "photo": datasets.Image()})
    made = datasets.Dataset.from_dict({"id": [1], "photo": [{"bytes": photo, "path": None}]}, features=features)
    (tmp_path / "data").mkdir()
    made.to_parquet(str(tmp_path / "data/train.parquet"))
    assert rows(tmp_path) == [{"id": 1, "photo": photo}]


def test_lines_of_json_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.jsonl").write_text("".join(json.dumps({"id": i}) + "\n" for i in range(5)))
    assert [row["id"] for row in rows(tmp_path)] == list(range(5))


def test_a_split_that_is_not_there_is_told(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data/train.parquet", {"id": [1]})
    with pytest.raises(InputError) as caught:
        rows(tmp_path, split="trian")
    assert caught.value.code == "no-such-split"
    assert caught.value.hint == "did you mean `split: train`?"


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="there is no dataset 'data'"):
        rows(tmp_path)


def test_files_that_do_not_fit_together_are_told(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data/train-0.parquet", {"id": [1]})
    write_parquet(tmp_path / "data/train-1.parquet", {"other": ["x"]})
    with pytest.raises(InputError) as caught:
        rows(tmp_path)
    assert caught.value.code == "damaged-file"


def test_a_parquet_file_without_rows_is_told(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data/train.parquet", {"id": pa.array([], pa.string())})
    with pytest.raises(InputError, match="has no rows"):
        rows(tmp_path)
