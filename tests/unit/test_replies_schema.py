"""The local check: the whole schema, few and short messages, nothing fetched."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from runner.replies.schema import MAX_PROBLEMS, Check

SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"enum": ["a", "b"]},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "a/b": {"type": "string"},
        "when": {"type": "string", "format": "date"},
    },
    "required": ["label"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def check() -> Check:
    return Check(SCHEMA)


def test_a_value_that_fits_has_no_problems(check: Check) -> None:
    assert check.problems({"label": "a", "score": 0.5, "when": "2026-11-22"}) == []


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"label": "A"}, '/label: expected one of "a", "b", found "A"'),
        ({"label": "a", "score": 2}, "/score: expected at most 1, found 2"),
        ({"label": "a", "a/b": 1}, "/a~1b: expected a text, found the number 1"),
        (
            {"label": "a", "when": "tomorrow"},
            '/when: expected a date such as 2026-11-28 (format date), found "tomorrow"',
        ),
        ({}, "/: `label` is missing"),
        ({"label": "a", "x": 1}, "/: `x` is no property here; expected `label`, `score`, `a/b`, `when`"),
        ([], "/: expected an object, found the list []"),
    ],
)
def test_a_problem_names_its_place(check: Check, value: object, problem: str) -> None:
    assert check.problems(value) == [problem]


def test_a_reply_that_is_quite_wrong_has_five_problems() -> None:
    problems = Check({"type": "array", "items": {"type": "string"}}).problems(list(range(100)))
    assert len(problems) == MAX_PROBLEMS


def test_a_long_value_is_shown_in_part(check: Check) -> None:
    (problem,) = check.problems({"label": "x" * 10_000})
    assert len(problem) < 200
    assert problem.startswith('/label: expected one of "a", "b", found "xxx')


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (
            {"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"},
            "[" * 900 + "]" * 900,
        ),
    ],
    ids=["deep"],
)
def test_a_value_that_cannot_be_checked_is_a_problem_and_no_error(schema: dict[str, object], value: str) -> None:
    (problem,) = Check(schema).problems(json.loads(value))
    assert problem.startswith("/: it cannot be checked (")


def test_references_inside_the_schema_are_followed() -> None:
    check = Check({"$ref": "#/$defs/A", "$defs": {"A": {"type": "integer"}}})
    assert check.problems(1) == []
    assert check.problems("1") == ['/: expected a whole number, found the text "1"']


def test_references_out_of_the_schema_are_never_fetched() -> None:
    asked: list[str] = []

    class Schemas(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    server = HTTPServer(("127.0.0.1", 0), Schemas)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        (problem,) = Check({"$ref": f"http://127.0.0.1:{server.server_port}/schema.json"}).problems(1)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert problem.startswith("/: it cannot be checked")
    assert asked == []


def test_decimals_are_multiplied_as_they_are_written() -> None:
    check = Check({"multipleOf": 0.1})
    assert check.problems(0.3) == []
    assert check.problems(10**400) == []
    assert check.problems(0.35) == ["/: expected a multiple of 0.1, found 0.35"]


def test_a_pattern_ends_where_the_text_ends_and_is_told_as_it_was_written() -> None:
    check = Check({"properties": {"a": {"pattern": "^a$"}}, "patternProperties": {r"^\d$": {"type": "null"}}})
    assert check.problems({"a": "a\n"}) == [r'/a: expected text that matches ^a$, found "a\n"']
    assert check.problems({"৪": 1}) == []
    assert check.problems({"4": 1}) == ["/4: expected null, found the number 1"]


def test_a_schema_of_another_draft_is_read_as_2020_12() -> None:
    schema = {"$schema": "http://json-schema.org/draft-04/schema#", "exclusiveMinimum": 1}
    assert Check(schema).problems(1) == ["/: expected more than 1, found 1"]


def test_a_text_with_more_ways_than_there_is_time_for_is_judged() -> None:
    check = Check({"properties": {"a": {"pattern": "^(a+)+$"}}})
    assert check.problems({"a": "a" * 5_000}) == []
    (problem,) = check.problems({"a": "a" * 5_000 + "!"})
    assert problem.startswith("/a: expected text that matches ^(a+)+$")


@pytest.mark.parametrize("further", ["additionalProperties", "unevaluatedProperties"])
def test_names_are_matched_in_bounded_time_too(further: str) -> None:
    schema = {"patternProperties": {"^(a+)+$": {"type": "null"}, "^a": {"maxLength": 1}}, further: False}
    check = Check({"properties": {"all": schema, "b": True}})
    assert check.problems({"all": {"a": None, "aa": None}, "b": {"x": 1}}) == []
    assert check.problems({"all": {"aa": 1}}) == ["/all/aa: expected null, found the number 1"]
    assert check.problems({"all": {"a" * 60 + "!": "no"}}) == [
        f'/all/{"a" * 60}!: expected at most 1 character, found 2: "no"'
    ]
    assert [problem for problem in check.problems({"all": {"x" + "a" * 60: 1}}) if "x" in problem]


def test_a_reference_may_lead_to_what_a_pattern_of_names_holds() -> None:
    by_name = {"^x-": {"properties": {"v": {"type": "null"}, "again": {"$ref": "#/patternProperties/%5Ex-"}}}}
    inner = {"$ref": "#/patternProperties/^x-/properties/v"}
    check = Check({"patternProperties": by_name, "properties": {"a": {"$ref": "#/patternProperties/^x-"}, "b": inner}})
    for _ in range(2):
        assert check.problems({"x-1": {"v": None}, "a": {"again": {"v": None}}, "b": None}) == []
        assert check.problems({"a": {"again": {"v": 1}}, "b": 2}) == [
            "/a/again/v: expected null, found the number 1",
            "/b: expected null, found the number 2",
        ]
    assert by_name["^x-"]["properties"]["again"] == {"$ref": "#/patternProperties/%5Ex-"}


def test_a_reference_that_leads_nowhere_is_a_problem_of_the_reply() -> None:
    (problem,) = Check({"patternProperties": {"a": True}, "$ref": "#/patternProperties/a"}).problems({"a": 1})
    assert problem.startswith("/: it cannot be checked")


def test_a_pattern_that_is_not_supported_is_a_problem_of_the_reply() -> None:
    (problem,) = Check({"pattern": r"(a)\1"}).problems("aa")
    assert problem.startswith("/: it cannot be checked (the pattern cannot be used")
