"""Outcomes cross a pipe as plain tuples: all of them comes back, and a rule that raises loses no reply."""

from __future__ import annotations

import pickle

import pytest
from msgspec.structs import replace

from runner.execution.outcome_tuples import (
    open_step_tuples,
    open_steps_of,
    outcome_of,
    outcome_tuple,
    ruling_value,
    step_of,
    step_tuple,
)
from runner.ledger import OpenStep, Ruling
from runner.types import Failure, Outcome, Step
from support.ledgers import answer, failed

OUTCOMES = {
    "answered": answer(Step(3)),
    "failed": failed(Step(5), kind="overloaded_error"),
    "reused": replace(answer(Step(9, 1, 2, 3), reused=True), attempt=4, tries=2),
    "unpriced": replace(answer(Step(1)), cost_pico=None, request_id=None),
}


def crossed(outcome: Outcome, ruling: Ruling | bool | None) -> tuple[Outcome, Ruling | None]:
    values, value = pickle.loads(pickle.dumps((outcome_tuple(outcome), ruling), 5))
    return outcome_of(values, value)


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
def test_an_outcome_that_is_not_ruled_on_comes_back_whole(outcome: Outcome) -> None:
    back, ruling = crossed(outcome, None)
    assert ruling is None
    assert replace(back, reply=outcome.reply) == outcome
    if outcome.reply is not None:
        assert back.reply is not None
        assert back.reply.content == outcome.reply.content


def test_an_outcome_that_is_ruled_on_is_not_read_again() -> None:
    outcome = answer(Step(0))
    back, ruling = crossed(outcome, ruling_value(lambda _: Ruling("succeeded"), outcome))
    assert ruling == Ruling("succeeded")
    assert back.reply is None
    assert back.body == outcome.body


def test_other_rulings_cross_as_they_are() -> None:
    refused = Ruling("failed", Failure("refusal", "no"))
    assert crossed(answer(Step(0)), ruling_value(lambda _: refused, answer(Step(0))))[1] == refused


def test_a_rule_that_raises_leaves_the_ruling_to_the_run() -> None:
    def rule(outcome: Outcome) -> Ruling:
        raise ZeroDivisionError

    assert ruling_value(rule, answer(Step(0))) is None


@pytest.mark.parametrize("step", [Step(0), Step(7, 1, 2, 3), Step(-1)], ids=str)
def test_steps_come_back(step: Step) -> None:
    assert step_of(step_tuple(step)) == step
    assert open_steps_of(open_step_tuples([OpenStep(step, 2, 1)])) == [OpenStep(step, 2, 1)]
