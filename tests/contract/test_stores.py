"""Datasets and sinks keep their contracts wherever their files lie: S3, the web, SFTP, an archive."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.datasets import Dataset, DatasetContext
from runner.plugins import dataset_for, sink_for
from runner.sinks import Sink, SinkContext
from runner.testing.datasets import check_dataset
from runner.testing.sinks import check_sink
from support.stores import S3Store, SftpServer, WebServer

Rows = Sequence[Mapping[str, Any]]
Put = Callable[[str, bytes], str]
"""Puts a file of a name into a store; gives its URL."""


def as_csv(rows: Rows) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(rows[0] if rows else ["id", "text"])
    writer.writerows(row.values() for row in rows)
    return text.getvalue().encode()


def keeps_the_contract(root: Path, put: Put) -> None:
    numbers = itertools.count()

    def make(rows: Rows) -> Dataset:
        url = put(f"{next(numbers)}.csv.gz", gzip.compress(as_csv(rows)))
        plugin = dataset_for(url)
        dataset: Dataset = plugin.load()(plugin.options()(path=url), DatasetContext(root))
        return dataset

    check_dataset(make)


def test_a_dataset_in_s3(s3: S3Store, tmp_path: Path) -> None:
    def put(name: str, data: bytes) -> str:
        s3.put(name, data)
        return s3.url(name)

    keeps_the_contract(tmp_path, put)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("parts", [False, True])
def test_a_dataset_of_the_web(web: WebServer, tmp_path: Path, chunked: bool, parts: bool) -> None:
    web.chunked, web.parts = chunked, parts

    def put(name: str, data: bytes) -> str:
        web.files[name] = data
        return web.url(f"{name}?signature=1")

    keeps_the_contract(tmp_path, put)


def test_a_dataset_over_sftp(sftp: SftpServer, tmp_path: Path) -> None:
    def put(name: str, data: bytes) -> str:
        (sftp.folder / name).write_bytes(data)
        return sftp.url(name)

    keeps_the_contract(tmp_path, put)


def test_a_dataset_in_an_archive(tmp_path: Path) -> None:
    def put(name: str, data: bytes) -> str:
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr(f"deep/{name}", data)
        return f"zip://deep/{name}::{name}.zip"

    keeps_the_contract(tmp_path, put)


def sink_at(url: str, root: Path) -> Sink:
    plugin = sink_for(url)
    options = plugin.options().model_validate({"path": url, "overwrite": True})
    sink: Sink = plugin.load()(options, SinkContext(root, row_columns=("id", "text")))
    return sink


def keys(data: bytes | None) -> list[str] | None:
    return None if data is None else [json.loads(line)["key"] for line in data.decode().split("\n")[:-1]]


def test_a_sink_in_s3(s3: S3Store, tmp_path: Path) -> None:
    check_sink(lambda: sink_at(s3.url("out/x.jsonl"), tmp_path), lambda: keys(s3.get("out/x.jsonl")))
    assert s3.names() == ["out/x.jsonl"]


def test_a_sink_over_sftp(sftp: SftpServer, tmp_path: Path) -> None:
    target = sftp.folder / "out/x.jsonl"
    check_sink(
        lambda: sink_at(sftp.url("out/x.jsonl"), tmp_path),
        lambda: keys(target.read_bytes() if target.exists() else None),
    )
    assert [path.name for path in target.parent.iterdir()] == ["x.jsonl"]
