"""Every platform passes the conformance suite through the SDK's own client for it, over the stand-in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from runner.providers import Provider
from runner.testing.providers import Make, Server, check_provider
from support.api import SimulatedApi, simulated_api
from support.conformance import StandIn
from support.platforms import NAMES, Platform


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path_factory.mktemp("api"), batch_latency="5s") as running:
        yield running


@pytest.mark.parametrize("name", NAMES)
def test_each_platform_keeps_the_contract(name: str, api: SimulatedApi) -> None:
    platform = Platform(name, api)

    @asynccontextmanager
    async def open_server() -> AsyncIterator[tuple[Server, Make]]:
        api.reset()

        async def make() -> Provider:
            return platform.connect()

        yield StandIn(api), make

    check_provider(open_server)
