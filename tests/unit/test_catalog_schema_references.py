"""What a reference names within one schema."""

from __future__ import annotations

from typing import Any

import pytest

from runner.catalog.schema_references import References, schemas_in

SCHEMA: dict[str, Any] = {
    "$id": "https://example.com/schema#",
    "$defs": {"a/b": {"type": "string", "$anchor": "ab"}, "c": {"anyOf": [{"$dynamicAnchor": "d"}, True]}},
    "properties": {"x": {"enum": [{"$anchor": "no"}]}},
}


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("#", ()),
        ("", ()),
        ("https://example.com/schema", ()),
        ("https://example.com/schema#/properties/x", ("properties", "x")),
        ("#/$defs/a~1b", ("$defs", "a/b")),
        ("#/%24defs/a~1b", ("$defs", "a/b")),
        ("#ab", ("$defs", "a/b")),
        ("#d", ("$defs", "c", "anyOf", 0)),
        ("#/$defs/c/anyOf/1", ("$defs", "c", "anyOf", 1)),
    ],
)
def test_a_reference_leads_to_a_place(reference: str, path: tuple[str | int, ...]) -> None:
    references = References(SCHEMA)
    assert references.place(reference) == path
    assert references.at(path) is not None


@pytest.mark.parametrize(
    "reference",
    ["other.json", "https://example.com/other#/a", "#/$defs/z", "#/$defs/c/anyOf/2", "#no", "#/$defs/c/anyOf/x"],
)
def test_a_reference_out_of_the_schema_leads_nowhere(reference: str) -> None:
    assert References(SCHEMA).place(reference) is None


def test_names_are_what_a_reference_may_say() -> None:
    assert References(SCHEMA).names() == ["#/$defs/a/b", "#/$defs/c", "#ab", "#d"]


def test_values_are_no_schemas() -> None:
    paths = [path for path, _ in schemas_in(SCHEMA)]
    assert paths == [(), ("$defs", "a/b"), ("$defs", "c"), ("$defs", "c", "anyOf", 0), ("properties", "x")]
