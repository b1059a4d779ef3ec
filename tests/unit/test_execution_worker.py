"""A worker: it ends with its channel, says what is wrong with it, and tells what has to be known of what it sends.

What workers do to a run is in `tests/integration/test_workers.py`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from runner.engines import StopReason
from runner.errors import LedgerError
from runner.events import CoolingDown, Event, StepEnded, StepSent, Stopping, Warned
from runner.execution.api import Api
from runner.execution.assignment import Assignment, portable
from runner.execution.channel import Channel, Message
from runner.execution.loop import on_loop
from runner.execution.outcome_tuples import open_step_tuples
from runner.execution.worker import Herald, Relay
from runner.execution.worker_process import spawn_worker
from runner.ledger import Ruling
from runner.ledger.sqlite import SqliteLedger
from runner.types import Request, Step, Usage
from support.engine_fakes import prepared
from support.execution_fakes import ADDRESS, Bench, EchoProvider, refused, replied

STEP = Step(3)


class Holder:
    """The other end of a worker's channel."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self._news = asyncio.Event()
        self.channel = Channel(self._take, self._news.set)

    def _take(self, messages: Sequence[Message]) -> None:
        self.heard += messages
        self._news.set()

    async def until(self, count: int) -> list[Message]:
        while len(self.heard) < count:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 60)
        return self.heard


# -- the process -------------------------------------------------------------------------------------------------------


@contextmanager
def started() -> Any:
    ours, theirs = socket.socketpair()
    with theirs:
        process = spawn_worker(theirs)
    try:
        yield process, ours
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_a_worker_ends_when_its_channel_does() -> None:
    with started() as (process, ours), ours:
        assert os.getsid(process.pid) == process.pid, "a Ctrl-C at the terminal does not reach it"


def test_a_worker_imports_nothing_from_the_folder_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("orjson", "uvloop", "runner"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is the project, not a package')")
    monkeypatch.chdir(tmp_path)
    with started() as (_, ours), ours:
        pass  # that it ends well is looked at there


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_leaves_signals_to_the_process_that_holds_the_run(tmp_path: Path, number: signal.Signals) -> None:
    """What it says after the signal shows that it is still there."""
    assignment = assignment_of(tmp_path)

    async def main(process: Any, ours: socket.socket) -> None:
        holder = Holder()
        await holder.channel.open(ours)
        holder.channel.send("start", assignment, urgent=True)
        await holder.until(1)  # by then it has said what it does with signals
        process.send_signal(number)
        holder.channel.send("halt", StopReason("interrupted", "interrupted"), True, urgent=True)
        assert process.poll() is None
        holder.channel.close()

    with started() as (process, ours):
        on_loop(main(process, ours))


def test_what_is_wrong_in_a_worker_is_raised_where_the_run_is_held(tmp_path: Path) -> None:
    assignment = assignment_of(tmp_path)

    async def main(ours: socket.socket) -> None:
        holder = Holder()
        await holder.channel.open(ours)
        holder.channel.send("start", assignment, urgent=True)
        ((kind, error),) = await holder.until(1)
        assert kind == "failed"
        assert isinstance(error, LedgerError)
        assert error.code == "no-ledger"
        holder.channel.close()

    with started() as (_, ours):
        on_loop(main(ours))


def test_a_worker_that_hears_of_an_answer_does_not_take_the_api_for_one_that_was_never_there(tmp_path: Path) -> None:
    """It waits for as long as where it had been answered itself, and says so."""
    bench = Bench(tmp_path)
    info = bench.begin()
    with SqliteLedger.open(info.folder) as ledger:
        steps = open_step_tuples(ledger.open_steps(None, 4))
        facts = bench.assembled(info, ledger).facts

    async def main(ours: socket.socket, address: str) -> None:
        api = Api(address, False, {"ANTHROPIC_API_KEY": "sk-ant-test", "ANTHROPIC_BASE_URL": address})
        settings, api = portable(bench.load().settings, api)
        assignment = Assignment(
            0, 2, info.run_id, info.folder, settings, api, facts, tells_begun=False, collects_after=gc.get_threshold()
        )
        holder = Holder()
        await holder.channel.open(ours)
        holder.channel.send("start", assignment)
        holder.channel.send("answered", urgent=True)
        try:
            assert await first_warning(holder, steps) == "no-answer"
        finally:
            holder.channel.close()

    with socket.socket() as closed, started() as (_, ours):
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        on_loop(main(ours, f"http://127.0.0.1:{closed.getsockname()[1]}"))


async def first_warning(holder: Holder, steps: Sequence[Any]) -> str | None:
    """What a worker warns of first, with these steps to send; None where it stops before."""
    left = [steps]
    for number in count(1):
        match (await holder.until(number))[number - 1]:
            case ("more", _):
                holder.channel.send("steps", left.pop() if left else (), urgent=True)
            case ("lease", call, leases):
                holder.channel.send("done", call, len(leases), urgent=True)
            case ("record", call, _, Ruling(failure=failure)):
                holder.channel.send("decided", call, "open", failure, None, urgent=True)
            case ("told", Warned(code=code)):
                return code
            case ("stopping", _):
                return None
    raise AssertionError("it goes on for ever")


def assignment_of(root: Path) -> Assignment:
    """Of a run whose folder is not there."""
    settings = Bench(root).load().settings
    settings, api = portable(settings, Api(ADDRESS, False, {}))
    return Assignment(
        0, 2, "r", root / "gone", settings, api, None, tells_begun=False, collects_after=gc.get_threshold()
    )


# -- what it tells -----------------------------------------------------------------------------------------------------


def test_what_happens_is_told_but_not_how_a_step_ended() -> None:
    events: list[Event] = [
        StepSent(STEP, 2, 5),
        StepEnded(STEP, 2, "succeeded", None, Usage(), 1, False, 4),
        CoolingDown(1.5, "rate_limit_error"),
        Stopping("credentials", "no"),
    ]

    async def main() -> None:
        holder = Holder()
        worker_s = Channel(lambda _: None, lambda: None)
        one, other = socket.socketpair()
        await worker_s.open(one)
        await holder.channel.open(other)
        for event in events:
            Relay(worker_s).notify(event)
        assert await holder.until(3) == [
            ("sent", (3, 0, 0, 0), 2),
            ("told", CoolingDown(1.5, "rate_limit_error")),
            ("stopping", StopReason("credentials", "no")),
        ]
        worker_s.close()
        holder.channel.close()

    on_loop(main())


REQUEST: Request = prepared(0).request


def heralded(provider: EchoProvider, sends: Sequence[Callable[[], None] | None]) -> int:
    """How often a herald has told that a reply has begun, after so many requests."""
    told: list[str] = []

    async def main() -> None:
        herald = Herald(provider, lambda: told.append("begun"))
        for on_begin in sends:
            await herald.send(REQUEST, on_begin=on_begin)

    asyncio.run(main())
    return len(told)


def test_a_herald_tells_of_the_first_reply_that_begins_and_only_once() -> None:
    assert heralded(Echo(), [lambda: None, lambda: None, None]) == 1


def test_a_reply_that_was_not_streamed_has_begun_too() -> None:
    assert heralded(Echo(), [None]) == 1


def test_a_failure_is_no_beginning() -> None:
    assert heralded(Echo(fails=1), [lambda: None]) == 0
    assert heralded(Echo(fails=1), [lambda: None, None]) == 1


class Echo(EchoProvider):
    """Fails so many times, whatever it is asked."""

    def __init__(self, fails: int = 0) -> None:
        super().__init__()
        self.fails = fails

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Any:
        if self.fails:
            self.fails -= 1
            return refused()
        if on_begin is not None:
            on_begin()
        return replied("yes")
