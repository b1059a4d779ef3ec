"""One stand-in for each file of tests, clean before each test; a small project that points at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import SimulatedApi, simulated_api
from support.harness import Project


@pytest.fixture(scope="module")
def shared_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture
def api(shared_api: SimulatedApi) -> SimulatedApi:
    shared_api.reset()
    return shared_api


@pytest.fixture
def project(tmp_path: Path, api: SimulatedApi) -> Project:
    project = Project.make(tmp_path / "project", api)
    project.job()
    return project
