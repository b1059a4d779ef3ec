"""Which type each column of a table has, and how the others are settled."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from runner.column_types import DATE, INTEGER, LIST, NUMBER, ColumnType
from runner.sinks import SinkContext
from runner.sinks.options import SinkOptions
from runner.sinks.typed_columns import MAX_FIELDS, RECORD_TYPES, TypedColumns, deep_type_of, typed_columns
from runner.testing.sinks import failed_record, sample_record
from runner.types import COLUMN_FIELDS, FIELDS_OF_SOME_JOBS, RECORD_FIELDS

SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "score": {"type": ["number", "null"]},
        "items": {"type": "array", "items": {"type": "string", "format": "date"}},
        "any": {},
    },
}
CONTEXT = SinkContext(
    Path(),
    row_columns=("id", "price", "tags"),
    schema=SCHEMA,
    row_types={"id": INTEGER, "price": NUMBER, "tags": LIST},
)


def typed(columns: dict[str, str] | None = None, context: SinkContext = CONTEXT, **options: Any) -> TypedColumns:
    return typed_columns(SinkOptions(columns=columns, **options), context)


def told(columns: TypedColumns) -> dict[str, str | None]:
    return {
        name: None if type_ is None else str(type_) for name, type_ in zip(columns.names, columns.types, strict=True)
    }


def test_every_field_of_a_record_has_a_type() -> None:
    fields = {*RECORD_FIELDS, *COLUMN_FIELDS, *FIELDS_OF_SOME_JOBS}
    assert RECORD_TYPES.keys() == fields - {"row", "output"}


def test_the_default_columns_are_typed_by_the_dataset_and_the_schema() -> None:
    assert told(typed()) == {
        "key": "string",
        "id": "integer",
        "price": "number",
        "tags": "list",
        "output_label": "string",
        "output_score": "number",
        "output_items": "list(date)",
        "output_any": None,
        "status": "string",
        "error_kind": "string",
        "error_message": "string",
    }
    assert "id" not in told(typed(include_row=False))
    assert told(typed(context=SinkContext(Path(), row_columns=("id",)))) == {
        "key": "string",
        "id": None,
        "output": "string",
        "status": "string",
        "error_kind": "string",
        "error_message": "string",
    }


@pytest.mark.parametrize(
    ("expression", "type_"),
    [
        ("key", "string"),
        ("index", "integer"),
        ("row.price", "number"),
        ("row['tags']", "list"),
        ("row.tags[0]", None),
        ("row.unknown", None),
        ("output.score", "number"),
        ("output.items", "list(date)"),
        ("output.items[0]", "date"),
        ("output.any", None),
        ("output.more", None),
        ("usage.input_tokens", "integer"),
        ("usage.cache_creation.ephemeral_5m_input_tokens", "integer"),
        ("error.kind", "string"),
        ("ended_at", "datetime(UTC)"),
        ("warnings[0]", "string"),
        ("content[0].text", None),
        ("output.score | int", None),
        ("1", None),
    ],
)
def test_a_column_that_looks_something_up_has_its_type(expression: str, type_: str | None) -> None:
    assert told(typed({"c": expression})) == {"c": type_}


def test_the_output_itself_is_typed_by_the_schema_or_is_a_text() -> None:
    values = SinkContext(Path(), schema={"type": "array", "items": {"type": "integer"}})
    assert told(typed({"c": "output", "d": "output[0]"}, values)) == {"c": "list(integer)", "d": "integer"}
    assert told(typed({"c": "output", "d": "output.x"}, SinkContext(Path()))) == {"c": "string", "d": None}


def settled(expression: str, *outputs: Any) -> str:
    columns = typed({"c": expression}, SinkContext(Path()))
    records = (sample_record(index, output=output) for index, output in enumerate(outputs))
    (type_,) = columns.settled(records)
    return str(type_)


@pytest.mark.parametrize(
    ("outputs", "type_"),
    [
        ((), "string"),
        ((None, None), "string"),
        ((1, None, 2), "integer"),
        ((1, 2.5), "number"),
        ((1, "a"), "string"),
        ((1 << 70,), "integer"),
        ((True, True), "boolean"),
        ((True, 1), "string"),
        ((dt.date(2026, 1, 1),), "date"),
        (([], [1], [None, 2.5]), "list(number)"),
        (([],), "list(string)"),
        (([[1], []], []), "list(list(integer))"),
        (([1], {"a": 1}), "json"),
        (({},), "mapping"),
    ],
)
def test_a_column_is_settled_by_what_all_its_values_have_in_common(outputs: Any, type_: str) -> None:
    assert settled("output | default(none)", *outputs) == type_


def test_a_late_record_widens_a_column() -> None:
    assert settled("output | default(none)", *range(2_500), 0.5) == "number"


def test_mappings_that_differ_are_joined_by_their_fields() -> None:
    columns = typed({"c": "output | default(none)"}, SinkContext(Path()))
    outputs = [{"b": 1}, {"a": "x", "b": None}, None, {"b": 2.5, "a": None}]
    (type_,) = columns.settled([sample_record(output=output) for output in outputs])
    assert type_.fields is not None
    assert {name: str(each) for name, each in type_.fields} == {"a": "string", "b": "number"}


def test_mappings_of_many_names_have_no_fields() -> None:
    many = [sample_record(output={f"name {number}": 1}) for number in range(MAX_FIELDS + 1)]
    (type_,) = typed({"c": "output | default(none)"}, SinkContext(Path())).settled(many)
    assert type_ == ColumnType("mapping")
    assert deep_type_of({str(number): 1 for number in range(MAX_FIELDS + 1)}) == ColumnType("mapping")


def test_columns_that_are_known_are_not_looked_at() -> None:
    assert typed({"c": "key", "d": "row.price"}).settled(iter(())) == (RECORD_TYPES["key"], NUMBER)
    columns = typed({"c": "row.tags"})
    assert columns.is_settled
    opened = columns.opened()
    assert not opened.is_settled
    records = [sample_record(row={"tags": [1]}), failed_record(1, row={"tags": None})]
    assert opened.settled(records) == (ColumnType("list", item=INTEGER),)


def test_all_columns_are_surveyed_where_what_was_declared_does_not_hold() -> None:
    columns = typed({"c": "row.price", "d": "output.items[0]"})
    found = columns.surveyed([sample_record(row={"price": "x"}, output={"items": []})])
    assert [str(type_) for type_ in found] == ["string", str(DATE)]
