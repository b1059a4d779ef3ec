"""The feeder's thread: order, a bounded window, what it posts itself, and how it ends when anything else does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from runner.clock import Clock, SystemClock
from runner.engines import Prepared
from runner.errors import LedgerError
from runner.events import Warned
from runner.execution.earlier import Earlier
from runner.execution.feeder import SLOW_RENDERS_TOLD, Feeder
from runner.execution.under_way import Advance
from runner.execution.writer import BACKLOG, GROUP, Writer
from runner.ledger import Lease, Ruling
from runner.message import parse_reply
from runner.planning.requests import CompiledJob
from runner.types import Failure, Mode, Outcome, Prefix, Request, Row, Step
from support.engine_fakes import HandClock
from support.execution_fakes import JOB, Bench, FaultyLedger, folder_in_memory, reply_body
from support.ledgers import answer, failed

T = TypeVar("T")


@dataclass
class Rendering:
    """A compiled job that counts what it renders, and may do something before each row."""

    compiled: CompiledJob
    before: Callable[[Row], Request | Failure | None] = lambda _: None
    count: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def mode(self) -> Mode:
        return self.compiled.mode

    def request(self, row: Row) -> Request | Failure:
        with self.changed:
            self.count += 1
            self.changed.notify_all()
        return self.before(row) or self.compiled.request(row)

    @property
    def row_prefixes(self) -> int:
        return self.compiled.row_prefixes

    @property
    def shared_prefixes(self) -> tuple[Prefix, ...]:
        return self.compiled.shared_prefixes

    def prefixes(self, row: Row) -> tuple[Prefix, ...] | None:
        return self.compiled.prefixes(row)

    @property
    def row_templates(self) -> tuple[str, ...]:
        return self.compiled.row_templates

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.count >= count, 60), f"only {self.count} were rendered"


@dataclass
class Known:
    """Earlier answers, by the row's key; keeps whom it was asked for."""

    answers: dict[str, Outcome] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    closed: bool = False

    def find(self, step: Step, row: Row, request: Request) -> Outcome | None:
        self.asked.append(row.key)
        return self.answers.get(row.key)

    def close(self) -> None:
        self.closed = True


@dataclass
class Kitchen:
    ledger: FaultyLedger
    writer: Writer
    feeder: Feeder
    rendering: Rendering

    async def rest(self) -> list[int]:
        """Take until nothing comes any more; the rows, in the order they came."""
        rows: list[int] = []
        while taken := await self.feeder.take(7):
            rows += [prepared.step.row for prepared in taken]
        return rows

    async def close(self) -> None:
        await self.feeder.close()
        await self.writer.close()


def in_kitchen(
    bench: Bench,
    act: Callable[[Kitchen], Coroutine[Any, Any, T]],
    *,
    earlier: Known | None = None,
    before: Callable[[Row], Request | Failure | None] = lambda _: None,
    prepare: Callable[[FaultyLedger], None] = lambda _: None,
    clock: Clock | None = None,
    **window: Any,
) -> T:
    """Run `act` beside a started writer and feeder, which `act` closes."""
    info = bench.begin()
    with FaultyLedger.open(info.folder) as ledger:
        run = bench.assembled(info, ledger)
        prepare(ledger)

        async def main() -> T:
            writer = writer_of(run)
            rendering = Rendering(run.compiled, before)
            feeder = Feeder(
                run.folder,
                cast(CompiledJob, rendering),
                writer,
                judge=run.judge,
                bound=lambda request: len(request.body),
                open_earlier=lambda: cast(Earlier | None, earlier),
                clock=clock or SystemClock(),
                observer=run.observer,
                **window,
            )
            writer.start()
            feeder.start()
            return await asyncio.wait_for(act(Kitchen(ledger, writer, feeder, rendering)), 20)

        return asyncio.run(main())


def writer_of(run: Advance) -> Writer:
    def nothing(*_: object) -> None:
        """Nobody listens."""

    return Writer(run.ledger, run.rule, cap_pico=None, clock=SystemClock(), on_posted=nothing, after_group=nothing)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with folder_in_memory(tmp_path) as folder:
        yield Bench(folder / "project", rows=30)


# -- the feed ------------------------------------------------------------------------------------------------------


def test_every_open_step_comes_once_and_in_order(bench: Bench) -> None:
    async def act(kitchen: Kitchen) -> None:
        assert await kitchen.rest() == list(range(30))
        assert await kitchen.feeder.peek_is_empty()
        assert await kitchen.feeder.take(5) == []
        await kitchen.close()

    in_kitchen(bench, act)


def test_a_take_gives_at_most_what_was_asked_for(bench: Bench) -> None:
    async def act(kitchen: Kitchen) -> None:
        kitchen.rendering.wait_for(30)
        first = await kitchen.feeder.take(3)
        assert [prepared.step.row for prepared in first] == [0, 1, 2]
        assert not await kitchen.feeder.peek_is_empty()
        await kitchen.close()

    in_kitchen(bench, act)


def test_a_step_brings_its_bound_and_what_it_has_had(bench: Bench) -> None:
    def prepare(ledger: FaultyLedger) -> None:
        ledger.lease([Lease(Step(0), bytes(32), 1)], None)
        ledger.record([failed(Step(0), retryable=True)], bench_rule)

    async def act(kitchen: Kitchen) -> Sequence[Prepared]:
        taken = await kitchen.feeder.take(1)
        await kitchen.close()
        return taken

    (first,) = in_kitchen(bench, act, prepare=prepare)
    assert (first.step, first.attempts, first.tries, first.bound_pico) == (Step(0), 1, 1, len(first.request.body))


def test_steps_that_are_leased_or_ended_do_not_come(bench: Bench) -> None:
    def prepare(ledger: FaultyLedger) -> None:
        ledger.lease([Lease(Step(1), bytes(32), 1)], None)
        ledger.record([answer(Step(2), body=reply_body("yes"))], bench_rule)

    async def act(kitchen: Kitchen) -> None:
        assert await kitchen.rest() == [0, *range(3, 30)]
        await kitchen.close()

    in_kitchen(bench, act, prepare=prepare)


def bench_rule(outcome: Outcome) -> Ruling:
    if outcome.failure is None:
        return Ruling("succeeded")
    return Ruling("open" if outcome.failure.retryable else "failed", outcome.failure)


def test_no_wake_up_is_lost_between_two_threads(tmp_path: Path) -> None:
    """A window of one step makes every step a hand-over; one lost would hang."""

    async def act(kitchen: Kitchen) -> None:
        rows: list[int] = []
        while taken := await kitchen.feeder.take(1):
            rows.append(taken[0].step.row)
            if len(rows) % 3:
                await asyncio.sleep(0)
        assert rows == list(range(1_500))
        await kitchen.close()

    in_kitchen(Bench(tmp_path / "project", rows=1_500), act, window_steps=1)


# -- the window ----------------------------------------------------------------------------------------------------


def test_no_more_is_rendered_ahead_than_the_window_holds(bench: Bench) -> None:
    async def act(kitchen: Kitchen) -> None:
        kitchen.rendering.wait_for(6)
        await asyncio.sleep(0.05)
        assert kitchen.rendering.count == 6, "five in the window, and the next in hand"
        await kitchen.feeder.take(2)
        kitchen.rendering.wait_for(8)
        assert await kitchen.rest() == list(range(2, 30))
        await kitchen.close()

    in_kitchen(bench, act, window_steps=5)


def test_the_window_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "project", rows=0)
    bench.rows(["x" * 1_000] * 20)

    async def act(kitchen: Kitchen) -> None:
        kitchen.rendering.wait_for(4)
        await asyncio.sleep(0.05)
        assert kitchen.rendering.count == 4, "three requests of more than a thousand bytes are under four thousand"
        assert await kitchen.rest() == list(range(20))
        await kitchen.close()

    in_kitchen(bench, act, window_bytes=4_000)


def test_a_request_larger_than_the_window_goes_alone(bench: Bench) -> None:
    async def act(kitchen: Kitchen) -> None:
        kitchen.rendering.wait_for(2)
        await asyncio.sleep(0.05)
        assert kitchen.rendering.count == 2
        assert await kitchen.rest() == list(range(30))
        await kitchen.close()

    in_kitchen(bench, act, window_bytes=1)


def test_no_more_is_prepared_of_steps_that_follow_up_others_than_the_window_holds(tmp_path: Path) -> None:
    """As when many functions end while the engine has enough to do."""
    bench = Bench(tmp_path / "project", rows=0)
    bench.rows(["x" * 1_000] * 20)

    async def act(kitchen: Kitchen) -> None:
        kitchen.rendering.wait_for(4)
        for row in range(10, 20):
            kitchen.feeder.follow_up(Step(row))
        kitchen.rendering.wait_for(8)
        await asyncio.sleep(0.05)
        assert kitchen.rendering.count == 8, "four requests of more than a thousand bytes are over four thousand"
        assert (await kitchen.rest())[:4] == [10, 11, 12, 13], "they come first"
        await kitchen.close()

    in_kitchen(bench, act, window_bytes=4_000)


# -- cached prefixes -----------------------------------------------------------------------------------------------

DOCUMENTS_JOB = JOB.replace(
    'prompt: "{{ row.text }}"',
    'messages: [{role: user, content: [{text: "{{ row.text }}", cache: true}, "asks {{ row.id }}"]}]',
)


def test_rows_about_one_document_come_together_and_one_that_is_alone_waits_for_nobody(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "project", rows=0, job=DOCUMENTS_JOB)
    bench.rows(letter * 2_000 for letter in "abacb")
    taken: list[Prepared] = []

    async def act(kitchen: Kitchen) -> None:
        while some := await kitchen.feeder.take(7):
            taken.extend(some)
        await kitchen.close()

    in_kitchen(bench, act)
    assert [prepared.step.row for prepared in taken] == [0, 2, 1, 4, 3]
    assert [len(prepared.request.prefixes) for prepared in taken] == [1, 1, 1, 1, 0]
    assert [bool(prepared.request.prefix) for prepared in taken] == [True, True, True, True, False]
    assert b'"cache_control"' in taken[-1].request.body, "what is sent is the same"
    assert not list(bench.runs()[-1].folder.glob("grouping*"))


def test_a_feeder_is_closed_in_the_middle_of_a_pass_over_many_rows(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "project", rows=0, job=DOCUMENTS_JOB)
    bench.rows(letter * 2_000 for letter in "ab" * 20)

    async def act(kitchen: Kitchen) -> None:
        await asyncio.to_thread(kitchen.rendering.wait_for, 3)
        await kitchen.close()

    in_kitchen(bench, act, window_steps=2)
    assert not list(bench.runs()[-1].folder.glob("grouping*"))


# -- what never is sent --------------------------------------------------------------------------------------------


def test_a_row_that_cannot_be_rendered_fails_alone(bench: Bench) -> None:
    def before(row: Row) -> Failure | None:
        return Failure("render_error", f"row {row.key}") if row.index % 10 == 0 else None

    async def act(kitchen: Kitchen) -> None:
        assert await kitchen.rest() == [row for row in range(30) if row % 10]
        await kitchen.close()
        counts = kitchen.ledger.counts()
        assert (counts.failures, counts.open, counts.requests) == ({"render_error": 3}, 27, 0)
        (attempt,) = kitchen.ledger.attempts(10)
        assert attempt.failure is not None
        assert attempt.failure.message == "row k10"

    in_kitchen(bench, act, before=before)


def test_a_row_that_was_answered_before_is_not_sent(bench: Bench) -> None:
    body = reply_body("known")
    known = Known({"k4": answer(Step(4), body=body, reply=parse_reply(body), reused=True, cost=0)})

    async def act(kitchen: Kitchen) -> None:
        assert await kitchen.rest() == [*range(4), *range(5, 30)]
        await kitchen.close()
        assert kitchen.ledger.counts().reused == 1

    in_kitchen(bench, act, earlier=known)
    assert known.closed, "what was opened to look is closed"


def test_a_row_that_this_run_has_sent_is_not_looked_up(bench: Bench) -> None:
    def prepare(ledger: FaultyLedger) -> None:
        ledger.lease([Lease(Step(0), bytes(32), 1)], None)
        ledger.record([failed(Step(0), retryable=True)], bench_rule)

    known = Known()

    async def act(kitchen: Kitchen) -> None:
        await kitchen.rest()
        await kitchen.close()

    in_kitchen(bench, act, earlier=known, prepare=prepare)
    assert known.asked == [f"k{row}" for row in range(1, 30)]


# -- errors and ends -----------------------------------------------------------------------------------------------


def test_a_bug_in_the_thread_is_raised_where_steps_are_taken(bench: Bench) -> None:
    def before(row: Row) -> None:
        if row.index == 3:
            raise ZeroDivisionError("a bug")

    async def act(kitchen: Kitchen) -> None:
        with pytest.raises(ZeroDivisionError):
            await kitchen.rest()
        with pytest.raises(ZeroDivisionError):
            await kitchen.feeder.take(1)
        await kitchen.close()

    in_kitchen(bench, act, before=before)


def test_a_waiting_take_is_told_of_an_error(bench: Bench) -> None:
    go = threading.Event()

    def before(_: Row) -> None:
        go.wait(60)
        raise ZeroDivisionError("a bug")

    async def act(kitchen: Kitchen) -> None:
        waiting = asyncio.create_task(kitchen.rest())
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(ZeroDivisionError):
            await waiting
        await kitchen.close()

    in_kitchen(bench, act, before=before)


def test_a_writer_that_failed_ends_the_feeder(bench: Bench) -> None:
    def prepare(ledger: FaultyLedger) -> None:
        ledger.fails_at = len(ledger.calls) + 1

    async def act(kitchen: Kitchen) -> None:
        with pytest.raises(LedgerError, match="no space"):
            await kitchen.rest()
        await kitchen.feeder.close()
        with pytest.raises(LedgerError, match="no space"):
            await kitchen.writer.close()

    rows = BACKLOG + GROUP  # more than may wait: it cannot be done before the writer has begun
    bench.rows(f"text {number}" for number in range(rows))
    in_kitchen(bench, act, before=lambda _: Failure("render_error", "no"), prepare=prepare)


def test_a_feeder_that_waits_for_room_can_be_closed(bench: Bench) -> None:
    async def act(kitchen: Kitchen) -> None:
        kitchen.rendering.wait_for(3)
        await kitchen.close()
        assert kitchen.rendering.count == 3

    in_kitchen(bench, act, window_steps=2)


def test_a_feeder_that_waits_for_the_writer_can_be_closed(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "project", rows=BACKLOG + 200)

    async def act(kitchen: Kitchen) -> None:
        await asyncio.to_thread(kitchen.rendering.wait_for, BACKLOG + 1)
        closing = asyncio.create_task(kitchen.feeder.close())
        await asyncio.sleep(0)
        kitchen.ledger.let_go()
        await closing
        await kitchen.writer.close()
        assert kitchen.ledger.counts().failed == kitchen.rendering.count, "what was posted is written"

    def prepare(ledger: FaultyLedger) -> None:
        ledger.hold()

    in_kitchen(bench, act, before=lambda _: Failure("render_error", "no"), prepare=prepare)


def test_a_feeder_without_a_ledger_says_so(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "project", rows=3)
    info = bench.begin()

    async def main(run: Advance) -> None:
        writer = writer_of(run)
        feeder = Feeder(
            tmp_path,
            run.compiled,
            writer,
            judge=run.judge,
            bound=lambda _: 0,
            open_earlier=lambda: None,
            clock=SystemClock(),
            observer=run.observer,
        )
        writer.start()
        feeder.start()
        with pytest.raises(LedgerError) as caught:
            await feeder.take(1)
        assert caught.value.code == "no-ledger"
        await feeder.close()
        await writer.close()

    with FaultyLedger.open(info.folder) as ledger:
        asyncio.run(main(bench.assembled(info, ledger)))


def test_a_slow_render_is_told_with_row_and_template_a_few_times(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "project", rows=10)
    clock = HandClock()

    def slow(row: Row) -> None:
        clock.time += 0.5 if row.index == 0 else 2.0

    async def act(kitchen: Kitchen) -> None:
        await kitchen.rest()
        await kitchen.close()

    in_kitchen(bench, act, before=slow, clock=clock)
    told = [warned for warned in bench.events.of(Warned) if warned.code == "slow-render"]
    assert len(told) == SLOW_RENDERS_TOLD
    assert told[0].message.startswith("rendering the row 'k1' took 2.0 s (jobs/")
