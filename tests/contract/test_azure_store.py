"""`az://` by `adlfs`, against a server that stands for Azure Blob Storage."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import DeliveryError
from runner.storage import RemoteTarget, StorageError, find, locate, read_small
from support.azure_store import AzureStore, azure_store

pytestmark = [
    pytest.mark.slow,
    # Of the library's own: it sends its parts of an upload as bytes, which aiohttp finds large.
    pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning"),
]
DATA = os.urandom(3_000_000)
ROOT = Path()


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureStore]:
    with azure_store() as store:
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", store.connection)
        monkeypatch.setattr("adlfs.AzureBlobFileSystem._cache", {})
        yield store


def test_blobs_are_found_and_read(azure: AzureStore) -> None:
    for name in ("b.csv", "a.csv", ".c.csv"):
        azure.blobs[f"in/{name}"] = name.encode()
    azure.blobs["in/data.bin"] = DATA
    files = find(azure.url("in/*.csv"), ROOT)
    assert [file.name for file in files] == [azure.url("in/a.csv"), azure.url("in/b.csv")]
    with locate(azure.url("in/data.bin")).open() as stream:
        assert stream.read() == DATA
    assert read_small(azure.url("in/data.bin"), len(DATA)) == DATA
    assert read_small(azure.url("in/data.bin"), len(DATA) - 1) is None
    with pytest.raises(StorageError) as caught:
        locate(azure.url("in/none.csv"))
    assert caught.value.missing


@pytest.mark.parametrize("size", [5, 120_000_000])
def test_a_blob_is_published_and_known_by_its_content(azure: AzureStore, tmp_path: Path, size: int) -> None:
    target = RemoteTarget(azure.url("out/x.bin"))
    target.check(overwrite=False, known_sha256=())
    path, data = tmp_path / "part", b"x" * size
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    target.publish(path, digest)
    assert azure.blobs["out/x.bin"] == data
    assert azure.blocks == {}
    target.check(overwrite=False, known_sha256={digest})
    with pytest.raises(DeliveryError, match="did not write it"):
        target.check(overwrite=False, known_sha256={"0" * 64})


def test_a_container_that_is_not_there_is_told(azure: AzureStore) -> None:
    del azure
    with pytest.raises(DeliveryError, match="there is no 'no-such-container'"):
        RemoteTarget("az://no-such-container/x.bin").check(overwrite=False, known_sha256=())


def test_no_credentials_are_told(azure: AzureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    with pytest.raises(StorageError) as caught:
        find(azure.url("x.csv"), ROOT)
    assert caught.value.code == "storage-denied"
    assert "AZURE_STORAGE_ACCOUNT_NAME" in str(caught.value.hint)
