"""Which columns rows have, and of what type: noted while they are enrolled."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from runner.column_types import STRING
from runner.execution.column_notes import MAX_COLUMNS, ColumnNotes, types_in
from runner.ledger import EnrolledRow
from runner.types import Row


def noted(rows: list[dict[str, Any]], notes: ColumnNotes | None = None) -> dict[str, str]:
    notes = notes or ColumnNotes()
    enrolled = [EnrolledRow(Row(str(index), index, values), "d", None) for index, values in enumerate(rows)]
    assert list(notes.noting(enrolled)) == enrolled
    assert types_in(notes.to_meta()) == notes.types
    return {name: str(found) for name, found in notes.types.items()}


def test_columns_stand_in_the_order_in_which_they_appear_with_the_join_of_their_types() -> None:
    rows: list[dict[str, Any]] = [{"b": 1, "a": None}, {"b": 1, "a": "x"}, {"c": [], "b": 0.5}, {"b": 2, "a": None}]
    assert noted(rows) == {"b": "number", "a": "string", "c": "list"}


def test_a_shape_that_was_met_is_looked_at_where_its_kind_does_not_tell_its_type() -> None:
    zone = dt.timezone(dt.timedelta(hours=1))
    rows = [
        {"n": 1, "price": Decimal("1.5"), "at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "yes": True},
        {"n": 2**70, "price": Decimal("100.25"), "at": dt.datetime(2026, 1, 1, tzinfo=zone), "yes": False},
    ]
    notes = ColumnNotes()
    assert noted(rows, notes) == {
        "n": "integer", "price": "decimal(5, 2)", "at": "datetime(UTC)", "yes": "boolean",
    }  # fmt: skip
    assert notes.types["n"].wide


def test_declared_columns_are_taken_as_they_are() -> None:
    assert noted([], ColumnNotes({"a": STRING})) == {"a": "string"}


def test_columns_without_end_are_remembered_within_a_bound() -> None:
    assert len(noted([{str(number): 1} for number in range(MAX_COLUMNS + 5)])) == MAX_COLUMNS


def test_a_run_from_before_has_no_types() -> None:
    assert types_in({"columns": ["a"]}) == {}
