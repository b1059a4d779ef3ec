"""What every test has: no network but loopback, a fixed timezone, no credentials from the machine.

And what tests of many folders ask for by name: the stand-in API, commands that are forked, stores.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from support import transports

if TYPE_CHECKING:
    from support.api import SimulatedApi
    from support.batch_forks import Forks
    from support.batch_jobs import Records

# An example that takes long, or long to draw, says how busy the machine is. The rest is as Hypothesis has it: where CI
# is set the examples are always the same.
settings.register_profile("steady", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

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


# -- the stand-in API: one for each file of tests, clean before each test ----------------------------------------------


@pytest.fixture(scope="module")
def api_options() -> Mapping[str, Any]:
    """How the stand-in is started. A file or folder whose tests need another one has a fixture of this name."""
    return {}


@pytest.fixture(scope="module")
def shared_api(api_options: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedApi]:
    from support.api import simulated_api

    with simulated_api(tmp_path_factory.mktemp("api"), **api_options) as api:
        yield api


@pytest.fixture
def api(shared_api: SimulatedApi) -> Iterator[SimulatedApi]:
    with shared_api.clean():
        yield shared_api


# -- the small job in batch mode: `support.batch_jobs` -----------------------------------------------------------------


@pytest.fixture(scope="module")
def fork() -> Iterator[Forks]:
    from support.batch_forks import forks

    with forks() as fork:
        yield fork


@pytest.fixture(scope="module")
def expected(fork: Forks, shared_api: SimulatedApi, tmp_path_factory: pytest.TempPathFactory) -> Records:
    """The records of the job when nothing goes wrong."""
    from support.batch_jobs import undisturbed

    return undisturbed(fork, tmp_path_factory.mktemp("undisturbed"), shared_api)


# -- stores: real servers on loopback, started for the tests that ask for them -----------------------------------------


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[Any]:
    from support.stores import s3_server

    with s3_server() as store:
        yield store


@pytest.fixture
def s3(_s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A `support.stores.S3Store` that the environment points at, empty."""
    from support.stores import point_at

    point_at(_s3_server.endpoint, monkeypatch)
    yield _s3_server
    for key in _s3_server.names():
        _s3_server.client.delete_object(Bucket=_s3_server.bucket, Key=key)


@pytest.fixture
def web() -> Iterator[Any]:
    """A `support.stores.WebServer`."""
    from support.stores import web_server

    with web_server() as server:
        yield server


@pytest.fixture
def sftp(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A `support.stores.SftpServer` whose key is known, and whose password fsspec has."""
    import fsspec

    from support.stores import sftp_server

    folder, home = tmp_path / "remote", tmp_path / "home"
    folder.mkdir()
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setitem(
        fsspec.config.conf, "sftp", {"password": "made-up", "allow_agent": False, "look_for_keys": False}
    )
    with sftp_server(folder) as server:
        (home / ".ssh" / "known_hosts").write_text(server.known_hosts_line)
        yield server


@pytest.fixture
def s3_proxy(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A `support.stores.Proxy` before the S3 server, which the environment points at."""
    from support.stores import cutting_proxy, point_at

    with cutting_proxy(s3.endpoint) as proxy:
        point_at(proxy.address, monkeypatch)
        monkeypatch.setattr("s3fs.S3FileSystem._cache", {})  # its clients know another address
        yield proxy
