from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field

import pytest

from runner.types import Record, Usage, maker_of


@dataclass(frozen=True, slots=True)
class _Noun:
    name: str
    count: int = 7
    tags: list[str] = field(default_factory=list)


def test_what_a_maker_makes_is_the_noun_itself() -> None:
    made = maker_of(_Noun)("a", 1, ["x"])
    assert type(made) is _Noun
    assert made == _Noun("a", 1, ["x"])
    assert hash(maker_of(Usage)(1, 2, 3, 4, 5)) == hash(Usage(1, 2, 3, 4, 5))


def test_what_a_maker_makes_is_frozen() -> None:
    made = maker_of(_Noun)("a")
    with pytest.raises(FrozenInstanceError):
        made.name = "b"  # type: ignore[misc]  # that is the point


def test_a_maker_knows_defaults_and_names() -> None:
    make = maker_of(_Noun)
    assert make("a") == _Noun("a")
    assert make(name="a", count=2) == _Noun("a", 2)
    assert make("a").tags is not make("a").tags


def test_a_maker_asks_for_every_field_without_a_default() -> None:
    with pytest.raises(TypeError, match="missing"):
        maker_of(Record)("key")  # type: ignore[call-arg]  # that is the point
