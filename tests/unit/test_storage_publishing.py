"""Publishing at a URL: whole or not at all, and never over a file that is not ours."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from runner.errors import DeliveryError, SpecError
from runner.storage import RemoteTarget, StorageError, publishing, reading
from support.stores import Proxy, S3Store, SftpServer


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (reading, publishing):
        monkeypatch.setattr(module, "WAITS_S", (0.0, 0.01, 0.02))


def made(tmp_path: Path, data: bytes) -> tuple[Path, str]:
    path = tmp_path / "part"
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def test_an_object_is_published_and_known_again(s3: S3Store, tmp_path: Path) -> None:
    target = RemoteTarget(s3.url("out/x.jsonl"))
    target.check(overwrite=False, known_sha256=())
    assert not target.exists()
    path, digest = made(tmp_path, b"one")
    target.publish(path, digest)
    assert target.exists()
    assert s3.get("out/x.jsonl") == b"one"
    assert path.exists()
    target.check(overwrite=False, known_sha256={digest})
    path, digest = made(tmp_path, b"two")
    target.publish(path, digest)
    assert s3.get("out/x.jsonl") == b"two"


def test_an_object_of_somebody_else_is_not_replaced(s3: S3Store, tmp_path: Path) -> None:
    target = RemoteTarget(s3.url("x.jsonl"))
    _, digest = made(tmp_path, b"ours")
    s3.put("x.jsonl", b"theirs")
    for known in ((), {digest}):
        with pytest.raises(DeliveryError, match="did not write it") as caught:
            target.check(overwrite=False, known_sha256=known)
        assert caught.value.code == "foreign-target"
    target.check(overwrite=True, known_sha256=())


def test_an_object_that_was_changed_since_is_somebody_elses(s3: S3Store, tmp_path: Path) -> None:
    target = RemoteTarget(s3.url("x.jsonl"))
    path, digest = made(tmp_path, b"ours")
    target.publish(path, digest)
    s3.put("x.jsonl", b"changed")
    with pytest.raises(DeliveryError):
        target.check(overwrite=False, known_sha256={digest})
    s3.put("x.jsonl", b"ours")  # without our note: known by its content
    target.check(overwrite=False, known_sha256={digest})


@pytest.mark.slow
def test_a_large_object_is_sent_in_parts(s3: S3Store, tmp_path: Path) -> None:
    data = os.urandom(1024 * 1024) * 120
    path, digest = made(tmp_path, data)
    RemoteTarget(s3.url("large.bin")).publish(path, digest)
    found = s3.client.head_object(Bucket=s3.bucket, Key="large.bin")
    assert found["ContentLength"] == len(data)
    assert "-" in found["ETag"]  # in parts
    assert s3.uploads() == []


def test_a_bucket_that_is_not_there_is_told_before(s3: S3Store) -> None:
    del s3
    with pytest.raises(DeliveryError, match="there is no 'no-such-bucket'"):
        RemoteTarget("s3://no-such-bucket/x.jsonl").check(overwrite=False, known_sha256=())


def test_a_folder_is_no_target(s3: S3Store) -> None:
    s3.put("out/x.jsonl", b"")
    with pytest.raises(DeliveryError, match="is a folder"):
        RemoteTarget(s3.url("out")).check(overwrite=True, known_sha256=())


def test_sftp_renames_what_it_has_uploaded(sftp: SftpServer, tmp_path: Path) -> None:
    target = RemoteTarget(sftp.url("out/deep/x.jsonl"))
    target.check(overwrite=False, known_sha256=())
    path, digest = made(tmp_path, b"one")
    target.publish(path, digest)
    assert (sftp.folder / "out/deep/x.jsonl").read_bytes() == b"one"
    target.check(overwrite=False, known_sha256={digest})
    path, second = made(tmp_path, b"two")
    target.publish(path, second)
    assert (sftp.folder / "out/deep/x.jsonl").read_bytes() == b"two"
    assert [entry.name for entry in (sftp.folder / "out/deep").iterdir()] == ["x.jsonl"]
    with pytest.raises(DeliveryError, match="did not write it"):
        target.check(overwrite=False, known_sha256={digest})


def test_an_upload_over_sftp_that_breaks_is_made_again(sftp: SftpServer, tmp_path: Path) -> None:
    (sftp.folder / "x.bin").write_bytes(b"old")
    data = os.urandom(2_000_000)
    path, digest = made(tmp_path, data)
    sftp.cut_after = 20
    RemoteTarget(sftp.url("x.bin")).publish(path, digest)
    assert sftp.cuts == 1
    assert (sftp.folder / "x.bin").read_bytes() == data
    assert [entry.name for entry in sftp.folder.iterdir()] == ["x.bin"]


def test_an_upload_that_never_succeeds_leaves_the_old(sftp: SftpServer, tmp_path: Path) -> None:
    (sftp.folder / "x.bin").mkdir()  # nothing can be renamed over a folder
    path, digest = made(tmp_path, b"new")
    with pytest.raises(StorageError, match="cannot be written"):
        RemoteTarget(sftp.url("x.bin")).publish(path, digest)
    assert [entry.name for entry in sftp.folder.iterdir()] == ["x.bin"]


@pytest.mark.parametrize("url", ["https://host/x.jsonl", "zip://x.jsonl::s3://b/a.zip", "memory://x.jsonl"])
def test_what_cannot_show_the_old_or_the_new_is_refused(url: str) -> None:
    with pytest.raises(SpecError) as caught:
        RemoteTarget(url)
    assert caught.value.code == "read-only-target"


@pytest.mark.slow
@pytest.mark.parametrize("size", [1_000_000, 120_000_000])
def test_an_upload_to_s3_that_breaks_goes_on(s3: S3Store, s3_proxy: Proxy, tmp_path: Path, size: int) -> None:
    s3.put("x.bin", b"old")
    data = os.urandom(1_000_000) * (size // 1_000_000)
    path, digest = made(tmp_path, data)
    s3_proxy.way, s3_proxy.cut_after, s3_proxy.times = "up", size // 3, 2
    RemoteTarget(s3.url("x.bin")).publish(path, digest)
    assert s3_proxy.cuts == 2
    assert hashlib.sha256(s3.get("x.bin") or b"").hexdigest() == digest
    assert s3.uploads() == []


@pytest.mark.slow
def test_an_upload_to_s3_that_never_succeeds_leaves_the_old(
    s3: S3Store, s3_proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3.put("x.bin", b"old")
    path, digest = made(tmp_path, b"new" * 100_000)
    s3_proxy.way, s3_proxy.cut_after, s3_proxy.times = "up", 100_000, 1_000
    with pytest.raises(StorageError, match="cannot be written"):
        RemoteTarget(s3.url("x.bin")).publish(path, digest)
    assert s3.get("x.bin") == b"old"
