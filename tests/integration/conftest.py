"""A small project that points at the stand-in, `runner` in the test's own process, and the dataset of reviews."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from support.api import SimulatedApi
from support.harness import Project
from support.here import Here


@pytest.fixture
def project(tmp_path: Path, api: SimulatedApi) -> Project:
    project = Project.make(tmp_path / "project", api)
    project.job()
    return project


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


@pytest.fixture(scope="module")
def dataset() -> list[dict[str, str]]:
    """The rows of the main job's reviews, as a test reads them."""
    from benchmarks.reviews import REVIEWS

    if not REVIEWS.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{REVIEWS} is missing, and this test must not be left out where changes are judged")
        pytest.skip(f"{REVIEWS} is not here; it is no part of the project")
    with REVIEWS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
