"""What every test has: no network but loopback, a fixed timezone, no credentials from the machine."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support import transports

_LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches beyond this machine is a broken test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(_LOOPBACK):
            raise AssertionError(f"a test tried to reach {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential, address, profile or setting of the machine reaches a test; times are UTC."""
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "RUNNER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture(params=transports.TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """Once over the SDK's client, once over the wire: see `support.transports`."""
    with transports.using(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def own_runtime_folder(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What runs of this machine know of a key's limits is no test's business, nor another test's."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.getbasetemp()))
