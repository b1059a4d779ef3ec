"""Many records to a table take no more memory than twenty thousand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.many import MANY
from support.tables import DATABASES, Place, place_in

TESTS = Path(__file__).parents[1]
WORKER = TESTS / "support" / "sql_delivery.py"
PART = 10_000
ALLOWED_MB = 100
"""What the allocator, the driver and SQLite's caches may keep besides: two parts of 10,000 records take about that."""


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place_in(request.param, tmp_path) as found:
        yield found


@pytest.mark.slow
def test_memory_does_not_grow_with_the_records(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{TESTS.parent}")
    few = peak_mb(place, "few", 2 * PART)
    many = peak_mb(place, "many", MANY)
    assert place.rows("SELECT count(*) FROM {}many") == [(MANY,)]
    assert many < few + ALLOWED_MB


def peak_mb(place: Place, table: str, records: int) -> float:
    folder = place.root / table
    folder.mkdir()
    url = place.url.replace(":///", f":///{place.root}/") if place.schema is None else place.url
    arguments = [str(folder), url, place.named(table), "append", str(records), str(PART)]
    done = subprocess.run([sys.executable, str(WORKER), *arguments], capture_output=True, text=True, check=True)
    (peak,) = (line.split()[1] for line in done.stdout.splitlines() if line.startswith("peak "))
    return int(peak) / 1024
