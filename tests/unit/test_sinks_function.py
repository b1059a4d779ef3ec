"""The sink of a function of the project: what it is given, and what becomes of what it says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.encoding import decode
from runner.errors import DeliveryError, SpecError
from runner.sinks import DeliveryId, Part, SinkContext
from runner.sinks.function import FunctionSink
from runner.sinks.options import PythonOptions
from runner.testing.part_sinks import check_part_sink
from runner.testing.sinks import sample_record

MODULE = """
import asyncio, json, pathlib

KEPT = pathlib.Path(__file__).with_name("kept.jsonl")

def save(records, part_id):
    known = {json.loads(line)["part"] for line in KEPT.read_text().splitlines()} if KEPT.exists() else set()
    if part_id in known:
        return
    with KEPT.open("a") as file:
        file.write(json.dumps({"part": part_id, "keys": [record["key"] for record in records]}) + "\\n")

def plain(records):
    save(records, "plain")

async def later(records, part_id):
    await asyncio.sleep(0)
    save(records, part_id)

def refuses(records):
    return {record["key"]: "too\\nlong" for record in records if record["key"] == "k-1"}

def fails(records):
    raise ValueError("no\\nroom")

def ends(records):
    raise SystemExit(3)

def odd(records):
    return ["k-0"]

def foreign(records):
    return {"somebody else's": "?"}

def shown(records):
    KEPT.write_text(json.dumps(records))

nothing = 3
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "my_sinks.py").write_text(MODULE)
    before = [*sys.path]
    yield tmp_path
    sys.path[:] = before
    sys.modules.pop("my_sinks", None)


def sink(project: Path, name: str = "save", **options: Any) -> FunctionSink:
    return FunctionSink(PythonOptions(**{"python": f"my_sinks:{name}", **options}), SinkContext(project))


def keys(project: Path) -> list[str]:
    path = project / "kept.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [key for line in lines for key in decode(line)["keys"]]


def deliver(made: FunctionSink, count: int = 2) -> list[str]:
    made.begin(DeliveryId("run.0.abc.1", "run", "owner"))
    refused = made.deliver(Part(1, "run.0.abc.1.1", [sample_record(index) for index in range(count)]))
    made.finish()
    made.close()
    return [f"{each.key}: {each.message}" for each in refused]


@pytest.mark.parametrize("name", ["save", "later"])
def test_the_sink_holds_its_contract(project: Path, name: str) -> None:
    check_part_sink(
        lambda: sink(project, name),
        lambda: keys(project),
        clear=lambda: (project / "kept.jsonl").unlink(missing_ok=True),
        keeps_mark=False,
    )


def test_a_function_gets_mappings_and_only_what_it_takes(project: Path) -> None:
    deliver(sink(project, "plain"))
    assert keys(project) == ["k-0", "k-1"]
    deliver(sink(project, "shown"))
    assert decode((project / "kept.jsonl").read_bytes()) == [sample_record(index).to_dict() for index in range(2)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"columns": {"id": "key", "n": "index"}}, {"id": "k-0", "n": 0}),
        ({"include_row": False}, {k: v for k, v in sample_record(0).to_dict().items() if k != "row"}),
        ({"include_row": ("id",)}, {**sample_record(0).to_dict(), "row": {"id": "k-0"}}),
    ],
)
def test_columns_and_what_is_kept_of_the_row(project: Path, options: dict[str, Any], expected: Any) -> None:
    deliver(sink(project, "shown", **options), 1)
    assert decode((project / "kept.jsonl").read_bytes()) == [expected]


def test_records_that_it_cannot_take_are_named(project: Path) -> None:
    assert deliver(sink(project, "refuses")) == ["k-1: too long"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fails", "my_sinks:fails failed: ValueError: no room"),
        ("ends", "my_sinks:ends failed: SystemExit: 3"),
        ("odd", "my_sinks:odd returned a list that names no records of those it was given"),
        ("foreign", "my_sinks:foreign returned a dict that names no records of those it was given"),
    ],
)
def test_what_goes_wrong_is_told(project: Path, name: str, told: str) -> None:
    with pytest.raises(DeliveryError) as caught:
        deliver(sink(project, name))
    assert str(caught.value) == told


@pytest.mark.parametrize("reference", ["my_sinks:sav", "my_sink:save", "save", "my_sinks:nothing"])
def test_a_function_that_is_not_there_is_an_error_of_the_job(project: Path, reference: str) -> None:
    with pytest.raises(SpecError):
        FunctionSink(PythonOptions(python=reference), SinkContext(project))


def test_a_column_that_cannot_be_computed_leaves_out_its_record_alone(project: Path) -> None:
    made = sink(project, "shown", columns={"id": "key", "part": "1 // index"})
    made.begin(DeliveryId("run.0.abc.1", "run", "owner"))
    refused = made.deliver(Part(1, "a.1", [sample_record(0), sample_record(1)]))
    assert [(each.key, "'part' cannot be computed" in each.message) for each in refused] == [("k-0", True)]
    assert decode((project / "kept.jsonl").read_bytes()) == [{"id": "k-1", "part": 1}]
    assert len(made.deliver(Part(2, "a.2", [sample_record(0)]))) == 1, "and nothing is called for none"
    assert decode((project / "kept.jsonl").read_bytes()) == [{"id": "k-1", "part": 1}]
