"""Rounds: what has been asked again within a turn, packed into the one number `Step.round`; and why.

Owns   the codec `Rounds`, the reasons (`Why`), and the words that people read of a step.
Knows  steps. Pure.

A conversation is a row and a sample of it. Within one turn of it a reply may be asked about again: mended, sent with a
larger limit, given to another model. Each of these has a counter, and asking again raises exactly one of them by one.
The counters stand side by side in the bits of one number,

    restarts 10 | spare 3 | tools 8 | continued 8 | models 2 | longer 4 | repairs 6

so the number grows each time: the order of a turn's rounds is the order in which they were asked, and the last one
decides. A counter is never set back but by a restart (`runner retry`), which is the highest and starts all others anew.
A plain first request is round 0, its first repair round 1.

What a round's request says follows from its counters and from the replies before it: `longer` is a place in the job's
list of limits, `models` one in its list of other models, and what was said is the chain of replies that led there,
each of which asked for the next. To add a counter is to take it from the spare bits; those that are there keep their
places, because they are in ledgers and in the custom ids of open batches.

Bounds: 41 bits, which are at most 8 digits in base 36 (`engines.custom_ids`) and fit a column.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from runner.types import Step

Counter: TypeAlias = Literal["repairs", "longer", "models", "continued", "tools", "restarts"]

_PLACES: Final[dict[Counter, tuple[int, int]]] = {
    "repairs": (0, 6),
    "longer": (6, 4),
    "models": (10, 2),
    "continued": (12, 8),
    "tools": (20, 8),
    "restarts": (31, 10),
}
"""The lowest bit of each counter, and how many it has."""

RESTART_BIT: Final = _PLACES["restarts"][0]
MAX_ROUND: Final = (1 << 41) - 1


def most(counter: Counter) -> int:
    """How far a counter goes."""
    return (1 << _PLACES[counter][1]) - 1


MAX_REPAIRS: Final = most("repairs")
MAX_LIMITS: Final = most("longer")


class Rounds(Struct, frozen=True):
    """How often, within one turn, a reply was mended (`repairs`), a request was sent with the next larger `max_tokens`
    (`longer`), given to the next of other `models`, `continued` after a pause, or answered with results of `tools`; and
    how often all that was begun again (`restarts`)."""

    repairs: int = 0
    longer: int = 0
    models: int = 0
    continued: int = 0
    tools: int = 0
    restarts: int = 0

    def __post_init__(self) -> None:
        for counter in _PLACES:
            if not 0 <= getattr(self, counter) <= most(counter):
                raise ValueError(f"{counter} is {getattr(self, counter)}, and at most {most(counter)}")

    @classmethod
    def of(cls, number: int) -> Rounds:
        """The counters in `Step.round`."""
        if not number:  # of nearly every step, and looked at more than once for each
            return _NONE
        values: dict[str, Any] = {
            counter: number >> low & ((1 << bits) - 1) for counter, (low, bits) in _PLACES.items()
        }
        rounds = cls(**values)
        if rounds.number != number:
            raise ValueError(f"{number} is no round")
        return rounds

    @property
    def number(self) -> int:
        """As `Step.round` holds it."""
        return sum(int(getattr(self, counter)) << low for counter, (low, _) in _PLACES.items())


_NONE: Final = Rounds()


def asked_again(step: Step, counter: Counter) -> Step:
    """The step that follows within the turn. Raises ValueError where the counter is at its end."""
    rounds = Rounds.of(step.round)
    return replace(step, round=replace(rounds, **{counter: getattr(rounds, counter) + 1}).number)


def first_round(step: Step) -> Step:
    """The round that this step's turn began with, since it was begun last."""
    return replace(step, round=step.round >> RESTART_BIT << RESTART_BIT)


def next_turn(step: Step) -> Step:
    """The step that a turn's answer opens."""
    return Step(step.row, step.turn + 1, step.sample)


def is_first_request(step: Step) -> bool:
    """Whether the step says nothing but what its row does: no reply stands before it."""
    return not step.turn and not step.round & ((1 << RESTART_BIT) - 1)


# -- why -----------------------------------------------------------------------------------------------------------


class Repair(Struct, frozen=True):
    """The reply does not fit: the model is told so, in these words, and answers again."""

    text: str


class Longer(Struct, frozen=True):
    """The reply was cut off: the same is asked with a larger `max_tokens`."""

    max_tokens: int


class OtherModel(Struct, frozen=True):
    """The model refused: the same is asked of another one."""

    model: str


class GoOn(Struct, frozen=True):
    """The model paused a long turn of tools that the API runs: it is given what it said, and goes on."""


class CallTools(Struct, frozen=True):
    """The model calls functions: it is given what they return, and goes on."""


class NextTurn(Struct, frozen=True):
    """The reply is an answer, and the user has more to say: in this turn, counted from 0."""

    turn: int


Why: TypeAlias = Repair | Longer | OtherModel | GoOn | CallTools | NextTurn


# -- words ---------------------------------------------------------------------------------------------------------

_WORDS: Final[tuple[tuple[Counter, str], ...]] = (
    ("restarts", "begun again ({})"),
    ("models", "other model ({})"),
    ("longer", "larger limit ({})"),
    ("continued", "continued ({})"),
    ("tools", "tool round {}"),
    ("repairs", "repair {}"),
)


def step_words(step: Step) -> str:
    """What a step of a row is, for people; empty for the only one that most rows have."""
    rounds = Rounds.of(step.round)
    parts = [f"sample {step.sample + 1}"] if step.sample else []
    parts += [f"turn {step.turn + 1}"] if step.turn else []
    parts += [words.format(count) for counter, words in _WORDS if (count := getattr(rounds, counter))]
    return ", ".join(parts)
