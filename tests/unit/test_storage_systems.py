"""Which libraries URLs need, and what is said of what libraries raise."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import SetupError
from runner.storage import missing_for, shown
from runner.storage.systems import StorageError, failure, open_system, told

SECRETS = st.text(st.characters(min_codepoint=48, max_codepoint=122, categories=["L", "N"]), min_size=8, max_size=20)


@pytest.mark.parametrize(
    ("url", "module", "command"),
    [
        ("s3://bucket/x.csv", "s3fs", "pip install 'rowrunner[s3]'"),
        ("s3://bucket/x.csv", "fsspec", "pip install 'rowrunner[s3]'"),
        ("gs://bucket/x.csv", "gcsfs", "pip install 'rowrunner[gs]'"),
        ("az://container/x.csv", "adlfs", "pip install 'rowrunner[az]'"),
        ("sftp://host/x.csv", "paramiko", "pip install 'rowrunner[sftp]'"),
        ("zip://x.csv::a.zip", "fsspec", "pip install 'rowrunner[zip]'"),
        ("zip://x.csv::s3://bucket/a.zip", "s3fs", "pip install 'rowrunner[s3]'"),
    ],
)
def test_a_library_that_is_missing_is_told_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, command: str
) -> None:
    assert missing_for(url) is None
    monkeypatch.setitem(sys.modules, module, None)
    missing = missing_for(url)
    assert missing is not None
    assert missing.hint == command
    assert url in missing.message
    if "::" not in url:
        with pytest.raises(SetupError) as caught:
            open_system(url)
        assert caught.value.hint == command


def test_the_web_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert missing_for("https://host/x.csv") is None


def test_a_bug_is_not_told_as_a_store_that_failed() -> None:
    with pytest.raises(AttributeError), told("s3://bucket/x"):
        raise AttributeError("mine")


@pytest.mark.parametrize(
    ("error", "code", "passing"),
    [
        (FileNotFoundError("x"), "file-not-found", False),
        (PermissionError("Forbidden"), "storage-denied", False),
        (ConnectionResetError("reset"), "storage-failed", True),
        (TimeoutError(), "storage-failed", True),
        (EOFError(), "storage-failed", True),
    ],
)
def test_what_a_library_raises_is_told_by_what_it_means(error: Exception, code: str, passing: bool) -> None:
    found = failure("s3://bucket/x.csv", error)
    assert (found.code, found.passing) == (code, passing)
    assert "s3://bucket/x.csv" in found.message
    assert found.hint


@given(SECRETS, SECRETS, SECRETS)
def test_no_secret_of_a_url_is_in_a_message(user: str, password: str, signature: str) -> None:
    url = f"https://{user}:{password}@host/file.csv?signature={signature}"
    told_of = [
        shown(url),
        str(failure(url, OSError(f"cannot open {url} now"))),
        str(failure(url, PermissionError(url))),
    ]
    for text in told_of:
        assert not any(secret in text for secret in (user, password, signature))
        assert "host/file.csv" in text


def test_errors_survive_a_process_boundary() -> None:
    import pickle

    found = failure("s3://bucket/x.csv", ConnectionResetError("reset"))
    again = pickle.loads(pickle.dumps(found))
    assert isinstance(again, StorageError)
    assert (again.message, again.hint, again.code, again.passing) == (found.message, found.hint, found.code, True)
