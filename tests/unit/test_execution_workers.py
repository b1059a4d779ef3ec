"""Several workers of one run, seen from the process that holds it.

The workers here are played by the tests, over real socket pairs; real ones are in `tests/integration/test_workers.py`.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from runner.engines import Decision, StopReason
from runner.engines.halt import INTERRUPTED, Halt
from runner.errors import LedgerError, SetupError
from runner.events import CoolingDown, HeldBack, StepEnded, StepSent, Stopping
from runner.execution.assignment import Assignment
from runner.execution.channel import Channel, Message
from runner.execution.loop import on_loop
from runner.execution.outcome_tuples import StepTuple, outcome_tuple, step_of
from runner.execution.passes import sender_of
from runner.execution.worker_count import ROWS_A_WORKER, SLOTS_A_WORKER, count_of
from runner.execution.workers import GivenRulings, Workers
from runner.execution.writer import Writer
from runner.ledger import Lease, Ruling
from runner.types import PICO_PER_USD, Failure, Outcome, Step
from support.engine_fakes import HandClock, Listener
from support.execution_fakes import Bench, FaultyLedger
from support.ledgers import BOUND, answer

MANY_ROWS, MANY_SLOTS = 10 * ROWS_A_WORKER, 4 * SLOTS_A_WORKER


def test_as_many_as_are_asked_for() -> None:
    assert count_of(3, 500, 50, 2) == 3
    assert count_of(1, MANY_ROWS, MANY_SLOTS, 8) == 1


def test_none_that_would_have_nothing_to_send() -> None:
    assert count_of(5, 3, 50, 8) == 3
    assert count_of(5, 500, 2, 8) == 2
    assert count_of(5, 0, 50, 8) == 1


@pytest.mark.parametrize(
    ("rows", "slots", "cores", "count"),
    [
        (MANY_ROWS, MANY_SLOTS, 8, 4),
        (MANY_ROWS, MANY_SLOTS, 2, 2),
        (MANY_ROWS, MANY_SLOTS, 1, 1),
        (MANY_ROWS, SLOTS_A_WORKER, 8, 1),
        (2 * ROWS_A_WORKER, MANY_SLOTS, 8, 2),
        (ROWS_A_WORKER - 1, MANY_SLOTS, 8, 1),
    ],
)
def test_auto_takes_more_where_rows_requests_at_once_and_cores_are_there(
    rows: int, slots: int, cores: int, count: int
) -> None:
    assert count_of("auto", rows, slots, cores) == count


def test_the_ruling_of_a_worker_counts_once_and_otherwise_the_run_s_own() -> None:
    own, given = Ruling("failed", Failure("refusal", "no")), Ruling("succeeded")
    asked: list[Outcome] = []

    def rule(outcome: Outcome) -> Ruling:
        asked.append(outcome)
        return own

    rulings, outcome = GivenRulings(rule), answer(Step(1))
    rulings.give(outcome, given)
    assert rulings(answer(Step(2))) == own
    assert rulings(outcome) == given
    assert rulings(outcome) == own
    assert [found.step.row for found in asked] == [2, 1]


# -- at work -----------------------------------------------------------------------------------------------------------


class Played:
    """A worker that a test plays: it keeps what it is told, and says what the test wants it to."""

    def __init__(self, end: socket.socket, number: int) -> None:
        self.pid = 1000 + number
        self.told: list[Message] = []
        self.killed = False
        self._news = asyncio.Event()
        self._ended = threading.Event()
        self._calls = 0
        self._channel = Channel(self._take, self._ended.set)
        self.opened = asyncio.get_running_loop().create_task(self._channel.open(end.dup()))

    # the process, as `Workers` sees it

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("a worker", timeout or 0)
        return -signal.SIGKILL if self.killed else 0

    def kill(self) -> None:
        self.killed = True
        asyncio.get_running_loop().call_soon(self._channel.close)

    # what the test says

    def say(self, *message: Any) -> None:
        self._channel.send(*message, urgent=True)

    def call(self, kind: str, *values: Any) -> int:
        self._calls += 1
        self.say(kind, self._calls, *values)
        return self._calls

    def record(self, step: Step, *, attempt: int = 1) -> int:
        return self.call("record", outcome_tuple(answer(step, attempt)), True)

    def fail(self, step: Step, failure: Failure) -> int:
        outcome = answer(step, end="errored", body=b"", cost=0, failure=failure)
        return self.call("record", outcome_tuple(outcome), Ruling("failed", failure))

    def die(self) -> None:
        self.killed = True
        self._channel.close()

    async def leave(self) -> None:
        """Say that it has ended, wait until that was heard, and end."""
        self.say("ended", None)
        await self.steps(1)  # an answer: what was said before has been taken
        self._ended.set()

    # what it hears

    def _take(self, messages: Sequence[Message]) -> None:
        self.told += messages
        self._news.set()

    async def assigned(self) -> None:
        """Wait until it has its part; the message stays. A halt before that assigns nothing."""
        while not any(message[0] == "start" for message in self.told):
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 60)

    async def until(self, *beginning: Any) -> Message:
        """Wait for a message that begins like this, and take it."""
        while True:
            for message in self.told:
                if message[: len(beginning)] == beginning:
                    self.told.remove(message)
                    return message
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 60)

    async def steps(self, limit: int) -> list[Step]:
        self.say("more", limit)
        _, steps = await self.until("steps")
        return [step_of(step) for step, _, _ in steps]

    async def lease(self, *steps: Step) -> int:
        admitted: int = (await self.until("done", self.asked_to_lease(*steps)))[2]
        return admitted

    def asked_to_lease(self, *steps: Step) -> int:
        leases: list[tuple[StepTuple, bytes, int]] = [((*_values(step),), bytes(32), BOUND) for step in steps]
        return self.call("lease", leases)


def _values(step: Step) -> StepTuple:
    return (step.row, step.turn, step.sample, step.round)


class Stage:
    """Two workers of a run with 20 rows, and what is seen of them."""

    def __init__(self, ledger: FaultyLedger, events: Listener, clock: HandClock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.events = events
        self.halt = Halt()
        self.players: list[Played] = []
        self.max_concurrency = 0
        self.complete = asyncio.Event()
        self.drained: asyncio.Task[StopReason | None]

    def spawn(self, end: socket.socket) -> Played:
        self.players.append(Played(end, len(self.players)))
        if len(self.players) == 2:
            self.complete.set()
        return self.players[-1]

    async def end(self) -> StopReason | None:
        """All workers say that they have ended."""
        for player in self.players:
            player.say("ended", None)
        return await self.drained


def on_stage(
    folder: Path,
    act: Callable[[Stage, Played, Played], Awaitable[None]],
    *,
    cap_pico: int | None = None,
    one_first: bool = False,
) -> None:
    """Run `act` beside two started workers; it sees to it that they end."""
    bench = Bench(folder)
    info = bench.begin()
    with FaultyLedger.open(info.folder) as ledger:
        cap = "null" if cap_pico is None else f"{cap_pico / PICO_PER_USD:.12f}"
        clock = HandClock()
        run = replace(bench.assembled(info, ledger, f"limits.max_cost_usd={cap}"), observer=Listener(), clock=clock)

        async def main() -> None:
            stage = Stage(ledger, run.observer, clock)  # type: ignore[arg-type]  # as it was made above
            stage.max_concurrency = run.job.limits.max_concurrency
            rulings = GivenRulings(run.rule)
            writer = sender_of(run, stage.halt, rulings)
            writer.start()
            workers = Workers(run, writer, rulings, stage.halt, count=2, one_first=one_first, spawn=stage.spawn)
            stage.drained = asyncio.get_running_loop().create_task(workers.drain())
            try:
                await asyncio.wait_for(stage.complete.wait(), 60)
                one, other = stage.players
                await asyncio.gather(one.assigned(), other.assigned())
                await asyncio.wait_for(act(stage, one, other), 60)
            finally:
                stage.drained.cancel()
                await asyncio.gather(stage.drained, return_exceptions=True)
                await asyncio.gather(writer.close(), return_exceptions=True)

        on_loop(main())


def test_each_worker_is_told_its_part_and_every_open_step_goes_to_one_of_them(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        parts: list[Assignment] = [(await player.until("start"))[1] for player in (one, other)]
        assert [(part.number, part.of, part.tells_begun) for part in parts] == [(0, 2, False), (1, 2, False)]
        first, second = await one.steps(6), await other.steps(6)
        rest = [*await other.steps(6), *await one.steps(6)]
        assert [step.row for step in (*first, *second, *rest)] == list(range(20))
        assert await one.steps(6) == await other.steps(6) == []
        assert await stage.end() is None

    on_stage(tmp_path, act)


def test_what_workers_do_is_told_as_if_one_process_did_it(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        for player, row in ((one, 0), (other, 1)):
            assert await player.lease(Step(row)) == 1
            player.say("sent", (row, 0, 0, 0), 1)
        other.say("told", CoolingDown(2.0, "rate_limit_error"))
        for player, row in ((other, 1), (one, 0)):
            await player.until("decided", player.record(Step(row)), "succeeded", None)
        one.say("post", outcome_tuple(answer(Step(2), reused=True, cost=0)), True)
        await one.until("posted", 1)
        await stage.end()
        sent, ended = stage.events.of(StepSent), stage.events.of(StepEnded)
        assert sorted((event.step.row, event.attempt) for event in sent) == [(0, 1), (1, 1)]
        assert max(event.in_flight for event in sent) == 2
        assert [(event.step.row, event.status, event.in_flight) for event in ended] == [
            (1, "succeeded", 1),
            (0, "succeeded", 0),
            (2, "succeeded", None),
        ]
        assert stage.events.of(CoolingDown) == [CoolingDown(2.0, "rate_limit_error")]
        assert stage.ledger.counts().succeeded == 3

    on_stage(tmp_path, act)


def test_what_holds_workers_back_is_told_of_all_of_them_and_as_long_as_one_is_held(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        for player, held in (
            (one, HeldBack("connections", 4, own=True)),
            (other, HeldBack("connections", 4, own=True)),
            (one, HeldBack(None)),
            (other, HeldBack("requests", 3_000)),
        ):
            player.say("told", held)
            await player.steps(1)  # answered behind it
        other.say("ended", None)
        one.say("ended", None)
        await stage.drained
        assert stage.events.of(HeldBack) == [
            HeldBack("connections", stage.max_concurrency, own=True),
            HeldBack("requests", 3_000),
            HeldBack(None),
        ]

    on_stage(tmp_path, act)


def test_a_worker_that_nothing_answers_is_told_of_what_others_hear(tmp_path: Path) -> None:
    refused = Failure("connection_error", "refused", retryable=True)
    busy = Failure("overloaded_error", "busy", retryable=True, http_status=529)

    def told(player: Played) -> int:
        return player.told.count(("answered",))

    async def act(stage: Stage, one: Played, other: Played) -> None:
        first, second, third, fourth = await one.steps(4)
        await one.lease(first, second, third, fourth)
        await one.until("decided", one.fail(first, refused))
        assert told(other) == 0, "that is no answer"
        await one.until("decided", one.fail(second, busy))
        await other.until("answered")  # the first: all are told
        stage.clock.time += 1.0
        await one.until("decided", one.record(third))
        await other.steps(1)
        assert told(other) == 0, "it gets answers itself"
        other.say("told", HeldBack("unreachable"))
        await other.steps(1)
        stage.clock.time += 1.0
        await one.until("decided", one.record(fourth))
        await other.until("answered")
        assert told(one) == 0
        assert await stage.end() is None

    on_stage(tmp_path, act)


def test_the_others_get_no_steps_until_the_first_reply_has_begun(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        assert (await one.until("start"))[1].tells_begun
        other.say("more", 3)
        assert len(await one.steps(3)) == 3
        assert await one.lease(Step(0)) == 1
        assert [message[0] for message in other.told] == ["start"]
        one.say("begun")
        _, steps = await other.until("steps")
        assert [step[0] for step, _, _ in steps] == [3, 4, 5]
        await stage.end()

    on_stage(tmp_path, act, one_first=True)


def test_the_others_go_on_when_the_first_has_nothing_to_send(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        other.say("more", 3)
        one.say("ended", None)
        await other.until("steps")
        await stage.end()

    on_stage(tmp_path, act, one_first=True)


# -- the cap -----------------------------------------------------------------------------------------------------------


def test_what_a_worker_hands_over_first_is_handed_to_the_writer_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one message of the channel: a lease stands behind the outcomes that make room for it."""
    order: list[tuple[str, list[int]]] = []
    record_all, take_leases = Writer.record_all, Writer.take_leases

    def recording(writer: Writer, outcomes: Sequence[Outcome]) -> Coroutine[Any, Any, Sequence[Decision]]:
        order.append(("record", [outcome.step.row for outcome in outcomes]))
        return record_all(writer, outcomes)

    def leasing(writer: Writer, leases: Sequence[Lease]) -> Coroutine[Any, Any, int]:
        order.append(("lease", [lease.step.row for lease in leases]))
        return take_leases(writer, leases)

    async def act(stage: Stage, one: Played, other: Played) -> None:
        monkeypatch.setattr(Writer, "record_all", recording)
        monkeypatch.setattr(Writer, "take_leases", leasing)
        assert await one.lease(Step(0), Step(1), Step(2)) == 3
        one.record(Step(0))
        one.record(Step(1))
        following = one.asked_to_lease(Step(3))
        last = one.record(Step(2))
        await one.until("done", following, 1)
        await one.until("decided", last)
        await stage.end()

    on_stage(tmp_path, act)
    assert order == [("lease", [0, 1, 2]), ("record", [0, 1]), ("lease", [3]), ("record", [2])]


def test_a_worker_with_nothing_under_way_waits_for_room_that_another_makes(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        assert await one.lease(Step(0), Step(1)) == 1
        waits = other.asked_to_lease(Step(2))
        assert await one.lease(Step(1)) == 0, "it has something under way that it will hear of itself"
        await one.until("decided", one.record(Step(0)))
        assert (await other.until("done", waits))[2] == 1
        await stage.end()

    on_stage(tmp_path, act, cap_pico=BOUND + BOUND // 2)


def test_the_cap_is_used_up_when_nothing_is_under_way_that_could_make_room(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        assert await one.lease(Step(0)) == 1
        waits = other.asked_to_lease(Step(2))
        one.call("release", [(0, 0, 0, 0)])
        assert (await other.until("done", waits))[2] == 1
        waits = one.asked_to_lease(Step(0))
        await other.until("decided", other.record(Step(2)))
        assert (await one.until("done", waits))[2] == 0
        assert await other.lease(Step(3)) == 0
        await stage.end()

    on_stage(tmp_path, act, cap_pico=BOUND + 3)


def test_a_lease_that_waits_is_refused_when_the_run_stops(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        assert await one.lease(Step(0)) == 1
        waits = other.asked_to_lease(Step(2))
        await one.lease(Step(1))  # answered behind the other's
        stage.halt.stop(INTERRUPTED)
        await other.until("halt", INTERRUPTED, False)
        assert (await other.until("done", waits))[2] == 0
        assert await stage.end() == INTERRUPTED

    on_stage(tmp_path, act, cap_pico=BOUND)


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_a_halt_reaches_all_workers_and_its_second_degree_too(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        stage.halt.stop(INTERRUPTED)
        for player in (one, other):
            await player.until("halt", INTERRUPTED, False)
        stage.halt.drop()
        for player in (one, other):
            await player.until("halt", INTERRUPTED, True)
        assert await one.steps(5) == [], "nothing more is given out"
        assert await stage.end() == INTERRUPTED
        assert len(stage.events.of(Stopping)) == 1

    on_stage(tmp_path, act)


def test_the_reason_of_one_stops_the_others_and_is_the_run_s(tmp_path: Path) -> None:
    whole = StopReason("credentials", "no", "check the key", Failure("authentication_error", "no", scope="job"))

    async def act(stage: Stage, one: Played, other: Played) -> None:
        other.say("stopping", StopReason("credentials", "no"))
        await one.until("halt", StopReason("credentials", "no"), False)
        one.say("stopping", StopReason("credentials", "no"))
        one.say("ended", StopReason("credentials", "no"))
        other.say("ended", whole)
        assert await stage.drained == whole
        assert len(stage.events.of(Stopping)) == 1

    on_stage(tmp_path, act)


def test_a_worker_that_dies_stops_the_run_and_the_others_drain(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        assert await one.lease(Step(0)) == await other.lease(Step(1)) == 1
        one.die()
        await other.until("halt")
        await other.until("decided", other.record(Step(1)))
        other.say("ended", StopReason("worker_died", "…"))
        reason = await stage.drained
        assert reason is not None
        assert (reason.kind, "killed by SIGKILL" in reason.message) == ("worker_died", True)
        assert "resume" in str(reason.hint)
        assert stage.ledger.counts().succeeded == 1
        assert stage.ledger.money().reserved == BOUND, "what it had leased is in doubt"

    on_stage(tmp_path, act)


def test_an_error_of_one_is_raised_when_the_others_have_drained(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        assert await other.lease(Step(1)) == 1
        one.say("failed", SetupError("no credential", code="no-credentials"))
        await other.until("halt")
        await other.until("decided", other.record(Step(1)))
        other.say("ended", None)
        with pytest.raises(SetupError, match="no credential"):
            await stage.drained
        assert stage.ledger.counts().succeeded == 1

    on_stage(tmp_path, act)


def test_a_ledger_that_fails_is_told_to_all_workers_and_raised(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        assert await one.lease(Step(0)) == 1
        stage.ledger.fails_at = len(stage.ledger.calls) + 1
        one.record(Step(0))
        for player in (one, other):
            await player.until("lost")
            player.say("failed", RuntimeError("the book is lost"))
        with pytest.raises(LedgerError) as caught:
            await stage.drained
        assert caught.value.code == "disk-full"

    on_stage(tmp_path, act)


def test_a_message_that_nobody_knows_is_a_bug_and_raised_as_one(tmp_path: Path) -> None:
    async def act(stage: Stage, one: Played, other: Played) -> None:
        one.say("nonsense")
        for player in (one, other):
            await player.until("lost")
            player.say("failed", RuntimeError("the book is lost"))
        with pytest.raises(ValueError, match="nonsense"):
            await stage.drained

    on_stage(tmp_path, act)


def test_a_worker_that_does_not_let_go_of_what_it_is_to_drop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.execution.workers._GRACE_S", 0.01)

    async def act(stage: Stage, one: Played, other: Played) -> None:
        await other.leave()
        stage.halt.drop()
        assert await stage.drained == INTERRUPTED
        assert (one.killed, other.killed) == (True, False)

    on_stage(tmp_path, act)


def test_a_run_that_is_told_to_stop_before_all_are_started_assigns_nothing(tmp_path: Path) -> None:
    players: list[Played] = []
    halt = Halt()

    def spawn(end: socket.socket) -> Played:
        halt.stop(INTERRUPTED)
        players.append(Played(end, len(players)))
        return players[-1]

    seen = Listener()
    with starting(tmp_path, spawn, seen, halt) as drain:
        assert on_loop(drain()) == INTERRUPTED
    assert not [message for player in players for message in player.told if message[0] == "start"]
    assert [event.reason for event in seen.of(Stopping)] == ["interrupted"]


def test_a_worker_that_cannot_be_started_is_told_with_a_cure_and_nothing_is_lost(tmp_path: Path) -> None:
    """What the first had in flight by then would be: so it has nothing."""
    players: list[Played] = []

    def spawn(end: socket.socket) -> Played:
        if players:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        players.append(Played(end, 0))
        return players[-1]

    seen = Listener()
    with starting(tmp_path, spawn, seen, Halt()) as drain, pytest.raises(SetupError) as caught:
        on_loop(drain())
    assert caught.value.code == "no-worker"
    assert players[0].told == []
    assert not players[0].killed, "it has ended by itself"
    assert seen.of(Stopping) == [], "no worker has died"


@contextmanager
def starting(
    folder: Path, spawn: Callable[[socket.socket], Played], seen: Listener, halt: Halt
) -> Iterator[Callable[[], Coroutine[Any, Any, StopReason | None]]]:
    """A run of two workers that do not all start. What it begins, it also ends."""
    bench = Bench(folder)
    info = bench.begin()
    with FaultyLedger.open(info.folder) as ledger:
        run = replace(bench.assembled(info, ledger), observer=seen)

        async def drain() -> StopReason | None:
            rulings = GivenRulings(run.rule)
            writer = sender_of(run, halt, rulings)
            writer.start()
            before = asyncio.all_tasks()
            try:
                workers = Workers(run, writer, rulings, halt, count=2, one_first=False, spawn=spawn)
                return await asyncio.wait_for(workers.drain(), 60)
            finally:
                assert {task for task in asyncio.all_tasks() if not task.done()} <= before, (
                    "a task of its own is awaited by nobody"
                )
                await writer.close()

        yield drain
