"""Which values fit a column, and what `contract` makes of a table that is there."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from runner.column_types import (
    BOOLEAN,
    BYTES,
    DATE,
    DATETIME,
    DURATION,
    INTEGER,
    JSON,
    LIST,
    MAPPING,
    NUMBER,
    STRING,
    TIME,
    WIDE_INTEGER,
    ColumnType,
)
from runner.sinks import Refused
from runner.sinks.fitting import MAX_TOLD, Fitting, LeftOut, Misfit, agreed, fit

LONG = Decimal("1234567890123456789012345678.5000000000")
"""More digits than Python's decimal arithmetic keeps."""
MONEY = ColumnType("decimal", precision=5, scale=2)
ANY_DECIMAL = ColumnType("decimal")
UTC = ColumnType("datetime", zone="UTC")
LIST_OF_DATES = ColumnType("list", item=DATE)
POINT = ColumnType("mapping", fields=(("x", INTEGER), ("y", DATE)))
DAY = dt.date(2026, 11, 22)
NOON = dt.datetime(2026, 11, 22, 12, 0, 0, 5)
NOON_UTC = NOON.replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "type_", "made"),
    [
        ("a", STRING, "a"),
        (True, STRING, "true"),
        (Decimal("1.50"), STRING, "1.50"),
        (DAY, STRING, "2026-11-22"),
        (b"\xff", STRING, "/w=="),
        ([1, DAY], STRING, '[1,"2026-11-22"]'),
        ({"a": None}, STRING, '{"a":null}'),
        (False, BOOLEAN, False),
        (7, INTEGER, 7),
        (7.0, INTEGER, 7),
        (Decimal("7.0"), INTEGER, 7),
        (-(1 << 63), INTEGER, -(1 << 63)),
        (1 << 70, WIDE_INTEGER, 1 << 70),
        (2, NUMBER, 2.0),
        (Decimal("0.5"), NUMBER, 0.5),
        (1.25, MONEY, Decimal("1.25")),
        (-999.99, MONEY, Decimal("-999.99")),
        (0, MONEY, Decimal(0)),
        (Decimal("1e-30"), ANY_DECIMAL, Decimal("1e-30")),
        (LONG, ColumnType("decimal", precision=38, scale=10), LONG),
        (DAY, DATE, DAY),
        ("2026-11-22", DATE, DAY),
        (NOON, DATETIME, NOON),
        ("2026-11-22T12:00:00.000005", DATETIME, NOON),
        (DAY, DATETIME, dt.datetime(2026, 11, 22)),
        ("2026-11-22T12:00:00.000005Z", UTC, NOON_UTC),
        ("2026-11-22t12:00:00.000005z", UTC, NOON_UTC),
        ("2026-11-22T14:00:00.000005+02:00", UTC, NOON_UTC),
        (dt.time(1, 2), TIME, dt.time(1, 2)),
        (dt.timedelta(1), DURATION, dt.timedelta(1)),
        (b"x", BYTES, b"x"),
        (("2026-11-22", None), LIST_OF_DATES, [DAY, None]),
        ({"x": 1.0}, POINT, {"x": 1, "y": None}),
        ([1, DAY], LIST, [1, "2026-11-22"]),
        ({"a": DAY}, MAPPING, {"a": "2026-11-22"}),
        (DAY, JSON, "2026-11-22"),
        ([None], JSON, [None]),
        (None, INTEGER, None),
    ],
)
def test_a_value_that_fits(value: Any, type_: ColumnType, made: Any) -> None:
    found = fit(value, type_)
    assert found == made
    assert type(found) is type(made)


@pytest.mark.parametrize(
    ("value", "type_", "why"),
    [
        (1, BOOLEAN, "1 is no boolean"),
        (True, INTEGER, "true is no integer"),
        ("7", INTEGER, '"7" is no integer'),
        (2.5, INTEGER, "2.5 is no integer"),
        (float("nan"), INTEGER, '"NaN" is no integer'),
        (float("inf"), WIDE_INTEGER, '"Infinity" is no integer'),
        (1 << 63, INTEGER, "9223372036854775808 is no integer of 64 bits"),
        (True, NUMBER, "true is no number"),
        ("1.5", NUMBER, '"1.5" is no number'),
        (10**400, NUMBER, "is no number"),
        (1000, MONEY, "1000 is no decimal(5, 2)"),
        (0.125, MONEY, "0.125 is no decimal(5, 2)"),
        (Decimal("Infinity"), ANY_DECIMAL, "is no decimal"),
        (NOON, DATE, '"2026-11-22T12:00:00.000005" is no date'),
        ("2026-W47-7", DATE, "is no date"),
        ("2026-13-01", DATE, "is no date"),
        (NOON_UTC, DATETIME, "is no datetime without a zone"),
        (NOON, UTC, "is no datetime with a zone"),
        ("2026-11-22", UTC, "is no datetime with a zone"),
        (dt.time(1, tzinfo=dt.UTC), TIME, "is no time without a zone"),
        ("PT1S", DURATION, "is no duration"),
        ("x", BYTES, "is no bytes"),
        ("x" * 1000, INTEGER, "x…"),
        ("\ud800", INTEGER, '"\ufffd" is no integer'),
        ({}, LIST, "{} is no list"),
        ([], MAPPING, "[] is no mapping"),
        (["x"], LIST_OF_DATES, '"x" is no date'),
        ({"z": 1}, POINT, "it has a field 'z', which the column has not"),
    ],
)
def test_a_value_that_does_not_fit(value: Any, type_: ColumnType, why: str) -> None:
    with pytest.raises(Misfit) as found:
        fit(value, type_)
    assert why in str(found.value)
    assert len(str(found.value)) < 150


def test_a_record_fits_or_is_told_with_its_key_and_column() -> None:
    fitting = Fitting({"n": INTEGER, "day": DATE})
    assert fitting.cells("k", [1, "2026-11-22"]) == [1, DAY]
    assert fitting.cells("k", [None, None]) == [None, None]
    assert fitting.cells("k", ["x", "y"]) == Refused("k", "column 'n': \"x\" is no integer")


def test_what_was_left_out_is_counted_and_told_within_bounds() -> None:
    out = LeftOut()
    for number in range(MAX_TOLD + 5):
        out.add(Refused(str(number), "why"))
    assert out.count == MAX_TOLD + 5
    assert [refused.key for refused in out.first] == [str(number) for number in range(MAX_TOLD)]


DECLARED = {"key": STRING, "n": NUMBER, "new": DATE}


def test_a_table_that_is_not_there_is_as_declared() -> None:
    for contract in ("evolve", "freeze"):
        assert agreed(DECLARED, None, contract).types == DECLARED


def test_a_frozen_table_stays_as_it_is() -> None:
    there = {"key": STRING, "n": INTEGER, "other": BOOLEAN}
    found = agreed(DECLARED, there, "freeze")
    assert (found.types, found.added, found.widened, found.lacking) == (there, (), (), ("new",))


def test_a_table_that_evolves_is_widened_and_keeps_what_it_has() -> None:
    there = {"other": BOOLEAN, "n": INTEGER, "key": STRING}
    found = agreed(DECLARED, there, "evolve")
    assert found.types == {"other": BOOLEAN, "n": NUMBER, "key": STRING, "new": DATE}
    assert list(found.types) == ["other", "n", "key", "new"]
    assert (found.added, found.widened, found.lacking) == (("new",), ("n",), ())


@pytest.mark.parametrize(("there", "declared"), [(STRING, DATE), (NUMBER, INTEGER), (JSON, LIST), (STRING, JSON)])
def test_a_type_that_holds_what_is_declared_is_not_widened(there: ColumnType, declared: ColumnType) -> None:
    found = agreed({"c": declared}, {"c": there}, "evolve")
    assert (found.types, found.widened) == ({"c": there}, ())
