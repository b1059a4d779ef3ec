"""The rule: what becomes of a step, from its outcome alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.engines import Accept, Ask, Fail, Verdict
from runner.engines.retry import RetryPolicy
from runner.execution.judging import PASSING, is_passing, make_judge, make_rule
from runner.message import parse_reply
from runner.replies.reply_check import ReplyCheck
from runner.replies.schema import Check
from runner.rounds import Repair
from runner.types import Failure, Outcome, Reply, Step
from support.execution_fakes import reply_body
from support.ledgers import NOON

POLICY = RetryPolicy(3, 0.5, 2.0, 60.0)
RULE = make_rule(make_judge(None), POLICY)


def replied(text: str = "yes", **more: Any) -> Outcome:
    body = reply_body(text)
    return Outcome(
        Step(0), 1, "succeeded", "parallel", bytes(32), NOON, NOON, body=body, reply=parse_reply(body), **more
    )


def errored(failure: Failure, *, tries: int = 1, end: Any = "errored", reused: bool = False) -> Outcome:
    return Outcome(Step(0), tries, end, "parallel", bytes(32), NOON, NOON, failure=failure, tries=tries, reused=reused)


def test_an_answer_is_accepted() -> None:
    assert RULE(replied()).state == "succeeded"


def test_a_reply_is_held_to_the_schema() -> None:
    rule = make_rule(make_judge(ReplyCheck(Check({"type": "integer"}))), POLICY)
    assert rule(replied("3")).state == "succeeded"
    ruling = rule(replied("three"))
    assert ruling.state == "failed"
    assert ruling.failure is not None
    assert ruling.failure.kind == "schema_mismatch"


def test_a_warm_up_is_answered_by_any_reply_and_is_never_tried_again() -> None:
    rule = make_rule(make_judge(ReplyCheck(Check({"type": "integer"}))), POLICY)
    assert rule(replace(replied("no integer"), step=Step(-1))).state == "succeeded"
    for failure in (Failure("overloaded_error", "busy", retryable=True), Failure("invalid_request_error", "no")):
        ruling = rule(replace(errored(failure), step=Step(-1)))
        assert (ruling.state, ruling.failure) == ("failed", failure)


@pytest.mark.parametrize(("tries", "state"), [(1, "open"), (2, "open"), (3, "failed"), (4, "failed")])
def test_a_passing_error_is_tried_again_until_the_tries_run_out(tries: int, state: str) -> None:
    assert RULE(errored(Failure("overloaded_error", "busy", retryable=True), tries=tries)).state == state


def test_an_error_that_would_come_again_is_final() -> None:
    assert RULE(errored(Failure("invalid_request_error", "no"))).state == "failed"


@given(st.integers(1, 1_000))
def test_an_error_of_the_whole_job_never_fails_a_row(tries: int) -> None:
    assert RULE(errored(Failure("authentication_error", "bad key", scope="job"), tries=tries)).state == "open"


def test_an_error_that_was_carried_over_is_final_whatever_it_is() -> None:
    assert RULE(errored(Failure("api_error", "was", retryable=True), reused=True)).state == "failed"
    assert RULE(errored(Failure("billing_error", "was", scope="job"), reused=True)).state == "failed"


@pytest.mark.parametrize(("tries", "state"), [(1, "open"), (2, "open"), (3, "expired"), (4, "expired")])
def test_what_expired_is_sent_again_until_the_tries_run_out_and_keeps_the_api_s_word(tries: int, state: str) -> None:
    assert RULE(errored(Failure("expired", "late", retryable=True), end="expired", tries=tries)).state == state


@given(st.integers(1, 1_000))
def test_what_the_user_canceled_is_canceled_and_what_others_canceled_is_open_again(tries: int) -> None:
    assert RULE(errored(Failure("canceled", "by the user"), end="canceled", tries=tries)).state == "canceled"
    by_deadline = Failure("canceled", "by the deadline", retryable=True)
    assert RULE(errored(by_deadline, end="canceled", tries=tries)).state == "open"


def test_results_that_are_gone_fail_their_rows() -> None:
    """They may have been billed, so only the user's word sends them again."""
    gone = Failure("results_lost", "gone", may_be_billed=True)
    assert RULE(errored(gone, end="lost")).state == "failed"


def verdict_of(verdict: Verdict) -> Any:
    def judge(_step: Step, _reply: Reply) -> Verdict:
        return verdict

    return make_rule(judge, POLICY)(replied())


def test_a_judge_may_ask_for_another_step() -> None:
    why = Failure("schema_mismatch", "no")
    ruling = verdict_of(Ask(Step(0, round=1), Repair("mend it"), why))
    assert (ruling.state, ruling.next_step, ruling.failure) == ("open", Step(0, round=1), why)
    assert verdict_of(Accept()).next_step is None
    assert verdict_of(Fail(Failure("refusal", "no"))).state == "failed"


@pytest.mark.parametrize(
    "kind", ["refusal", "truncated", "schema_mismatch", "unexpected_reply", "invalid_request_error", "render_error"]
)
def test_what_says_something_about_the_request_does_not_pass(kind: str) -> None:
    assert not is_passing(Failure(kind, "no"))


def test_what_passes_is_what_the_interface_lists() -> None:
    """Connection, timeout, 429, 5xx (and what gateways make of them); `expired` is a status, not a kind."""
    assert {"connection_error", "timeout", "rate_limit_error", "api_error", "overloaded_error"} <= PASSING
    assert all(is_passing(Failure(kind, "busy")) for kind in PASSING)
    assert not is_passing(None)
