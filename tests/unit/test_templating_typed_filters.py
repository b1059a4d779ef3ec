"""Dates, times and decimals in templates and expressions."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from runner.templating import Expression, TemplateFailure

ROW: dict[str, Any] = {
    "day": dt.date(2026, 1, 31),
    "at": dt.datetime(2026, 1, 31, 12, 30, tzinfo=dt.UTC),
    "t": dt.time(9, 5),
    "price": Decimal("12.50"),
    "x": float("nan"),
}


def value(text: str) -> Any:
    return Expression(text, "test").evaluate({"row": ROW})


@pytest.mark.parametrize(
    "text",
    [
        'row.day >= ("2026-01-31" | date)',
        '"2026-01-01" | date < row.day',
        'row.at > ("2026-01-31T00:00Z" | datetime)',
        'row.at | date == ("2026-01-31" | date)',
        'row.day | datetime < ("2026-01-31 00:01" | datetime)',
        'row.price == ("12.5" | decimal)',
        "row.price * 2 == 25",
        "row.price > 12",
        '(0.1 | decimal) ~ "" == "0.1"',
        "row.day.year == 2026 and row.day.month == 1 and row.day.day == 31",
        "row.at.hour == 12 and row.t.minute == 5",
        "row.x != row.x",
        '(row.at | string)[:10] == "2026-01-31"',
    ],
)  # fmt: skip
def test_typed_values_compare_in_expressions(text: str) -> None:
    assert value(text) is True


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('row.day > "2026-01-01"', "`>` does not work between a date and text"),
        ("row.price > '1'", "`>` does not work between a decimal and text"),
        ('"31.1.2026" | date', "filter `date`: the text cannot be read"),
        ('"soon" | datetime', "filter `datetime`"),
        ('"1,5" | decimal', "filter `decimal`"),
        ("5 | date", "is no text"),
        ("row.day.tzinfo", "tzinfo"),
        ("row.day.replace(year=1)", "replace"),
        ("row.at.__class__", "__class__"),
    ],
)
def test_what_does_not_go_together_is_told(text: str, match: str) -> None:
    with pytest.raises(TemplateFailure, match=match):
        value(text)


def test_a_text_beside_a_date_is_told_how_to_make_one_of_it() -> None:
    with pytest.raises(TemplateFailure) as found:
        value('row.day > "2026-01-01"')
    assert found.value.hint == 'make one of the text: `("…" | date)`'
