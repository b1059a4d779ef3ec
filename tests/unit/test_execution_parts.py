"""Delivery in parts: each record once for what it says, after any crash, whether the target keeps a mark or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from runner.errors import DeliveryError
from runner.events import Warned
from runner.execution.delivery import PartTarget, wants
from runner.execution.parts import PartDelivery
from runner.ledger.journal import Journal
from runner.testing.sinks import failed_record, sample_record
from runner.types import Record
from support.engine_fakes import Listener
from support.part_sinks import FolderSink, Reach

DEFINITION = "ab" * 32


class Crash(BaseException):
    """As a kill: nothing catches it."""


def crash_at(step: str, number: int = 1) -> Reach:
    count = 0

    def reach(now: str) -> None:
        nonlocal count
        count += now == step
        if now == step and count == number:
            raise Crash

    return reach


def records(count: int = 8) -> list[Record]:
    return [sample_record(index) for index in range(count)]


@contextmanager
def delivering(
    tmp_path: Path, sink: FolderSink, rows: str = "all", listener: Listener | None = None, definition: str = DEFINITION
) -> Iterator[PartDelivery]:
    target = PartTarget(0, sink, wants(rows), definition)
    with (
        Journal(tmp_path, 0, definition) as journal,
        PartDelivery(target, journal, "run", f"owner {id(journal)}", listener or Listener()) as delivery,
    ):
        yield delivery


def deliver(tmp_path: Path, sink: FolderSink, given: Sequence[Record], rows: str = "all") -> PartDelivery:
    with delivering(tmp_path, sink, rows) as delivery:
        delivery.begin(given.__getitem__)
        delivery.complete(lambda: given)
        return delivery


def crashed(tmp_path: Path, sink: FolderSink, given: Sequence[Record]) -> None:
    with pytest.raises(Crash):
        deliver(tmp_path, sink, given)


def keys(given: Sequence[Record]) -> list[str]:
    return [record.key for record in given]


@pytest.fixture(params=[True, False], ids=["marks", "ids"])
def marks(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_records_go_in_bounded_parts_in_the_order_of_the_dataset(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "t")
    ended = deliver(tmp_path, sink, records()).ended()
    assert [len(call["records"]) for call in sink.calls()] == [3, 3, 2]
    assert [call["number"] for call in sink.calls()] == [1, 2, 3]
    assert len({call["id"] for call in sink.calls()}) == 3
    assert sink.received() == keys(records())
    assert sink.is_finished
    assert (ended.state, ended.records, ended.target, ended.error) == ("delivered", 8, "folder t", None)


def test_a_part_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "t", records=100)
    sink.limits = replace(sink.limits, size_bytes=5_000)
    deliver(tmp_path, sink, [sample_record(index, output="x" * 3_000) for index in range(3)])
    assert [len(call["records"]) for call in sink.calls()] == [1, 1, 1]


@pytest.mark.parametrize(
    "step", ["before begin", "after begin", "before deliver", "after deliver", "before finish", "after finish"]
)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_after_a_crash_at_any_step_each_record_is_there_once(
    tmp_path: Path, marks: bool, step: str, number: int
) -> None:
    if number > 1 and "deliver" not in step:
        pytest.skip("it comes to this once")
    crashed(tmp_path, FolderSink(tmp_path / "t", marks=marks, reach=crash_at(step, number)), records())
    sink = FolderSink(tmp_path / "t", marks=marks)
    ended = deliver(tmp_path, sink, records()).ended()
    assert sink.received() == keys(records())
    assert sink.is_finished
    assert (ended.state, ended.records) == ("delivered", 8)


def test_a_part_that_may_have_arrived_comes_again_as_it_was(tmp_path: Path) -> None:
    crashed(tmp_path, FolderSink(tmp_path / "t", marks=False, reach=crash_at("after deliver", 2)), records())
    sink = FolderSink(tmp_path / "t", marks=False)
    deliver(tmp_path, sink, records())
    first, second, again, last = sink.calls()
    assert second == again
    assert [call["number"] for call in (first, again, last)] == [1, 2, 3]


def test_what_changed_since_is_left_out_of_the_part_that_comes_again_and_comes_later(
    tmp_path: Path, marks: bool
) -> None:
    crashed(tmp_path, FolderSink(tmp_path / "t", marks=marks, reach=crash_at("before deliver", 2)), records())
    now = records()
    now[4] = sample_record(4, output="another answer")
    sink = FolderSink(tmp_path / "t", marks=marks)
    deliver(tmp_path, sink, now)
    assert [[record["key"] for record in call["records"]] for call in sink.calls()] == [
        ["k-0", "k-1", "k-2"],
        ["k-3", "k-5"],
        ["k-4", "k-6", "k-7"],
    ]


def test_a_part_all_of_which_has_changed_is_given_up(tmp_path: Path) -> None:
    crashed(tmp_path, FolderSink(tmp_path / "t", reach=crash_at("before deliver")), records(2))
    sink = FolderSink(tmp_path / "t")
    deliver(tmp_path, sink, [sample_record(index, output="another") for index in range(2)])
    assert [call["number"] for call in sink.calls()] == [2]


def test_another_delivery_brings_only_what_has_changed(tmp_path: Path, marks: bool) -> None:
    given = [*records(4), failed_record(4)]
    sink = FolderSink(tmp_path / "t", marks=marks)
    deliver(tmp_path, sink, given)
    before = len(sink.calls())
    assert deliver(tmp_path, sink, given).ended().records == 5
    assert len(sink.calls()) == before
    given[4] = sample_record(4)
    assert deliver(tmp_path, sink, given).ended().records == 5
    assert [call["records"] for call in sink.calls()[before:]] == [
        [{"key": "k-4", "status": "succeeded", "output": "answer 4"}]
    ]


def test_open_rows_and_rows_that_are_not_wanted_are_not_given(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "t")
    given = [sample_record(0), failed_record(1), sample_record(2, status="open", output=None)]
    assert deliver(tmp_path, sink, given, rows="succeeded").ended().records == 1
    given[1], given[2] = sample_record(1), sample_record(2)
    deliver(tmp_path, sink, given, rows="succeeded")
    assert sink.received() == ["k-0", "k-1", "k-2"]


def test_a_target_that_is_replaced_gets_everything_anew_once_something_has_changed(tmp_path: Path) -> None:
    given = [*records(4), failed_record(4)]
    sink = FolderSink(tmp_path / "t", is_replaced=True)
    deliver(tmp_path, sink, given)
    deliver(tmp_path, sink, given)
    assert len(sink.calls()) == 2  # the same is not delivered again
    given[4] = sample_record(4)
    ended = deliver(tmp_path, sink, given).ended()
    assert sink.received() == keys(given)
    assert len({call["delivery"] for call in sink.calls()}) == 2
    assert sink.is_finished
    assert ended.records == 5


def test_a_target_that_is_replaced_loses_what_is_not_wanted_any_more(tmp_path: Path) -> None:
    given = records(4)
    sink = FolderSink(tmp_path / "t", is_replaced=True)
    deliver(tmp_path, sink, given, rows="succeeded")
    given[2] = failed_record(2)
    for _ in range(2):
        assert deliver(tmp_path, sink, given, rows="succeeded").ended().records == 3
    assert len({call["delivery"] for call in sink.calls()}) == 2
    assert sink.received() == ["k-0", "k-1", "k-3"]


def test_a_target_that_was_emptied_gets_everything_anew(tmp_path: Path) -> None:
    deliver(tmp_path, FolderSink(tmp_path / "t"), records())
    for path in (tmp_path / "t").iterdir():
        path.unlink()
    sink, listener = FolderSink(tmp_path / "t"), Listener()
    with delivering(tmp_path, sink, listener=listener) as delivery:
        delivery.begin(records().__getitem__)
        delivery.complete(records)
    assert sink.received() == keys(records())
    assert [event.code for event in listener.of(Warned)] == ["sink-emptied"]


def test_a_target_that_has_more_than_the_folder_knows_of_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    deliver(tmp_path / "copy", FolderSink(tmp_path / "t"), records())
    with pytest.raises(DeliveryError) as caught:
        deliver(tmp_path, FolderSink(tmp_path / "t"), records())
    assert caught.value.code == "other-delivery"


def test_a_sink_that_says_something_else_now_starts_anew(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "t")
    deliver(tmp_path, sink, records(2))
    with delivering(tmp_path, sink, definition="cd" * 32) as delivery:
        delivery.begin(records(2).__getitem__)
        delivery.complete(lambda: records(2))
    assert sink.received() == [*keys(records(2))] * 2


def test_records_that_do_not_fit_are_told_and_the_others_delivered(tmp_path: Path) -> None:
    sink, listener = FolderSink(tmp_path / "t", refuses=["k-1", "k-4"]), Listener()
    with delivering(tmp_path, sink, listener=listener) as delivery:
        delivery.begin(records().__getitem__)
        delivery.complete(records)
        ended = delivery.ended()
    assert sink.received() == ["k-0", "k-2", "k-3", "k-5", "k-6", "k-7"]
    assert (ended.state, ended.records) == ("failed", 6)
    assert ended.error == "2 records do not fit and 6 are delivered: 'k-1': too wide"
    assert [event.code for event in listener.of(Warned)] == ["record-refused"] * 2
    mended = FolderSink(tmp_path / "t")  # the column was widened
    assert deliver(tmp_path, mended, records()).ended().state == "delivered"
    assert sorted(mended.received()) == keys(records())


def test_an_older_process_is_fenced_off(tmp_path: Path) -> None:
    older = FolderSink(tmp_path / "t")
    with delivering(tmp_path, older) as delivery:
        delivery.begin(records().__getitem__)
        with delivering(tmp_path / "other", FolderSink(tmp_path / "t"), definition="cd" * 32) as newer:
            newer.begin(records().__getitem__)
        with pytest.raises(DeliveryError) as caught:
            delivery.complete(records)
        assert caught.value.code == "fenced"
        assert delivery.failed(caught.value).state == "failed"
