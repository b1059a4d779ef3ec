"""Which paths are URLs, and what of one is shown."""

from __future__ import annotations

import pytest

from runner.plugins import kind_of
from runner.storage import as_path, file_name, is_url, shown


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/x.csv",
        "HTTPS://host/x.csv",
        "zip://x.csv::data/all.zip",
        "zip://x.csv::s3://bucket/all.zip",
        "simplecache::s3://bucket/x.csv",
    ],
)
def test_a_scheme_makes_a_url(url: str) -> None:
    assert is_url(url)


@pytest.mark.parametrize("path", ["data/x.csv", "C:\\data\\x.csv", "C:/data/x.csv", "-", "a:b.csv", "a::b.csv", ""])
def test_a_path_is_no_url(path: str) -> None:
    assert not is_url(path)


def test_a_file_url_is_a_path() -> None:
    assert as_path("file:///data/a%20b.csv") == "/data/a b.csv"
    assert as_path("data/a%20b.csv") == "data/a%20b.csv"


@pytest.mark.parametrize(
    ("url", "as_shown"),
    [
        ("s3://bucket/x.csv", "s3://bucket/x.csv"),
        ("https://user:secret@host/x.csv", "https://host/x.csv"),
        ("https://token@host/x.csv", "https://host/x.csv"),
        ("https://host/x.csv?sig=secret#part", "https://host/x.csv?…"),
        ("https://host/x@y.csv", "https://host/x@y.csv"),
        ("sftp://deploy:secret@host:22/x.csv", "sftp://deploy@host:22/x.csv"),
        (
            "abfss://container@account.dfs.core.windows.net/x.csv",
            "abfss://container@account.dfs.core.windows.net/x.csv",
        ),
        ("zip://x.csv::https://u:secret@host/a.zip?sig=secret", "zip://x.csv::https://host/a.zip?…"),
        ("s3://key:secret@bucket/x.csv", "s3://bucket/x.csv"),
        ("zip://a.csv::data/all.zip", "zip://a.csv::data/all.zip"),
    ],
)
def test_no_secret_of_a_url_is_shown(url: str, as_shown: str) -> None:
    assert shown(url) == as_shown


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("s3://bucket/reviews.csv.gz", "csv"),
        ("https://host/data/reviews.jsonl?sig=a/b.txt", "jsonl"),
        ("zip://inside/reviews.tsv::https://host/all.zip", "tsv"),
        ("simplecache::s3://bucket/reviews.parquet", "parquet"),
        ("s3://bucket/*.ndjson", "jsonl"),
        ("https://host", None),
    ],
)
def test_the_format_is_told_by_the_path_of_a_url(url: str, kind: str | None) -> None:
    assert kind_of(url) == kind
    assert file_name(url).rpartition("/")[0] == ""
