"""What is wrong with a value, in words."""

from __future__ import annotations

from typing import Any

import pytest

from runner.replies.schema import Check

SHAPES = {
    "oneOf": [
        {"type": "object", "properties": {"kind": {"const": "x"}, "n": {"type": "integer"}}, "required": ["kind", "n"]},
        {"type": "object", "properties": {"kind": {"const": "y"}, "s": {"type": "string"}}, "required": ["kind", "s"]},
    ]
}


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        ({"type": ["string", "null"]}, True, "/: expected a text or null, found true"),
        ({"const": "a"}, "b", '/: expected "a", found "b"'),
        ({"minLength": 3}, "ab", '/: expected at least 3 characters, found 2: "ab"'),
        ({"maxItems": 1}, [1, 2], "/: expected at most 1 item, found 2: [1,2]"),
        ({"minProperties": 1}, {}, "/: expected at least 1 property, found 0: {}"),
        ({"uniqueItems": True}, [1, 1], "/: expected items that all differ, found [1,1]"),
        ({"exclusiveMaximum": 1}, 1, "/: expected less than 1, found 1"),
        ({"not": {"type": "string"}}, "a", '/: "a" is excluded by {"type":"string"}'),
        ({"properties": {"a": False}}, {"a": 1}, "/: nothing may be here, found 1"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 3, "/: expected a text or null, found the number 3"),
        (
            {"anyOf": [{"type": "string", "maxLength": 1}, {"type": "null"}]},
            "ab",
            '/: expected at most 1 character, found 2: "ab"',
        ),
        (SHAPES, {"kind": "y", "s": 1}, "/s: expected a text, found the number 1"),
        (
            SHAPES,
            {"kind": "z"},
            '/kind: expected "x", found "z" (this is one of 2 forms that it may have, and it has none)',
        ),
        (
            {"oneOf": [{"type": "number"}, {"type": "integer"}]},
            1,
            "/: 1 has more than one of the forms of which it may have one",
        ),
        ({"items": {"format": "uuid"}}, ["x"], '/0: expected a UUID (format uuid), found "x"'),
    ],
)
def test_a_problem_says_what_was_expected_and_what_was_found(schema: Any, value: Any, problem: str) -> None:
    told = Check(schema).problems(value)
    assert told[0].endswith(problem[1:]) or told == [problem]


def test_long_lists_of_values_are_told_in_part() -> None:
    (problem,) = Check({"enum": list(range(30))}).problems(99)
    assert problem.endswith("18, 19, …, found 99")


def test_every_keyword_has_words() -> None:
    broken: list[tuple[dict[str, Any], Any]] = [
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}),
        ({"contains": {"type": "string"}}, [1]),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}),
        ({"unevaluatedProperties": False}, {"a": 1}),
        ({"unevaluatedItems": False}, [1]),
        ({"if": {"const": 1}, "then": {"type": "string"}}, 1),
        ({"dependentSchemas": {"a": {"required": ["b"]}}}, {"a": 1}),
        ({"additionalProperties": {"type": "string"}}, {"a": 1}),
        ({"contains": {"type": "string"}, "maxContains": 1}, ["a", "b"]),
    ]
    for schema, value in broken:
        (problem,) = Check(schema).problems(value)
        assert problem.startswith("/")
        assert len(problem) < 200
