"""Asking again: what follows on a reply that is no answer.

Owns   `Asking`, what a job wants done about invalid, cut-off and refused replies; the decision what is asked next.
Knows  steps, their rounds and failures. It keeps nothing: what was asked so far stands in the step, so the same reply
       to the same step always has the same consequence, on every machine and after any crash.

Each kind of trouble has its own cure, and its own counter in `Step.round`:

    schema_mismatch   a repair: the conversation goes on with the reply and what is wrong with it
    truncated         the next larger `max_tokens`: the request is sent again as it was, and the reply is left aside,
                      so that a cut-off reply is never mended into a shorter valid one
    refusal           the next of the other models: the request is sent again as it was
    unexpected_reply  where it is a paused turn, the model is given what it said; where it calls functions, what they
                      return. Both are rounds of tools, of which a job says how many there may be. Nothing is wrong with
                      such a reply.

A counter goes on counting whatever else happens in between, so a turn has at most 1 + repairs + limits + models + tool
rounds requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from runner.rounds import CallTools, GoOn, Longer, OtherModel, Repair, Rounds, Why, asked_again
from runner.tools import calls_of
from runner.types import Failure, Reply, Step

LIMIT_REACHED: Final = "max_tokens"
"""The stop reason that a larger limit helps against; the end of the context window is no such limit."""


PAUSED: Final = "pause_turn"
CALLS: Final = "tool_use"


class Asked(NamedTuple):
    """The step that is to follow, and why."""

    step: Step
    why: Why


class Asking(Struct, frozen=True):
    """How often an invalid reply is mended; the limits, ascending, that a cut-off one is given in turn; the models that
    are asked in turn where one refuses. What is kept counts as an answer as it is."""

    repairs: int = 0
    limits: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    keeps_truncated: bool = False
    keeps_refused: bool = False
    goes_on: bool = False
    """Whether the job has tools that the API runs, so that a turn may pause."""
    calls: bool = False
    """Whether it has functions, so that a reply may call them."""
    tool_rounds: int = 0

    def keeps(self, failure: Failure) -> bool:
        """Whether a reply counts as an answer although this is wrong with it."""
        return (failure.kind == "truncated" and self.keeps_truncated) or (
            failure.kind == "refusal" and self.keeps_refused
        )

    def after(self, step: Step, reply: Reply, failure: Failure, problems: Sequence[str]) -> Asked | None:
        """What is asked next, where this is wrong with the reply to a step; None where nothing is left to ask.

        `problems` are the parts of the failure, for a reply that does not fit.
        """
        rounds = Rounds.of(step.round)
        match failure.kind:
            case "schema_mismatch" if rounds.repairs < self.repairs:
                return Asked(asked_again(step, "repairs"), Repair(repair_text(problems)))
            case "truncated" if rounds.longer < len(self.limits) and reply.stop_reason == LIMIT_REACHED:
                return Asked(asked_again(step, "longer"), Longer(self.limits[rounds.longer]))
            case "refusal" if rounds.models < len(self.models):
                return Asked(asked_again(step, "models"), OtherModel(self.models[rounds.models]))
            case "unexpected_reply" if rounds.continued + rounds.tools < self.tool_rounds:
                if self._is_pause(reply):
                    return Asked(asked_again(step, "continued"), GoOn())
                if self._is_call(reply):
                    return Asked(asked_again(step, "tools"), CallTools())
        return None

    def in_the_end(self, reply: Reply, failure: Failure) -> Failure:
        """What a row fails with where nothing is left to ask: for a reply that would have been followed up, that the
        rounds are used up."""
        if not (self._is_pause(reply) or self._is_call(reply)):
            return failure
        what = "the model still calls for tools" if self._is_call(reply) else "the turn is paused once more"
        bound = f"after {self.tool_rounds} rounds, which is what limits.max_tool_rounds allows"
        return replace(failure, message=f"{what} {bound}")

    def _is_pause(self, reply: Reply) -> bool:
        return self.goes_on and reply.stop_reason == PAUSED and bool(reply.content)

    def _is_call(self, reply: Reply) -> bool:
        return self.calls and reply.stop_reason == CALLS and bool(calls_of(reply.content))

    def other_model_of(self, step: Step) -> str | None:
        """The model that a step's request goes to, where it is not the job's."""
        models = Rounds.of(step.round).models
        return self.models[models - 1] if models else None


NEVER: Final = Asking()


def repair_text(problems: Sequence[str]) -> str:
    """What a model is told of a reply that does not fit. It is part of the request: to change a word here is to send
    other requests, which have no earlier answers."""
    listed = "\n".join(f"- {problem}" for problem in problems)
    return f"Your reply cannot be used:\n{listed}\nAnswer again with the whole reply, corrected, and nothing else."
