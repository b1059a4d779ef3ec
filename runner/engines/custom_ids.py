"""The custom id of a request in a batch: what brings a result back to its step, and proves whose batch it is.

Owns   the codec, both ways.
Knows  steps. Pure.

    3k9x0q7a2mf1c-2-1z4            run mark, batch number, row
    3k9x0q7a2mf1c-2-1z4-t1-s2-r1   turn, sample and round (`runner.rounds`), where they are not 0

All numbers are base 36, without leading zeros, so that every id is written in one way only. The API admits
`^[a-zA-Z0-9_-]{1,64}$`, unique within a batch (batch guide); the bounds below keep every id within 64 characters.
"""

from __future__ import annotations

import re
from typing import Final

from runner.types import Step

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = tuple(high + low for high in _DIGITS for low in _DIGITS)
_SHORT: Final = tuple(pair.lstrip("0") or "0" for pair in _PAIRS)
_PAIR: Final = 36 * 36

MAX_MARK: Final = 20
"""The longest run mark, in characters."""
_MAX_NUMBER, _MAX_ROW, _MAX_PART, _MAX_ROUND = 36**8, 36**12, 36**4, 36**8
"""Exclusive bounds: 20 + 1 + 8 + 1 + 12 + 2 × 6 + 10 characters are 64. 36**12 also fits the 63 bits of SQLite."""

MAX_NUMBER_DIGITS: Final = 8
_MARK = re.compile(rf"[0-9a-z]{{1,{MAX_MARK}}}")
_CUSTOM_ID = re.compile(
    rf"([0-9a-z]{{1,{MAX_MARK}}})"
    r"-(0|[1-9a-z][0-9a-z]{0,7})"
    r"-(0|[1-9a-z][0-9a-z]{0,11})"
    r"(?:-t([1-9a-z][0-9a-z]{0,3}))?"
    r"(?:-s([1-9a-z][0-9a-z]{0,3}))?"
    r"(?:-r([1-9a-z][0-9a-z]{0,7}))?"
)


def custom_id(mark: str, number: int, step: Step) -> str:
    """The id of a step's request in batch `number` of the run with this mark. Raises ValueError for what no id can
    hold."""
    return id_head(mark, number) + id_tail(step)


def read_custom_id(text: str) -> tuple[str, int, Step] | None:
    """Run mark, batch number and step; None for an id that is not of this form."""
    found = _CUSTOM_ID.fullmatch(text)
    if found is None:
        return None
    mark, number, row, turn, sample, round_ = found.groups()
    if turn is sample is round_ is None:
        return mark, int(number, 36), Step(int(row, 36))
    return mark, int(number, 36), Step(int(row, 36), _part(turn), _part(sample), _part(round_))


def id_head(mark: str, number: int) -> str:
    """What all ids of one batch begin with."""
    if not _MARK.fullmatch(mark) or not 0 <= number < _MAX_NUMBER:
        raise ValueError(f"no custom id for the run mark {mark!r} and batch {number}")
    return f"{mark}-{base36(number)}-"


def id_tail(step: Step) -> str:
    """What follows `id_head`: the same in every batch, so a batch that is sent again needs no new staging."""
    row = step.row
    if not 0 <= row < _MAX_ROW:
        raise ValueError(f"no custom id for row {row}")
    if not (step.turn or step.sample or step.round):
        return base36(row)
    tail = base36(row)
    for letter, part, bound in _parts(step):
        if not 0 <= part < bound:
            raise ValueError(f"no custom id for {step}")
        if part:
            tail += f"-{letter}{base36(part)}"
    return tail


def _parts(step: Step) -> tuple[tuple[str, int, int], ...]:
    return ("t", step.turn, _MAX_PART), ("s", step.sample, _MAX_PART), ("r", step.round, _MAX_ROUND)


def base36(number: int) -> str:
    """A number from 0 on, in base 36."""
    if number < _PAIR:
        return _SHORT[number]
    number, low = divmod(number, _PAIR)
    text = _PAIRS[low]
    while number >= _PAIR:
        number, low = divmod(number, _PAIR)
        text = _PAIRS[low] + text
    return _SHORT[number] + text


def _part(digits: str | None) -> int:
    return 0 if digits is None else int(digits, 36)
