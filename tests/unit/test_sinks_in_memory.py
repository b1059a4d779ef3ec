"""Records as one Arrow table in memory."""

from __future__ import annotations

import importlib.util
from decimal import Decimal
from typing import Any

import pytest

from runner.errors import DeliveryError, SetupError, SpecError
from runner.sinks.in_memory import arrow_table
from runner.testing.sinks import failed_record, sample_record
from runner.testing.tables import sample_context

SCHEMA = {"properties": {"n": {"type": "integer"}}}


def test_it_has_the_columns_and_types_of_a_table() -> None:
    records = [sample_record(output={"n": 1}, row={"a": 0.5}), failed_record(1, row={"a": None})]
    table = arrow_table(sample_context(records, schema=SCHEMA), "a test")
    assert [(field.name, str(field.type)) for field in table.schema][:3] == [
        ("key", "string"),
        ("a", "double"),
        ("output_n", "int64"),
    ]
    assert table.column("output_n").to_pylist() == [1, None]


def test_many_records_and_none_make_a_table() -> None:
    assert arrow_table(sample_context([]), "a test").num_rows == 0
    assert arrow_table(sample_context([sample_record(index) for index in range(10_000)]), "a test").num_rows == 10_000


def test_a_value_that_was_not_declared_widens_its_column() -> None:
    records = [sample_record(index, output={"n": 1 << (index * 70)}) for index in range(2)]
    table = arrow_table(sample_context(records, schema=SCHEMA), "a test")
    assert table.column("output_n").to_pylist() == [Decimal(1), Decimal(1 << 70)]


def test_a_value_that_no_type_holds_is_told() -> None:
    records = [sample_record(output={"n": 1 << 200})]
    with pytest.raises(DeliveryError, match="the record 'k-0' does not fit"):
        arrow_table(sample_context(records, schema=SCHEMA), "a test")


def test_columns_that_clash_are_told() -> None:
    with pytest.raises(SpecError, match="two columns 'status'"):
        arrow_table(sample_context([sample_record(row={"status": 1})]), "a test")


def test_a_missing_library_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    with pytest.raises(SetupError, match="a test needs the library pyarrow") as found:
        arrow_table(sample_context([]), "a test")
    assert found.value.hint == "pip install 'rowrunner[tables]'"
