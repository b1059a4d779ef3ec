"""Servers of a test's own: a PostgreSQL or MariaDB that can be stopped and started, with its data in a folder.

Made with the binaries that are installed, never with the server that other tests share. Neither server runs as root,
so where the tests do it runs as the user that came with its package.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy

from support.databases import engine_at

START_SECONDS = 60


class OwnServer:
    """One server. `url` stays the same while it is stopped and started."""

    def __init__(self, url: str, command: Sequence[str], user: str | None, stop: signal.Signals) -> None:
        self.url = url
        self._command = command
        self._user = user
        self._stop = stop
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            self._command, user=self._user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
        for _ in range(START_SECONDS * 10):
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._command[0]} ended with {self._process.returncode}")
            try:
                with engine_at(self.url).connect():
                    return
            except sqlalchemy.exc.SQLAlchemyError:
                _wait(self._process, 0.1)
        raise RuntimeError(f"{self._command[0]} did not answer in {START_SECONDS} s")

    def stop(self, *, how: signal.Signals | None = None) -> None:
        """Stop it with all its connections; `how=SIGKILL` gives it no time."""
        if self._process is not None:
            children = _children_of(self._process.pid) if how == signal.SIGKILL else []
            self._process.send_signal(how or self._stop)
            self._process.wait(START_SECONDS)
            self._process = None
            for child in children:  # a process of PostgreSQL's answers its client until it notices
                _kill(child)


def _children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _kill(pid: int) -> None:
    """Kill a process that is nobody's child any more, and wait until it is gone: dead, though nobody may reap it."""
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, signal.SIGKILL)
        for _ in range(START_SECONDS * 100):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state in "ZX":
                return
            time.sleep(0.01)
        raise RuntimeError(f"process {pid} does not end")


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


@contextmanager
def own_postgresql() -> Iterator[OwnServer]:
    binaries = _found("postgres", sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    with _folder("postgres") as (folder, user):
        _run([str(binaries / "initdb"), "-D", str(folder), "-A", "trust", "-U", "postgres", "-E", "UTF8", "-N"], user)
        port = free_port()
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=on"]
        command = [str(binaries / "postgres"), "-D", str(folder), "-p", str(port), *options]
        # SIGINT: "fast" shutdown, connections are ended
        server = OwnServer(f"postgresql://postgres@127.0.0.1:{port}/postgres", command, user, signal.SIGINT)
        with _running(server):
            yield server


@contextmanager
def own_mariadb() -> Iterator[OwnServer]:
    binaries = _found("mariadbd", [Path("/usr/sbin"), Path("/usr/bin"), Path("/usr/local/bin")])
    with _folder("mysql") as (folder, user):
        data = folder / "data"
        install = [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
        ]
        _run([*install, "--skip-test-db"], user)
        port = free_port()
        options = [f"--datadir={data}", f"--socket={folder}/s", f"--pid-file={folder}/p", f"--port={port}"]
        command = [str(binaries / "mariadbd"), "--no-defaults", *options, "--bind-address=127.0.0.1"]
        server = OwnServer(f"mysql://root@127.0.0.1:{port}/mysql", command, user, signal.SIGTERM)
        with _running(server):
            yield server


@contextmanager
def _running(server: OwnServer) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop(how=signal.SIGKILL)


@contextmanager
def _folder(package_user: str) -> Iterator[tuple[Path, str | None]]:
    user = None
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam(package_user).pw_name
        except KeyError:
            _missing(f"there is no user {package_user} to run it as")
    folder = Path(tempfile.mkdtemp(prefix="runner-server-", dir="/tmp"))  # short: a socket's path is bounded
    try:
        if user is not None:
            shutil.chown(folder, user)
        yield folder, user
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _found(program: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        if (folder / program).exists():
            return folder
    _missing(f"{program} is not installed")
    raise AssertionError


def _missing(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def _run(command: Sequence[str], user: str | None) -> None:
    subprocess.run(command, check=True, user=user, capture_output=True, cwd="/", timeout=START_SECONDS * 2)


def free_port() -> int:
    """A port that stays free while its server is away: none of those from 32,768 on, which the system gives to
    connections and to servers that ask for any (`net.ipv4.ip_local_port_range`)."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")
