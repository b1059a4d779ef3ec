from __future__ import annotations

import pytest

from runner.types import Record, Row, Usage


def test_a_noun_is_frozen() -> None:
    row = Row("a", 0, {})
    with pytest.raises(AttributeError, match="immutable"):
        row.key = "b"  # type: ignore[misc]  # that is the point


def test_a_noun_is_equal_to_one_with_the_same_fields() -> None:
    assert Usage(1, 2, 3, 4, 5) == Usage(1, 2, 3, 4, 5) != Usage(1, 2, 3, 4, 6)
    assert hash(Usage(1, 2, 3, 4, 5)) == hash(Usage(1, 2, 3, 4, 5))


def test_a_noun_asks_for_every_field_without_a_default() -> None:
    with pytest.raises(TypeError, match="Missing required argument"):
        Record("key")  # type: ignore[call-arg]  # that is the point
