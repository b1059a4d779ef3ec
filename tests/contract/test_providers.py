"""Every built-in provider passes the conformance suite, over the stand-in API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from runner.providers import Provider
from runner.testing.providers import Make, Server, check_provider
from support.api import SimulatedApi, simulated_api
from support.transports import connect


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path_factory.mktemp("api"), batch_latency="5s") as running:
        yield running


class StandIn:
    """The stand-in as the suite asks for it."""

    def __init__(self, api: SimulatedApi) -> None:
        self._api = api

    def refuse_next(self, status: int) -> None:
        self._api.clear_faults()
        self._api.fault(str(status), times=1)

    def drop_next(self) -> None:
        self._api.clear_faults()
        self._api.fault("reply_lost", times=1)

    def received(self) -> int:
        return int(self._api.traffic()["received"])

    def refuse_next_batch(self, status: int) -> None:
        self._api.clear_faults()
        self._api.fault(str(status), path="batch_create", times=1)

    def drop_next_batch(self) -> None:
        self._api.clear_faults()
        self._api.fault("reply_lost", path="batch_create", times=1)

    def end_batches(self) -> None:
        self._api.end_batches()

    def batches(self) -> int:
        return len(self._api.batches())

    def refuse_next_upload(self, status: int) -> None:
        self._api.clear_faults()
        self._api.fault(str(status), path="file_upload", times=1)

    def drop_next_upload(self) -> None:
        self._api.clear_faults()
        self._api.fault("reply_lost", path="file_upload", times=1)

    def uploads(self) -> list[bytes]:
        return [bytes.fromhex(upload["sha256"]) for upload in self._api.uploads()]


@pytest.mark.usefixtures("transport")
def test_either_transport_keeps_the_contract(api: SimulatedApi) -> None:
    @asynccontextmanager
    async def open_server() -> AsyncIterator[tuple[Server, Make]]:
        api.reset()

        async def make() -> Provider:
            return connect(api.environ, max_concurrency=4)

        yield StandIn(api), make

    check_provider(open_server)
