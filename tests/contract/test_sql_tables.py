"""Tables of all four databases pass the conformance suite, however they are written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.column_types import STRING
from runner.sinks.sql.sink import SqlSink
from runner.testing.part_sinks import check_part_sink
from support.tables import DATABASES, Place, place_in


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place_in(request.param, tmp_path) as found:
        yield found


@pytest.mark.parametrize("write", ["append", "merge", "replace"])
def test_a_table_keeps_the_contract(place: Place, write: str) -> None:
    unique_key = ["key"] if write == "merge" else None
    options = place.options(write=write, unique_key=unique_key)

    def make() -> SqlSink:
        return place.sink(options, row_types={"id": STRING, "text": STRING})

    def read() -> list[str]:
        if not place.has("answers"):
            return []
        return [key for (key,) in place.rows(f"SELECT {place.dialect.quoted('key')} FROM {{}}answers")]

    def clear() -> None:
        place.run("DROP TABLE IF EXISTS {}answers", "DROP TABLE IF EXISTS {}runner_deliveries")

    check_part_sink(make, read, clear=clear, keeps_mark=True, merges=write == "merge")
    left = [table for table in _tables(place) if table not in ("answers", "runner_deliveries")]
    assert not left, "what was filled beside the table is gone"


def _tables(place: Place) -> list[str]:
    if place.kind == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    elif place.kind == "duckdb":
        query = "SELECT table_name FROM duckdb_tables()"
    else:
        query = f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{place.schema}'"
    return [str(name) for (name,) in place.rows(query)]
