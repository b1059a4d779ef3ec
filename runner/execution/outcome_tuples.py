"""Outcomes and steps as plain tuples, as they cross the pipe between a worker and its run.

Owns   the order of the values. An outcome crosses in 2.6 µs of both processes together; the structs, pickled as they
       are, take 3.4 (256 outcomes in a group, Python 3.11).
Knows  `types` and the ledger's `Ruling`. Times are cut to milliseconds, which is all that a ledger keeps.

An outcome is ruled on by the worker, which has the reply at hand and a core to itself; what crosses is the reply's
bytes and the ruling. The outcome that comes out on the other side has a `reply` only where there is no ruling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from runner.ledger import OpenStep, Rule, Ruling
from runner.ledger.frames import from_millis, to_millis, usage_counts
from runner.message import parse_reply
from runner.types import Outcome, Step, Usage

StepTuple: TypeAlias = tuple[int, int, int, int]
OutcomeTuple: TypeAlias = tuple[Any, ...]

_SUCCEEDED = Ruling("succeeded")
"""Nearly all rulings; it crosses as True."""


def step_tuple(step: Step) -> StepTuple:
    return (step.row, step.turn, step.sample, step.round)


def step_of(values: StepTuple) -> Step:
    return Step(*values)


def open_step_tuples(steps: Sequence[OpenStep]) -> list[tuple[StepTuple, int, int]]:
    return [(step_tuple(item.step), item.attempts, item.tries) for item in steps]


def open_steps_of(values: Sequence[tuple[StepTuple, int, int]]) -> list[OpenStep]:
    return [OpenStep(step_of(step), attempts, tries) for step, attempts, tries in values]


def ruling_value(rule: Rule, outcome: Outcome) -> Ruling | bool | None:
    """What the worker makes of an outcome. None where ruling on it raises: the run's own process rules on it then,
    after it is durable, so that a bug in the rule loses no reply that was paid for."""
    try:
        ruling = rule(outcome)
    except Exception:  # noqa: BLE001 - raised again where the run is held, with nothing lost
        return None
    return True if ruling == _SUCCEEDED else ruling


def outcome_tuple(outcome: Outcome) -> OutcomeTuple:
    """All of an outcome of parallel mode but its parsed reply."""
    return (
        step_tuple(outcome.step),
        outcome.attempt,
        outcome.end,
        outcome.request_hash,
        to_millis(outcome.started_at),
        to_millis(outcome.ended_at),
        outcome.body,
        outcome.failure,
        usage_counts(outcome.usage),
        outcome.cost_pico,
        outcome.request_id,
        outcome.reused,
        outcome.tries,
    )


def outcome_of(values: OutcomeTuple, ruling: Ruling | bool | None) -> tuple[Outcome, Ruling | None]:
    """The outcome and its ruling; where there is none, the outcome has its reply, to be ruled on."""
    step, attempt, end, hash_, started, ended, body, failure, usage, cost_pico, request_id, reused, tries = values
    ruled = _SUCCEEDED if ruling is True else ruling or None
    outcome = Outcome(
        step_of(step),
        attempt,
        end,
        "parallel",
        hash_,
        from_millis(started),
        from_millis(ended),
        body,
        parse_reply(body, request_id) if ruled is None and failure is None else None,
        failure,
        Usage(*usage),
        cost_pico,
        request_id,
        reused=reused,
        tries=tries,
    )
    return outcome, ruled
