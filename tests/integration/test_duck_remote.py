"""DuckDB's `query` over files at URLs, read by `runner.storage`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from runner.datasets import DatasetContext
from runner.datasets.duck import DuckdbDataset
from runner.datasets.sql_options import QueryOptions
from runner.storage import StorageError
from support.stores import S3Store, SftpServer, WebServer


def values(query: str, root: Path, **bind: Any) -> list[dict[str, Any]]:
    dataset = DuckdbDataset(QueryOptions(query=query, bind=bind), DatasetContext(root, scratch=root))
    return [dict(row.values) for row in dataset.rows()]


def parquet(folder: Path, rows: int) -> bytes:
    file = folder / "made.parquet"
    with duckdb.connect() as database:
        database.execute(f"COPY (SELECT i AS id, 'text ' || i AS text FROM range({rows}) t(i)) TO '{file}'")
    data = file.read_bytes()
    file.unlink()
    return data


def test_a_bucket_is_joined_with_a_local_file(tmp_path: Path, s3: S3Store) -> None:
    s3.put("2026/a.parquet", parquet(tmp_path, 1000))
    s3.put("2026/b.parquet", parquet(tmp_path, 1000))
    (tmp_path / "chosen.csv").write_text("id\n7\n9\n")
    query = f"SELECT p.id, text FROM '{s3.url('2026/*.parquet')}' p JOIN 'chosen.csv' USING (id) ORDER BY p.id"
    assert values(query, tmp_path) == [{"id": number, "text": f"text {number}"} for number in (7, 7, 9, 9)]


def test_the_web_is_read_on_after_a_lost_connection(tmp_path: Path, web: WebServer) -> None:
    web.files["rows.csv"] = b"id,text\n" + b"".join(b"%d,text %d\n" % (number, number) for number in range(200_000))
    web.cuts = [100_000, 50_000]
    assert values(f"SELECT count(*) AS n, sum(id) AS s FROM '{web.url('rows.csv')}'", tmp_path) == [
        {"n": 200_000, "s": 19_999_900_000}
    ]


def test_a_url_may_be_bound(tmp_path: Path, web: WebServer) -> None:
    web.files["rows.csv"] = b"id\n1\n2\n"
    found = values("SELECT id FROM read_csv(:url) ORDER BY id", tmp_path, url=web.url("rows.csv?signature=s3cret"))
    assert found == [{"id": 1}, {"id": 2}]


def test_a_file_by_sftp(tmp_path: Path, sftp: SftpServer) -> None:
    (sftp.folder / "rows.csv").write_text("id\n1\n")
    assert values(f"FROM '{sftp.url('rows.csv')}'", tmp_path) == [{"id": 1}]


@pytest.mark.parametrize("status", [404, 403])
def test_what_a_store_refuses_is_told_as_by_other_datasets(tmp_path: Path, web: WebServer, status: int) -> None:
    web.status = [status] * 50
    with pytest.raises(StorageError) as caught:
        values("FROM read_csv(:url)", tmp_path, url=web.url("rows.csv?signature=s3cret"))
    assert caught.value.code == {404: "file-not-found", 403: "storage-denied"}[status]
    assert "s3cret" not in str(caught.value.problems)
