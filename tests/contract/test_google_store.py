"""`gs://` by `gcsfs`, against a server that stands for Google Cloud Storage."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import DeliveryError
from runner.storage import RemoteTarget, StorageError, find, locate, read_small
from support.google_store import GoogleStore, google_store

pytestmark = [
    pytest.mark.slow,
    # Of the library's own: it sends its chunks of an upload as bytes, which aiohttp finds large.
    pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning"),
]
DATA = os.urandom(3_000_000)
ROOT = Path()


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleStore]:
    with google_store() as store:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.address)
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        monkeypatch.setattr("gcsfs.GCSFileSystem._cache", {})
        yield store


def test_objects_are_found_and_read(google: GoogleStore) -> None:
    for name in ("b.csv", "a.csv", ".c.csv"):
        google.put(f"in/{name}", name.encode())
    google.put("in/data.bin", DATA)
    files = find(google.url("in/*.csv"), ROOT)
    assert [file.name for file in files] == [google.url("in/a.csv"), google.url("in/b.csv")]
    with locate(google.url("in/data.bin")).open() as stream:
        assert stream.read() == DATA
    assert read_small(google.url("in/data.bin"), len(DATA)) == DATA
    assert read_small(google.url("in/data.bin"), len(DATA) - 1) is None
    with pytest.raises(StorageError) as caught:
        locate(google.url("in/none.csv"))
    assert caught.value.missing


@pytest.mark.parametrize("size", [5, 60_000_000])
def test_an_object_is_published_with_its_digest_and_known_by_it(google: GoogleStore, tmp_path: Path, size: int) -> None:
    target = RemoteTarget(google.url("out/x.bin"))
    target.check(overwrite=False, known_sha256=())
    path, data = tmp_path / "part", b"x" * size
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    target.publish(path, digest)
    assert google.objects["out/x.bin"] == data
    assert google.metadata["out/x.bin"] == {"runner-sha256": digest}
    google.requests.clear()
    target.check(overwrite=False, known_sha256={digest})
    assert not any("alt=media" in asked for asked in google.requests)  # known without being read


def test_an_object_of_somebody_else_is_not_replaced(google: GoogleStore) -> None:
    google.put("x.bin", b"theirs")
    target = RemoteTarget(google.url("x.bin"))
    with pytest.raises(DeliveryError, match="did not write it"):
        target.check(overwrite=False, known_sha256={"0" * 64})
    with pytest.raises(DeliveryError, match="there is no 'no-such-bucket'"):
        RemoteTarget("gs://no-such-bucket/x.bin").check(overwrite=False, known_sha256=())
