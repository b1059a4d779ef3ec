"""Stores that stand for remote ones, as real servers on loopback: S3 (moto's), HTTP and SFTP (paramiko's).

Each is a context manager; `conftest` makes fixtures of them.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import paramiko
import pytest
from moto.server import ThreadedMotoServer
from paramiko import common as codes
from paramiko import sftp as sftp_codes
from paramiko.sftp_attr import SFTPAttributes
from paramiko.sftp_handle import SFTPHandle

from support.http_server import Handler, http_server

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key-of-tests",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass
class S3Store:
    """An S3 server, and one bucket in it."""

    client: Any
    endpoint: str
    bucket: str

    def url(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes | None:
        try:
            return bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        except self.client.exceptions.NoSuchKey:
            return None

    def names(self) -> list[str]:
        return [found["Key"] for found in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def uploads(self) -> list[str]:
        """The keys of multipart uploads that are neither completed nor given up."""
        return [found["Key"] for found in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])]


@contextmanager
def s3_server() -> Iterator[S3Store]:
    """Moto's server, and a bucket in it. The environment is the caller's to set: see `point_at`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    try:
        client.create_bucket(Bucket="bucket-of-tests")
        yield S3Store(client, endpoint, "bucket-of-tests")
    finally:
        client.close()
        server.stop()


def point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let S3's libraries find a server by the environment, as a user would."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)


@dataclass
class Proxy:
    """Stands before a server and passes bytes on. `cut_after` breaks a connection when so many bytes have come from the
    client (`"up"`) or from the server (`"down"`); it does so `times` times. `closed` refuses everything."""

    address: str
    way: str = "down"
    cut_after: int | None = None
    times: int = 1
    cuts: int = 0
    closed: bool = False
    _left: int | None = None

    def passes(self, way: str, count: int) -> bool:
        """Whether `count` bytes may pass; breaks where that is too many."""
        if self.closed:
            return False
        if self.cut_after is None or way != self.way or self.cuts >= self.times:
            return True
        self._left = (self.cut_after if self._left is None else self._left) - count
        if self._left > 0:
            return True
        self._left = None
        self.cuts += 1
        return False


@contextmanager
def cutting_proxy(endpoint: str) -> Iterator[Proxy]:
    host, _, port = endpoint.removeprefix("http://").partition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}")
    sockets: list[socket.socket] = [listener]
    thread = threading.Thread(target=_proxied, args=(listener, (host, int(port)), proxy, sockets), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        for each in sockets:
            _shut(each)
        thread.join(5)


def _proxied(listener: socket.socket, server: tuple[str, int], proxy: Proxy, sockets: list[socket.socket]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        if proxy.closed:
            _shut(client)
            continue
        upstream = socket.create_connection(server)
        sockets += [client, upstream]
        for source, target, way in ((client, upstream, "up"), (upstream, client, "down")):
            threading.Thread(target=_pass_on, args=(source, target, way, proxy), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, way: str, proxy: Proxy) -> None:
    try:
        while data := source.recv(65536):
            if not proxy.passes(way, len(data)):
                break
            target.sendall(data)
    except OSError:
        pass
    finally:
        _shut(source)
        _shut(target)


def _shut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


# -- the web -----------------------------------------------------------------------------------------------------------


@dataclass
class WebServer:
    """Serves what `files` holds. `cuts` are lengths after which the next answers break off, one each; `parts` says
    whether it gives parts of files, `weak` whether its tags are weak ones; `requests` are the paths and ranges that
    were asked for."""

    address: str
    files: dict[str, bytes]
    cuts: list[int] = field(default_factory=list)
    parts: bool = True
    chunked: bool = False
    tags: bool = True
    weak: bool = False
    status: list[int] = field(default_factory=list)
    stalls_s: float = 0.0
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


@contextmanager
def web_server() -> Iterator[WebServer]:
    with http_server(_Web) as address:
        _Web.web = WebServer(address, {})  # one server at a time
        yield _Web.web


class _Web(Handler):
    web: WebServer

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server wants
        web, name = self.web, self.path.partition("?")[0].lstrip("/")
        wanted = self.headers.get("Range")
        web.requests.append((name, wanted))
        web.headers.append(dict(self.headers))
        if web.stalls_s:
            threading.Event().wait(web.stalls_s)
        if web.status:
            self.send(web.status.pop(0))
            return
        if name not in web.files:
            self.send(404)
            return
        data = web.files[name]
        tag = f'{"W/" * web.weak}"{hash(data):x}"'
        start = 0
        if wanted and web.parts and self.headers.get("If-Range") in (None, tag):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted).group(1))  # type: ignore[union-attr]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if web.tags:
            self.send_header("ETag", tag)
        self._send_cut(data[start:], web.cuts.pop(0) if web.cuts else None)

    def _send_cut(self, data: bytes, cut: int | None) -> None:
        if self.web.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for begin in range(0, len(data), 1000):
                if cut is not None and begin >= cut:
                    break
                piece = data[begin : begin + 1000]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if cut is None:
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:cut])
        self.wfile.flush()
        if cut is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


# -- SFTP --------------------------------------------------------------------------------------------------------------


@dataclass
class SftpServer:
    """Serves a folder. `cut_after` ends the connection when so many more reads or writes were asked for."""

    port: int
    folder: Path
    known_hosts_line: str
    cut_after: int | None = None
    cuts: int = 0
    connections: int = 0
    opened: list[Any] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"sftp://tester@127.0.0.1:{self.port}/{path}"


@contextmanager
def sftp_server(folder: Path) -> Iterator[SftpServer]:
    """Takes the user `tester` with the password `made-up`."""
    key = paramiko.RSAKey.generate(2048)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = SftpServer(port, folder, f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
    transports: list[paramiko.Transport] = []
    thread = threading.Thread(target=_accept, args=(listener, key, server, transports), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for transport in transports:
            transport.close()
            transport.join(5)
        for file in server.opened:
            file.close()


def _accept(
    listener: socket.socket, key: paramiko.PKey, server: SftpServer, transports: list[paramiko.Transport]
) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        server.connections += 1
        transport = paramiko.Transport(connection)
        transport.add_server_key(key)
        transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Files, server, transport)
        transports.append(transport)
        # With an event it does not wait here: a client that goes away meanwhile would end this thread.
        transport.start_server(event=threading.Event(), server=_Door())


class _Door(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        fits = (username, password) == ("tester", "made-up")
        return codes.AUTH_SUCCESSFUL if fits else codes.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        del username
        return "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        del chanid
        return codes.OPEN_SUCCEEDED if kind == "session" else codes.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED


class _Handle(SFTPHandle):
    def __init__(self, flags: int, files: _Files) -> None:
        super().__init__(flags)
        self._files = files

    def read(self, offset: int, length: int) -> Any:
        self._files.count()
        return super().read(offset, length)

    def write(self, offset: int, data: Any) -> Any:
        self._files.count()
        return super().write(offset, data)

    def stat(self) -> Any:
        return SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))  # type: ignore[attr-defined]


class _Files(paramiko.SFTPServerInterface):
    def __init__(self, door: paramiko.ServerInterface, server: SftpServer, transport: paramiko.Transport) -> None:
        super().__init__(door)
        self._server = server
        self._transport = transport

    def count(self) -> None:
        if self._server.cut_after is None:
            return
        self._server.cut_after -= 1
        if self._server.cut_after <= 0:
            self._server.cut_after = None
            self._server.cuts += 1
            self._transport.sock.close()

    def _path(self, path: str) -> Path:
        return self._server.folder / self.canonicalize(path).lstrip("/")

    def list_folder(self, path: str) -> Any:
        try:
            entries = sorted(self._path(path).iterdir())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        return [SFTPAttributes.from_stat(entry.stat(), entry.name) for entry in entries]

    def stat(self, path: str) -> Any:
        try:
            return SFTPAttributes.from_stat(self._path(path).stat())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    lstat = stat

    def open(self, path: str, flags: int, attr: Any) -> Any:
        del attr
        try:
            descriptor = os.open(self._path(path), flags, 0o644)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        mode = "r+b" if flags & os.O_RDWR else "wb" if flags & os.O_WRONLY else "rb"
        file = os.fdopen(descriptor, mode)
        self._server.opened.append(file)  # a connection that is cut leaves its files open
        handle = _Handle(flags, self)
        handle.filename = str(self._path(path))  # type: ignore[attr-defined]
        handle.readfile = file  # type: ignore[attr-defined]
        handle.writefile = file  # type: ignore[attr-defined]
        return handle

    def remove(self, path: str) -> int:
        return self._done(lambda: self._path(path).unlink())

    def rename(self, oldpath: str, newpath: str) -> int:
        if self._path(newpath).exists():
            return sftp_codes.SFTP_FAILURE
        return self._done(lambda: self._path(oldpath).rename(self._path(newpath)))

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return self._done(lambda: self._path(oldpath).replace(self._path(newpath)))

    def mkdir(self, path: str, attr: Any) -> int:
        del attr
        return self._done(lambda: self._path(path).mkdir())

    def _done(self, act: Any) -> int:
        try:
            act()
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        return sftp_codes.SFTP_OK
