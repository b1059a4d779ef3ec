"""Columns cast by `types`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, get_args

import pytest

from runner.column_types import STRING, ColumnType
from runner.datasets import Dataset, SourceRow, declared_types
from runner.datasets.casting import CASTS, cast_by
from runner.errors import InputError
from runner.spec.dataset import CastType


@dataclass
class Rows:
    values: list[dict[str, Any]]
    declared: Mapping[str, ColumnType] | None = None

    def columns(self) -> tuple[str, ...] | None:
        return None

    def column_types(self) -> Mapping[str, ColumnType] | None:
        return self.declared

    def rows(self) -> Iterator[SourceRow]:
        return (SourceRow(values, "data.csv", line) for line, values in enumerate(self.values, 2))


def cast(wanted: str, value: Any) -> Any:
    (row,) = cast_by(Rows([{"x": value, "y": "kept"}]), {"x": wanted}).rows()
    assert row.values["y"] == "kept"
    return row.values["x"]


def test_each_type_that_a_job_may_name_is_there() -> None:
    assert tuple(CASTS) == get_args(CastType)


NAIVE = dt.datetime.fromisoformat("2026-01-31T12:00:00")
FITS: list[tuple[str, Any, Any]] = [
    ("integer", "12", 12),
    ("integer", " -007 ", -7),
    ("integer", "9" * 30, int("9" * 30)),
    ("integer", 12.0, 12),
    ("integer", Decimal("12.00"), 12),
    ("number", "12.5", 12.5),
    ("number", "1e3", 1000.0),
    ("number", 12, 12.0),
    ("number", Decimal("0.1"), 0.1),
    ("decimal", "12.50", Decimal("12.50")),
    ("decimal", 0.1, Decimal("0.1")),
    ("decimal", 12, Decimal(12)),
    ("boolean", "TRUE", True),
    ("boolean", "no", False),
    ("boolean", 1, True),
    ("date", "2026-01-31", dt.date(2026, 1, 31)),
    ("date", dt.datetime.fromisoformat("2026-01-31"), dt.date(2026, 1, 31)),
    ("datetime", "2026-01-31T12:00:00", NAIVE),
    ("datetime", "2026-01-31 12:00Z", NAIVE.replace(tzinfo=dt.UTC)),
    ("datetime", dt.date(2026, 1, 31), dt.datetime.fromisoformat("2026-01-31")),
    ("time", "12:30", dt.time(12, 30)),
    ("json", '{"a": [1]}', {"a": [1]}),
    ("json", [1], [1]),
    ("string", 12, "12"),
    ("string", Decimal("12.50"), "12.50"),
    ("string", dt.date(2026, 1, 31), "2026-01-31"),
    ("string", {"a": [dt.date(2026, 1, 31)]}, '{"a":["2026-01-31"]}'),
    ("string", "", ""),
    ("string", " x ", " x "),
]


def test_values_become_the_type() -> None:
    for wanted, value, expected in FITS:
        found = cast(wanted, value)
        assert (found, type(found)) == (expected, type(expected)), (wanted, value)


def test_an_empty_text_and_null_are_null() -> None:
    for wanted in CASTS:
        assert cast(wanted, None) is None
        if wanted != "string":
            assert cast(wanted, " ") is None


FITS_NOT: list[tuple[str, Any, str]] = [
    ("integer", "12.5", "is a text that is no whole number"),
    ("integer", "1_000", "is a text that is no whole number"),
    ("integer", "١٢", "is a text that is no whole number"),
    ("integer", "9" * 5_000, "is a text that is no whole number"),
    ("integer", 12.5, "is a number that is not whole"),
    ("integer", True, "is true or false"),
    ("number", "nan", "is a text that is no number"),
    ("number", "1e999", "is a text that is no number"),
    ("number", "1,5", "is a text that is no number"),
    ("number", 10**400, "is a whole number too large for a float"),
    ("decimal", "NaN", "is a text that is no number"),
    ("decimal", float("inf"), "is a number that is not finite"),
    ("boolean", "maybe", "is a text that is neither true nor false"),
    ("boolean", 2, "is a whole number that is neither true nor false"),
    ("date", "31.01.2026", "is a text that is no date"),
    ("date", NAIVE, "is a datetime with a time of day or a zone"),
    ("datetime", 1_700_000_000, "is a whole number"),
    ("time", "noon", "is a text that is no time"),
    ("json", "{a: 1}", "is a text that is no JSON"),
    ("string", b"x", "is bytes"),
]


def test_a_value_that_does_not_fit_is_told_by_its_kind_and_never_shown() -> None:
    for wanted, value, why in FITS_NOT:
        with pytest.raises(InputError) as caught:
            cast(wanted, value)
        (problem,) = caught.value.problems
        assert (str(problem.where), problem.code) == ("data.csv:2", "not-castable")
        assert problem.message == f"the column 'x' {why}", (wanted, value)
        assert problem.hint == CASTS[wanted].hint


def test_all_that_does_not_fit_is_told_at_once_and_no_row_after_it_is_yielded() -> None:
    rows = Rows([{"x": "1"}, {"x": "a"}, {"x": "2"}, {"x": "b"}])
    found = cast_by(rows, {"x": "integer"}).rows()
    assert next(found).values == {"x": 1}
    with pytest.raises(InputError) as caught:
        next(found)
    assert [str(problem.where) for problem in caught.value.problems] == ["data.csv:3", "data.csv:5"]


def test_a_column_that_no_row_has_is_told() -> None:
    with pytest.raises(InputError, match="no row has the column 'stars'") as caught:
        list(cast_by(Rows([{"star": "1"}]), {"stars": "integer"}).rows())
    assert caught.value.problems[0].hint == "did you mean `star`?"


def test_a_column_that_some_rows_lack_is_cast_where_it_is() -> None:
    assert [row.values for row in cast_by(Rows([{}, {"x": "1"}]), {"x": "integer"}).rows()] == [{}, {"x": 1}]


def test_what_is_declared_says_the_new_types_with_what_the_values_showed() -> None:
    rows = Rows([{"x": "12.50", "n": str(2**70), "t": "a"}], dict.fromkeys(("x", "n", "t", "at"), STRING))
    found = cast_by(rows, {"x": "decimal", "n": "integer", "at": "datetime"})
    assert types(found) == {"x": "decimal", "n": "integer", "t": "string", "at": "datetime"}
    rows.values[0]["at"] = "2026-01-31T12:00Z"
    list(found.rows())
    assert types(found) == {"x": "decimal(4, 2)", "n": "integer", "t": "string", "at": "datetime(UTC)"}


def types(dataset: Dataset) -> dict[str, str]:
    return {name: str(found) for name, found in (declared_types(dataset) or {}).items()}


def test_without_types_a_dataset_is_itself() -> None:
    rows = Rows([])
    assert cast_by(rows, None) is rows
