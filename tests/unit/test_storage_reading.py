"""Reading by URL: from real servers, over connections that break."""

from __future__ import annotations

import base64
import io
import os
import zipfile
from pathlib import Path

import pytest

from runner.storage import RemoteFile, StorageError, find, read_small, reading, systems
from runner.storage.web import WebFile
from support.stores import Proxy, S3Store, SftpServer, WebServer

DATA = os.urandom(3_000_000)
"""More than two blocks."""
ROOT = Path()


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WAITS_S", (0.0, 0.01, 0.02))


def names(files: tuple[RemoteFile, ...]) -> list[str]:
    return [file.name for file in files]


def read(url: str) -> bytes:
    (file,) = find(url, ROOT)
    with file.open() as stream:
        return stream.read()


def test_a_glob_of_s3_is_in_bytewise_order_without_hidden_files(s3: S3Store) -> None:
    for name in ("b.csv", "a.csv", "B.csv", "é.csv", ".hidden.csv", "c.txt", "deep/d.csv", ".deep/d.csv"):
        s3.put(f"in/{name}", name.encode())
    assert names(find(s3.url("in/*.csv"), ROOT)) == [
        s3.url(f"in/{name}") for name in ("B.csv", "a.csv", "b.csv", "é.csv")
    ]
    assert names(find(s3.url("in/**/*.csv"), ROOT))[-2:] == [s3.url("in/deep/d.csv"), s3.url("in/é.csv")]
    assert names(find(s3.url("in/.*.csv"), ROOT)) == [s3.url("in/.hidden.csv")]


def test_an_object_whose_name_looks_like_a_glob_is_that_object(s3: S3Store) -> None:
    s3.put("in/[1].csv", b"one")
    s3.put("in/1.csv", b"another")
    assert read(s3.url("in/[1].csv")) == b"one"


def test_an_object_is_read_and_sought(s3: S3Store) -> None:
    s3.put("data.bin", DATA)
    (file,) = find(s3.url("data.bin"), ROOT)
    assert file.size == len(DATA)
    assert file.mark
    with file.open() as stream:
        assert stream.seekable()
        assert stream.read() == DATA
        assert stream.seek(-10, io.SEEK_END) == len(DATA) - 10
        assert stream.read() == DATA[-10:]
        stream.seek(1_000_000)
        assert stream.read(5) == DATA[1_000_000:1_000_005]
        assert stream.read(0) == b""


def test_an_empty_object_is_empty(s3: S3Store) -> None:
    s3.put("empty", b"")
    assert read(s3.url("empty")) == b""


def test_what_is_missing_in_s3_is_told(s3: S3Store) -> None:
    for url in (s3.url("none.csv"), s3.url("none/*.csv"), "s3://no-such-bucket/none.csv"):
        with pytest.raises(StorageError) as caught:
            find(url, ROOT)
        assert caught.value.missing
        assert url in str(caught.value)


def test_a_folder_of_s3_is_told(s3: S3Store) -> None:
    s3.put("in/a.csv", b"")
    with pytest.raises(StorageError, match="is a folder") as caught:
        find(s3.url("in"), ROOT)
    assert not caught.value.missing


def test_s3_without_credentials_is_told_with_the_cure(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setattr("s3fs.S3FileSystem._cache", {})
    with pytest.raises(StorageError, match="is not ours to use") as caught:
        find(s3.url("data.bin"), ROOT)
    assert caught.value.hint is not None
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint
    monkeypatch.setattr("s3fs.S3FileSystem._cache", {})


def test_the_web_is_read_in_one_request(web: WebServer) -> None:
    web.files["data.bin"] = DATA
    (file,) = find(web.url("data.bin"), ROOT)
    web.requests.clear()
    with file.open() as stream:
        assert stream.read() == DATA
    assert len(web.requests) == 1


def test_a_lost_connection_goes_on_where_it_was(web: WebServer) -> None:
    web.files["data.bin"] = DATA
    (file,) = find(web.url("data.bin"), ROOT)
    web.cuts.extend([700_000, 0, 900_000])
    web.requests.clear()
    with file.open() as stream:
        assert stream.read() == DATA
    assert ("data.bin", "bytes=700000-") in web.requests


def test_a_server_that_gives_no_parts_is_read_again_from_the_beginning(web: WebServer) -> None:
    web.files["data.bin"] = DATA
    web.parts = False
    (file,) = find(web.url("data.bin"), ROOT)
    web.cuts.extend([700_000])
    with file.open() as stream:
        assert stream.read() == DATA
        stream.seek(10)
        assert stream.read(10) == DATA[10:20]


def test_a_chunked_answer_has_no_size_and_loses_nothing(web: WebServer) -> None:
    web.files["data.bin"] = DATA
    web.chunked = True
    (file,) = find(web.url("data.bin"), ROOT)
    assert file.size is None
    web.cuts.extend([800_000])
    with file.open() as stream:
        assert stream.read() == DATA
        assert not stream.seekable()


def test_a_connection_that_is_lost_again_and_again_is_told(web: WebServer) -> None:
    web.files["data.bin"] = DATA
    (file,) = find(web.url("data.bin"), ROOT)
    web.cuts.extend([500_000] + [0] * 20)
    with file.open() as stream, pytest.raises(StorageError) as caught:
        stream.read()
    assert file.name in str(caught.value)
    assert caught.value.hint is not None
    assert len(web.cuts) >= 10  # bounded


@pytest.mark.parametrize("tags", [True, False])
def test_a_file_that_changes_while_it_is_read_is_told(web: WebServer, tags: bool) -> None:
    web.files["data.bin"] = DATA
    web.tags = tags
    (file,) = find(web.url("data.bin"), ROOT)
    web.cuts.extend([700_000])
    with file.open() as stream:
        stream.read(1000)
        web.files["data.bin"] = DATA[:-1]
        with pytest.raises(StorageError, match="was changed while it was read"):
            stream.read()


@pytest.mark.parametrize("parts", [True, False])
def test_a_file_that_changes_between_two_places_is_told(web: WebServer, parts: bool) -> None:
    web.files["data.bin"] = DATA
    web.weak, web.parts = True, parts
    (file,) = find(web.url("data.bin"), ROOT)
    with file.open() as stream:
        assert stream.read(10) == DATA[:10]
        web.files["data.bin"] = bytes(len(DATA))
        stream.seek(2_000_000)
        with pytest.raises(StorageError, match="was changed while it was read"):
            stream.read(10)


@pytest.mark.parametrize(
    ("status", "code"), [(404, "file-not-found"), (403, "storage-denied"), (400, "storage-failed")]
)
def test_what_a_web_server_refuses_is_told_at_once(web: WebServer, status: int, code: str) -> None:
    web.files["x.csv"] = b""
    web.status.append(status)
    with pytest.raises(StorageError) as caught:
        find(web.url("x.csv?sig=secret"), ROOT)
    assert caught.value.code == code
    assert "secret" not in str(caught.value)
    assert len(web.requests) == 1


def test_a_server_that_is_busy_is_asked_again(web: WebServer) -> None:
    web.files["x.csv"] = b"data"
    web.status.extend([503, 429])
    assert read(web.url("x.csv")) == b"data"


def test_a_name_and_a_password_are_sent_and_not_shown(web: WebServer) -> None:
    web.files["x.csv"] = b"data"
    url = web.url("x.csv").replace("http://", "http://me:pass%20word@")
    (file,) = find(url, ROOT)
    assert file.open().read() == b"data"
    assert web.headers[0]["Authorization"] == "Basic bWU6cGFzcyB3b3Jk"
    assert "pass" not in file.name
    assert "pass" not in repr(file)


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of names and passwords."""
    monkeypatch.setenv("NETRC", str(tmp_path / "names"))
    return tmp_path / "names"


def test_a_name_and_a_password_are_taken_from_netrc(web: WebServer, noted: Path) -> None:
    noted.write_text("machine example.com login you password no\nmachine 127.0.0.1 login me password pass%20word\n")
    web.files["x.csv"] = b"data"
    assert read(web.url("x.csv")) == b"data"
    assert web.headers[0]["Authorization"] == "Basic bWU6cGFzcyUyMHdvcmQ="
    assert read(web.url("x.csv").replace("http://", "http://you:pw@")) == b"data"
    assert web.headers[-1]["Authorization"] == "Basic eW91OnB3"


@pytest.mark.parametrize(
    "text", ["", "machine example.com login me password pw\n", "default login me password pw\n", "machine\n", "\xff"]
)
def test_nothing_is_sent_that_is_not_noted_for_the_host(web: WebServer, noted: Path, text: str) -> None:
    noted.write_bytes(text.encode("latin-1"))
    web.files["x.csv"] = b"data"
    assert read(web.url("x.csv")) == b"data"
    assert "Authorization" not in web.headers[0]


def test_without_such_a_file_nothing_is_sent(web: WebServer, noted: Path) -> None:
    assert not noted.exists()
    web.files["x.csv"] = b"data"
    assert read(web.url("x.csv")) == b"data"
    assert "Authorization" not in web.headers[0]


def test_nothing_is_sent_and_nothing_fails_where_nobody_has_a_home(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", "~nobody-of-this-name/.netrc")  # fails as `~` does without HOME and an entry in passwd
    web.files["x.csv"] = b"data"
    assert read(web.url("x.csv")) == b"data"
    assert "Authorization" not in web.headers[0]


def test_what_is_noted_for_this_machine_goes_to_no_proxy(
    web: WebServer, noted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted.write_text("machine 127.0.0.1 login me password pw\n")
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    assert "Authorization" not in WebFile(web.url("x.csv"))._request(0).unredirected_hdrs
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert "Authorization" in WebFile(web.url("x.csv"))._request(0).unredirected_hdrs


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("machine 127.0.0.1 login me pass-word hush\n", "names cannot be read from line 1 on"),
        (None, "names cannot be read"),
    ],
)
def test_a_file_of_passwords_that_cannot_be_read_is_told_where_one_is_wanted(
    web: WebServer, noted: Path, text: str | None, why: str
) -> None:
    if text is not None:
        noted.write_text(text)
    web.status.append(401)
    with pytest.raises(StorageError, match=why) as caught:
        read(web.url("x.csv"))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("https://data.example.com/x.csv", "me:pw"),
        ("https://DATA.example.com:8443/x.csv", "me:pw"),
        ("http://data.example.com/x.csv", None),
        ("https://example.com/x.csv", None),
        ("https://you@data.example.com/x.csv", "you:"),
    ],
)
def test_what_is_noted_goes_to_its_host_over_tls(noted: Path, url: str, user: str | None) -> None:
    noted.write_text("machine data.example.com login me password pw\n")
    headers = WebFile(url)._request(0).unredirected_hdrs
    assert headers.get("Authorization") == (user and f"Basic {base64.b64encode(user.encode()).decode()}")


def test_no_server_is_told(web: WebServer) -> None:
    with pytest.raises(StorageError, match="cannot be read") as caught:
        find("http://127.0.0.1:9/x.csv?sig=secret", ROOT)
    assert "secret" not in str(caught.value)


def test_files_of_sftp_are_found_and_read(sftp: SftpServer) -> None:
    for name in ("b.csv", "a.csv", ".c.csv"):
        (sftp.folder / name).write_bytes(name.encode())
    (sftp.folder / "data.bin").write_bytes(DATA)
    assert names(find(sftp.url("*.csv"), ROOT)) == [sftp.url("a.csv"), sftp.url("b.csv")]
    assert read(sftp.url("data.bin")) == DATA
    with pytest.raises(StorageError) as caught:
        find(sftp.url("none.csv"), ROOT)
    assert caught.value.missing


def test_sftp_goes_on_over_a_new_connection(sftp: SftpServer) -> None:
    for name in ("1.bin", "2.bin", "3.bin"):
        (sftp.folder / name).write_bytes(DATA)
    files = find(sftp.url("*.bin"), ROOT)
    sftp.cut_after = 20
    for file in files:
        with file.open() as stream:
            assert stream.read() == DATA
    assert sftp.cuts == 1
    assert sftp.connections == 2  # the third file was given the second one


def test_an_sftp_server_that_is_not_known_is_refused(sftp: SftpServer) -> None:
    (Path.home() / ".ssh" / "known_hosts").write_text("")
    with pytest.raises(StorageError, match="has none for it") as caught:
        find(sftp.url("x.csv"), ROOT)
    assert caught.value.code == "unknown-host"
    assert caught.value.hint is not None
    assert f"ssh-keyscan -p {sftp.port}" in caught.value.hint


def test_a_wrong_password_is_told(sftp: SftpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"password": "wrong-one", "allow_agent": False, "look_for_keys": False}
    monkeypatch.setattr("fsspec.config.conf", {"sftp": options})
    with pytest.raises(StorageError, match="is not ours to use") as caught:
        find(sftp.url("x.csv"), ROOT)
    assert "wrong-one" not in str(caught.value)


def archive(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return data.getvalue()


def test_a_file_within_a_local_archive(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(archive({"b.csv": b"b", "a.csv": b"a", "deep/c.csv": DATA}))
    assert names(find("zip://*.csv::all.zip", tmp_path)) == ["zip://a.csv::all.zip", "zip://b.csv::all.zip"]
    (file,) = find("zip://deep/c.csv::all.zip", tmp_path)
    with file.open() as stream:
        assert stream.read() == DATA


def test_a_file_within_an_archive_of_the_web_survives_lost_connections(web: WebServer) -> None:
    web.files["all.zip"] = archive({"c.csv": DATA})
    web.cuts.extend([1000, 0, 500_000, 700_000])
    assert read(f"zip://c.csv::{web.url('all.zip?sig=secret')}") == DATA


@pytest.mark.parametrize("content", [b"PK, but no archive", b""])
def test_a_damaged_archive_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "all.zip").write_bytes(content)
    with pytest.raises(StorageError) as caught:
        find("zip://a.csv::all.zip", tmp_path)
    assert caught.value.code == "damaged-file"


def test_what_is_missing_of_an_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(archive({"b.csv": b"b"}))
    for url in ("zip://a.csv::all.zip", "zip://a.csv::none.zip"):
        with pytest.raises(StorageError) as caught:
            find(url, tmp_path)
        assert caught.value.missing


def test_a_scheme_that_nobody_knows_is_told() -> None:
    with pytest.raises(StorageError) as caught:
        find("nowhere://x/y.csv", ROOT)
    assert caught.value.code == "unknown-scheme"


def test_s3_goes_on_where_a_connection_was_lost(s3: S3Store, s3_proxy: Proxy) -> None:
    s3.put("data.bin", DATA)
    (file,) = find(s3.url("data.bin"), ROOT)
    s3_proxy.cut_after, s3_proxy.times = 400_000, 3
    with file.open() as stream:
        assert stream.read() == DATA
    assert s3_proxy.cuts == 3


@pytest.mark.slow
def test_s3_that_is_gone_for_good_is_told(s3: S3Store, s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3.put("data.bin", DATA)
    (file,) = find(s3.url("data.bin"), ROOT)
    with file.open() as stream:
        assert stream.read(1000) == DATA[:1000]
        s3_proxy.closed = True
        with pytest.raises(StorageError, match="cannot be read") as caught:
            stream.read()
    assert s3.url("data.bin") in str(caught.value)


def test_an_object_that_changes_while_it_is_read_is_told(s3: S3Store) -> None:
    s3.put("data.bin", DATA)
    (file,) = find(s3.url("data.bin"), ROOT)
    with file.open() as stream:
        stream.read(1000)
        s3.put("data.bin", os.urandom(len(DATA)))
        with pytest.raises(StorageError, match="was changed while it was read"):
            stream.read()


def test_a_server_that_says_nothing_is_given_up(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "TIMEOUT_S", 0.1)
    web.files["x.csv"] = b"data"
    web.stalls_s = 2.0
    with pytest.raises(StorageError, match="timed out"):
        find(web.url("x.csv"), ROOT)


def test_a_small_object_is_read_in_one_request(s3: S3Store, s3_proxy: Proxy) -> None:
    s3.put("photo.png", DATA)
    s3.put("empty", b"")
    assert read_small(s3.url("photo.png"), len(DATA)) == DATA
    assert read_small(s3.url("photo.png"), len(DATA) - 1) is None
    assert read_small(s3.url("empty"), 10) == b""
    s3_proxy.cut_after, s3_proxy.times = 400_000, 2
    assert read_small(s3.url("photo.png"), len(DATA)) == DATA
    assert s3_proxy.cuts == 2
    with pytest.raises(StorageError) as caught:
        read_small(s3.url("none.png"), 10)
    assert caught.value.missing
