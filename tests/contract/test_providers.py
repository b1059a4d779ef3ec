"""Every built-in provider passes the conformance suite, over the stand-in API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from runner.providers import Provider
from runner.testing.providers import Make, Server, check_provider
from support.api import SimulatedApi, simulated_api
from support.conformance import StandIn
from support.transports import connect


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path_factory.mktemp("api"), batch_latency="5s") as running:
        yield running


@pytest.mark.usefixtures("transport")
def test_either_transport_keeps_the_contract(api: SimulatedApi) -> None:
    @asynccontextmanager
    async def open_server() -> AsyncIterator[tuple[Server, Make]]:
        api.reset()

        async def make() -> Provider:
            return connect(api.environ, max_concurrency=4)

        yield StandIn(api), make

    check_provider(open_server)
