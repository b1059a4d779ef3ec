"""The batch engine over a real ledger, in virtual time: at most one POST an intent, whatever becomes of the reply."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.encoding import decode
from runner.engines import Prepared, StopReason
from runner.engines.batch import FULL_AFTER, BatchEngine
from runner.engines.custom_ids import custom_id, read_custom_id
from runner.engines.halt import INTERRUPTED, Halt
from runner.engines.heeding import HeedingBatches
from runner.engines.outage import FIRST_PATIENCE_S, PATIENCE_S, Outage
from runner.engines.packing import BatchSizes
from runner.engines.polling import PollIntervals
from runner.engines.retry import RetryPolicy
from runner.engines.tracking import Tracker
from runner.events import BatchMoved, CoolingDown, StepEnded, Warned
from runner.execution.judging import make_judge
from runner.ledger.sqlite import SqliteLedger
from runner.types import Failure, Request, Step
from support.engine_batches import (
    MARK,
    BatchApi,
    Fate,
    LastingClock,
    LedgerBook,
    ledger_of,
    lost,
    prepared_steps,
    refused,
    request_of,
    rows_of,
)
from support.engine_fakes import Listener, ListFeed, output_price, run_virtual
from support.execution_fakes import folder_in_memory
from support.outages import FOR_EVER, CutBatches, Network

RETRYABLE = Failure("api_error", "try again", retryable=True, http_status=503)


@dataclass
class Bench:
    """One run: its ledger, its API, and what a sitting is told."""

    folder: Path
    rows: int = 10
    sizes: BatchSizes = field(default_factory=lambda: BatchSizes(max_requests=4))
    cap_pico: int | None = None
    detach: bool = False
    prime: Callable[[Request], bool] | None = None
    known: set[str] = field(default_factory=set)
    mark: str = MARK
    api: BatchApi = field(default_factory=lambda: BatchApi(LastingClock()))
    events: Listener = field(default_factory=Listener)
    halt: Halt = field(default_factory=Halt)
    fails_at: str | None = None
    tracker: type[Tracker] = Tracker
    during: Callable[[], Any] | None = None
    """A coroutine function that is run beside the engine."""

    def __post_init__(self) -> None:
        self.ledger: SqliteLedger = ledger_of(self.folder / "run", self.rows)

    def again(self) -> None:
        """The process has died: what is on disk is opened again."""
        self.ledger.close()
        self.ledger = SqliteLedger.open(self.folder / "run")
        self.halt, self.fails_at = Halt(), None

    def drain(self, steps: Sequence[Prepared] | None = None) -> StopReason | None:
        """One sitting, with a feed over all open steps, unless others are brought."""
        return run_virtual(self.sitting(steps))

    def finish(self) -> StopReason | None:
        """Passes until every row is decided: a feed sees the steps that were open when it began."""
        for _ in range(100):
            reason = self.drain()
            if reason is not None or not self.ledger.counts().open:
                return reason
        raise AssertionError("a hundred passes bring no end")

    async def sitting(self, steps: Sequence[Prepared] | None = None) -> StopReason | None:
        clock = self.api.clock
        clock.begin()
        book = LedgerBook(self.ledger, clock, cap_pico=self.cap_pico)
        book.fails_at = self.fails_at
        outage = Outage(clock, self.events)
        provider = HeedingBatches(self.api, outage, self.halt)
        tracker = self.tracker(
            provider, book, mark=self.mark, clock=clock, observer=self.events, halt=self.halt, price=output_price,
            judge=make_judge(None),
            intervals=PollIntervals(1.0, 60.0), retry=RetryPolicy(), deadline=None,
        )  # fmt: skip
        engine = BatchEngine(
            provider, ListFeed(prepared_steps(self.ledger) if steps is None else steps), book, tracker,
            mark=self.mark, sizes=self.sizes, staging=self.folder / "staging", clock=clock, observer=self.events,
            halt=self.halt, prime=self.prime, known_ids=lambda: self.known, detach=self.detach,
        )  # fmt: skip
        beside = asyncio.create_task(self.during()) if self.during is not None else None
        try:
            with outage.waiting_while(lambda: tracker.open > 0):
                return await engine.drain()
        finally:
            await tracker.aclose()
            clock.end()
            if beside is not None:
                beside.cancel()
            assert not list((self.folder / "staging").iterdir()), "staged bodies are left"

    @property
    def states(self) -> list[str]:
        return [batch.state for batch in self.ledger.batches()]

    @property
    def succeeded(self) -> int:
        return self.ledger.counts().succeeded

    def bought(self) -> Counter[int]:
        """How often each row is in a batch that came to be."""
        return Counter(rows_of(self.api.custom_ids()))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory, where a sync costs nothing."""
    with folder_in_memory(tmp_path) as memory:
        yield memory


@pytest.fixture
def bench(folder: Path) -> Bench:
    return Bench(folder)


def kinds(reason: StopReason | None) -> str | None:
    return reason.kind if reason is not None else None


# -- the plain way -----------------------------------------------------------------------------------------------------


def test_all_rows_are_sent_once_and_answered(bench: Bench) -> None:
    assert bench.drain() is None
    assert bench.succeeded == 10
    assert bench.bought() == dict.fromkeys(range(10), 1)
    assert bench.states == ["closed"] * 3
    assert bench.api.most_creating == 1
    assert bench.ledger.money().reserved == 0


def test_what_arrives_is_what_was_rendered(bench: Bench) -> None:
    bench.drain()
    sent = {entry["custom_id"]: entry["params"] for body in bench.api.bodies for entry in decode(body)["requests"]}
    assert sent == {custom_id(MARK, 1 + row // 4, Step(row)): decode(request_of(row).body) for row in range(10)}


def test_the_watermark_is_the_newest_batch_before(bench: Bench) -> None:
    bench.drain()
    assert [batch.watermark for batch in bench.ledger.batches()] == [None, "msgbatch_0001", "msgbatch_0002"]


def test_nothing_is_sent_without_a_watermark(bench: Bench) -> None:
    bench.api.list_failures = [RETRYABLE] * 3
    assert bench.drain() is None
    assert bench.bought() == dict.fromkeys(range(10), 1)
    assert len(bench.events.of(CoolingDown)) == 3


def test_rows_that_come_back_open_are_left_to_the_next_pass(bench: Bench) -> None:
    bench.api.endings = {request_of(3).body.decode(): "errored"}
    assert bench.drain() is None
    assert [found.step.row for found in bench.ledger.open_steps(None, 10)] == [3]
    bench.api.endings = {}
    assert bench.drain() is None
    assert bench.succeeded == 10
    assert bench.bought() == {**dict.fromkeys(range(10), 1), 3: 2}


def test_an_empty_feed_is_over_at_once(folder: Path) -> None:
    bench = Bench(folder, rows=0)
    assert bench.drain() is None
    assert bench.api.posts == 0


def test_a_row_too_large_for_any_batch_fails_alone(folder: Path) -> None:
    bench = Bench(folder, sizes=BatchSizes(max_requests=100, max_bytes=5_000))
    steps = prepared_steps(bench.ledger)
    steps[3] = Prepared(Step(3), request_of(3, text="x" * 5_000), 0, 100)
    assert bench.drain(steps) is None
    (ended,) = bench.events.of(StepEnded)
    assert (ended.step, ended.status, ended.failure and ended.failure.kind) == (Step(3), "failed", "too_large")
    assert bench.succeeded == 9
    assert all(len(body) <= 5_000 for body in bench.api.bodies)


def test_a_full_queue_waits_until_a_batch_has_ended(folder: Path) -> None:
    bench = Bench(folder, sizes=BatchSizes(max_requests=4, queue_requests=6))
    most = 0

    async def count() -> None:
        nonlocal most
        while True:
            now = bench.api.clock.monotonic()
            most = max(most, sum(len(kept.requests) for kept in bench.api.batches if kept.ends_at > now))
            await asyncio.sleep(0.5)

    bench.during = count
    assert bench.drain() is None
    assert (bench.succeeded, most) == (10, 6)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reads", [0, None])
def test_a_429_waits_and_sends_the_same_body_under_a_new_intent(bench: Bench, reads: int | None) -> None:
    bench.api.fates = [refused(429, "rate_limit_error", retryable=True, retry_after_s=30.0, reads=reads)]
    assert bench.drain() is None
    assert bench.states == ["not_sent" if reads == 0 else "rejected", "closed", "closed", "closed"]
    assert bench.bought() == dict.fromkeys(range(10), 1)
    assert [event.seconds for event in bench.events.of(CoolingDown)] == [30.0]


def test_a_server_that_asks_for_days_is_asked_again_in_five_minutes(bench: Bench) -> None:
    bench.api.fates = [refused(429, "rate_limit_error", retryable=True, retry_after_s=86_400.0)]
    bench.drain()
    assert [event.seconds for event in bench.events.of(CoolingDown)] == [300.0]


def test_a_413_is_split_until_it_fits(bench: Bench) -> None:
    bench.api.fates = [refused(413, "too_large"), refused(413, "too_large"), Fate(), Fate()]
    assert bench.drain() is None
    assert [batch.steps for batch in bench.ledger.batches()] == [4, 2, 1, 1, 2, 4, 2]
    assert bench.bought() == dict.fromkeys(range(10), 1)
    assert bench.succeeded == 10


def test_a_lone_request_that_is_too_large_is_given_up(bench: Bench) -> None:
    bench.api.fates = [refused(413, "too_large"), refused(413, "too_large"), refused(413, "too_large")]
    assert bench.drain() is None
    (ended,) = bench.events.of(StepEnded)
    assert (ended.step, ended.attempt, ended.failure and ended.failure.kind) == (Step(0), 1, "too_large")
    assert (bench.succeeded, bench.ledger.counts().failed) == (9, 1)


@pytest.mark.parametrize(
    ("status", "kind", "scope", "stops_as"),
    [
        (400, "invalid_request_error", "row", "api_refused"),
        (401, "authentication_error", "job", "credentials"),
        (403, "permission_error", "job", "permission"),
        (404, "not_found_error", "row", "not_found"),
        (429, "billing_error", "job", "spend_limit"),
    ],
)
def test_a_refusal_of_all_batches_stops_the_run(
    bench: Bench, status: int, kind: str, scope: Any, stops_as: str
) -> None:
    bench.api.fates = [refused(status, kind, scope=scope)]
    reason = bench.drain()
    assert kinds(reason) == stops_as
    assert reason is not None
    assert f"it is {kind}" in reason.message
    assert bench.states == ["rejected"]
    assert bench.ledger.counts().open == 10
    assert bench.ledger.money().reserved == 0


def test_what_did_not_leave_whole_is_sent_again(bench: Bench) -> None:
    gone = Failure("connection_error", "no route", retryable=True)
    bench.api.fates = [Fate(accepts=False, failure=gone, reads=0), Fate(accepts=False, failure=RETRYABLE, reads=0)]
    assert bench.drain() is None
    assert bench.states == ["not_sent", "not_sent", "closed", "closed", "closed"]
    assert bench.bought() == dict.fromkeys(range(10), 1)


# -- nothing answers ---------------------------------------------------------------------------------------------------


def cut(bench: Bench, *down: tuple[float, float]) -> None:
    """From now on the API is behind a network that is down in these spans of a sitting."""
    old = bench.api
    bench.api = CutBatches(old.clock, takes_s=old.takes_s, batches=old.batches, network=Network(*down))


def began(bench: Bench) -> float:
    return bench.api.clock.monotonic()


def test_an_api_that_was_never_there_stops_a_run_within_seconds_and_nothing_was_intended(bench: Bench) -> None:
    cut(bench, (0.0, FOR_EVER))
    reason = bench.drain()
    assert kinds(reason) == "unreachable"
    assert FIRST_PATIENCE_S <= began(bench) <= 10
    assert bench.states == []
    assert bench.ledger.counts().open == 10
    bench.again()
    cut(bench)
    assert bench.drain() is None
    assert bench.bought() == dict.fromkeys(range(10), 1)


def test_batches_at_an_api_that_is_not_reached_from_the_start_are_left_there_and_collected_later(bench: Bench) -> None:
    bench.detach = True
    assert kinds(bench.drain()) == "waiting"
    bench.detach = False
    bench.again()
    cut(bench, (0.0, FOR_EVER))
    before = began(bench)
    assert kinds(bench.drain()) == "unreachable"
    assert began(bench) - before <= 20
    assert bench.states == ["in_progress"] * 3
    bench.again()
    cut(bench)
    assert bench.drain() is None
    assert bench.succeeded == 10
    assert bench.bought() == dict.fromkeys(range(10), 1)


def test_a_run_waits_for_what_it_has_at_the_api_however_long_that_cannot_be_reached(bench: Bench) -> None:
    cut(bench, (30.0, 30.0 + 20 * PATIENCE_S))
    assert bench.drain() is None
    assert bench.succeeded == 10
    assert bench.bought() == dict.fromkeys(range(10), 1)
    (told,) = [event for event in bench.events.of(Warned) if event.code == "no-answer"]
    assert "what is at the API stays there" in told.message


def test_a_run_that_has_nothing_at_the_api_stops_as_any_other(bench: Bench) -> None:
    network = Network()
    cut(bench)
    assert isinstance(bench.api, CutBatches)
    bench.api.network = network
    bench.api.fates = [refused(503, "api_error", retryable=True, reads=0)]
    bench.api.on_post = lambda: network.down.append((0.0, FOR_EVER))
    assert kinds(bench.drain()) == "unreachable"
    assert PATIENCE_S <= began(bench) <= PATIENCE_S + 120
    assert bench.states == ["not_sent"]
    assert bench.ledger.counts().open == 10
    assert bench.ledger.money().reserved == 0


def test_a_run_whose_batches_are_all_in_doubt_stops_as_soon(bench: Bench) -> None:
    cut(bench)
    assert isinstance(bench.api, CutBatches)
    network = bench.api.network
    bench.api.fates = [lost(), lost()]
    bench.api.on_post = lambda: network.down.append((0.0, FOR_EVER)) if bench.api.posts == 2 else None
    assert kinds(bench.drain()) == "unreachable"
    assert PATIENCE_S <= began(bench) <= PATIENCE_S + 120
    assert bench.states == ["in_doubt", "in_doubt"]
    bench.again()
    cut(bench)
    assert bench.drain() is None
    assert bench.bought() == dict.fromkeys(range(10), 1)


# -- in doubt ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [
        Failure("connection_error", "reset", retryable=True, may_be_billed=True),
        Failure("timeout", "no reply", retryable=True, may_be_billed=True),
        Failure("api_error", "bad gateway", retryable=True, http_status=502, may_be_billed=True),
        Failure("connection_error", "html", http_status=200, may_be_billed=True),
        Failure("conflict_error", "conflict", retryable=True, http_status=409),
        Failure("timeout_error", "gave up", retryable=True, http_status=408),
    ],
)
def test_a_lost_reply_is_found_again_and_nothing_is_bought_twice(bench: Bench, failure: Failure) -> None:
    bench.api.fates = [Fate(), Fate(failure=failure)]
    assert bench.drain() is None
    assert bench.bought() == dict.fromkeys(range(10), 1)
    assert bench.succeeded == 10
    assert [event.state for event in bench.events.of(BatchMoved) if event.number == 2] == [
        "intent", "sending", "in_doubt", "in_progress", "ended", "closed"
    ]  # fmt: skip


def test_what_never_came_to_be_stays_in_doubt_and_the_user_is_asked(bench: Bench) -> None:
    bench.api.fates = [lost(accepts=False)]
    reason = bench.drain()
    assert kinds(reason) == "in_doubt"
    assert reason is not None
    assert reason.hint is not None
    assert "batch 1 with 4 rows, at most $0.0000" in reason.message
    assert "--resend" in reason.hint
    assert bench.states == ["in_doubt", "closed", "closed"]
    assert bench.bought() == dict.fromkeys(range(4, 10), 1)
    assert kinds(bench.drain()) == "in_doubt", "the next sitting sends it no more than this one"
    assert bench.bought() == dict.fromkeys(range(4, 10), 1)


def test_with_two_batches_in_doubt_nothing_more_is_sent(bench: Bench) -> None:
    bench.api.fates = [lost(accepts=False), lost(accepts=False)]
    assert kinds(bench.drain()) == "in_doubt"
    assert bench.api.posts == 2
    assert bench.states == ["in_doubt", "in_doubt"]


def test_two_lost_replies_of_the_same_size_are_told_apart(bench: Bench) -> None:
    bench.api.fates = [lost(), lost()]
    assert bench.drain() is None
    assert bench.succeeded == 10
    assert [batch.batch_id for batch in bench.ledger.batches()] == [f"msgbatch_{n:04}" for n in (1, 2, 3)]


def test_a_foreign_batch_of_the_same_size_is_never_adopted(bench: Bench) -> None:
    other = b'{"requests":[%s]}' % b",".join(b'{"custom_id":"other-1-%d","params":{}}' % row for row in range(4))

    def foreign() -> None:
        if bench.api.posts == 1:
            bench.api.accept(other, foreign=True)

    bench.api.on_post = foreign
    bench.api.fates = [lost(accepts=False)]
    assert kinds(bench.drain()) == "in_doubt"
    assert "msgbatch_0001" not in [batch.batch_id for batch in bench.ledger.batches()]


def test_a_batch_of_another_run_on_this_machine_is_not_even_asked_about(bench: Bench) -> None:
    def of_another_run() -> None:
        if bench.api.posts == 1:
            body = b'{"requests":[%s]}' % b",".join(b'{"custom_id":"m4rk2-1-%d","params":{}}' % row for row in range(4))
            bench.known.add(bench.api.accept(body, foreign=True, takes_s=10**5).batch_id)

    bench.api.on_post = of_another_run
    bench.api.fates = [lost(accepts=False)]
    assert kinds(bench.drain()) == "in_doubt"
    assert run_time_passed(bench) < 10**4, "nobody waited for it"


def run_time_passed(bench: Bench) -> float:
    return max(
        (
            (batch.ended_at or batch.created_at) - bench.ledger.batches()[0].created_at
            for batch in bench.ledger.batches()
        ),
        default=timedelta(),
    ).total_seconds()


def test_a_lagging_list_is_looked_at_again_while_there_is_other_work(bench: Bench) -> None:
    bench.api.takes_s = 2_000.0
    bench.api.list_lag_s = 300.0
    bench.api.fates = [lost()]
    assert bench.drain() is None
    assert bench.succeeded == 10
    assert bench.bought() == dict.fromkeys(range(10), 1)


def test_a_server_that_ignores_after_id_is_not_paged_for_ever(bench: Bench) -> None:
    async def endless(*, after_id: str | None = None, limit: int = 100) -> Any:
        page = await BatchApi.list_batches(bench.api, limit=limit)
        return page if isinstance(page, Failure) else type(page)(page.batches, True)

    bench.api.list_batches = endless  # type: ignore[method-assign]  # a fault of this one test
    bench.api.fates = [lost()]
    assert bench.drain() is None
    assert bench.succeeded == 10
    assert bench.api.pages < 100


# -- crashes -----------------------------------------------------------------------------------------------------------


def crash(bench: Bench, at: str) -> None:
    bench.fails_at = at
    with pytest.raises(OSError, match="no space"):
        bench.drain()
    bench.again()


@pytest.mark.parametrize("at", ["before intent", "after intent", "before sending"])
def test_an_intent_without_the_mark_was_not_sent(bench: Bench, at: str) -> None:
    crash(bench, at)
    assert bench.api.bodies == []
    assert bench.finish() is None
    assert bench.bought() == dict.fromkeys(range(10), 1)
    assert "in_doubt" not in [event.state for event in bench.events.of(BatchMoved)]


def test_a_mark_without_a_reply_is_in_doubt(bench: Bench) -> None:
    crash(bench, "after sending")
    assert bench.api.bodies == [], "the last chunk was withheld"
    assert kinds(bench.drain()) == "in_doubt"
    assert bench.bought() == dict.fromkeys(range(4, 10), 1)


@pytest.mark.parametrize("at", ["before in_progress", "after in_progress"])
def test_an_accepted_batch_survives_a_crash(bench: Bench, at: str) -> None:
    crash(bench, at)
    assert bench.drain() is None
    assert bench.bought() == dict.fromkeys(range(10), 1)
    assert bench.succeeded == 10


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_a_halt_awaits_the_create_in_flight(bench: Bench) -> None:
    async def stop() -> None:
        await asyncio.sleep(0.5)
        bench.halt.stop(INTERRUPTED)

    bench.during = stop
    assert bench.drain() is INTERRUPTED
    assert bench.states == ["in_progress"]
    assert bench.api.posts == 1


def test_a_drop_lets_go_of_it(bench: Bench) -> None:
    async def stop() -> None:
        await asyncio.sleep(0.5)
        bench.halt.drop()

    bench.during = stop
    bench.api.fates = [Fate(hangs=True, seconds=0.1)]
    assert bench.drain() is INTERRUPTED
    assert bench.states == ["sending"]
    bench.again()
    bench.during = None
    assert bench.drain() is None
    assert bench.bought() == dict.fromkeys(range(10), 1)


def test_a_body_that_has_not_left_whole_stays_here_when_the_run_stops(bench: Bench) -> None:
    bench.api.on_post = lambda: bench.halt.stop(INTERRUPTED)

    assert bench.drain() is INTERRUPTED
    assert bench.api.bodies == []
    assert bench.states == ["not_sent"]


def test_a_pause_ends_with_a_halt(bench: Bench) -> None:
    async def stop() -> None:
        await asyncio.sleep(5)
        bench.halt.stop(INTERRUPTED)

    bench.during = stop
    bench.api.fates = [refused(429, "rate_limit_error", retryable=True, retry_after_s=200.0)] * 3
    assert bench.drain() is INTERRUPTED
    assert bench.states == ["rejected"]


# -- detaching ---------------------------------------------------------------------------------------------------------


def test_a_detached_run_submits_all_and_leaves(folder: Path) -> None:
    bench = Bench(folder, detach=True)
    bench.api.takes_s = 10**4
    reason = bench.drain()
    assert kinds(reason) == "waiting"
    assert reason is not None
    assert "3 batches with 10 unfinished requests" in reason.message
    assert bench.states == ["in_progress"] * 3
    bench.detach = False
    assert bench.drain() is None
    assert bench.succeeded == 10


def test_a_detached_run_sends_what_fits_in_the_queue(folder: Path) -> None:
    bench = Bench(folder, detach=True, sizes=BatchSizes(max_requests=4, queue_requests=8))
    bench.api.takes_s = 10**5
    assert kinds(bench.drain()) == "waiting"
    assert bench.bought() == dict.fromkeys(range(8), 1)


def test_a_detached_run_does_not_wait_for_a_queue_that_the_api_says_is_full(folder: Path) -> None:
    bench = Bench(folder, detach=True)
    bench.api.takes_s = 10**5
    full = refused(429, "rate_limit_error", retryable=True)
    bench.api.fates = [Fate(), *[full] * 100]
    assert kinds(bench.drain()) == "waiting"
    assert bench.bought() == dict.fromkeys(range(4), 1)
    assert bench.api.posts == 1 + FULL_AFTER
    bench.api.fates = []
    assert kinds(bench.drain()) == "waiting"
    assert bench.bought() == dict.fromkeys(range(10), 1)


def test_a_detached_run_with_nothing_at_the_api_waits_for_room(folder: Path) -> None:
    bench = Bench(folder, detach=True)
    bench.api.takes_s = 10**5
    bench.api.fates = [refused(429, "rate_limit_error", retryable=True)] * (FULL_AFTER + 3)
    assert kinds(bench.drain()) == "waiting"
    assert bench.bought() == dict.fromkeys(range(10), 1)


def test_a_detached_run_with_nothing_at_the_api_is_finished(folder: Path) -> None:
    bench = Bench(folder, detach=True)
    bench.api.takes_s = 0.0
    assert bench.drain() is None
    assert bench.succeeded == 10


# -- money -------------------------------------------------------------------------------------------------------------


def test_what_fits_under_the_cap_is_sent_and_no_more(folder: Path) -> None:
    bench = Bench(folder, cap_pico=650)
    bench.api.takes_s = 10**4
    bench.detach = True
    assert kinds(bench.drain()) == "waiting"
    assert bench.bought() == dict.fromkeys(range(6), 1)
    assert bench.ledger.money().reserved == 600


def test_money_that_comes_back_sends_the_rest(folder: Path) -> None:
    bench = Bench(folder, cap_pico=650)  # a row costs 15 in the end
    assert bench.drain() is None
    assert bench.succeeded == 10
    assert bench.bought() == dict.fromkeys(range(10), 1)


def test_a_cap_that_admits_nothing_more_stops_the_run(folder: Path) -> None:
    bench = Bench(folder, cap_pico=99)
    assert kinds(bench.drain()) == "budget"
    assert bench.api.posts == 0


def test_under_a_cap_a_step_without_a_bound_is_not_sent(folder: Path) -> None:
    bench = Bench(folder, cap_pico=10**6)
    assert kinds(bench.drain(prepared_steps(bench.ledger, bound=None))) == "budget"
    assert bench.api.posts == 0


# -- priming -----------------------------------------------------------------------------------------------------------


def test_the_first_request_goes_alone_and_the_rest_once_it_has_ended(folder: Path) -> None:
    bench = Bench(folder, prime=lambda _: True)
    assert bench.drain() is None
    batches = bench.ledger.batches()
    assert [(batch.steps, batch.priming) for batch in batches] == [(1, True), (4, False), (4, False), (1, False)]
    assert batches[0].ended_at is not None
    assert all(batch.began_at is not None and batch.began_at >= batches[0].ended_at for batch in batches[1:])
    assert bench.bought() == dict.fromkeys(range(10), 1)


def test_a_primer_that_takes_too_long_is_waited_for_no_more(folder: Path) -> None:
    bench = Bench(folder, prime=lambda _: True)
    bench.api.takes_s = 20_000.0
    assert bench.drain() is None
    assert [event.code for event in bench.events.of(Warned)] == ["unprimed"]
    first, second = bench.ledger.batches()[:2]
    assert second.began_at is not None
    assert timedelta(minutes=59) < second.began_at - first.created_at < timedelta(minutes=62)


def test_a_primer_whose_request_failed_is_told(folder: Path) -> None:
    bench = Bench(folder, prime=lambda _: True)
    bench.api.endings = {request_of(0).body.decode(): "errored"}
    assert bench.finish() is None
    assert [event.code for event in bench.events.of(Warned)] == ["unprimed"]
    assert bench.succeeded == 9


def test_what_was_primed_within_the_hour_is_not_primed_again(folder: Path) -> None:
    bench = Bench(folder, prime=lambda _: True)
    bench.api.endings = {request_of(5).body.decode(): "errored"}
    bench.drain()
    bench.api.endings = {}
    assert bench.drain() is None
    assert sum(batch.priming for batch in bench.ledger.batches()) == 1


def test_a_primer_of_an_earlier_sitting_is_waited_for(folder: Path) -> None:
    bench = Bench(folder, prime=lambda _: True, detach=True)
    assert kinds(bench.drain()) == "waiting"
    assert bench.bought() == {0: 1}
    bench.detach = False
    assert bench.drain() is None
    assert [batch.priming for batch in bench.ledger.batches()] == [True, False, False, False]


def test_what_pays_for_no_primer_is_sent_at_once(folder: Path) -> None:
    bench = Bench(folder, prime=lambda _: False)
    assert bench.drain() is None
    assert not any(batch.priming for batch in bench.ledger.batches())


# -- the deadline ------------------------------------------------------------------------------------------------------


class TooLate(Tracker):
    """A tracker whose point of no return comes after some seconds."""

    comes_at = 0.0

    @property
    def deadline_passed(self) -> bool:
        return self._clock.monotonic() >= self.comes_at


def test_past_the_point_of_no_return_nothing_is_sent(bench: Bench) -> None:
    bench.tracker = TooLate
    assert bench.drain() is None
    assert bench.api.posts == 0
    assert bench.ledger.counts().open == 10


def test_what_is_at_the_api_is_followed_past_the_point_of_no_return(folder: Path) -> None:
    bench = Bench(folder, sizes=BatchSizes(max_requests=4, queue_requests=4))
    bench.tracker = type("Later", (TooLate,), {"comes_at": 30.0})
    assert bench.drain() is None
    assert (bench.states, bench.succeeded) == (["closed"], 4)
    assert bench.ledger.counts().open == 6


def test_a_detached_run_leaves_also_past_the_point_of_no_return(bench: Bench) -> None:
    bench.api.takes_s, bench.detach = 10**4, True
    bench.drain()
    bench.tracker = TooLate
    assert kinds(bench.drain()) == "waiting"
    assert len(bench.api.canceled) == 3


def test_a_batch_in_doubt_outlives_the_deadline_and_is_told(bench: Bench) -> None:
    bench.api.fates = [lost(accepts=False)]
    bench.detach = True
    bench.drain()
    bench.tracker, bench.detach = TooLate, False
    assert kinds(bench.finish()) == "in_doubt"
    assert bench.states == ["in_doubt", "closed", "closed"]


# -- laws --------------------------------------------------------------------------------------------------------------

fates = st.sampled_from(
    [
        Fate(),
        lost(),
        lost(accepts=False),
        lost(hangs=False, seconds=30.0),
        refused(429, "rate_limit_error", retryable=True),
        refused(413, "too_large"),
        Fate(accepts=False, failure=RETRYABLE, reads=0),
        refused(400),
        Fate(failure=Failure("timeout_error", "late", retryable=True, http_status=408)),
    ]
)
crashes = st.sampled_from(
    [
        None,
        None,
        "before intent",
        "after intent",
        "before sending",
        "after sending",
        "before in_progress",
        "after ended",
    ]
)


@settings(max_examples=40, deadline=None)
@given(
    sittings=st.lists(st.tuples(st.lists(fates, max_size=5), crashes), min_size=1, max_size=3),
    rows=st.integers(0, 12),
    most=st.integers(1, 5),
    cap=st.sampled_from([None, 10**6, 450]),
    priming=st.booleans(),
    detach=st.booleans(),
)
def test_no_row_is_ever_in_two_live_batches(
    sittings: list[tuple[list[Fate], str | None]], rows: int, most: int, cap: int | None, priming: bool, detach: bool
) -> None:
    with TemporaryDirectory() as disk, folder_in_memory(Path(disk)) as folder:
        bench = Bench(folder, rows, BatchSizes(max_requests=most), cap, detach, (lambda _: True) if priming else None)
        hold_the_law(bench, sittings)


def hold_the_law(bench: Bench, sittings: list[tuple[list[Fate], str | None]]) -> None:
    cap = bench.cap_pico
    for script, at in sittings:
        bench.api.fates, bench.fails_at = list(script), at
        intents = len(bench.ledger.batches())
        posts = bench.api.posts
        with suppress(OSError):
            bench.drain()
        bench.again()
        assert bench.api.posts - posts <= len(bench.ledger.batches()) - intents, "more than one POST an intent"
        assert not bench.bought() or max(bench.bought().values()) == 1, "a row was bought twice"
        money = bench.ledger.money()
        assert cap is None or money.spent + money.reserved + money.doubtful <= cap
        assert not bench.api.canceled, "nobody asked for that"
        bench.api.takes_s = 5.0
    bench.api.fates, bench.detach, bench.cap_pico = [], False, None
    reason = bench.finish()
    assert reason is None or reason.kind == "in_doubt"
    doubtful = sum(batch.steps for batch in bench.ledger.batches() if batch.state == "in_doubt")
    counts = bench.ledger.counts()
    too_large = counts.failures.get("too_large", 0)
    assert counts.succeeded + too_large + doubtful == bench.rows or reason is not None
    assert counts.succeeded == len(bench.bought())
    bench.ledger.close()


def test_ids_of_all_batches_are_read_back(bench: Bench) -> None:
    bench.drain()
    assert all(read_custom_id(text) is not None for text in bench.api.custom_ids())
