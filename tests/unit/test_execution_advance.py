"""A run under way: what stops it, what it says, and that it ends with what it counted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner.engines.halt import INTERRUPTED
from runner.errors import LedgerError
from runner.events import Event, RunEnded, RunStarted, StepEnded, Stopping
from runner.execution.advance import advance
from runner.ledger import Lease
from runner.providers import Sent
from runner.types import PICO_PER_USD, Request, Step
from support.engine_fakes import Listener
from support.execution_fakes import JOB, Bench, EchoProvider, FaultyLedger, folder_in_memory, refused, replied, text_in

REFUSED = replied("no", stop_reason="refusal")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with folder_in_memory(tmp_path) as folder:
        yield Bench(folder / "project", rows=6)


def refuse(bench: Bench, *numbers: int) -> None:
    bench.provider.always.update({f"text {number}": REFUSED for number in numbers})


# -- limits --------------------------------------------------------------------------------------------------------


def test_too_many_failures_stop_a_run_that_can_go_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "project", rows=60)
    refuse(bench, 0, 1, 2)
    summary = bench.run("limits.max_failures=2")
    assert (summary.status, summary.exit_status) == ("stopped", 4)
    assert summary.stopped_by is not None
    assert (summary.stopped_by.kind, summary.counts.failures) == ("max_failures", {"refusal": 3})
    assert "3 refusal" in summary.stopped_by.message
    assert summary.counts.open
    assert not (bench.root / "out").exists(), "a run that stopped early writes no target"
    again = bench.run("limits.max_failures=2")
    assert (again.status, again.counts.open) == ("stopped", summary.counts.open), "nothing more is sent under it"
    assert bench.run("limits.max_failures=10").exit_status == 5


@dataclass
class Together(EchoProvider):
    """Answers six when the last of them has asked."""

    asked: int = 0

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        self.asked += 1
        last = -(-self.asked // 6) * 6
        while self.asked < last:  # noqa: ASYNC110 - each run has a loop of its own
            await asyncio.sleep(0.001)
        return await super().send(request, on_begin=on_begin)


def test_a_limit_that_only_the_last_rows_pass_stops_nothing(bench: Bench) -> None:
    """Whether the engine hears of it before it ends is chance; the run has all its rows in any case."""
    bench.provider = Together()
    refuse(bench, *range(6))
    for _ in range(5):
        summary = bench.run("limits.max_failures=0", "limits.max_concurrency=6", new=True, reuse=False)
        assert (summary.status, summary.exit_status, summary.stopped_by) == ("finished", 5, None)
        assert summary.counts.failures == {"refusal": 6}
        assert len(bench.records()) == 6


def test_a_share_of_failures_counts_from_a_hundred_rows_on(tmp_path: Path) -> None:
    few = Bench(tmp_path / "few", rows=90)
    refuse(few, *range(45))
    assert few.run("limits.max_failures=10%").status == "finished"
    many = Bench(tmp_path / "many", rows=250)
    refuse(many, *range(0, 250, 2))
    summary = many.run("limits.max_failures=10%")
    assert summary.status == "stopped"
    assert summary.counts.total - summary.counts.open >= 100


def test_allowed_failures_end_with_0(bench: Bench) -> None:
    refuse(bench, 2)
    assert bench.run("limits.allow_failures=1").exit_status == 0
    (info,) = bench.runs()
    assert info.meta["allow_failures"] == [1, None]


def test_a_cap_stops_the_run_and_more_money_goes_on(bench: Bench) -> None:
    summary = bench.run("limits.max_cost_usd=0.00003")
    assert summary.stopped_by is not None
    assert (summary.stopped_by.kind, summary.exit_status) == ("budget", 4)
    assert summary.money.spent + summary.money.doubtful <= 30 * 10**6
    most = summary.meta["upper_cost_pico"] / PICO_PER_USD
    assert str(summary.stopped_by.hint).startswith(f"all of it needs up to about ${most:.4g} in parallel mode: raise")
    assert f"`runner resume {summary.run_id}`" in str(summary.stopped_by.hint), "it can be copied"
    assert bench.run().exit_status == 0
    assert set(bench.provider.billed.values()) == {1}


@pytest.mark.parametrize(
    ("kind", "stopped_by"), [("authentication_error", "credentials"), ("billing_error", "spend_limit")]
)
def test_what_concerns_every_row_stops_the_run_and_fails_none(bench: Bench, kind: str, stopped_by: str) -> None:
    bench.provider.always["text 3"] = refused(kind, scope="job", retryable=False, http_status=401)
    summary = bench.run("limits.max_concurrency=1")
    assert summary.stopped_by is not None
    assert (summary.stopped_by.kind, summary.exit_status, summary.counts.failed) == (stopped_by, 4, 0)
    assert summary.resume == f"runner resume {summary.run_id}"
    assert bench.events.of(Stopping)[0].reason == stopped_by
    bench.provider.always.clear()
    assert bench.run().exit_status == 0


# -- what is said --------------------------------------------------------------------------------------------------


def test_rows_that_were_never_sent_are_told_too(bench: Bench) -> None:
    bench.rows(["one", "", "three"])
    bench.run()
    bench.rows(["one", "", "three", "four"])
    bench.events.events.clear()
    bench.run()
    ended = {event.step.row: (event.status, event.reused) for event in bench.events.of(StepEnded)}
    assert ended == {0: ("succeeded", True), 1: ("failed", False), 2: ("succeeded", True), 3: ("succeeded", False)}
    assert [event.rows for event in bench.events.of(RunStarted)] == [4]
    assert [event.status for event in bench.events.of(RunEnded)] == ["finished"]


def test_no_rows_are_a_warning_and_an_empty_output(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "project", rows=0)
    summary = bench.run()
    assert (summary.status, summary.exit_status, summary.counts.total) == ("finished", 0, 0)
    assert any("no rows" in warning for warning in summary.warnings)
    assert bench.records() == []


def test_what_may_have_left_no_row_is_named(bench: Bench) -> None:
    (warning,) = (warning for warning in bench.run("dataset.offset=1000").warnings if "no rows" in warning)
    assert "the dataset has no rows, or `offset` leaves out the first 1,000" in warning
    assert "where" not in warning


def test_the_time_of_all_sittings_is_summed(bench: Bench) -> None:
    info = bench.begin()
    assert bench.run().elapsed_s > info.meta["elapsed_s"] > 0


def test_why_a_run_stopped_is_forgotten_once_it_goes_on(bench: Bench) -> None:
    info = bench.begin()
    assert info.meta["stopped_by"]["kind"] == "budget"
    bench.run()
    assert bench.runs()[0].meta["stopped_by"] is None


# -- errors and signals --------------------------------------------------------------------------------------------


class Buggy(EchoProvider):
    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        raise ZeroDivisionError("a bug")


def test_a_bug_of_the_provider_is_no_row_s_failure(bench: Bench) -> None:
    bench.provider = Buggy()
    with pytest.raises(ZeroDivisionError):
        bench.run()
    (info,) = bench.runs()
    assert info.unfinished
    bench.provider = EchoProvider()
    assert bench.run().exit_status == 0


def test_rows_that_stay_open_though_nothing_waits_are_told(bench: Bench) -> None:
    """Somebody else holds them, which cannot be: a bug that must not become an endless loop."""
    info = bench.begin()
    with FaultyLedger.open(info.folder) as ledger:
        run = bench.assembled(info, ledger)
        ledger.lease([Lease(Step(row), bytes(32), 1) for row in range(6)], None)
        with pytest.raises(LedgerError) as caught:
            advance(run)
    assert caught.value.code == "stuck"


@dataclass
class Signalled(EchoProvider):
    """Sends this process signals when the third request arrives."""

    signals: tuple[signal.Signals, ...] = ()
    slow_s: float = 0.0

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        if len(self.received) == 2:
            for number in self.signals:
                os.kill(os.getpid(), number)
                await asyncio.sleep(0.01)
        if len(self.received) >= 2 and self.slow_s:
            self.received.append("waits")
            await asyncio.sleep(self.slow_s)
        return await super().send(request, on_begin=on_begin)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_and_the_run_can_go_on(bench: Bench, number: signal.Signals, status: int) -> None:
    bench.provider = Signalled(signals=(number,))
    summary = bench.run("limits.max_concurrency=2")
    assert (summary.status, summary.exit_status) == ("interrupted", status)
    assert summary.counts.open
    assert summary.counts.succeeded == bench.provider.billed.total(), "what was in flight is awaited"
    assert not (bench.root / "out").exists()
    bench.provider = EchoProvider(billed=bench.provider.billed)
    assert bench.run().exit_status == 0
    assert set(bench.provider.billed.values()) == {1}


def test_a_second_signal_drops_what_is_in_flight(bench: Bench) -> None:
    bench.provider = Signalled(signals=(signal.SIGINT, signal.SIGINT), slow_s=60)
    summary = bench.run("limits.max_concurrency=2")
    assert summary.stopped_by is not None
    assert summary.stopped_by.kind == INTERRUPTED.kind
    bench.provider = EchoProvider()
    summary = bench.run()
    assert summary.exit_status == 0
    assert summary.money.doubtful > 0, "what was dropped may have been billed"


@dataclass
class Impatient(EchoProvider):
    """Answers the first row once the second is under way too; in the midst of that one a person interrupts a run that
    stops already."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    both_sent: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        if text_in(request) == "text 0":
            await self.both_sent.wait()
        elif text_in(request) == "text 1":
            self.both_sent.set()
            await self.stopping.wait()
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.05)
        return await super().send(request, on_begin=on_begin)


class Waking(Listener):
    """Wakes up whoever waits for the run to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping = asyncio.Event()

    def notify(self, event: Event) -> None:
        super().notify(event)
        if isinstance(event, Stopping):
            self.stopping.set()


def test_the_first_signal_drains_also_where_the_run_stops_already(bench: Bench) -> None:
    bench.events = waking = Waking()
    bench.provider = impatient = Impatient(stopping=waking.stopping)
    refuse(bench, 0)
    summary = bench.run("limits.max_failures=0", "limits.max_concurrency=2")
    assert summary.stopped_by is not None
    assert summary.stopped_by.kind == "max_failures"
    assert impatient.billed["text 1"] == 1, "its reply was awaited"
    assert bench.run("limits.max_failures=9").money.doubtful == 0
    assert impatient.billed["text 1"] == 1


def test_the_signals_are_given_back(bench: Bench) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    bench.run()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_job_is_the_one_that_was_given(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "project", rows=2, job=JOB.replace("name: x", "name: y"))
    summary = bench.run()
    assert summary.job == "y"
    assert bench.records()[0]["job"] == "y"
