"""The writer's thread: groups, order, durability, and what an error does to everybody who waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from runner.engines import Decision, Prepared
from runner.errors import LedgerError
from runner.execution.writer import BACKLOG, GROUP, Writer
from runner.ledger import NONE_ACCEPTED, BatchFacts, Landed, Lease, Money, Rule, Ruling
from runner.ledger.sqlite import SqliteLedger
from runner.types import Failure, Outcome, Step, Usage
from support.engine_fakes import HandClock, prepared
from support.execution_fakes import Call, FaultyLedger, methods
from support.ledgers import BOUND, accept, answer, failed, rows

T = TypeVar("T")


@dataclass
class Desk:
    """A started writer over a ledger of its own, and what it told."""

    ledger: FaultyLedger
    writer: Writer
    told: list[tuple[Outcome, Ruling]]

    def post_in_thread(self, outcomes: Sequence[Outcome]) -> tuple[threading.Thread, list[BaseException]]:
        """Post as the feeder does, from another thread; its errors are kept."""
        errors: list[BaseException] = []

        def post() -> None:
            try:
                for outcome in outcomes:
                    self.writer.post(outcome)
            except LedgerError as error:
                errors.append(error)

        thread = threading.Thread(target=post, daemon=True)
        thread.start()
        return thread, errors


def at_desk(
    folder: Path,
    act: Callable[[Desk], Coroutine[Any, Any, T]],
    *,
    count: int = 8,
    cap_pico: int | None = None,
    rule: Rule = accept,
    after_group: Callable[[], None] = lambda: None,
) -> T:
    """Run `act` beside a started writer, which `act` closes."""
    ledger = FaultyLedger.create(folder / "run", {})
    ledger.enrol(rows(count))

    async def main() -> T:
        told: list[tuple[Outcome, Ruling]] = []
        writer = Writer(
            ledger,
            rule,
            cap_pico=cap_pico,
            clock=HandClock(),
            on_posted=told.extend,
            after_group=after_group,
        )
        writer.start()
        return await asyncio.wait_for(act(Desk(ledger, writer, told)), 20)

    try:
        return asyncio.run(main())
    finally:
        ledger.close()


def soon(awaitable: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    return asyncio.get_running_loop().create_task(awaitable)


async def all_put() -> None:
    """Let tasks that were just made hand their commands over."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def steps(*indexes: int) -> list[Prepared]:
    return [prepared(index, bound=BOUND) for index in indexes]


# -- grouping ------------------------------------------------------------------------------------------------------


def test_outcomes_that_wait_together_become_durable_in_one_group(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        desk.ledger.hold()
        first = soon(desk.writer.record(answer(Step(0))))
        await asyncio.to_thread(desk.ledger.wait_until_held)
        others = [soon(desk.writer.record(answer(Step(row)))) for row in (1, 2, 3)]
        await all_put()
        desk.ledger.let_go()
        assert await asyncio.gather(first, *others) == [Decision("succeeded")] * 4
        await desk.writer.close()
        assert desk.ledger.calls == [Call("record", 1), Call("record", 3)]

    at_desk(tmp_path, act)


def test_outcomes_that_come_together_are_decided_in_their_order(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        desk.ledger.hold()
        first = soon(desk.writer.record_all([failed(Step(0), kind="refusal"), answer(Step(1))]))
        await asyncio.to_thread(desk.ledger.wait_until_held)
        others = [soon(desk.writer.record_all([answer(Step(2))])), soon(desk.writer.record_all([]))]
        await all_put()
        desk.ledger.let_go()
        (refused, accepted), *rest = await asyncio.gather(first, *others)
        assert (refused.status, accepted, rest) == ("failed", Decision("succeeded"), [[Decision("succeeded")], []])
        assert desk.ledger.calls == [Call("record", 2), Call("record", 1)]

    at_desk(tmp_path, act)


def test_a_group_is_bounded(tmp_path: Path) -> None:
    count = 2 * GROUP + 100

    async def act(desk: Desk) -> None:
        desk.ledger.hold()
        thread, errors = desk.post_in_thread([answer(Step(row)) for row in range(count)])
        await asyncio.to_thread(desk.ledger.wait_until_held)
        await asyncio.to_thread(thread.join)
        desk.ledger.let_go()
        await desk.writer.close()
        assert not errors
        assert sum(call.size for call in desk.ledger.calls) == count
        assert max(call.size for call in desk.ledger.calls) <= GROUP

    at_desk(tmp_path, act, count=count)


def test_a_lease_does_not_wait_for_outcomes_that_may_follow(tmp_path: Path) -> None:
    """The clock stands still, so a lease that lingered would linger for as long as outcomes keep coming."""

    async def act(desk: Desk) -> None:
        desk.ledger.hold()
        held = soon(desk.writer.release([]))
        await asyncio.to_thread(desk.ledger.wait_until_held)
        leased = soon(desk.writer.lease(steps(0, 1)))
        await all_put()
        desk.ledger.let_go()
        assert await leased == 2
        await held
        await desk.writer.close()
        assert methods(desk.ledger.calls) == ["release", "lease"]

    at_desk(tmp_path, act)


def test_outcomes_are_settled_before_a_lease_of_the_same_group(tmp_path: Path) -> None:
    """The cap has room for one step at a time: the lease, asked for first, is only possible once the outcome is in."""

    async def act(desk: Desk) -> None:
        assert await desk.writer.lease(steps(0)) == 1
        desk.ledger.hold()
        held = soon(desk.writer.release([]))
        await asyncio.to_thread(desk.ledger.wait_until_held)
        recorded = soon(desk.writer.record(answer(Step(0), cost=0)))
        leased = soon(desk.writer.lease(steps(1)))
        await all_put()
        desk.ledger.let_go()
        assert await leased == 1
        await asyncio.gather(held, recorded)
        await desk.writer.close()

    at_desk(tmp_path, act, cap_pico=BOUND)


async def in_one_group(desk: Desk) -> tuple[asyncio.Task[Decision], asyncio.Task[int]]:
    """The outcome of row 0 and a lease of row 1, which come while the writer has something else to do."""
    desk.ledger.hold()
    held = soon(desk.writer.release([]))
    await asyncio.to_thread(desk.ledger.wait_until_held)
    recorded, leased = soon(desk.writer.record(answer(Step(0)))), soon(desk.writer.lease(steps(1)))
    await all_put()
    desk.ledger.let_go()
    await held
    return recorded, leased


def test_a_lease_shares_the_commit_of_the_outcomes_before_it(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def look(place: str) -> None:
        with SqliteLedger.open(tmp_path / "run", read_only=True) as beside:
            seen.append((place, beside.counts().succeeded))

    async def act(desk: Desk) -> None:
        await desk.writer.lease(steps(0))
        desk.ledger.hold()
        held = soon(desk.writer.release([]))
        await asyncio.to_thread(desk.ledger.wait_until_held)
        recorded, leased = soon(desk.writer.record(answer(Step(0)))), soon(desk.writer.lease(steps(1)))
        await all_put()
        desk.ledger.reach = look
        desk.ledger.let_go()
        assert (await recorded, await leased) == (Decision("succeeded"), 1)
        look("told")
        await held
        await desk.writer.close()

    at_desk(tmp_path, act)
    assert seen[-4:] == [("before lease", 0), ("after lease", 0), ("after together", 1), ("told", 1)]


def test_a_lease_that_cannot_be_takes_the_outcomes_before_it_along_and_nothing_is_lost(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        await desk.writer.lease(steps(0, 1))
        recorded, leased = await in_one_group(desk)
        for told in (recorded, leased):
            with pytest.raises(ValueError, match="not open"):
                await told
        with pytest.raises(ValueError, match="not open"):
            await desk.writer.close()

    at_desk(tmp_path, act)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.settle_answered(accept) == 1
        assert ledger.counts().succeeded == 1


def test_a_lease_that_the_cap_refuses_takes_nothing_along(tmp_path: Path) -> None:
    """What the outcome cost leaves no room for the next step; the outcome stands, and the writing goes on."""

    async def act(desk: Desk) -> None:
        assert await desk.writer.lease(steps(0)) == 1
        desk.ledger.hold()
        held = soon(desk.writer.release([]))
        await asyncio.to_thread(desk.ledger.wait_until_held)
        recorded, leased = soon(desk.writer.record(answer(Step(0), cost=1))), soon(desk.writer.lease(steps(1)))
        await all_put()
        desk.ledger.let_go()
        assert (await recorded, await leased) == (Decision("succeeded"), 0)
        await held
        assert "together" in methods(desk.ledger.calls)
        assert await desk.writer.record(answer(Step(1), reused=True, cost=0)) == Decision("succeeded")
        await desk.writer.close()

    at_desk(tmp_path, act, cap_pico=BOUND)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.money() == Money(spent=1)
        assert ledger.counts().succeeded == 2


def test_a_rule_that_raises_takes_the_leases_behind_it_along_and_nothing_is_lost(tmp_path: Path) -> None:
    def broken(outcome: Outcome) -> Ruling:
        raise ZeroDivisionError

    async def act(desk: Desk) -> None:
        await desk.writer.lease(steps(0))
        recorded, leased = await in_one_group(desk)
        for told in (recorded, leased):
            with pytest.raises(ZeroDivisionError):
                await told
        with pytest.raises(ZeroDivisionError):
            await desk.writer.close()

    at_desk(tmp_path, act, rule=broken)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.money() == Money(spent=7)
        assert ledger.settle_answered(accept) == 1
        assert ledger.open_steps(None, 1)[0].step == Step(1)


def test_an_answer_of_the_book_is_durable_when_it_comes(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        await desk.writer.lease(steps(0))
        await desk.writer.record(answer(Step(0)))
        with SqliteLedger.open(tmp_path / "run", read_only=True) as seen_beside:
            assert seen_beside.counts().succeeded == 1
        await desk.writer.close()

    at_desk(tmp_path, act)


# -- the book ------------------------------------------------------------------------------------------------------


def test_the_decision_is_what_the_rule_says(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        decision = await desk.writer.record(failed(Step(2), kind="refusal"))
        assert decision.status == "failed"
        assert decision.failure is not None
        assert decision.failure.kind == "refusal"
        await desk.writer.close()

    at_desk(tmp_path, act)


def test_a_lease_takes_the_longest_prefix_under_the_cap(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        assert await desk.writer.lease(steps(0, 1, 2, 3)) == 2
        await desk.writer.release([Step(0)])
        assert await desk.writer.lease(steps(2, 3)) == 1
        await desk.writer.close()

    at_desk(tmp_path, act, cap_pico=2 * BOUND)


def test_a_step_whose_cost_nothing_bounds_is_never_leased_under_a_cap(tmp_path: Path) -> None:
    unbounded = [*steps(0), prepared(1, bound=None), *steps(2)]

    async def act(desk: Desk) -> None:
        assert await desk.writer.lease(unbounded) == 1
        assert await desk.writer.lease(unbounded[1:]) == 0
        await desk.writer.close()

    at_desk(tmp_path, act, cap_pico=100 * BOUND)


def test_without_a_cap_a_step_needs_no_bound(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        assert await desk.writer.lease([prepared(0, bound=None)]) == 1
        await desk.writer.close()

    at_desk(tmp_path, act)


def test_posted_outcomes_are_told_on_the_loop_once_they_are_durable(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        thread, _ = desk.post_in_thread([answer(Step(0), reused=True), failed(Step(1), kind="render_error")])
        await asyncio.to_thread(thread.join)
        await desk.writer.record(answer(Step(2)))
        await desk.writer.close()
        assert [(outcome.step.row, ruling.state) for outcome, ruling in desk.told] == [(0, "succeeded"), (1, "failed")]

    at_desk(tmp_path, act)


def test_closing_writes_what_was_handed_over(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        desk.ledger.hold()
        thread, _ = desk.post_in_thread([answer(Step(row)) for row in range(8)])
        await asyncio.to_thread(thread.join)
        closing = soon(desk.writer.close())
        await all_put()
        desk.ledger.let_go()
        await closing
        assert desk.ledger.counts().succeeded == 8

    at_desk(tmp_path, act)


# -- errors --------------------------------------------------------------------------------------------------------


async def fails_with_disk_full(awaitable: Awaitable[object]) -> None:
    with pytest.raises(LedgerError) as caught:
        await awaitable
    assert caught.value.code == "disk-full"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fails_at", [2, 3, 4], ids=["record", "lease", "release"])
def test_an_error_reaches_everybody_who_waits(tmp_path: Path, fails_at: int, *, after: bool) -> None:
    """A posted outcome, an awaited one, a lease and a release in one group: whichever call fails, nobody hangs."""

    async def act(desk: Desk) -> None:
        desk.ledger.fails_at, desk.ledger.fails_after = fails_at, after
        desk.ledger.hold()
        held = soon(desk.writer.release([]))
        await asyncio.to_thread(desk.ledger.wait_until_held)
        thread, errors = desk.post_in_thread([answer(Step(0))])
        await asyncio.to_thread(thread.join)
        waiting = [
            soon(desk.writer.record(answer(Step(1)))),
            soon(desk.writer.lease(steps(2))),
            soon(desk.writer.release([])),
        ]
        await all_put()
        desk.ledger.let_go()
        await held
        for task in waiting:
            await fails_with_disk_full(task)
        await fails_with_disk_full(desk.writer.record(answer(Step(3))))
        await fails_with_disk_full(desk.writer.lease(steps(4)))
        await fails_with_disk_full(desk.writer.close())
        assert not errors

    at_desk(tmp_path, act)


def test_a_feeder_that_waits_for_room_is_told_of_the_error(tmp_path: Path) -> None:
    count = BACKLOG + 50

    async def act(desk: Desk) -> None:
        desk.ledger.fails_at = 1
        desk.ledger.hold()
        thread, errors = desk.post_in_thread([answer(Step(row)) for row in range(count)])
        await asyncio.to_thread(desk.ledger.wait_until_held)
        desk.ledger.let_go()
        await asyncio.to_thread(thread.join, 60)
        assert not thread.is_alive(), "the feeder hangs"
        assert [error.code for error in errors if isinstance(error, LedgerError)] == ["disk-full"]
        await fails_with_disk_full(desk.writer.close())

    at_desk(tmp_path, act, count=count)


def test_an_error_of_the_failure_limit_stops_the_writing_too(tmp_path: Path) -> None:
    def check() -> None:
        raise LedgerError("damaged", code="damaged")

    async def act(desk: Desk) -> None:
        thread, _ = desk.post_in_thread([answer(Step(0))])
        await asyncio.to_thread(thread.join)
        with pytest.raises(LedgerError, match="damaged"):
            await desk.writer.record(answer(Step(1)))
        with pytest.raises(LedgerError, match="damaged"):
            await desk.writer.close()

    at_desk(tmp_path, act, after_group=check)


def test_a_ruling_that_leaves_a_step_in_the_air_is_an_error(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        with pytest.raises((LedgerError, ValueError)):
            await desk.writer.record(answer(Step(0)))
        with pytest.raises((LedgerError, ValueError)):
            await desk.writer.close()

    at_desk(tmp_path, act, rule=lambda _: Ruling("answered"))


# -- of batches --------------------------------------------------------------------------------------------------------


def test_a_batch_is_the_ledgers_with_the_runs_cap_rule_and_clock(tmp_path: Path) -> None:
    leases = [Lease(Step(row), bytes(32), BOUND, "batch") for row in range(3)]

    async def act(desk: Desk) -> None:
        writer, sha256 = desk.writer, bytes(32)
        assert await writer.left_pico() == 4 * BOUND
        assert await writer.intend_batch(leases * 2, body_sha256=sha256, watermark=None) is None, "the cap forbids it"
        batch = await writer.intend_batch(leases, body_sha256=sha256, watermark="msgbatch_0", priming=True)
        assert batch is not None
        assert (batch.steps, batch.watermark, batch.priming) == (3, "msgbatch_0", True)
        assert await writer.left_pico() == BOUND
        await writer.mark_batch(batch.number, "sending")
        await writer.mark_batch(batch.number, "in_progress", BatchFacts(batch_id="msgbatch_1"))
        assert [found.state for found in await writer.batches()] == ["in_progress"]
        assert [waiting.step for waiting in await writer.batch_steps(batch.number, Step(0), 5)] == [Step(1), Step(2)]
        assert await writer.landed(batch.number) is None
        (await writer.landing_path(batch.number)).write_bytes(b"a line\n")
        assert await writer.land(batch.number) == await writer.landed(batch.number)
        failure = Failure("api_error", "it did not work")
        line = Landed(Step(1), "errored", 0, 6, None, failure, Usage(), 0, None)
        settled = await writer.settle_batch(batch.number, [line], NONE_ACCEPTED)
        assert [ruling.state for ruling in settled.rulings if ruling is not None] == ["failed"]
        assert (await writer.batches())[0].settled == 1
        await writer.close()

    at_desk(tmp_path, act, cap_pico=4 * BOUND)


def test_a_move_that_is_not_allowed_ends_the_writing(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        leases = [Lease(Step(0), bytes(32), BOUND, "batch")]
        batch = await desk.writer.intend_batch(leases, body_sha256=bytes(32), watermark=None)
        assert batch is not None
        with pytest.raises(LedgerError, match="cannot become"):
            await desk.writer.mark_batch(batch.number, "closed")
        with pytest.raises(LedgerError, match="cannot become"):
            await desk.writer.close()

    at_desk(tmp_path, act)
