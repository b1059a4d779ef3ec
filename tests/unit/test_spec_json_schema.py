from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from runner.spec.json_schema import schema_problems, schema_warnings
from runner.spec.node import plain
from runner.spec.source import parse_yaml

GOOD = [
    "{}",
    "true",
    "{type: object, properties: {a: {type: [string, 'null']}}, required: [a], additionalProperties: false}",
    "{$defs: {a: {type: string}}, properties: {b: {$ref: '#/$defs/a'}}}",
    "{type: array, items: {anyOf: [{type: string}, {const: 1}]}, minItems: 1, uniqueItems: true}",
    "{type: string, pattern: '^a+$', minLength: 0, format: date, examples: [x], default: null}",
    "{type: number, minimum: 0.5, exclusiveMaximum: 10, multipleOf: 2, x-note: anything}",
]
BAD = [
    ("[]", "1:1"),
    ("{type: text}", "1:8"),
    ("{type: []}", "1:8"),
    ("{type: [string, text]}", "1:17"),
    ("{properties: [a]}", "1:14"),
    ("{properties: {a: string}}", "1:18"),
    ("{required: a}", "1:12"),
    ("{required: [a, a]}", "1:12"),
    ("{anyOf: []}", "1:9"),
    ("{items: [string]}", "1:9"),
    ("{minLength: -1}", "1:13"),
    ("{maximum: high}", "1:11"),
    ("{pattern: '('}", "1:11"),
    ("{description: 5}", "1:15"),
]


@pytest.mark.parametrize("text", GOOD)
def test_schemas_are_left_alone(text: str) -> None:
    tree = parse_yaml(text, "s")
    assert schema_problems(tree) == []
    Draft202012Validator.check_schema(plain(tree))


@pytest.mark.parametrize(("text", "place"), BAD)
def test_what_is_no_schema_is_told_at_its_place(text: str, place: str) -> None:
    tree = parse_yaml(text, "s")
    assert [str(problem.where) for problem in schema_problems(tree)] == [f"s:{place}"]
    with pytest.raises(SchemaError):  # the standard's own schema agrees
        Draft202012Validator.check_schema(plain(tree))


def test_an_empty_enum_is_refused() -> None:
    # The standard only advises against it; nothing could ever fit it.
    assert len(schema_problems(parse_yaml("{enum: []}", "s"))) == 1


def test_references_must_lead_somewhere_in_the_schema() -> None:
    assert "not in this schema" in schema_problems(parse_yaml("{$ref: '#/$defs/a'}", "s"))[0].message
    assert "leads out" in schema_problems(parse_yaml("{$ref: 'https://x/y.json'}", "s"))[0].message


@pytest.mark.parametrize(
    ("text", "place", "code"),
    [
        ("{$schema: 'http://json-schema.org/draft-07/schema#', type: object}", "1:11", "schema-dialect"),
        ("{properties: {a: {type: string, nullable: true}}}", "1:33", "unknown-keyword"),
        ("{requried: [a]}", "1:2", "unknown-keyword"),
        ("{items: {type: string, format: datetime}}", "1:32", "unknown-format"),
    ],
)
def test_what_asks_for_nothing_is_told(text: str, place: str, code: str) -> None:
    tree = parse_yaml(text, "s")
    assert schema_problems(tree) == []
    (warning,) = schema_warnings(tree)
    assert (str(warning.where), warning.code, warning.severity) == (f"s:{place}", code, "warning")
    assert warning.hint


def test_notes_of_an_author_and_the_words_of_this_draft_are_no_warnings() -> None:
    text = (
        "{$schema: 'https://json-schema.org/draft/2020-12/schema', x-note: 1, discriminator: {propertyName: kind}, "
        "dependentRequired: {a: [b]}, minContains: 1, $dynamicAnchor: n, "
        "properties: {nullable: {enum: [{format: no}]}}}"
    )
    assert schema_warnings(parse_yaml(text, "s")) == []


@pytest.mark.parametrize("reference", ["#/$defs/a", "#n", "#", "#/properties/x"])
def test_references_by_pointer_and_by_anchor_lead_somewhere(reference: str) -> None:
    text = f"{{$defs: {{a: {{$anchor: n}}}}, properties: {{x: {{$ref: '{reference}'}}, y: {{$dynamicRef: '#n'}}}}}}"
    assert schema_problems(parse_yaml(text, "s")) == []
