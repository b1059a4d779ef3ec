"""Whatever the provider does, the engine keeps its promises: scripts of outcomes, caps, halts and prefixes, at
random."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from hypothesis import event, given, settings
from hypothesis import strategies as st

from runner.engines import StopReason
from runner.engines.halt import INTERRUPTED, Halt
from runner.engines.parallel import ParallelEngine
from runner.engines.retry import FREE_REFUSALS, RetryPolicy, never_left
from runner.events import StepEnded, StepSent
from runner.providers import Sent
from runner.types import Failure
from support.engine_fakes import (
    Act,
    Listener,
    ListFeed,
    MemoryBook,
    ScriptedProvider,
    VirtualClock,
    output_price,
    prepared,
    replied,
    run_virtual,
)

SECONDS = st.sampled_from([0.0, 0.01, 0.5, 1.0, 3.0])
RETRYABLE = st.builds(
    Failure,
    kind=st.sampled_from(["api_error", "rate_limit_error", "overloaded_error", "connection_error", "timeout"]),
    message=st.just("passing"),
    retryable=st.just(True),
    retry_after_s=st.none() | st.sampled_from([0.0, 2.0, 500.0]),
    may_be_billed=st.booleans(),
)
FINAL = st.builds(Failure, kind=st.just("invalid_request_error"), message=st.just("final"))
JOB = st.builds(
    Failure,
    kind=st.sampled_from(["authentication_error", "billing_error", "permission_error", "not_found_error"]),
    message=st.just("job"),
    scope=st.just("job"),
)
REPLY = st.builds(lambda tokens: replied(output_tokens=tokens), st.integers(1, 80))


def sent_of(failures: st.SearchStrategy[Failure]) -> st.SearchStrategy[Sent]:
    return failures.map(lambda failure: Sent(None, failure))


def acts(*outcomes: st.SearchStrategy[Sent]) -> st.SearchStrategy[Act]:
    return st.builds(Act, sent=st.one_of(*outcomes), seconds=SECONDS, begins=st.none() | st.just(0.005))


SCRIPT = st.lists(acts(REPLY, sent_of(RETRYABLE), sent_of(FINAL)), min_size=1, max_size=6)
SCRIPT_WITH_JOB = st.lists(acts(REPLY, sent_of(RETRYABLE), sent_of(JOB)), min_size=1, max_size=6)


@dataclass(frozen=True)
class World:
    scripts: list[list[Act]]
    prefixes: list[bytes]
    max_concurrency: int
    cap: int | None
    max_attempts: int
    stop_at: float | None
    drop_at: float | None
    draw: float


WORLDS = st.integers(0, 30).flatmap(
    lambda count: st.builds(
        World,
        scripts=st.lists(st.one_of(*[SCRIPT] * 9, SCRIPT_WITH_JOB), min_size=count, max_size=count),
        prefixes=st.lists(st.sampled_from([b"", b"a" * 16, b"b" * 16]), min_size=count, max_size=count),
        max_concurrency=st.integers(1, 8),
        cap=st.none() | st.integers(50, 3_000),
        max_attempts=st.integers(1, 5),
        stop_at=st.none() | st.floats(0, 10),
        drop_at=st.none() | st.floats(0, 20),
        draw=st.floats(0, 1, exclude_max=True),
    )
)


@settings(max_examples=300, deadline=None)
@given(WORLDS)
def test_the_engine_keeps_its_promises(world: World) -> None:
    provider = ScriptedProvider(dict(enumerate(world.scripts)))
    retry = RetryPolicy(max_attempts=world.max_attempts)
    book = MemoryBook(retry, cap=world.cap)
    listener, halt = Listener(), Halt()
    steps = [prepared(row, prefix=prefix) for row, prefix in enumerate(world.prefixes)]

    async def halting() -> None:
        if world.stop_at is not None:
            await asyncio.sleep(world.stop_at)
            halt.stop(INTERRUPTED)
            if world.drop_at is not None:
                await asyncio.sleep(world.drop_at)
                halt.drop()

    async def main() -> tuple[StopReason | None, bool]:
        engine = ParallelEngine(
            provider,
            ListFeed(steps),
            book,
            clock=VirtualClock(),
            observer=listener,
            halt=halt,
            retry=retry,
            max_concurrency=world.max_concurrency,
            price=output_price,
            draw=lambda: world.draw,
        )
        other = asyncio.create_task(halting())
        reason = await engine.drain()
        halted = halt.reason is not None
        other.cancel()
        await asyncio.wait([other])
        assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing is left running"
        return reason, halted

    reason, halted = run_virtual(main())
    event(f"ended: {reason.kind if reason else 'drained'}")

    assert provider.most_in_flight <= world.max_concurrency
    assert book.most_leased <= 2 * world.max_concurrency
    if world.cap is not None:
        assert book.highest_claim <= world.cap

    sent = Counter(row for row, _, _ in provider.sent)
    recorded = Counter(outcome.step.row for outcome in book.outcomes)
    assert sent.total() == recorded.total() + provider.lost, "whatever was answered was recorded"
    limited = Counter(outcome.step.row for outcome in book.outcomes if is_limited(outcome.failure))
    unsent = Counter(
        outcome.step.row for outcome in book.outcomes if outcome.failure is not None and never_left(outcome.failure)
    )
    for row, count in sent.items():
        tries = count - unsent[row] - min(limited[row], FREE_REFUSALS)
        assert tries <= world.max_attempts, "neither a rate limit nor the network is the row's fault"
    assert len(book.leased) == provider.lost, "leases stay only of what was dropped in flight"
    assert provider.lost == 0 or halt.dropped

    assert len(listener.of(StepSent)) == sent.total()
    assert len(listener.of(StepEnded)) == recorded.total()
    check_rows(world, book)
    check_reason(world, book, reason, halted=halted)


def is_limited(failure: Failure | None) -> bool:
    return failure is not None and failure.kind == "rate_limit_error"


def check_rows(world: World, book: MemoryBook) -> None:
    """Each row saw the acts of its script in order, and none after the one that decided it."""
    for row, script in enumerate(world.scripts):
        outcomes = [outcome for outcome in book.outcomes if outcome.step.row == row]
        assert [outcome.attempt for outcome in outcomes] == list(range(1, len(outcomes) + 1))
        for number, outcome in enumerate(outcomes):
            played = script[min(number, len(script) - 1)].sent
            assert isinstance(played, Sent)
            assert (outcome.reply, outcome.failure) == (played.reply, played.failure)
            last = number == len(outcomes) - 1
            assert last or (outcome.failure is not None and outcome.failure.retryable), "nothing is sent again in vain"


def check_reason(world: World, book: MemoryBook, reason: StopReason | None, *, halted: bool) -> None:
    job_failures = [outcome.failure for outcome in book.outcomes if outcome.failure and outcome.failure.scope == "job"]
    if reason is None:
        decided = {step.row for step, status in book.status.items() if status != "open"}
        assert decided == set(range(len(world.scripts))), "a run that was drained has decided every row"
        assert not job_failures
        return
    match reason.kind:
        case "interrupted":
            assert halted
        case "budget":
            assert world.cap is not None
            assert book.claim + 100 > world.cap, "there was really no room"
        case "unreachable":
            assert reason.failure is not None
            assert (reason.failure.kind, reason.failure.http_status) == ("connection_error", None)
            assert not job_failures
        case _:
            assert reason.failure in job_failures
