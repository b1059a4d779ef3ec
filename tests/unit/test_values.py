"""The values that a row may hold, and the forms they take."""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict, UserDict
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from runner.encoding import encode_text
from runner.values import duration_text, held, json_form, marked, text_form, unmarked


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


NOON = dt.datetime.fromisoformat("2026-01-31T12:00:00.000001")
MADE: list[tuple[Any, Any]] = [
    ((1, "a"), [1, "a"]),
    (bytearray(b"x"), b"x"),
    (memoryview(b"x"), b"x"),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (OrderedDict(a=(1,)), {"a": [1]}),
    (UserDict({"a": 1}), {"a": 1}),
    ({1: "a", dt.date(2026, 1, 31): "b"}, {"1": "a", "2026-01-31": "b"}),
    (np.int64(5), 5),
    (np.float32(0.5), 0.5),
    (np.bool_(True), True),
    (np.array([1, 2]), [1, 2]),
    (np.str_("a"), "a"),
    (pd.Timestamp("2026-01-31T12:00:00.000001"), dt.datetime(2026, 1, 31, 12, 0, 0, 1)),
    (pd.Timedelta(seconds=1), dt.timedelta(seconds=1)),
    (pd.NaT, None),
    (pd.NA, None),
    (np.datetime64("NaT", "us"), None),
    (np.datetime64("2026-01-31", "D"), dt.date(2026, 1, 31)),
    (np.datetime64("2026-01-31T12:00:00.000001999", "ns"), NOON),
    (np.array(["2026-01-31T12:00:00.000001"], "datetime64[ns]"), [NOON]),
    (np.timedelta64(1_000_000_999, "ns"), dt.timedelta(seconds=1)),
]


def test_relatives_become_the_values_that_rows_hold() -> None:
    for value, expected in MADE:
        found = held(value)
        assert found == expected
        assert type(found) is type(expected)


@pytest.mark.parametrize("value", [np.datetime64("20000-01-01"), np.datetime64("20000-01-01", "us")])
def test_a_time_beyond_pythons_calendar_is_no_number(value: Any) -> None:
    with pytest.raises(TypeError, match="beyond"):
        held(value)


def test_what_no_row_holds_is_refused_by_its_type() -> None:
    for value in (object(), {1, 2}, frozenset(), {b"a": 1}, {None: 1}, {(1,): 1}, complex(1), [object()]):
        with pytest.raises(TypeError, match="type"):
            held(value)


FORMS: list[tuple[Any, str, Any]] = [
    (True, "true", True),
    (5, "5", 5),
    (0.1, "0.1", 0.1),
    (float("nan"), "nan", "NaN"),
    (float("-inf"), "-inf", "-Infinity"),
    (Decimal("12.50"), "12.50", 12.5),
    (Decimal("0.1"), "0.1", 0.1),
    (Decimal("1E+3"), "1000", 1000),
    (Decimal("12345678901234567.89"), "12345678901234567.89", "12345678901234567.89"),
    (Decimal("1E+9999"), "1E+9999", "1E+9999"),
    (Decimal("NaN"), "NaN", "NaN"),
    (Decimal("-Infinity"), "-Infinity", "-Infinity"),
    (dt.date(2026, 1, 31), "2026-01-31", "2026-01-31"),
    (dt.datetime(2026, 1, 31, 12), "2026-01-31T12:00:00", "2026-01-31T12:00:00"),
    (dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC), "2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00+00:00"),
    (dt.time(1, 2, 3, 40), "01:02:03.000040", "01:02:03.000040"),
    (dt.timedelta(days=1, seconds=2), "P1DT2S", "P1DT2S"),
]


def test_a_value_has_a_text_and_a_json_form() -> None:
    for value, text, json in FORMS:
        assert text_form(value) == text
        assert encode_text(json_form(value)) == encode_text(json)


def test_the_json_form_goes_into_lists_and_mappings() -> None:
    value = {"a": [dt.date(2026, 1, 31), {"b": b"\xff", "c": (1,)}]}
    assert json_form(value) == {"a": ["2026-01-31", {"b": "/w==", "c": [1]}]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (dt.timedelta(0), "PT0S"),
        (dt.timedelta(days=2), "P2D"),
        (dt.timedelta(hours=1, minutes=1, milliseconds=500), "PT1H1M0.5S"),
        (dt.timedelta(seconds=-1), "-PT1S"),
        (dt.timedelta(days=-1), "-P1D"),
    ],
)
def test_durations_print_as_iso_8601(value: dt.timedelta, text: str) -> None:
    assert duration_text(value) == text


def test_a_zone_that_is_not_known_leaves_the_offset() -> None:
    plain, marks = marked({"at": dt.datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))})
    plain["at"] = plain["at"].replace("Europe/Berlin", "Mars/Olympus")
    assert unmarked(plain, marks)["at"].utcoffset() == dt.timedelta(hours=2)


@pytest.mark.parametrize(
    "moment",
    [
        dt.datetime(2026, 3, 29, 2, 30),  # left out by the clocks
        dt.datetime(2026, 10, 25, 2, 30),  # there twice
        dt.datetime(2026, 10, 25, 2, 30, fold=1),
        dt.datetime(1890, 1, 1),
        dt.datetime(1, 1, 1),
        dt.datetime(9999, 12, 31, 23, 59, 59),
    ],
)
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_a_datetime_comes_back_with_its_zone_at_the_same_hour(moment: dt.datetime, zone: str) -> None:
    value = moment.replace(tzinfo=ZoneInfo(zone))
    plain, marks = marked({"at": value})
    found = unmarked(plain, marks)["at"]
    assert (found.isoformat(), found.tzinfo) == (value.isoformat(), value.tzinfo)
