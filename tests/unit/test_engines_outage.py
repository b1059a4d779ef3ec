"""When nothing answers at all: what counts as an answer, and after how many calls and how long a run stops."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from runner.engines.outage import FIRST_PATIENCE_S, IN_A_ROW, LONGEST_GAP_S, PATIENCE_S, Outage
from runner.events import Warned
from runner.types import Failure
from support.engine_fakes import HandClock, Listener
from support.outages import BROKEN, REFUSED

BUSY = Failure("overloaded_error", "busy", retryable=True, http_status=529)
LATE = Failure("timeout", "no complete reply within 600 s", retryable=True, may_be_billed=True)


class Bench:
    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.clock, self.told = HandClock(), Listener()
        place, cure = "https://api.example:8443", "check the cable"
        self.outage = Outage(self.clock, self.told, patience_s=patience_s, place=place, cure=cure)

    def miss(self, failure: Failure = REFUSED, *, under_way: int = 0, after_s: float = 0.0) -> bool:
        """A call gets no reply; whether the run has to stop."""
        self.clock.time += after_s
        return self.outage.failed(failure, under_way) is not None

    def missed_for(self, seconds: float, every_s: float = 10.0, under_way: int = 0) -> bool:
        """Nothing answers for that long; whether the run has had to stop by then."""
        end = self.clock.time + seconds
        stopped = self.miss(under_way=under_way)
        while not stopped and self.clock.time + every_s <= end:
            stopped = self.miss(after_s=every_s, under_way=under_way)
        return stopped


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def answered(bench: Bench) -> Bench:
    bench.outage.heard = True
    return bench


@pytest.mark.parametrize("failure", [REFUSED, BROKEN])
def test_a_run_that_nothing_ever_answered_stops_after_some_calls_and_seconds(bench: Bench, failure: Failure) -> None:
    assert [bench.miss(failure, after_s=after_s) for after_s in (0, 1, 2, 4)] == [False] * 3 + [True]


def test_many_calls_at_one_moment_stop_nothing(bench: Bench) -> None:
    assert not any(bench.miss() for _ in range(200))
    assert bench.outage.is_lost


def test_two_calls_far_apart_stop_nothing(bench: Bench) -> None:
    assert not any(bench.miss(after_s=50.0) for _ in range(IN_A_ROW - 1))
    assert not bench.outage.is_lost
    assert bench.miss(after_s=50.0)


def test_a_run_that_was_answered_waits_longer(answered: Bench) -> None:
    assert not answered.missed_for(PATIENCE_S - 10)
    assert answered.missed_for(20)


def test_while_requests_are_under_way_that_may_be_answered_yet_the_time_is_the_long_one(bench: Bench) -> None:
    assert not bench.missed_for(PATIENCE_S - 10, under_way=1)
    assert bench.missed_for(20, under_way=1)


def test_an_answer_begins_everything_anew(answered: Bench) -> None:
    answered.missed_for(PATIENCE_S - 10)
    answered.outage.heard = True
    assert not answered.outage.is_lost
    assert not answered.missed_for(PATIENCE_S - 10)


def test_an_answer_of_any_status_is_one(bench: Bench) -> None:
    bench.missed_for(5, every_s=1)
    assert not bench.miss(BUSY)
    assert not bench.outage.is_lost
    assert bench.outage.has_answered
    assert not bench.missed_for(PATIENCE_S - 10)


def test_a_login_page_is_an_answer(bench: Bench) -> None:
    page = replace(BROKEN, http_status=200)
    assert not any(bench.miss(page, after_s=10) for _ in range(100))


def test_a_timeout_is_no_answer_and_no_sign_of_an_outage(bench: Bench) -> None:
    assert not any(bench.miss(LATE, after_s=600) for _ in range(20))
    assert not bench.outage.is_lost
    bench.missed_for(FIRST_PATIENCE_S - 1, every_s=1)
    bench.miss(LATE)
    assert bench.miss(after_s=1), "it does not begin anew for it"


def test_a_machine_that_slept_has_not_been_without_an_answer_for_a_night(answered: Bench) -> None:
    assert not answered.missed_for(30)
    assert not answered.miss(after_s=8 * 3600.0)
    assert not answered.missed_for(PATIENCE_S - 30 - LONGEST_GAP_S - 10)
    assert answered.missed_for(20)


def test_a_short_patience_holds_before_the_first_answer_too() -> None:
    bench = Bench(patience_s=1.0)
    assert [bench.miss(after_s=after_s) for after_s in (0, 0.4, 0.4, 0.4)] == [False] * 3 + [True]


def test_what_waits_at_the_api_is_waited_for_once_it_has_answered(answered: Bench) -> None:
    waits = True
    with answered.outage.waiting_while(lambda: waits):
        assert not answered.missed_for(100 * PATIENCE_S)
        waits = False
        assert answered.miss()
        waits = True
    assert answered.miss(), "nothing waits any more"


def test_where_nothing_ever_answered_nothing_is_waited_for(bench: Bench) -> None:
    with bench.outage.waiting_while(lambda: True):
        assert bench.missed_for(10, every_s=1)


def test_an_answer_that_another_process_got_begins_the_long_time_anew_and_requests_go_on_one_by_one(
    bench: Bench,
) -> None:
    assert not bench.missed_for(FIRST_PATIENCE_S - 1, every_s=1)
    bench.outage.answered_elsewhere()
    assert bench.outage.is_lost
    assert not bench.missed_for(PATIENCE_S - 10)
    bench.outage.answered_elsewhere()
    assert not bench.missed_for(PATIENCE_S - 10)
    assert bench.missed_for(20)


def test_the_reason_says_where_how_often_and_how_it_ended_and_what_to_do(bench: Bench) -> None:
    assert bench.missed_for(10, every_s=2)
    reason = bench.outage.reason()
    assert (reason.kind, reason.failure) == ("unreachable", REFUSED)
    assert reason.message == (
        "nothing answers at https://api.example:8443: 4 calls in a row within 6 s got no reply; the last one ended "
        "with ConnectionRefusedError: connect call failed"
    )
    assert reason.hint == "check the cable, then go on with the same command"


def test_an_outage_is_told_once_where_something_had_answered(answered: Bench) -> None:
    answered.missed_for(50)
    (told,) = answered.told.of(Warned)
    assert told.code == "no-answer"
    assert "https://api.example:8443" in told.message
    assert "stops after 300 s" in told.message
    answered.outage.heard = True
    answered.missed_for(50)
    assert answered.told.of(Warned) == [told]


def test_a_run_that_stops_within_seconds_warns_of_nothing(bench: Bench) -> None:
    bench.missed_for(10, every_s=1)
    assert bench.told.events == []


def test_deaf_is_who_asked_and_never_heard_anything() -> None:
    def after(*calls: str) -> bool:
        bench = Bench()
        for call in calls:
            if call == "miss":
                bench.miss()
            else:
                bench.outage.heard = True
        return bench.outage.is_deaf

    assert not after()
    assert after("miss")
    assert not after("miss", "answer")
    assert not after("miss", "answer", "miss")
