"""Types of columns: a lattice, whatever the order of the values."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.column_types import JSON, NULL, STRING, WIDE_INTEGER, ColumnType, type_of
from runner.values import json_form, marked, unmarked

ZONES = st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=2))])
SINGLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.decimals(),
    st.dates(),
    st.datetimes(timezones=ZONES).map(lambda moment: moment.replace(fold=0)),
    st.times().map(lambda moment: moment.replace(fold=0)),
    st.timedeltas(),
)
VALUES = st.recursive(SINGLE, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
DECLARED = st.recursive(
    VALUES.map(type_of),
    lambda inner: st.one_of(
        st.builds(lambda item: ColumnType("list", item=item), inner),
        st.builds(
            lambda fields: ColumnType("mapping", fields=tuple(fields.items())),
            st.dictionaries(st.sampled_from("abc"), inner),
        ),
    ),
    max_leaves=4,
)


@given(DECLARED, DECLARED, DECLARED)
def test_joining_is_associative_commutative_and_idempotent(one: ColumnType, two: ColumnType, three: ColumnType) -> None:
    assert one.join(two) == two.join(one)
    assert one.join(two).join(three) == one.join(two.join(three))
    assert one.join(one) == one
    assert one.join(NULL) == NULL.join(one) == one
    assert one.join(JSON) == JSON


@given(DECLARED)
def test_a_type_is_kept_as_json(one: ColumnType) -> None:
    assert ColumnType.of_json(one.to_json()) == one
    assert str(one)


@given(st.dictionaries(st.text(), VALUES))
def test_every_value_comes_back_from_its_marked_form(values: dict[str, Any]) -> None:
    plain, marks = marked(values)
    assert repr(dict(unmarked(plain, marks))) == repr(values)
    json_form(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2**63], "integer"),
        ([1, 0.5], "number"),
        ([Decimal("1.50"), Decimal(100)], "decimal(5, 2)"),
        ([Decimal("0.001")], "decimal(3, 3)"),
        ([1, Decimal("1.5")], "decimal(20, 1)"),
        ([2**64, Decimal("1.5")], "decimal"),
        ([Decimal("1.5"), 1.5], "number"),
        ([dt.date(2026, 1, 1), dt.datetime(2026, 1, 1)], "datetime"),
        ([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)], "datetime(UTC)"),
        ([dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))], "datetime(+02:00)"),
        ([dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 1)], "string"),
        (["a", 1, None], "string"),
        ([True, 1], "string"),
        ([b"a", "a"], "json"),
        ([[1], {"a": 1}], "json"),
        ([[1], [2]], "list"),
        ([None], "null"),
    ],
)
def test_values_of_a_column_have_a_type_in_common(values: list[Any], expected: str) -> None:
    found = NULL
    for value in values:
        found = found.join(type_of(value))
    assert str(found) == expected


def test_an_integer_that_64_bits_do_not_hold_is_wide() -> None:
    assert type_of(2**63) == WIDE_INTEGER
    assert not type_of(2**63 - 1).wide
    assert type_of(-(2**63)).join(type_of(2**70)) == WIDE_INTEGER


def test_a_type_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="'geometry' is no type"):
        ColumnType.of_json({"kind": "geometry"})
    assert ColumnType.of_json(STRING.to_json()) is not None
