"""Live sinks: records come while the run goes on, and after any crash or failure each is there once at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from runner.errors import DeliveryError
from runner.events import Warned
from runner.execution import live as live_module
from runner.execution.advance import advance
from runner.execution.delivery import PartTarget, wants
from runner.execution.exporting import export_run
from runner.execution.folders import RunInfo
from runner.execution.live import live_sinks
from runner.execution.showing import read_summary
from runner.execution.summary import Summary
from runner.ledger import Delivery
from runner.ledger.sqlite import SqliteLedger
from runner.providers import Sent
from runner.types import Request
from support.execution_fakes import JOB, Bench, Counted, EchoProvider, killed, refused, text_in
from support.part_sinks import FolderSink, Reach

DEFINITION = "ab" * 32
MakeSink = Callable[[], FolderSink]


@dataclass
class WaitingProvider(EchoProvider):
    """Answers one text only when something has come about."""

    waits_with: str = ""
    until: Callable[[], bool] = field(default=lambda: True)

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        if text_in(request) == self.waits_with:
            async with asyncio.timeout(60):
                while not self.until():  # noqa: ASYNC110 - another thread writes files
                    await asyncio.sleep(0.005)
        return await super().send(request, on_begin=on_begin)


@dataclass
class WaitingInTurn(EchoProvider):
    """Answers the first row at once, and others when something has come about: what is said of their text, or else of
    all others."""

    of_text: dict[str, Callable[[], bool]] = field(default_factory=dict)
    of_others: Callable[[], bool] = field(default=lambda: True)

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        text = text_in(request)
        has_come = self.of_text.get(text, self.of_others)
        async with asyncio.timeout(60):
            while text != "text 0" and not has_come():  # noqa: ASYNC110 - another thread writes files
                await asyncio.sleep(0.005)
        return await super().send(request, on_begin=on_begin)


def advanced(bench: Bench, info: RunInfo, make: MakeSink, *, live: bool = True, rows: str = "all") -> Summary:
    def target() -> PartTarget:
        return PartTarget(0, make(), wants(rows), DEFINITION, live)

    with SqliteLedger.open(info.folder) as ledger:
        run = bench.assembled(info, ledger)
        return advance(replace(run, make_live=lambda _: [target()] if live else [], make_targets=lambda: [target()]))


def all_keys(count: int) -> set[str]:
    return {f"k{number}" for number in range(count)}


def test_records_come_while_a_row_is_still_open(tmp_path: Path) -> None:
    bench, folder = Bench(tmp_path / "p", rows=20), tmp_path / "t"
    seen: list[set[str]] = []

    def all_but_one() -> bool:
        seen[:] = [set(FolderSink(folder).received())]
        return len(seen[0]) == 19

    bench.provider = WaitingProvider(waits_with="text 3", until=all_but_one)
    summary = advanced(bench, bench.begin(), lambda: FolderSink(folder, records=5))
    assert seen == [all_keys(20) - {"k3"}]
    received = FolderSink(folder).received()
    assert (sorted(received), received[-1]) == (sorted(all_keys(20)), "k3")
    (sink,) = summary.sinks
    assert (summary.exit_status, sink.state, sink.records) == (0, "delivered", 20)


def test_who_looks_at_the_run_sees_how_far_its_live_sink_is(tmp_path: Path) -> None:
    bench, folder = Bench(tmp_path / "p", rows=20), tmp_path / "t"
    info = bench.begin()
    seen: list[Delivery] = []

    def all_but_one() -> bool:
        seen[:] = read_summary(info).sinks
        return bool(seen) and seen[0].records == 19

    bench.provider = WaitingProvider(waits_with="text 3", until=all_but_one)
    advanced(bench, info, lambda: FolderSink(folder, records=5))
    assert seen == [Delivery(0, "folder", "folder t", "pending", 19)]
    assert [(sink.state, sink.records) for sink in read_summary(info).sinks] == [("delivered", 20)]


def test_rows_of_one_request_come_together(tmp_path: Path) -> None:
    bench, folder = Bench(tmp_path / "p", rows=20), tmp_path / "t"
    info = bench.begin()
    with SqliteLedger.open(info.folder) as ledger:
        assert ledger.note_twins(bytes([number % 10]) for number in range(20)) == 10

    def received(count: int) -> Callable[[], bool]:
        return lambda: len(FolderSink(folder).received()) >= count

    # The first look is over all rows; of those that are sent once it is over, only what they are told is known.
    bench.provider = WaitingInTurn(of_text={"text 3": received(18)}, of_others=received(2))
    summary = advanced(bench, info, lambda: FolderSink(folder, records=5))
    assert sorted(FolderSink(folder).received()) == sorted(all_keys(20))
    assert (summary.counts.requests, summary.sinks[0].records) == (10, 20)


def test_a_row_that_is_sent_again_comes_again_as_it_is_then(tmp_path: Path) -> None:
    bench, folder = Bench(tmp_path / "p", rows=4), tmp_path / "t"
    bench.provider.script["text 2"] = [refused("invalid_request_error", retryable=False)]
    info = bench.begin()
    advanced(bench, info, lambda: FolderSink(folder))
    with SqliteLedger.open(info.folder) as ledger:
        ledger.set_meta({"state": "open"})
        assert ledger.reopen() == 1
    summary = advanced(bench, info, lambda: FolderSink(folder))
    calls = [record for call in FolderSink(folder).calls() for record in call["records"] if record["key"] == "k2"]
    assert [record["status"] for record in calls] == ["failed", "succeeded"]
    assert sorted(FolderSink(folder).received()) == sorted([*all_keys(4), "k2"])
    assert summary.sinks[0].records == 4


class Failing:
    """A reach that raises at each `deliver` while it is told to."""

    def __init__(self) -> None:
        self.fails = True
        self.times = 0

    def __call__(self, step: str) -> None:
        if step == "before deliver" and self.fails:
            self.times += 1
            raise DeliveryError("the target is gone", hint="bring it back")


def test_a_live_sink_that_fails_holds_nothing_up_and_gets_all_at_the_end(tmp_path: Path) -> None:
    bench, folder, failing = Bench(tmp_path / "p", rows=12), tmp_path / "t", Failing()

    def failed_once() -> bool:
        failing.fails = not failing.times
        return bool(failing.times)

    bench.provider = WaitingProvider(waits_with="text 11", until=failed_once)
    summary = advanced(bench, bench.begin(), lambda: FolderSink(folder, reach=failing))
    assert (summary.exit_status, summary.sinks[0].state, failing.times) == (0, "delivered", 1)
    assert sorted(FolderSink(folder).received()) == sorted(all_keys(12))
    assert [event.code for event in bench.events.of(Warned)].count("live-sink-waits") == 1


def test_a_sink_that_goes_on_failing_ends_the_run_with_4_and_the_next_delivery_goes_on(tmp_path: Path) -> None:
    bench, folder, failing = Bench(tmp_path / "p", rows=6), tmp_path / "t", Failing()
    info = bench.begin()
    summary = advanced(bench, info, lambda: FolderSink(folder, reach=failing))
    assert (summary.status, summary.exit_status, summary.counts.succeeded) == ("finished", 4, 6)
    assert summary.sinks == [Delivery(0, "folder", "folder t", "failed", error="the target is gone; bring it back")]
    failing.fails = False
    again = advanced(bench, info, lambda: FolderSink(folder, reach=failing))
    assert (again.exit_status, sorted(FolderSink(folder).received())) == (0, sorted(all_keys(6)))


def test_hints_beyond_what_is_kept_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "MAX_HINTS", 2)
    bench, folder = Bench(tmp_path / "p", rows=30), tmp_path / "t"
    bench.provider = WaitingProvider(waits_with="text 0", until=lambda: len(FolderSink(folder).received()) == 29)
    advanced(bench, bench.begin(), lambda: FolderSink(folder))
    assert sorted(FolderSink(folder).received()) == sorted(all_keys(30))


def test_a_run_that_stops_says_how_far_its_live_sink_is(tmp_path: Path) -> None:
    bench, folder = Bench(tmp_path / "p", rows=4), tmp_path / "t"
    info = bench.begin()

    def make_live(_: object) -> list[PartTarget]:
        return [PartTarget(0, FolderSink(folder), wants("all"), DEFINITION, True)]

    with SqliteLedger.open(info.folder) as ledger:
        maker = bench.assembled(info, ledger).records
        with live_sinks(info.folder, maker, make_live, bench.events, ledger.set_delivery):
            pass
        assert [(delivery.state, delivery.records) for delivery in ledger.deliveries()] == [("pending", 0)]


def test_what_ends_the_run_is_what_is_told(tmp_path: Path) -> None:
    bench, folder = Bench(tmp_path / "p", rows=4), tmp_path / "t"
    info = bench.begin()

    def make_live(_: object) -> list[PartTarget]:
        return [PartTarget(0, FolderSink(folder), wants("all"), DEFINITION, True)]

    with SqliteLedger.open(info.folder) as ledger:
        maker = bench.assembled(info, ledger).records
        with (
            pytest.raises(KeyboardInterrupt),
            live_sinks(info.folder, maker, make_live, bench.events, ledger.set_delivery),
        ):
            raise KeyboardInterrupt


STEPS = ("before begin", "after begin", "before deliver", "after deliver", "before finish", "after finish")


@pytest.mark.fault
@pytest.mark.parametrize("marks", [True, False], ids=["marks", "ids"])
def test_killed_at_any_step_of_a_live_delivery_each_record_is_there_once(tmp_path: Path, marks: bool) -> None:
    """Kill after kill, each at the next step, until a run comes to its end."""
    bench, folder = Bench(tmp_path / "p", rows=12), tmp_path / "t"
    info = bench.begin()
    for number in range(1, 60):

        def go_on(kill_at: int = number) -> None:
            counted: Reach = Counted(kill_at % 9 + 1)
            advanced(bench, info, lambda: FolderSink(folder, marks=marks, reach=counted))

        if not killed(go_on):
            break
    else:
        pytest.fail("it never came to its end")
    assert number > 3
    assert sorted(FolderSink(folder).received()) == sorted(all_keys(12))


def test_an_export_beside_a_run_leaves_its_parts_to_it(tmp_path: Path) -> None:
    sinks = 'sinks: [out/x.jsonl, {python: "beside_sinks:save"}]'
    bench = Bench(tmp_path / "p", rows=2, job=JOB.replace("sinks: [out/x.jsonl]", sinks))
    bench.write("beside_sinks.py", "def save(records):\n    open('beside_sinks.called', 'a').close()\n")
    info = bench.begin()
    with SqliteLedger.open(info.folder):
        jsonl, function = export_run(bench.state.find(info.run_id), bench.state, bench.load().settings)
    assert (jsonl.kind, jsonl.state) == ("jsonl", "delivered")
    assert (function.kind, function.state, function.records) == ("python", "pending", 0)
    assert function.error == "another process goes on with the run, and delivers to it"
