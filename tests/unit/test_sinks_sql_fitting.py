from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pytest

from runner.sinks.sql.columns import Column, Family
from runner.sinks.sql.fitting import fitter

UTC = dt.UTC
FIRST = dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=10)))
NOON = dt.datetime(2026, 11, 22, 12, tzinfo=UTC)


def fit(value: Any, family: Family, **column: Any) -> Any:
    options = {name: column.pop(name) for name in ("holds_nul", "holds_nan") if name in column}
    (found,) = fitter([Column("c", family, family, **column)], {}, **options)([value])
    return found


@pytest.mark.parametrize(
    ("value", "family", "expected"),
    [
        ("text", "string", "text"),
        (True, "string", "true"),
        (Decimal("1.50"), "string", "1.50"),
        (dt.date(2026, 1, 2), "string", "2026-01-02"),
        ([1, {"a": None}], "string", '[1,{"a":null}]'),
        (b"\xff", "string", "/w=="),
        ("\ud83d half", "string", "\ufffd half"),
        (7, "integer", 7),
        ("-7", "integer", -7),
        (7.0, "integer", 7),
        (True, "integer", 1),
        (1, "number", 1.0),
        ("1.5e3", "number", 1500.0),
        (0.1, "decimal", Decimal("0.1")),
        ("12.30", "decimal", Decimal("12.30")),
        (1, "boolean", True),
        ("false", "boolean", False),
        ("2026-01-02", "date", dt.date(2026, 1, 2)),
        (dt.datetime(2026, 1, 2), "date", dt.date(2026, 1, 2)),
        (NOON, "datetime", dt.datetime(2026, 11, 22, 12)),
        ("2026-11-22T13:00:00+01:00", "datetime", dt.datetime(2026, 11, 22, 12)),
        ("12:30", "time", dt.time(12, 30)),
        (b"\x00", "bytes", b"\x00"),
        ("é", "bytes", "é".encode()),
        ("text", "json", '"text"'),
        (NOON, "json", '"2026-11-22T12:00:00+00:00"'),
        ([1, "a"], "list", [1, "a"]),
        ("0b3a", "other", "0b3a"),
        (None, "integer", None),
    ],
)
def test_a_value_becomes_what_the_column_holds(value: Any, family: Family, expected: Any) -> None:
    found = fit(value, family)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "family"),
    [
        ("seven", "integer"),
        (7.5, "integer"),
        (" 7", "integer"),
        ("1_000", "number"),
        ("nan", "number"),
        (True, "number"),
        (True, "decimal"),
        (Decimal("NaN"), "decimal"),
        ("yes", "boolean"),
        (2, "boolean"),
        (NOON, "date"),
        ("tomorrow", "datetime"),
        (5, "date"),
        (5, "bytes"),
        ({"a": 1}, "list"),
        ([{"a": 1}], "list"),
        ([1], "duration"),
    ],
)
def test_a_value_that_would_lose_something_does_not_fit(value: Any, family: Family) -> None:
    with pytest.raises(ValueError, match=rf"the column 'c' \({family}\) cannot hold"):
        fit(value, family)


def test_a_moment_without_a_zone_is_one_in_utc_where_the_column_wants_a_zone() -> None:
    assert fit(dt.datetime(2026, 11, 22, 12), "datetime", zoned=True) == NOON


def test_bounds_are_the_columns_own() -> None:
    assert fit(127, "integer", least=-128, most=127) == 127
    with pytest.raises(ValueError, match="out of range"):
        fit(128, "integer", least=-128, most=127)
    with pytest.raises(ValueError, match="holds 3 characters, and this text has 4"):
        fit("four", "string", length=3)
    with pytest.raises(ValueError, match="more than 3 digits before the point"):
        fit(1000, "decimal", precision=5, scale=2)
    assert fit("999.999", "decimal", precision=6, scale=2) == Decimal("999.999")
    with pytest.raises(ValueError, match="holds 1 bytes"):
        fit(b"ab", "bytes", length=1)
    with pytest.raises(ValueError, match="takes no null"):
        fit(None, "string", nullable=False)


def test_nul_is_written_as_a_replacement_where_a_text_cannot_hold_it() -> None:
    assert fit("a\0b", "string") == "a\0b"
    assert fit("a\0b", "string", holds_nul=False) == "a\ufffdb"
    assert fit({"k\0": ["a\0b", "\\u0000"]}, "json", holds_nul=False) == '{"k\ufffd":["a\ufffdb","\\\\u0000"]}'


def test_a_number_that_is_none_stands_only_where_the_database_has_it() -> None:
    assert math.isnan(fit(math.nan, "number"))
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="cannot hold"):
            fit(value, "number", holds_nan=False)


def test_a_long_value_is_shown_by_its_beginning() -> None:
    with pytest.raises(ValueError) as told:
        fit("x" * 1_000, "integer")
    assert len(str(told.value)) < 150


@pytest.mark.parametrize("first", [FIRST, FIRST.isoformat()])
def test_a_moment_before_the_first_day_does_not_fit_a_column_without_zones(first: Any) -> None:
    with pytest.raises(ValueError, match="cannot hold '0001-01-01T00:00:00\\+10:00': it is out of range"):
        fit(first, "datetime")
    (found,) = fitter([Column("c", "datetime", "timestamptz", zoned=True)], {})([first])
    assert found == FIRST
