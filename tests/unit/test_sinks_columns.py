"""Columns of a record: the default ones, their clashes, and expressions."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from runner.errors import DeliveryError, SpecError
from runner.sinks import SinkContext
from runner.sinks.columns import clash_problem, clashes, default_columns, expression_columns, make_columns
from runner.sinks.options import SinkOptions
from runner.templating import TemplateFailure
from runner.testing.sinks import failed_record, sample_record
from runner.types import Record

SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}, "score": {"type": "number"}}}
CONTEXT = SinkContext(Path(), row_columns=("id", "text"))


def value(text: str, record: Record, schema: Any = None) -> Any:
    return expression_columns({"c": text}, SinkContext(Path(), schema=schema)).cells(record)[0]


def test_the_default_columns_of_a_text_output() -> None:
    assert default_columns(["id", "text"], None) == [
        "key",
        "id",
        "text",
        "output",
        "status",
        "error_kind",
        "error_message",
    ]


def test_half_a_character_in_a_name_becomes_one_that_a_table_holds() -> None:
    context = replace(CONTEXT, row_columns=("id", "n\ud800"))
    columns = make_columns(SinkOptions(), context)
    assert columns.names[:3] == ("key", "id", "n\ufffd")
    record = sample_record(row={"id": "a", "n\ud800": "b"})
    assert columns.cells(record)[:3] == [record.key, "a", "b"]


def test_two_names_that_differ_in_half_a_character_clash() -> None:
    context = replace(CONTEXT, row_columns=("n\ud800", "n\udc00"))
    with pytest.raises(SpecError, match="two columns 'n\ufffd': in place of U\\+FFFD their names have halves"):
        make_columns(SinkOptions(), context)


def test_the_default_columns_of_an_object_have_one_for_each_field() -> None:
    names = ["key", "output_label", "output_score", "status", "error_kind", "error_message"]
    assert default_columns([], SCHEMA) == names


@pytest.mark.parametrize(
    "schema", [{"type": "string", "enum": ["a"]}, {"type": "object", "properties": {}}, {"type": "array"}]
)
def test_an_output_without_fields_is_one_column(schema: Any) -> None:
    assert "output" in default_columns([], schema)


@pytest.mark.parametrize("column", ["key", "status", "error_kind", "error_message", "output_label"])
def test_a_row_column_named_like_one_of_the_record_clashes(column: str) -> None:
    names = default_columns(["id", column], SCHEMA)
    assert clashes(names) == [column]
    problem = clash_problem(names)
    assert problem is not None
    assert repr(column) in problem.message
    with pytest.raises(SpecError, match=column):
        make_columns(SinkOptions(), SinkContext(Path(), row_columns=("id", column), schema=SCHEMA))
    make_columns(SinkOptions(include_row=False), SinkContext(Path(), row_columns=("id", column), schema=SCHEMA))


def test_the_default_cells_of_a_sound_and_of_a_failed_record() -> None:
    columns = make_columns(SinkOptions(), SinkContext(Path(), row_columns=("text", "absent"), schema=SCHEMA))
    sound = sample_record(1, output={"score": 0.5, "label": "a", "more": 1})
    assert columns.cells(sound) == ["k-1", "text 1", None, "a", 0.5, "succeeded", None, None]
    assert columns.cells(failed_record(2)) == ["k-2", "text 2", None, None, None, "failed", "refusal", "refused"]


def test_include_row_picks_columns() -> None:
    columns = make_columns(SinkOptions(include_row=("text",)), CONTEXT)
    assert columns.names == ("key", "text", "output", "status", "error_kind", "error_message")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key", "k-3"),
        ("index + 1", 4),
        ("output.label", "a"),
        ("output['items'][1].n", 2),
        ("row.text | upper", "TEXT 3"),
        ("content[0].text", "answer 3"),
        ("usage.output_tokens", 9),
        ("error is none", True),
        ("output", {"label": "a", "items": [{"n": 1}, {"n": 2}]}),
        ("output['items'] | map(attribute='n')", [1, 2]),
    ],
)
def test_an_expression_sees_the_whole_record(text: str, expected: Any) -> None:
    record = sample_record(3, output={"label": "a", "items": [{"n": 1}, {"n": 2}]})
    assert value(text, record) == expected


@pytest.mark.parametrize("text", ["output.label", "output.a.b", "output['items'][0].n", "output"])
def test_what_belongs_to_a_null_output_is_null(text: str) -> None:
    assert value(text, failed_record()) is None


def test_what_belongs_to_a_null_error_is_null() -> None:
    assert value("error.kind", sample_record()) is None
    assert value("error.kind", failed_record()) == "refusal"


def test_a_field_of_the_schema_that_the_reply_left_out_is_null() -> None:
    assert value("output.score", sample_record(output={"label": "a"}), SCHEMA) is None


@pytest.mark.parametrize("text", ["outptu.label", "output.lable", "row.txt", "usage.tokens"])
def test_an_unknown_name_names_column_record_and_cure(text: str) -> None:
    with pytest.raises(DeliveryError) as caught:
        value(text, sample_record(5, output={"label": "a"}), SCHEMA)
    assert caught.value.code == "column-failed"
    assert "column 'c' cannot be computed for the record 'k-5'" in caught.value.message
    assert caught.value.hint is not None


def test_a_value_that_no_table_holds_is_told() -> None:
    with pytest.raises(DeliveryError, match="is no value of a table"):
        value("row.odd", replace(sample_record(), row={"odd": {1, 2}}))


def test_typed_values_of_a_row_are_cells_as_they_are() -> None:
    when = dt.datetime(2026, 1, 31, 12, 30, tzinfo=dt.UTC)
    record = replace(sample_record(), row={"when": when, "price": Decimal("12.50"), "x": float("inf")})
    assert value("row.when", record) == when
    assert value("row.price", record) == Decimal("12.50")
    assert value("row.x", record) == float("inf")


def test_text_that_is_no_expression_is_told_before_any_record() -> None:
    with pytest.raises(TemplateFailure):
        expression_columns({"c": "output."}, CONTEXT)


@pytest.mark.parametrize("schema", [None, SCHEMA, {"properties": {"label": {}}}])
@pytest.mark.parametrize("include_row", [True, False, ("text",)])
def test_many_records_by_column_are_their_cells(schema: Any, include_row: Any) -> None:
    """The quick way, and the ways that rows without a column and failed rows take."""
    context = SinkContext(Path(), row_columns=("id", "text"), schema=schema)
    columns = make_columns(SinkOptions(include_row=include_row), context)
    sound = [sample_record(index, output={"label": "a", "score": index}) for index in range(3)]
    odd = [failed_record(3), sample_record(4, row={"text": "x"}), sample_record(5, row={}, output={"label": None})]
    for records in ([], sound, odd, [*sound, *odd], [failed_record(index) for index in range(2)]):
        rows = [columns.cells(record) for record in records]
        by_column = [list(values) for values in columns.by_column(records)]
        assert by_column == [[row[place] for row in rows] for place in range(len(columns.names))]
    computed = expression_columns({"k": "key", "i": "index + 1"}, context)
    assert computed.by_column(sound) == [["k-0", "k-1", "k-2"], [1, 2, 3]]
