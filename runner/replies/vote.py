"""Votes: what most samples of a row say. Pure.

Owns   counting the values that valid samples have in one field, and which of them wins.
Knows  JSON values. Which samples are valid, and what becomes of a row without any, is not decided here.

Values are the same where their JSON is: 1 and true differ, and so do 1 and 1.0; the order of an object's keys does not
matter. Of values with equally many votes the one wins that the earliest sample gave, and the vote says that it was a
tie: samples are numbered when a run begins, so the same replies always give the same winner, whichever came first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

WHOLE: Final = "output"
"""Names the whole output as what is voted on, where it has no field of that name."""


class Vote(Struct, frozen=True):
    """How a vote ended. `sample` is the first that gave the winning value, `share` the winner's part of all votes.

    `counts` are the votes of each value, most first, by the value's text. `samples` voted, of `asked`.
    """

    field: str
    value: Any
    sample: int
    share: float
    counts: Mapping[str, int]
    samples: int
    asked: int
    tie: bool

    def to_dict(self) -> dict[str, Any]:
        """The `vote` object of a record."""
        return {
            "field": self.field,
            "value": self.value,
            "share": self.share,
            "counts": dict(self.counts),
            "samples": self.samples,
            "asked": self.asked,
            "tie": self.tie,
        }


def majority(outputs: Mapping[int, Any], field: str, asked: int) -> Vote | None:
    """The vote of the valid samples, by their numbers; None where there is none.

    An output that has no such field (it may be optional) votes null.
    """
    votes = {sample: value_of(output, field) for sample, output in sorted(outputs.items())}
    if not votes:
        return None
    by_key: dict[str, list[int]] = {}
    for sample, value in votes.items():
        by_key.setdefault(_canonical(value), []).append(sample)
    ranked = sorted(by_key.values(), key=lambda samples: (-len(samples), samples[0]))
    winner = ranked[0]
    return Vote(
        field=field,
        value=votes[winner[0]],
        sample=winner[0],
        share=len(winner) / len(votes),
        counts=_counts([(votes[samples[0]], len(samples)) for samples in ranked]),
        samples=len(votes),
        asked=asked,
        tie=len(ranked) > 1 and len(ranked[1]) == len(winner),
    )


def nobody_voted(field: str, asked: int) -> dict[str, Any]:
    """The `vote` object of a record without a valid sample."""
    return Vote(field, None, 0, 0.0, {}, 0, asked, tie=False).to_dict()


def value_of(output: Any, field: str) -> Any:
    """What an output says in a field; all of it where the field is `output` and there is none of that name."""
    if isinstance(output, Mapping) and field in output:
        return output[field]
    return output if field == WHOLE else None


def _counts(ranked: Sequence[tuple[Any, int]]) -> dict[str, int]:
    """By text as people write it; where two values have one text (1 and "1"), by their JSON."""
    texts = [value if isinstance(value, str) else _canonical(value) for value, _ in ranked]
    unique = len(set(texts)) == len(texts)
    return {(text if unique else _canonical(value)): count for text, (value, count) in zip(texts, ranked, strict=True)}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
