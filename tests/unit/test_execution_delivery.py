"""Delivery: each sink whole or not at all, one that fails stops no other, and a crash at any step is mended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace
from pyarrow import parquet

from runner.encoding import decode
from runner.errors import LedgerError
from runner.events import SinkDelivered, Warned
from runner.execution.delivery import CHUNK_WEIGHT, RECORD_WEIGHT, Target, deliver, row_weight, wants
from runner.ledger import Delivery
from runner.sinks import SinkContext
from runner.sinks.options import ParquetOptions
from runner.sinks.tables import TableSink
from runner.testing.sinks import failed_record, sample_record
from runner.types import Record
from runner.values import TypedValues
from support.engine_fakes import Listener
from support.execution_fakes import FaultySink, failing_at, file_sink

MANY = CHUNK_WEIGHT // RECORD_WEIGHT
"""As many small records as the sinks are handed at a time."""


class Notes:
    """What was noted, in order."""

    def __init__(self) -> None:
        self.notes: list[Delivery] = []

    def __call__(self, delivery: Delivery) -> None:
        self.notes.append(delivery)

    @property
    def states(self) -> list[tuple[int, str]]:
        return [(note.sink, note.state) for note in self.notes]


def records(count: int = 5) -> list[Record]:
    return [sample_record(index) for index in range(count)]


def targets(root: Path, *sinks: FaultySink) -> list[Target]:
    return [Target(number, sink, wants("all")) for number, sink in enumerate(sinks)]


def sink(root: Path, path: str, fails: str = "never", error: Exception | None = None) -> FaultySink:
    return FaultySink(file_sink(root, path), failing_at(fails, error))


def keys(path: Path) -> list[str]:
    return [decode(line)["key"] for line in path.read_bytes().splitlines()]


def test_every_sink_gets_every_record_in_order_and_is_noted_before_it_is_seen(tmp_path: Path) -> None:
    notes, seen = Notes(), []

    def note(delivery: Delivery) -> None:
        seen.append((delivery.state, (tmp_path / delivery.target).exists()))
        notes(delivery)

    sinks = [sink(tmp_path, "a.jsonl"), sink(tmp_path, "b.jsonl")]
    ended = deliver(records(MANY + 7), targets(tmp_path, *sinks), tmp_path / "staged", Listener(), note=note)
    assert [(end.state, end.records) for end in ended] == [("delivered", MANY + 7)] * 2
    assert seen == [("staged", False), ("delivered", True)] * 2
    assert notes.notes[0].sha256 == notes.notes[1].sha256 == ended[0].sha256
    assert keys(tmp_path / "b.jsonl") == [f"k-{index}" for index in range(MANY + 7)]
    assert not (tmp_path / "staged").exists()


@pytest.mark.parametrize(
    ("rows", "expected"), [("all", ["k-0", "k-1"]), ("succeeded", ["k-0"]), ("failed", ["k-1", "k-2"])]
)
def test_a_sink_gets_the_rows_it_wants(tmp_path: Path, rows: str, expected: list[str]) -> None:
    given = [sample_record(0), failed_record(1)]
    if rows == "failed":
        given.append(sample_record(2, status="open", output=None))  # all that did not succeed
    target = Target(0, file_sink(tmp_path, "a.jsonl"), wants(rows))
    deliver(given, [target], tmp_path / "staged", Listener(), note=Notes())
    assert keys(tmp_path / "a.jsonl") == expected


def test_no_record_makes_an_empty_file_and_no_sink_nothing(tmp_path: Path) -> None:
    assert deliver([], [], tmp_path / "staged", Listener(), note=Notes()) == []
    (end,) = deliver([], targets(tmp_path, sink(tmp_path, "a.jsonl")), tmp_path / "staged", Listener(), note=Notes())
    assert (end.state, end.records) == ("delivered", 0)
    assert (tmp_path / "a.jsonl").read_bytes() == b""


@pytest.mark.parametrize("error", [None, OSError(28, "No space left on device")], ids=["told", "raw"])
@pytest.mark.parametrize("step", ["open", "write", "seal", "commit"])
def test_a_sink_that_fails_is_told_and_stops_no_other(tmp_path: Path, step: str, error: OSError | None) -> None:
    before = "what was there before\n"
    (tmp_path / "b.jsonl").write_text(before)
    bad = FaultySink(file_sink(tmp_path, "b.jsonl", overwrite=True), failing_at(f"before {step}", error))
    notes, listener = Notes(), Listener()
    sinks = targets(tmp_path, sink(tmp_path, "a.jsonl"), bad, sink(tmp_path, "c.jsonl"))
    ended = deliver(records(), sinks, tmp_path / "staged", listener, note=notes)
    assert [end.state for end in ended] == ["delivered", "failed", "delivered"]
    assert [note.state for note in notes.notes if note.sink == 1][-1] == "failed"
    assert "o space left" in (ended[1].error or "")
    assert (tmp_path / "b.jsonl").read_text() == before
    assert keys(tmp_path / "a.jsonl") == keys(tmp_path / "c.jsonl") == [f"k-{index}" for index in range(5)]
    assert [event.target for event in listener.of(SinkDelivered)] == ["a.jsonl", "c.jsonl"]
    assert [event.code for event in listener.of(Warned)] == ["sink-failed"]
    assert "b.jsonl" in listener.of(Warned)[0].message
    assert bad.steps.count("abort") == 1
    assert not (tmp_path / "staged").exists()


def test_what_a_failed_sink_would_do_next_is_not_asked_of_it(tmp_path: Path) -> None:
    bad = sink(tmp_path, "a.jsonl", "before open")
    deliver(records(), targets(tmp_path, bad), tmp_path / "staged", Listener(), note=Notes())
    assert bad.steps == ["open", "abort"]


def test_a_sink_whose_abort_fails_too_stops_no_other(tmp_path: Path) -> None:
    def reach(step: str) -> None:
        if step in ("before write", "after abort"):
            raise OSError(5, "Input/output error")

    bad = FaultySink(file_sink(tmp_path, "a.jsonl"), reach)
    ended = deliver(
        records(),
        targets(tmp_path, bad, sink(tmp_path, "b.jsonl")),
        tmp_path / "staged",
        Listener(),
        note=Notes(),
    )
    assert [end.state for end in ended] == ["failed", "delivered"]


def test_a_sink_that_was_delivered_is_not_aborted(tmp_path: Path) -> None:
    good = sink(tmp_path, "a.jsonl")
    deliver(records(), targets(tmp_path, good), tmp_path / "staged", Listener(), note=Notes())
    assert good.steps == ["open", "write", "seal", "commit"]


def test_records_that_cannot_be_read_leave_every_target_as_it_was(tmp_path: Path) -> None:
    def broken() -> Iterator[Record]:
        yield from records(MANY)
        raise LedgerError("the spool is damaged", code="damaged")

    (tmp_path / "a.jsonl").write_text("before\n")
    bad = FaultySink(file_sink(tmp_path, "a.jsonl", overwrite=True))
    with pytest.raises(LedgerError):
        deliver(broken(), targets(tmp_path, bad), tmp_path / "staged", Listener(), note=Notes())
    assert bad.steps[-1] == "abort"
    assert (tmp_path / "a.jsonl").read_text() == "before\n"
    assert not (tmp_path / "staged").exists()


def test_a_note_that_cannot_be_kept_lets_nothing_be_seen(tmp_path: Path) -> None:
    def note(_: Delivery) -> None:
        raise LedgerError("no space left", code="disk-full")

    with pytest.raises(LedgerError):
        deliver(records(), targets(tmp_path, sink(tmp_path, "a.jsonl")), tmp_path / "staged", Listener(), note=note)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_delivery_staged_is_not_delivered(tmp_path: Path) -> None:
    left = tmp_path / "staged" / "0"
    left.mkdir(parents=True)
    (left / "part").write_text("half a rec")
    deliver(records(1), targets(tmp_path, sink(tmp_path, "a.jsonl")), tmp_path / "staged", Listener(), note=Notes())
    assert keys(tmp_path / "a.jsonl") == ["k-0"]


def test_a_foreign_file_is_never_replaced(tmp_path: Path) -> None:
    """Also not one that came after the check at the beginning of the run."""
    (tmp_path / "a.jsonl").write_text("somebody else's\n")
    (end,) = deliver(
        records(), targets(tmp_path, sink(tmp_path, "a.jsonl")), tmp_path / "staged", Listener(), note=Notes()
    )
    assert end.state == "failed"
    assert (tmp_path / "a.jsonl").read_text() == "somebody else's\n"


@dataclass
class Counting(FaultySink):
    sizes: list[int] = field(default_factory=list)

    def write(self, records: Sequence[Record]) -> None:
        self.sizes.append(len(records))
        super().write(records)


def test_large_records_are_handed_over_a_few_at_a_time(tmp_path: Path) -> None:
    large = [replace(record, row={"text": "x" * (CHUNK_WEIGHT // 4)}) for record in records(20)]
    counting = Counting(file_sink(tmp_path, "a.jsonl"))
    deliver(large, targets(tmp_path, counting), tmp_path / "staged", Listener(), note=Notes())
    assert sum(counting.sizes) == 20
    assert max(counting.sizes) <= 4


def test_a_target_that_cannot_hold_a_record_has_all_others_and_ends_failed(tmp_path: Path) -> None:
    given = [sample_record(index, output={"n": 1 << (40 * index)}) for index in range(3)]
    schema = {"properties": {"n": {"type": "integer"}}}
    table = TableSink(ParquetOptions(path="a.parquet", contract="freeze"), SinkContext(tmp_path, schema=schema))
    notes, listener = Notes(), Listener()
    target = Target(0, table, wants("all"))
    (ended,) = deliver(given, [target], tmp_path / "staged", listener, note=notes)
    assert parquet.read_table(tmp_path / "a.parquet").column("key").to_pylist() == ["k-0", "k-1"]
    why = f"column 'output_n': {1 << 80} is no integer of 64 bits"
    assert (ended.state, ended.records) == ("failed", 2)
    assert ended.error == f"1 record does not fit and 2 are delivered: 'k-2': {why}"
    assert notes.states == [(0, "staged"), (0, "failed")]
    told = [event for event in listener.events if isinstance(event, Warned)]
    assert [(event.code, event.message) for event in told] == [
        ("record-refused", f"a.parquet cannot hold the record 'k-2': {why}")
    ]


def test_what_a_row_weighs_can_be_said_of_every_value_it_may_hold() -> None:
    values = ["text", 1, None, [Decimal("1.5"), date(2026, 1, 1)], {"a": b"bytes", "b": [float("nan")]}, b"x" * 1_000]
    row = TypedValues({str(number): value for number, value in enumerate(values)})
    assert 1_000 < row_weight(sample_record(row=row)) < 1_200
