"""The parallel engine, in virtual time, over a provider that plays a script and a book in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from runner.engines import Decision, Prepared, StopReason
from runner.engines.halt import INTERRUPTED, Halt
from runner.engines.limits import Ceilings, Limits
from runner.engines.outage import FIRST_PATIENCE_S, PATIENCE_S
from runner.engines.parallel import MOST_HELD_BYTES, ParallelEngine
from runner.engines.retry import FREE_CONNECTIONS, FREE_REFUSALS, RetryPolicy
from runner.events import CoolingDown, Event, HeldBack, StepEnded, StepSent, Stopping, Warned
from runner.providers import Sent
from runner.types import Failure, Outcome, Prefix, Request, Step
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
from support.outages import BROKEN, FOR_EVER, REFUSED, CutProvider, Network

A, B = b"a" * 16, b"b" * 16


def failed(kind: str = "api_error", *, retryable: bool = True, **fields: Any) -> Sent:
    return Sent(None, Failure(kind, f"{kind} happened", retryable=retryable, **fields), request_id="req_f")


@dataclass
class Run:
    """An engine with all that surrounds it; `drain` runs it to its end."""

    steps: Sequence[Prepared]
    script: Mapping[int, Sequence[Act]] = field(default_factory=dict)
    max_concurrency: int = 4
    cap: int | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    draw: float = 0.5
    default: Act = field(default_factory=lambda: Act(replied()))

    def __post_init__(self) -> None:
        self.provider: ScriptedProvider = ScriptedProvider(self.script, self.default)
        self.book = MemoryBook(self.retry, cap=self.cap)
        self.feed = ListFeed(self.steps)
        self.halt = Halt()
        self.listener = Listener()
        self.ended_at = 0.0

    def engine(self, **changes: Any) -> ParallelEngine:
        changes = {"clock": VirtualClock(), **changes}
        return ParallelEngine(
            self.provider,
            self.feed,
            self.book,
            observer=self.listener,
            halt=self.halt,
            retry=self.retry,
            max_concurrency=self.max_concurrency,
            price=output_price,
            draw=lambda: self.draw,
            **changes,
        )

    def drain(self, *meanwhile: Callable[[Run], Any]) -> StopReason | None:
        """`meanwhile` are coroutine functions that run beside the engine."""

        async def main() -> StopReason | None:
            engine = self.engine()
            others = [asyncio.create_task(act(self)) for act in meanwhile]
            try:
                return await engine.drain()
            finally:
                self.ended_at = asyncio.get_running_loop().time()
                for task in others:
                    task.cancel()
                left = asyncio.all_tasks() - {asyncio.current_task(), *others}
                assert not left, f"tasks left behind: {left}"

        return run_virtual(main())

    @property
    def succeeded(self) -> list[int]:
        return sorted(step.row for step, status in self.book.status.items() if status == "succeeded")

    @property
    def times_sent(self) -> Counter[int]:
        return Counter(row for row, _, _ in self.provider.sent)

    def sent_at(self, row: int) -> list[float]:
        return [at for sent, at, _ in self.provider.sent if sent == row]


def rows(count: int, **fields: Any) -> list[Prepared]:
    return [prepared(row, **fields) for row in range(count)]


# -- the plain path ----------------------------------------------------------------------------------------------------


def test_every_step_is_sent_and_recorded_once() -> None:
    run = Run(rows(50))
    assert run.drain() is None
    assert run.succeeded == list(range(50))
    assert set(run.times_sent.values()) == {1}
    assert run.book.leased == {}


def test_an_empty_feed_is_drained_at_once() -> None:
    run = Run([])
    assert run.drain() is None
    assert run.provider.sent == []


@pytest.mark.parametrize("max_concurrency", [1, 2, 3, 7, 64])
def test_the_slots_are_kept_busy_and_never_overfilled(max_concurrency: int) -> None:
    run = Run(rows(200), max_concurrency=max_concurrency)
    run.drain()
    assert run.provider.most_in_flight == max_concurrency
    assert run.book.most_leased <= 2 * max_concurrency
    waves = -(-200 // max_concurrency)
    assert run.ended_at <= waves * 1.0 + 0.01, "leases and records go on beside the requests"


def test_leases_are_taken_in_groups() -> None:
    run = Run(rows(1_000), max_concurrency=100)
    run.drain()
    assert run.book.lease_calls <= 30


def test_no_more_is_taken_from_the_feed_than_a_few_windows() -> None:
    run = Run(rows(10_000), max_concurrency=10, default=Act(replied(), seconds=1_000_000.0))

    async def look(run: Run) -> None:
        await asyncio.sleep(10)
        assert run.feed.taken <= 40
        run.halt.drop()

    run.drain(look)


class SmallFeed(ListFeed):
    """Gives four steps at a time, as a feed does whose window is full of large ones."""

    async def take(self, limit: int) -> Sequence[Prepared]:
        return await super().take(min(limit, 4))


def test_large_requests_are_held_in_bounded_memory_and_all_sent() -> None:
    body = bytes(MOST_HELD_BYTES // 16)  # one, which all of them share
    large = [replace(step, request=replace(step.request, body=body)) for step in rows(100)]
    run = Run(large, {row: [Act(failed()), Act(replied())] for row in range(0, 100, 7)}, max_concurrency=64)
    run.feed = SmallFeed(large)
    assert run.drain() is None
    assert sorted(run.succeeded) == list(range(100))
    assert 16 <= run.provider.most_in_flight <= 16 + 4


def test_an_outcome_tells_all_that_must_be_durable() -> None:
    run = Run([prepared(3, attempts=2, tries=1)])
    run.drain()
    outcome = run.book.outcomes[0]
    assert (outcome.step, outcome.attempt, outcome.tries, outcome.end, outcome.mode) == (
        Step(3),
        3,
        2,
        "succeeded",
        "parallel",
    )
    assert (outcome.request_hash, outcome.request_id) == ((3).to_bytes(32), "req_1")
    assert outcome.reply is not None
    assert (outcome.usage, outcome.cost_pico) == (outcome.reply.usage, 15)
    assert (outcome.ended_at - outcome.started_at).total_seconds() == 1.0
    assert outcome.body == replied().body


def test_observers_hear_of_each_try_and_its_end() -> None:
    run = Run(rows(3), script={1: [Act(failed()), Act(replied())]})
    run.drain()
    sent, ended = run.listener.of(StepSent), run.listener.of(StepEnded)
    assert Counter((event.step.row, event.attempt) for event in sent) == Counter([(0, 1), (1, 1), (1, 2), (2, 1)])
    assert Counter((event.step.row, event.status) for event in ended) == Counter(
        [(0, "succeeded"), (1, "open"), (1, "succeeded"), (2, "succeeded")]
    )
    assert max(event.in_flight for event in sent) == 3


def test_observers_hear_why_a_reply_is_no_answer() -> None:
    refusal = Failure("refusal", "the model refused")

    class RefusingBook(MemoryBook):
        async def record_all(self, outcomes: Sequence[Outcome]) -> Sequence[Decision]:
            return [Decision("failed", refusal) for _ in await super().record_all(outcomes)]

    run = Run(rows(1))
    run.book = RefusingBook(run.retry)
    assert run.drain() is None
    assert [(event.status, event.failure) for event in run.listener.of(StepEnded)] == [("failed", refusal)]


def test_what_ends_at_once_is_recorded_at_once() -> None:
    together: list[int] = []

    class CountingBook(MemoryBook):
        async def record_all(self, outcomes: Sequence[Outcome]) -> Sequence[Decision]:
            together.append(len(outcomes))
            return await super().record_all(outcomes)

    run = Run(rows(40), max_concurrency=8)
    run.book = CountingBook(run.retry)
    assert run.drain() is None
    assert sum(together) == 40
    assert len(together) <= 10, "those of one turn of the loop in one entry"


def test_a_slot_goes_on_with_the_next_step_without_a_task_of_its_own() -> None:
    senders: set[object] = set()

    class WatchedProvider(ScriptedProvider):
        async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
            senders.add(asyncio.current_task())
            return await super().send(request, on_begin=on_begin)

    # Each row takes another time, so that there is always one ready when one has ended.
    run = Run(rows(200), {row: [Act(replied(), seconds=1 + row / 1_000)] for row in range(200)}, max_concurrency=10)
    run.provider = WatchedProvider(run.provider.script, run.default)
    assert run.drain() is None
    assert len(run.provider.sent) == 200
    assert len(senders) < 30


# -- retries -----------------------------------------------------------------------------------------------------------


def test_what_failed_for_a_passing_reason_is_leased_again_and_sent_after_its_backoff() -> None:
    run = Run(rows(1), script={0: [Act(failed()), Act(failed()), Act(replied())]}, draw=0.5)
    assert run.drain() is None
    first, second, third = run.sent_at(0)
    assert second - first == pytest.approx(1 + 0.25, abs=0.01)
    assert third - second == pytest.approx(1 + 0.5, abs=0.01)
    assert [outcome.attempt for outcome in run.book.outcomes] == [1, 2, 3]
    assert [outcome.tries for outcome in run.book.outcomes] == [1, 2, 3]
    assert run.book.lease_calls == 3


def test_retry_after_is_waited_for() -> None:
    run = Run(rows(1), script={0: [Act(failed(retry_after_s=40.0)), Act(replied())]})
    run.drain()
    first, second = run.sent_at(0)
    assert second - first >= 41


def test_a_retry_after_of_a_day_is_clamped() -> None:
    run = Run(rows(1), script={0: [Act(failed(retry_after_s=86_400.0)), Act(replied())]})
    run.drain()
    assert run.ended_at < 310


def test_a_step_is_given_up_after_max_attempts() -> None:
    run = Run(rows(2), script={0: [Act(failed())]}, retry=RetryPolicy(max_attempts=3))
    assert run.drain() is None
    assert run.times_sent == {0: 3, 1: 1}
    assert run.book.status[Step(0)] == "failed"


def test_what_is_not_retryable_is_sent_once() -> None:
    run = Run(rows(2), script={0: [Act(failed("invalid_request_error", retryable=False))]})
    run.drain()
    assert run.times_sent[0] == 1


def test_tries_of_an_earlier_process_count() -> None:
    run = Run([prepared(0, attempts=6, tries=4)], script={0: [Act(failed())]})
    run.drain()
    assert run.times_sent[0] == 1
    assert run.book.outcomes[0].attempt == 7


def test_others_go_on_while_a_retry_waits() -> None:
    run = Run(rows(10), script={0: [Act(failed(retry_after_s=100.0)), Act(replied())]}, max_concurrency=1)
    run.drain()
    assert max(run.sent_at(row)[0] for row in range(1, 10)) < 15
    assert run.sent_at(0)[1] > 100


def test_a_storm_of_failures_holds_only_a_window_of_retries() -> None:
    run = Run(rows(500), default=Act(failed(retry_after_s=50.0)), max_concurrency=5, retry=RetryPolicy(max_attempts=2))

    async def look(run: Run) -> None:
        await asyncio.sleep(45)
        assert run.feed.taken <= 30

    assert run.drain(look) is None
    assert set(run.book.status.values()) == {"failed"}
    assert set(run.times_sent.values()) == {2}


def test_a_failure_that_is_none_of_the_network_ends_with_every_row_failed_and_no_hang() -> None:
    run = Run(rows(20), default=Act(failed("timeout", may_be_billed=True), seconds=0.01))
    assert run.drain() is None
    assert set(run.times_sent.values()) == {5}
    assert set(run.book.status.values()) == {"failed"}


# -- nothing answers ---------------------------------------------------------------------------------------------------


def cut(count: int, *down: tuple[float, float], **fields: Any) -> tuple[Run, CutProvider]:
    """A run over a network that is down in these spans."""
    run = Run(rows(count), **fields)
    run.provider = provider = CutProvider(run.script, run.default, network=Network(*down))
    return run, provider


def test_an_api_that_was_never_there_stops_the_run_within_seconds_and_no_row_has_failed() -> None:
    run, provider = cut(1_000, (0.0, FOR_EVER), max_concurrency=200, retry=RetryPolicy(max_attempts=1))
    reason = run.drain()
    assert reason is not None
    assert (reason.kind, reason.failure) == ("unreachable", REFUSED)
    assert FIRST_PATIENCE_S <= run.ended_at <= 10
    assert set(run.book.status.values()) == {"open"}
    assert {outcome.tries for outcome in run.book.outcomes} == {0}
    assert run.book.leased == {}
    assert (run.book.spent, run.book.doubtful) == (0, 0)
    assert len(provider.refused_at) <= 60, "those that left before the first came back, and a few to see"
    assert [event.reason for event in run.listener.of(Stopping)] == ["unreachable"]


@pytest.mark.parametrize("count", [1, 3])
def test_few_rows_stop_it_as_many_do(count: int) -> None:
    run, _ = cut(count, (0.0, FOR_EVER))
    reason = run.drain()
    assert reason is not None
    assert reason.kind == "unreachable"
    assert run.ended_at <= 12


def test_200_requests_that_break_off_together_stop_nothing() -> None:
    run, _ = cut(2_000, (5.5, 7.5), max_concurrency=200)
    assert run.drain() is None
    assert run.succeeded == list(range(2_000))
    assert run.ended_at <= 12 + 2 + 3, "as long as without it, the blip, a pause, and one reply"
    assert max(outcome.tries for outcome in run.book.outcomes) == 2, "the broken try may be billed, and counts"


def test_long_replies_are_not_waited_for_to_know_that_connections_stand_again() -> None:
    run, provider = cut(600, (150.0, 151.0), max_concurrency=200, default=Act(replied(), seconds=100.0))
    assert run.drain() is None
    assert run.succeeded == list(range(600))
    assert len([at for _, at, _ in provider.sent if 150.0 < at < 160.0]) >= 200, "within seconds, not after a reply"


def test_an_outage_of_minutes_is_ridden_out_with_few_requests_and_full_width_after_it() -> None:
    run, provider = cut(3_000, (5.5, 245.5), max_concurrency=200, retry=RetryPolicy(max_attempts=2))
    assert run.drain() is None
    assert run.succeeded == list(range(3_000))
    assert len(provider.refused_at) <= 30
    assert run.ended_at <= 245.5 + 16 + 12
    assert provider.most_in_flight == 200
    assert [event.code for event in run.listener.of(Warned)] == ["no-answer"]
    assert HeldBack("unreachable") in run.listener.of(HeldBack)
    assert run.listener.of(HeldBack)[-1] != HeldBack("unreachable")


def test_an_api_that_goes_away_for_good_stops_the_run_with_its_rows_open() -> None:
    run, provider = cut(3_000, (5.5, FOR_EVER), max_concurrency=200, retry=RetryPolicy(max_attempts=2))
    reason = run.drain()
    assert reason is not None
    assert reason.kind == "unreachable"
    assert PATIENCE_S <= run.ended_at - 5.5 <= PATIENCE_S + 20
    assert "failed" not in run.book.status.values()
    assert run.book.leased == {}
    assert run.book.doubtful == 200 * 100, "what was under way may be billed, and stays counted"
    assert len(provider.refused_at) <= 40


def test_what_comes_after_an_outage_goes_on_where_it_was() -> None:
    run, _ = cut(100, (2.5, FOR_EVER))
    assert run.drain() is not None
    answered = run.succeeded
    left = [prepared(row, attempts=run.book.attempts[Step(row)]) for row in range(100) if row not in answered]
    again, _ = cut(0)
    again.feed = ListFeed(left)
    assert again.drain() is None
    assert sorted([*answered, *again.succeeded]) == list(range(100))


def test_tries_that_may_be_billed_are_used_up_also_in_an_outage() -> None:
    broken = Act(Sent(None, BROKEN), seconds=0.01)
    run = Run(rows(1), default=broken, retry=RetryPolicy(max_attempts=3))
    assert run.drain() is None
    assert run.times_sent == {0: 3}
    assert set(run.book.status.values()) == {"failed"}


def test_what_accepts_connections_and_drops_them_stops_the_run_too() -> None:
    run = Run(rows(1_000), default=Act(Sent(None, BROKEN), seconds=0.01), max_concurrency=200)
    reason = run.drain()
    assert reason is not None
    assert reason.kind == "unreachable"
    assert "failed" not in run.book.status.values()


def test_a_connection_that_does_not_stand_uses_up_no_try_and_the_row_is_answered_in_the_end() -> None:
    script = {0: [*[Act(Sent(None, REFUSED), seconds=0.1)] * 50, Act(failed()), Act(replied())]}
    run = Run(rows(400), script=script, retry=RetryPolicy(max_attempts=2))
    assert run.drain() is None
    assert run.succeeded == list(range(400))
    of_row = [outcome for outcome in run.book.outcomes if outcome.step.row == 0]
    assert [outcome.tries for outcome in of_row] == [0] * 50 + [1, 2]


def test_a_row_that_never_gets_a_connection_is_given_up_in_the_end() -> None:
    run = Run(
        [prepared(0, attempts=FREE_CONNECTIONS)],
        default=Act(Sent(None, REFUSED), seconds=0.01),
        retry=RetryPolicy(max_attempts=2),
    )
    assert run.drain() is None
    assert set(run.book.status.values()) == {"failed"}
    assert run.times_sent == {0: 2}


def test_while_the_first_requests_are_still_worked_on_refused_ones_stop_nothing() -> None:
    """A gateway that takes ten connections and refuses the others, before an API that thinks for a minute."""

    class Gateway(ScriptedProvider):
        async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
            if self.in_flight >= 10:
                await asyncio.sleep(0.01)
                return Sent(None, REFUSED)
            return await super().send(request, on_begin=on_begin)

    run = Run(rows(40), max_concurrency=20)
    run.provider = Gateway({}, Act(replied(), seconds=60.0))
    assert run.drain() is None
    assert run.succeeded == list(range(40))


def test_a_429_in_an_outage_is_an_answer() -> None:
    limited = Act(failed("rate_limit_error", http_status=429, retry_after_s=1.0), seconds=0.1)
    run, provider = cut(4, (0.0, 5.0), script={row: [limited, Act(replied())] for row in range(4)})
    assert run.drain() is None
    assert run.succeeded == [0, 1, 2, 3]
    assert len(provider.refused_at) >= 4


# -- pauses ------------------------------------------------------------------------------------------------------------


def test_a_429_holds_everybody_for_its_retry_after() -> None:
    limited = failed("rate_limit_error", retry_after_s=20.0, http_status=429)
    run = Run(rows(30), script={0: [Act(limited, seconds=0.5), Act(replied())]})
    assert run.drain() is None
    pauses = run.listener.of(CoolingDown)
    assert [(event.seconds, event.reason) for event in pauses] == [(20.0, "rate_limit_error")]
    assert not [at for _, at, _ in run.provider.sent if 0.52 < at < 20.5]


def test_a_rate_limit_uses_up_no_try_and_the_row_is_answered_in_the_end() -> None:
    limited = failed("rate_limit_error", retry_after_s=1.0, http_status=429)
    script = {0: [*[Act(limited, seconds=0.1)] * 12, Act(failed()), Act(replied())]}
    run = Run(rows(3), script=script, retry=RetryPolicy(max_attempts=2))
    assert run.drain() is None
    assert run.succeeded == [0, 1, 2]
    of_row = [outcome for outcome in run.book.outcomes if outcome.step.row == 0]
    assert [outcome.tries for outcome in of_row] == [0] * 12 + [1, 2]
    assert [outcome.attempt for outcome in of_row] == list(range(1, 15))


def test_a_row_that_is_refused_for_ever_is_given_up_in_the_end() -> None:
    limited = failed("rate_limit_error", http_status=429)
    run = Run(rows(2), script={0: [Act(limited, seconds=0.1)]}, retry=RetryPolicy(max_attempts=2))
    assert run.drain() is None
    assert run.times_sent == {0: FREE_REFUSALS + 2, 1: 1}


def test_requests_wait_for_the_pace_without_a_busy_loop_and_in_order() -> None:
    told = {"anthropic-ratelimit-requests-limit": "600", "anthropic-ratelimit-requests-remaining": "100"}
    run = Run(rows(100), default=Act(replace(replied(), headers=told), seconds=0.2), max_concurrency=20)
    assert run.drain() is None
    assert [row for row, _, _ in run.provider.sent] == list(range(100))
    assert run.ended_at == pytest.approx(8.0, abs=0.7), "twenty at once, then ten a second"
    assert HeldBack("requests", 600) in run.listener.of(HeldBack)


def test_what_holds_a_run_back_is_told_when_it_changes() -> None:
    run = Run(rows(40), max_concurrency=4)
    run.drain()
    assert run.listener.of(HeldBack)[0] == HeldBack("connections", 4, own=True)
    assert len(run.listener.of(HeldBack)) <= run.ended_at + 1, "once a second at most"


class HastyClock(VirtualClock):
    """Rings a moment early, as uvloop's timers do, each time by a little more; and reading it takes time."""

    def __init__(self) -> None:
        self._reads = self._sleeps = 0

    def monotonic(self) -> float:
        self._reads += 1
        return super().monotonic() + self._reads * 0.0001

    async def sleep(self, seconds: float) -> None:
        self._sleeps += 1
        await super().sleep(max(0.0, seconds - self._sleeps % 30 * 0.0001))


def test_a_timer_that_rings_a_moment_early_leaves_no_run_waiting_for_ever() -> None:
    """One request at a time: nothing but the timer wakes the engine."""
    run, clock = Run(rows(200), default=Act(replied(), seconds=0.0)), HastyClock()

    async def main() -> StopReason | None:
        limits = Limits(1, clock, ceilings=Ceilings(requests=6_000).pool())
        return await run.engine(clock=clock, limits=limits).drain()

    assert run_virtual(main()) is None
    assert run.succeeded == list(range(200))


# -- money -------------------------------------------------------------------------------------------------------------


def test_the_run_stops_when_the_cap_admits_nothing_and_nothing_is_in_flight() -> None:
    run = Run(rows(50), cap=500)
    reason = run.drain()
    assert reason is not None
    assert reason.kind == "budget"
    assert run.book.highest_claim <= 500
    assert run.book.leased == {}
    assert len(run.succeeded) == 1 + (500 - 100) // 15
    assert run.listener.of(Stopping)[0].reason == "budget"


def test_a_cap_that_admits_nothing_at_all_sends_nothing() -> None:
    run = Run(rows(5), cap=99)
    reason = run.drain()
    assert reason is not None
    assert reason.kind == "budget"
    assert run.provider.sent == []


def test_a_tight_cap_is_waited_for_while_something_is_in_flight() -> None:
    run = Run(rows(5), cap=180, max_concurrency=4)
    assert run.drain() is None, "each settled request makes room for the next"
    assert run.succeeded == [0, 1, 2, 3, 4]


def test_what_may_have_been_billed_stays_claimed() -> None:
    lost = Act(failed("connection_error", may_be_billed=True))
    run = Run(rows(1), script={0: [lost]}, cap=250)
    reason = run.drain()
    assert reason is not None
    assert reason.kind == "budget"
    assert run.times_sent[0] == 2


# -- what concerns every row -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("authentication_error", "credentials"), ("billing_error", "spend_limit"), ("not_found_error", "not_found")],
)
def test_a_failure_of_the_job_stops_admission_and_what_is_in_flight_is_kept(kind: str, reason: str) -> None:
    refused = failed(kind, retryable=False, scope="job")
    run = Run(rows(100), script={2: [Act(refused, seconds=0.2)]})
    stop = run.drain()
    assert stop is not None
    assert (stop.kind, stop.message) == (reason, f"{kind} happened")
    assert stop.hint
    assert len(run.provider.sent) == 4
    assert run.succeeded == [0, 1, 3]
    assert run.book.leased == {}, "what had not left was given back"
    assert run.times_sent[2] == 1, "the row itself waits for the next run"
    assert run.book.status[Step(2)] == "open"


def test_many_such_failures_at_once_are_one_reason() -> None:
    run = Run(rows(20), default=Act(failed("authentication_error", retryable=False, scope="job")))
    assert run.drain() is not None
    assert len(run.listener.of(Stopping)) == 1
    assert len(run.book.outcomes) == 4


# -- halting -----------------------------------------------------------------------------------------------------------


def test_a_stop_drains_and_gives_back() -> None:
    run = Run(rows(100))

    async def stop(run: Run) -> None:
        await asyncio.sleep(2.5)
        run.halt.stop(INTERRUPTED)

    assert run.drain(stop) == INTERRUPTED
    assert run.ended_at < 3.1
    assert len(run.succeeded) == 12
    assert run.book.leased == {}
    assert run.provider.lost == 0


def test_a_drop_loses_no_reply_that_has_just_come() -> None:
    run = Run(rows(8), script={1: [Act(replied(), seconds=500)]}, max_concurrency=2)

    class Dropping(Listener):
        def notify(self, event: Event) -> None:
            super().notify(event)
            if isinstance(event, StepSent) and event.step == Step(2):  # at once behind the first reply
                run.halt.stop(INTERRUPTED)
                run.halt.drop()

    run.listener = Dropping()
    assert run.drain() == INTERRUPTED
    assert run.succeeded == [0]
    assert set(run.book.leased) == {Step(1), Step(2)}, "those that were in flight"


def test_a_drop_abandons_what_is_in_flight_and_keeps_its_leases() -> None:
    run = Run(rows(100), default=Act(replied(), seconds=500.0))

    async def drop(run: Run) -> None:
        await asyncio.sleep(2.5)
        run.halt.stop(INTERRUPTED)
        await asyncio.sleep(30)
        assert run.provider.in_flight == 4
        run.halt.drop()

    assert run.drain(drop) == INTERRUPTED
    assert run.ended_at == pytest.approx(32.5, abs=0.1)
    assert run.provider.lost == 4
    assert set(run.book.leased) == {Step(0), Step(1), Step(2), Step(3)}


def test_a_run_that_is_halted_before_it_begins_sends_nothing() -> None:
    run = Run(rows(10))
    run.halt.stop(INTERRUPTED)
    assert run.drain() == INTERRUPTED
    assert run.provider.sent == []
    assert run.book.leased == {}


def test_a_stop_does_not_wait_for_retries_or_pauses() -> None:
    limited = failed("rate_limit_error", retry_after_s=200.0)
    run = Run(rows(10), default=Act(limited))

    async def stop(run: Run) -> None:
        await asyncio.sleep(5)
        run.halt.stop(INTERRUPTED)

    assert run.drain(stop) == INTERRUPTED
    assert run.ended_at < 6
    assert run.book.leased == {}


def test_a_canceled_drain_leaves_nothing_running() -> None:
    run = Run(rows(10), max_concurrency=2)

    async def main() -> None:
        task = asyncio.create_task(run.engine().drain())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())
    assert run.provider.lost == 2


# -- bugs --------------------------------------------------------------------------------------------------------------


def test_an_exception_of_the_provider_is_raised_after_the_others_were_recorded() -> None:
    run = Run(rows(50), script={1: [Act(KeyError("a bug"), seconds=0.1)]})
    with pytest.raises(KeyError, match="a bug"):
        run.drain()
    assert run.succeeded == [0, 2, 3]
    assert Step(1) not in run.book.status, "it is not the row's fault"
    assert set(run.book.leased) == {Step(1)}


def test_a_leader_with_a_bug_leaves_nobody_waiting() -> None:
    run = Run(rows(10, prefix=A), script={0: [Act(KeyError("a bug"), seconds=0.1)]})
    with pytest.raises(KeyError):
        run.drain()
    assert set(run.book.leased) == {Step(0)}


def test_a_book_that_cannot_record_ends_the_run_at_once() -> None:
    run = Run(rows(50), script={0: [Act(replied(), seconds=0.1)]}, default=Act(replied(), seconds=1_000.0))
    run.book.breaks_at = 1
    with pytest.raises(OSError, match="no space"):
        run.drain()
    assert run.ended_at < 1
    assert run.provider.lost >= 3


def test_a_book_that_cannot_lease_ends_the_run_at_once() -> None:
    class FullBook(MemoryBook):
        async def lease(self, prepared: Sequence[Prepared]) -> int:
            raise OSError(f"no space left for {len(prepared)} leases")

    run = Run(rows(50))
    run.book = FullBook(run.retry)
    with pytest.raises(OSError, match="no space"):
        run.drain()


def test_a_feed_that_fails_ends_the_run() -> None:
    class LostFeed(ListFeed):
        async def take(self, limit: int) -> Sequence[Prepared]:
            raise OSError(f"{limit} rows are gone")

    run = Run([])
    run.feed = LostFeed(rows(5))
    with pytest.raises(OSError, match="rows are gone"):
        run.drain()


# -- warming up --------------------------------------------------------------------------------------------------------


def begins(after: float, seconds: float = 2.0) -> Act:
    return Act(replied(), seconds=seconds, begins=after)


def test_one_request_goes_first_and_the_rest_follow_when_its_reply_has_begun() -> None:
    run = Run(rows(30, prefix=A), default=begins(0.7), max_concurrency=200)
    assert run.drain() is None
    first, *others = run.provider.sent
    assert first[2], "the first is streamed"
    assert not any(streamed for _, _, streamed in others)
    assert all(at >= first[1] + 0.7 for _, at, _ in others)
    assert run.ended_at < 3
    assert len(run.succeeded) == 30


def test_a_leader_that_fails_before_it_begins_is_followed_by_the_next() -> None:
    run = Run(rows(10, prefix=A), script={0: [Act(failed(), seconds=0.5), begins(0.1)]}, default=begins(0.7))
    assert run.drain() is None
    assert [row for row, _, streamed in run.provider.sent if streamed] == [0, 1]
    assert len(run.succeeded) == 10


def test_a_leader_that_fails_after_it_began_has_warmed_the_cache() -> None:
    run = Run(rows(10, prefix=A), script={0: [Act(failed(), seconds=2.0, begins=0.3), begins(0.1)]})
    assert run.drain() is None
    assert sum(streamed for _, _, streamed in run.provider.sent) == 1
    assert len(run.succeeded) == 10


def test_when_every_leader_fails_all_rows_fail_and_nothing_hangs() -> None:
    run = Run(rows(10, prefix=A), default=Act(failed("invalid_request_error", retryable=False)))
    assert run.drain() is None
    assert len(run.book.outcomes) == 10
    assert all(streamed for _, _, streamed in run.provider.sent)


def test_each_prefix_has_its_own_leader_and_rows_without_one_wait_for_none() -> None:
    steps = [prepared(row, prefix=prefix) for row, prefix in enumerate([A, B, b"", A, B, b"", A])]
    run = Run(steps, default=begins(0.5), max_concurrency=10)
    assert run.drain() is None
    assert [row for row, _, streamed in run.provider.sent if streamed] == [0, 1]
    assert run.sent_at(2) == run.sent_at(0) == run.sent_at(5)


def test_a_provider_that_does_not_say_when_it_began_has_by_its_reply() -> None:
    class SilentProvider(ScriptedProvider):
        async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
            return await super().send(request)

    run = Run(rows(5, prefix=A))
    run.provider = SilentProvider()
    assert run.drain() is None
    assert all(run.sent_at(row)[0] >= 1 for row in range(1, 5))


def test_those_that_wait_for_a_leader_are_given_back_when_the_run_stops() -> None:
    run = Run(rows(10, prefix=A), default=begins(5.0, 6.0))

    async def stop(run: Run) -> None:
        await asyncio.sleep(1)
        run.halt.stop(INTERRUPTED)

    assert run.drain(stop) == INTERRUPTED
    assert run.succeeded == [0]
    assert run.book.leased == {}


def with_documents(count: int, rows_each: int) -> list[Prepared]:
    """Rows with a prompt that all share and a document, document by document."""
    shared = Prefix(A, 10_000, "5m")
    return [
        prepared(row, prefixes=(shared, Prefix((row // rows_each).to_bytes(16), 20_000, "5m")))
        for row in range(count * rows_each)
    ]


@pytest.mark.parametrize("slots", [1, 2, 5, 16, 64, 800])
def test_every_document_is_led_once_however_many_are_in_flight(slots: int) -> None:
    run = Run(with_documents(20, 6), default=begins(0.3, 1.0), max_concurrency=slots)
    assert run.drain() is None
    assert len(run.succeeded) == 120
    leaders = [row for row, _, streamed in run.provider.sent if streamed]
    assert sorted(row // 6 for row in leaders) == list(range(20))
    assert run.book.most_leased <= 2 * slots


def test_those_that_wait_for_a_document_keep_no_other_from_going() -> None:
    run = Run(with_documents(50, 6), default=begins(0.5, 1.0), max_concurrency=40)
    assert run.drain() is None
    others = [at for row, at, streamed in run.provider.sent if streamed and row]
    assert others[8] < 0.6, "with the prompt there the leaders of several documents go at once"
    assert run.ended_at < 300 / 40 * 1.0 + 2.5, "and the slots are used"


def test_a_document_with_more_rows_than_slots_is_not_held_up() -> None:
    run = Run(with_documents(3, 100), default=begins(0.5, 1.0), max_concurrency=10)
    assert run.drain() is None
    assert run.ended_at < 300 / 10 * 1.0 + 3 * 1.5


def test_a_leader_that_hangs_is_followed_by_the_next_after_a_while() -> None:
    run = Run(rows(10, prefix=A), script={0: [Act(replied(), seconds=600.0, begins=600.0)]}, default=begins(0.7))
    assert run.drain() is None
    assert [row for row, _, streamed in run.provider.sent if streamed] == [0, 1]
    assert 120 <= run.sent_at(1)[0] <= 150
    assert len(run.succeeded) == 10


def test_an_entry_that_ran_out_in_a_pause_is_led_again() -> None:
    slow_down = failed("rate_limit_error", retry_after_s=299.0)
    run = Run(rows(20, prefix=A), script={5: [Act(slow_down, seconds=0.5), begins(0.3)]}, default=begins(0.3, 1.0))
    assert run.drain() is None
    assert len(run.succeeded) == 20
    first, second = (at for _, at, streamed in run.provider.sent if streamed)
    assert second > first + 299
    others = [at for _, at, streamed in run.provider.sent if not streamed and at > 299]
    assert min(others) >= second + 0.3


# -- the warm-up -------------------------------------------------------------------------------------------------------


def warm_up() -> Prepared:
    made = prepared(99, prefix=A)
    return replace(made, step=Step(-1), request=replace(made.request, max_tokens=0))


def drained_with_warm_up(run: Run, **changes: Any) -> StopReason | None:
    async def main() -> StopReason | None:
        return await run.engine(warm_up=warm_up(), **changes).drain()

    return run_virtual(main())


def test_a_warm_up_goes_first_unstreamed_and_the_rows_follow_its_reply() -> None:
    run = Run(rows(10, prefix=A), script={99: [Act(replied(), seconds=0.5)]}, max_concurrency=10)
    assert drained_with_warm_up(run) is None
    first, *others = run.provider.sent
    assert (first[0], first[2]) == (99, False)
    assert all(at >= first[1] + 0.5 and not streamed for _, at, streamed in others)
    assert len(others) == 10
    assert run.book.leased == {}
    assert run.listener.of(Warned) == []


def test_nothing_is_warmed_up_where_nothing_is_to_be_sent() -> None:
    run = Run([], max_concurrency=10)
    assert drained_with_warm_up(run) is None
    assert run.provider.sent == []
    assert run.book.leased == {}


@pytest.mark.parametrize("kind", ["invalid_request_error", "overloaded_error", "connection_error"])
def test_where_the_warm_up_fails_the_first_row_leads_and_it_is_told_once(kind: str) -> None:
    run = Run(rows(10, prefix=A), script={99: [Act(failed(kind, retryable=False), seconds=0.5)]}, default=begins(0.7))
    assert drained_with_warm_up(run) is None
    assert [row for row, _, streamed in run.provider.sent if streamed] == [0]
    assert len(run.succeeded) == 10
    (warned,) = run.listener.of(Warned)
    assert (warned.code, kind in warned.message) == ("no-warm-up", True)


def test_a_warm_up_that_the_cap_does_not_admit_stops_the_run_as_a_row_would() -> None:
    run = Run(rows(3, prefix=A), cap=99)
    reason = drained_with_warm_up(run)
    assert reason is not None
    assert reason.kind == "budget"
    assert run.provider.sent == []


def test_prefixes_that_are_too_short_wait_for_nobody() -> None:
    run = Run(rows(4, prefix=A))

    async def main() -> None:
        await run.engine(least_prefix_bytes=10_001).drain()

    run_virtual(main())
    assert {at for _, at, _ in run.provider.sent} == {run.provider.sent[0][1]}


def test_a_feed_that_gets_more_while_the_last_is_recorded_is_asked_again() -> None:
    class AskingBook(MemoryBook):
        async def record_all(self, outcomes: Sequence[Outcome]) -> Sequence[Decision]:
            if any(outcome.step == Step(0) for outcome in outcomes):
                run.feed.add(prepared(7))
            return await super().record_all(outcomes)

    run = Run(rows(2))
    run.book = AskingBook(run.retry)
    assert run.drain() is None
    assert run.succeeded == [0, 1, 7]


def test_a_feed_that_has_more_when_it_is_asked_for_the_last_time_is_asked_again() -> None:
    """Nothing is under way then whose end would wake the engine up."""

    class LateFeed(ListFeed):
        async def peek_is_empty(self) -> bool:
            if not self.taken:
                self.add(prepared(7))
            return await super().peek_is_empty()

    run = Run([])
    run.feed = LateFeed([])
    assert run.drain() is None
    assert run.succeeded == [7]


def test_a_reply_that_leaves_its_row_open_is_not_sent_again() -> None:
    """The book asks for another step then, which comes through the feed."""

    class AskingBook(MemoryBook):
        async def record_all(self, outcomes: Sequence[Outcome]) -> Sequence[Decision]:
            return [Decision("open") for _ in await super().record_all(outcomes)]

    run = Run(rows(1))
    run.book = AskingBook(run.retry)
    assert run.drain() is None
    assert run.times_sent[0] == 1
