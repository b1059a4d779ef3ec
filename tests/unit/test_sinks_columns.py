"""Columns of a record: the default ones, their clashes, and expressions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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


def test_a_value_that_json_cannot_hold_is_told() -> None:
    with pytest.raises(DeliveryError, match="no JSON value"):
        value("1e308 * 10", sample_record())


def test_text_that_is_no_expression_is_told_before_any_record() -> None:
    with pytest.raises(TemplateFailure):
        expression_columns({"c": "output."}, CONTEXT)
