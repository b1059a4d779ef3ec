"""When one more request may leave: width, pace and the pauses that all of them share."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from runner.engines.limits import Ceilings, Held, Limits, Permit
from runner.engines.pacing import Pool
from runner.engines.pool_file import Scope
from runner.engines.shared_pool import SharedPool
from runner.providers import Sent
from runner.types import Failure, Reply, Request, Usage
from support.engine_fakes import HandClock

RATE_LIMITED = Failure("rate_limit_error", "slow down", retryable=True, http_status=429)
OVERLOADED = Failure("overloaded_error", "busy", retryable=True, http_status=529)
CONNECTIONS = replace(RATE_LIMITED, message="Number of concurrent connections has exceeded your rate limit.")
RAMP = replace(RATE_LIMITED, code="ramp_limit_exceeded")
REQUEST = Request(b"", b"", b"x" * 300, "m", 100, None)
USAGE = Usage(input_tokens=100, output_tokens=40)


def told(limit: float = 3_000, remaining: float | None = None, name: str = "requests") -> dict[str, str]:
    left = limit if remaining is None else remaining
    return {
        f"anthropic-ratelimit-{name}-limit": f"{limit:.0f}",
        f"anthropic-ratelimit-{name}-remaining": f"{left:.0f}",
        f"anthropic-ratelimit-{name}-reset": "2026-11-22T10:00:30Z",
    }


class Bench:
    """Limits on a clock that a test turns."""

    def __init__(
        self, most: int = 8, pool: Pool | None = None, ceilings: Pool | None = None, clock: HandClock | None = None
    ) -> None:
        self.clock = clock or HandClock()
        self.pool = pool or Pool()
        self.limits = Limits(most, self.clock, pool=self.pool, ceilings=ceilings)
        self.gone: list[Permit] = []

    def leave(self, most: int = 10_000) -> int:
        """Let as many requests leave as may now."""
        count = 0
        while count < most and self.limits.has_room:
            self.gone.append(self.limits.enter(REQUEST))
            count += 1
        return count

    def replied(self, headers: Mapping[str, str] | None = None, usage: Usage = USAGE) -> None:
        """The oldest is answered."""
        permit = self.gone.pop(0)
        self.limits.leave()
        self.limits.learn(permit, Sent(Reply("m", None, "m", "end_turn", (), usage), None, headers=headers))

    def refused(self, failure: Failure = RATE_LIMITED, headers: Mapping[str, str] | None = None) -> float | None:
        permit = self.gone.pop(0)
        self.limits.leave()
        return self.limits.learn(permit, Sent(None, failure, headers=headers or {}))

    def at_work(self) -> None:
        """The first reply has come, and told of no limit."""
        self.leave(1)
        self.replied({})

    def left_in(self, seconds: float, headers: Mapping[str, str] | None = None) -> int:
        """How many leave in this time, each answered at once."""
        count, end = 0, self.clock.time + seconds
        while self.clock.time < end:
            left = self.leave()
            count += left
            for _ in range(left):
                self.replied(headers)
            self.clock.time += 0.002
        return count


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- width -------------------------------------------------------------------------------------------------------------


def test_no_more_leave_than_the_width() -> None:
    bench = Bench(most=7)
    bench.at_work()
    assert bench.leave() == 7
    bench.replied()
    assert bench.leave() == 1


def test_before_the_first_reply_requests_leave_a_moment_apart() -> None:
    bench = Bench(most=400)
    assert bench.leave() <= 11
    assert bench.limits.resume_at is not None
    assert bench.limits.resume_at - bench.clock.time <= 0.01
    total = len(bench.gone)
    for _ in range(100):
        bench.clock.time += 0.001
        total += bench.leave()
    assert total == 100, "a quarter of what the job allows, until something is known"


def test_the_first_replies_widen_a_run_fourfold_a_round_trip() -> None:
    bench = Bench(most=800)
    bench.clock.time = 1.0
    while bench.limits.in_flight < 200:
        bench.leave()
        bench.clock.time += 0.001
    for _ in range(200):
        bench.replied()
        bench.leave()
    assert bench.limits.in_flight == 800


def test_a_429_without_a_reason_halves_the_width_once_an_episode(bench: Bench) -> None:
    bench.at_work()
    bench.leave()
    bench.clock.time = 1.0
    for _ in range(5):
        bench.refused()
    bench.clock.time = 100.0
    bench.gone.clear()
    bench.limits.in_flight = 0
    assert bench.leave() == 4


def test_replies_widen_again_what_was_cut(bench: Bench) -> None:
    bench.at_work()
    bench.leave()
    bench.refused()
    for _ in range(200):
        bench.clock.time += 1.0
        bench.leave()
        bench.replied()
    bench.leave()
    assert bench.limits.in_flight == 8


def test_the_width_never_falls_below_one() -> None:
    bench = Bench(most=2)
    bench.at_work()
    for _ in range(10):
        bench.clock.time += 100
        bench.leave(1)
        bench.refused()
    bench.clock.time += 100
    assert bench.leave() == 1


def test_connections_at_a_time_are_a_ceiling_that_is_kept_and_probed() -> None:
    bench = Bench(most=32)
    bench.at_work()
    bench.leave()
    for _ in range(12):
        assert bench.refused(CONNECTIONS) is None, "no pause: what else is in flight is well"
    assert bench.leave() == 0
    assert bench.limits.held == Held("connections", 20)
    for _ in range(20):
        bench.replied()
        bench.leave()
    assert bench.limits.in_flight == 20
    for _ in range(20):
        bench.clock.time += 3.0
        bench.replied()
        bench.leave()
    assert 21 <= bench.limits.in_flight <= 32


def test_a_ramp_makes_a_run_a_little_narrower_and_slower_to_grow() -> None:
    bench = Bench(most=128)
    bench.at_work()
    bench.leave()
    before = bench.limits.in_flight
    assert bench.refused(replace(RAMP, retry_after_s=2.0)) == 2.0
    bench.clock.time += 2.0
    bench.gone.clear()
    bench.limits.in_flight = 0
    assert bench.leave() == int(before * 0.8)
    for _ in range(20):
        bench.replied()
        bench.leave()
    assert bench.limits.in_flight < before * 0.8 + 25


# -- pauses ------------------------------------------------------------------------------------------------------------


def test_a_429_pauses_everything_for_its_retry_after(bench: Bench) -> None:
    bench.at_work()
    bench.leave(4)
    assert bench.refused(replace(RATE_LIMITED, retry_after_s=12.0)) == 12.0
    seen = []
    for bench.clock.time in (0.0, 11.9, 12.0):
        seen.append((bench.limits.has_room, bench.limits.resume_at))
    assert seen == [(False, 12.0), (False, 12.0), (True, None)]


def test_a_wish_for_a_day_pauses_for_five_minutes(bench: Bench) -> None:
    bench.leave(1)
    assert bench.refused(replace(RATE_LIMITED, retry_after_s=86_400.0)) == 300.0


def test_pauses_without_a_wish_double_until_a_reply_succeeds(bench: Bench) -> None:
    def pause() -> float | None:
        bench.clock.time += 1_000
        bench.leave(1)
        return bench.refused()

    assert [pause() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    bench.clock.time += 1_000
    bench.at_work()
    assert pause() == 0.5


def test_requests_that_left_before_the_pause_do_not_lengthen_it(bench: Bench) -> None:
    bench.at_work()
    bench.leave(4)
    bench.clock.time = 1.0
    assert bench.refused() == 0.5
    bench.clock.time = 1.2
    assert bench.refused() is None
    assert not bench.limits.has_room
    assert bench.limits.resume_at == 1.5


def test_a_longer_wish_lengthens_the_pause_and_a_shorter_one_does_not(bench: Bench) -> None:
    bench.at_work()
    bench.leave(4)
    bench.refused(replace(RATE_LIMITED, retry_after_s=5.0))
    assert bench.refused(replace(RATE_LIMITED, retry_after_s=3.0)) is None
    assert bench.refused(replace(RATE_LIMITED, retry_after_s=9.0)) == 9.0
    assert not bench.limits.has_room
    assert bench.limits.resume_at == 9.0


def test_what_pauses_one_run_pauses_all_that_use_the_key() -> None:
    pool = Pool()
    one, other = Bench(pool=pool), Bench(pool=pool)
    one.leave(1)
    one.refused(replace(RATE_LIMITED, retry_after_s=5.0), told())
    other.clock.time = one.clock.time = 1.0
    assert other.leave() == 0
    other.clock.time = 5.1
    assert other.leave() > 0


def sharing(folder: Path, most: int = 200) -> tuple[Bench, Bench]:
    """Two processes with one key on one clock, each of which has been answered without a word of limits."""
    clock = HandClock()
    clock.time = 1_000.0
    one, other = (Bench(most, SharedPool(folder, Scope(("k",)), clock, pytest.fail), clock=clock) for _ in range(2))
    for bench in (one, other):
        bench.at_work()
        clock.time += 1.0
        for _ in range(10):
            bench.leave(5)
            for _ in range(5):
                bench.replied({})
    return one, other


def test_a_pause_that_another_process_has_set_holds_though_no_limit_is_known(tmp_path: Path) -> None:
    one, other = sharing(tmp_path)
    one.leave(1)
    other.leave(1)
    assert one.refused(replace(RATE_LIMITED, retry_after_s=30.0)) == 30.0
    one.clock.time += 1.0
    assert other.refused(replace(RATE_LIMITED, retry_after_s=28.0)) is None, "it is no new pause"
    assert (other.leave(), other.limits.resume_at, other.limits.held) == (0, one.limits.resume_at, Held("pause"))
    one.clock.time += 29.1
    assert other.leave() > 0


def test_a_pause_of_another_process_is_seen_within_a_block_of_requests(tmp_path: Path) -> None:
    one, other = sharing(tmp_path)
    one.leave(1)
    assert one.refused(replace(RATE_LIMITED, retry_after_s=30.0)) == 30.0
    assert other.left_in(5.0, {}) <= 64


def test_a_wait_for_the_shared_file_is_told_as_no_pause(tmp_path: Path) -> None:
    bench, _ = sharing(tmp_path)
    bench.leave(1)
    bench.replied(told(60, remaining=10))
    bench.leave()
    held = bench.limits.held
    assert held == Held("requests", 60)
    (path,) = tmp_path.glob("*.limits")
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        bench.clock.time += 1.1
        assert bench.leave() == 0
        assert bench.limits.held == held


def test_the_opening_is_told_as_no_pause() -> None:
    bench = Bench(most=400)
    bench.leave()
    assert (bench.limits.has_room, bench.limits.held) == (False, None)


def test_a_single_529_is_its_own_rows_backoff_and_several_in_a_row_pause_all(bench: Bench) -> None:
    bench.at_work()
    bench.leave()
    assert bench.refused(OVERLOADED) is None
    bench.replied()
    bench.leave()
    assert [bench.refused(OVERLOADED) for _ in range(5)] == [None, None, None, None, 0.5]
    assert bench.limits.held == Held("busy")
    bench.clock.time = 10.0
    bench.leave()
    assert bench.limits.in_flight == 8, "an overloaded API does not narrow the run"


def test_a_529_with_a_wish_is_honoured_at_once(bench: Bench) -> None:
    bench.leave(1)
    assert bench.refused(replace(OVERLOADED, retry_after_s=4.0)) == 4.0


@pytest.mark.parametrize("kind", ["api_error", "connection_error", "timeout"])
def test_other_failures_pause_nothing(bench: Bench, kind: str) -> None:
    bench.at_work()
    bench.leave()
    assert bench.refused(Failure(kind, "x", retryable=True, retry_after_s=5.0)) is None
    bench.leave()
    assert bench.limits.in_flight == 8


def test_a_moment_that_has_come_unseen_is_still_told(bench: Bench) -> None:
    bench.at_work()
    bench.leave(1)
    bench.refused(replace(RATE_LIMITED, retry_after_s=12.0))
    bench.clock.time = 11.9999
    assert not bench.limits.has_room
    bench.clock.time = 12.0001
    assert bench.limits.resume_at == 12.0, "or whoever waits for it waits for ever"


# -- pace --------------------------------------------------------------------------------------------------------------


def test_a_limit_that_the_first_reply_tells_of_is_kept_from_then_on() -> None:
    bench = Bench(most=100)
    bench.leave(1)
    bench.replied(told(600, remaining=100))
    assert 9 <= bench.left_in(1.0) <= 12
    assert bench.limits.held in (Held("requests", 600), None)


def test_what_has_gathered_is_used_up_gently() -> None:
    bench = Bench(most=100)
    bench.leave(1)
    bench.replied(told(600, remaining=600))
    assert 18 <= bench.left_in(1.0) <= 22, "twice the limit while the bucket is full"


def test_a_level_that_falls_by_itself_slows_the_pace() -> None:
    bench = Bench(most=100)
    bench.leave(1)
    bench.replied(told(6_000, remaining=6_000))
    bench.clock.time = 1.0
    bench.leave(1)
    bench.replied(told(6_000, remaining=100))
    assert bench.left_in(0.5) <= 30, "a fifth of what is low: a fifth of the limit"


def test_a_429_that_its_headers_explain_changes_no_width_and_needs_no_pause() -> None:
    bench = Bench(most=32)
    bench.at_work()
    bench.leave()
    assert bench.refused(RATE_LIMITED, told(600, remaining=0)) is None
    assert bench.limits.held is None or bench.limits.held.by == "requests"
    assert bench.left_in(20.0) > 100
    assert bench.leave(200) <= 32


def test_input_tokens_count_what_is_not_read_from_the_cache() -> None:
    bench = Bench(most=100)
    usage = Usage(input_tokens=50, cache_read_input_tokens=5_000, ephemeral_5m_input_tokens=50)
    bench.leave(1)
    bench.replied(told(60_000, remaining=10_000, name="input-tokens"), usage)
    sent, end = 0, bench.clock.time + 20
    while bench.clock.time < end:
        left = bench.leave()
        sent += left
        for _ in range(left):
            bench.replied(None, usage)
        bench.clock.time += 0.01
    # 1,000 tokens a second, a hundred each
    assert sent == pytest.approx(200, rel=0.1)


def test_a_ceiling_of_the_job_holds_where_the_api_tells_of_no_limit() -> None:
    bench = Bench(most=100, ceilings=Ceilings(requests=600).pool())
    sent = bench.left_in(10.0)
    assert 95 <= sent <= 105
    assert bench.limits.held in (Held("requests", 600, own=True), None)


def test_the_lower_of_two_limits_holds() -> None:
    bench = Bench(most=100, ceilings=Ceilings(requests=1_200).pool())
    bench.leave(1)
    bench.replied(told(600, remaining=100))
    assert 45 <= bench.left_in(5.0) <= 55
    own = Bench(most=100, ceilings=Ceilings(requests=300).pool())
    own.leave(1)
    own.replied(told(600, remaining=100))
    assert 23 <= own.left_in(5.0) <= 28


def test_a_server_that_stops_telling_of_a_limit_is_not_held_to_it() -> None:
    bench = Bench(most=8)
    bench.leave(1)
    bench.replied(told(60, remaining=10))
    for _ in range(20):
        bench.clock.time += 10.0
        bench.leave(1)
        bench.replied({"request-id": "req_1"})
    bench.leave()
    assert bench.limits.in_flight == 8


def test_a_few_replies_without_a_word_of_limits_forget_none() -> None:
    bench = Bench(most=8)
    for _ in range(5):
        bench.clock.time += 10.0
        bench.leave(1)
        bench.replied(told(60, remaining=10))
        for _ in range(19):
            bench.clock.time += 10.0
            bench.leave(1)
            bench.replied({"request-id": "req_1"})
    assert bench.pool.is_limited
    assert bench.leave() < 8


def test_limits_that_are_closed_give_back_what_they_did_not_use() -> None:
    pool = Pool()
    bench = Bench(most=100, pool=pool)
    bench.leave(1)
    bench.replied(told(60_000, remaining=30_000))
    bench.clock.time = 1.0
    bench.leave(1)
    bench.replied(None)
    bench.limits.close()
    assert pool.gauges[0].total == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("message", "slowed"),
    [
        ("This request would exceed your rate limit of 50 requests per minute.", 0),
        ("This request would exceed your rate limit of 60,000 input tokens per minute.", 1),
        ("This request would exceed your rate limit of 60,000 output tokens per minute.", 2),
    ],
)
def test_a_refusal_that_the_level_does_not_explain_slows_what_it_names(message: str, slowed: int) -> None:
    bench = Bench(most=100)
    headers = {**told(600, 100), **told(60_000, 10_000, "input-tokens"), **told(24_000, 4_000, "output-tokens")}
    bench.leave(1)
    bench.replied(headers)
    bench.clock.time += 5.0
    bench.leave(1)
    for gauge in bench.pool.gauges:
        gauge.debt = 1.0
    bench.refused(replace(RATE_LIMITED, message=message))
    assert [gauge.trim < 1.0 for gauge in bench.pool.gauges] == [index == slowed for index in range(3)]


# -- nothing answers ---------------------------------------------------------------------------------------------------

REFUSED = Failure("connection_error", "refused", retryable=True)


def lose(bench: Bench) -> None:
    """A request gets no reply, and the engine has counted enough of them."""
    bench.refused(REFUSED)
    bench.limits.probe()


@pytest.fixture
def lost(bench: Bench) -> Bench:
    bench.at_work()
    bench.leave()
    for _ in range(8):
        lose(bench)
    return bench


def test_where_nothing_answers_requests_leave_one_by_one_after_growing_pauses(lost: Bench) -> None:
    left_at = []
    for _ in range(9):
        assert (lost.leave(), lost.limits.held) == (0, Held("unreachable"))
        at = lost.limits.resume_at
        assert at is not None
        lost.clock.time = at
        assert lost.leave() == 1
        left_at.append(at)
        lose(lost)
    waits = [later - earlier for earlier, later in zip([0.0, *left_at], left_at, strict=False)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0]


def test_all_may_leave_as_soon_as_something_answers(lost: Bench) -> None:
    lost.clock.time = 0.5
    assert lost.leave() == 1
    lost.replied()
    assert (lost.limits.held, lost.leave()) == (None, 8)


def test_a_refusal_by_the_api_is_an_answer_too(lost: Bench) -> None:
    lost.clock.time = 0.5
    assert lost.leave() == 1
    lost.refused(Failure("api_error", "broken", retryable=True, http_status=500))
    assert lost.leave() == 8


def test_a_request_that_has_been_under_way_for_longer_than_a_connection_takes_frees_the_others(lost: Bench) -> None:
    lost.clock.time = 0.5
    assert lost.leave() == 1
    lost.clock.time = 6.4
    assert lost.leave() == 0
    lost.clock.time = 6.5
    assert lost.leave() == 7


def test_what_left_before_and_fails_later_puts_nothing_off(lost: Bench) -> None:
    lost.clock.time = 0.4
    lost.limits.probe()
    lost.clock.time = 0.5
    assert lost.leave() == 1


def test_a_pause_that_the_api_asked_for_holds_when_nothing_answers_as_well() -> None:
    bench = Bench()
    bench.at_work()
    bench.leave(5)
    bench.refused(replace(RATE_LIMITED, retry_after_s=12.0))
    for _ in range(4):
        lose(bench)
    bench.clock.time = 11.9
    assert bench.leave() == 0
    bench.clock.time = 12.0
    assert bench.leave() == 1


def test_requests_that_leave_to_see_are_counted_by_a_ceiling() -> None:
    bench = Bench(ceilings=Ceilings(requests=60).pool())
    bench.at_work()
    bench.clock.time = 2.0
    assert bench.leave(1) == 1
    lose(bench)
    for at in (2.5, 3.5, 5.5):
        bench.clock.time = at
        assert bench.leave() == 1
        if at < 5.5:
            lose(bench)
    bench.replied()
    assert bench.left_in(60.0) <= 62
