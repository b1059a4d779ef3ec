"""Functions as tools: found in the project, described by what they say of themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from runner.tools import ToolError
from runner.tools.functions import check_takes, describe, find_function, split_docstring


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]
    sys.path[:] = path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def code_of(reference: str, root: Path) -> str:
    with pytest.raises(ToolError) as caught:
        find_function(reference, root)
    return caught.value.code


def test_a_function_is_found_in_a_module_of_the_project(tmp_path: Path) -> None:
    write(tmp_path, "lookups_a.py", "def find(): return 3\n")
    assert find_function("lookups_a:find", tmp_path)() == 3


def test_a_function_is_found_in_a_package_and_in_a_class(tmp_path: Path) -> None:
    write(tmp_path, "parts_a/__init__.py", "")
    write(tmp_path, "parts_a/near.py", "class Here:\n    @staticmethod\n    def find(): return 4\n")
    assert find_function("parts_a.near:Here.find", tmp_path)() == 4


def test_a_module_may_import_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "neighbour_a.py", "VALUE = 5\n")
    write(tmp_path, "lookups_b.py", "import neighbour_a\ndef find(): return neighbour_a.VALUE\n")
    assert find_function("lookups_b:find", tmp_path)() == 5


def test_two_projects_may_have_modules_of_one_name(tmp_path: Path) -> None:
    write(tmp_path, "one/lookups_c.py", "def find(): return 1\n")
    write(tmp_path, "two/lookups_c.py", "def find(): return 2\n")
    assert [find_function("lookups_c:find", tmp_path / name)() for name in ("one", "two", "one")] == [1, 2, 1]


def test_the_project_wins_over_what_is_installed(tmp_path: Path) -> None:
    write(tmp_path, "installed/lookups_f.py", "def find(): return 'another'\n")
    write(tmp_path, "project/lookups_f.py", "def find(): return 'mine'\n")
    sys.path.insert(0, str(tmp_path / "installed"))
    assert find_function("lookups_f:find", tmp_path / "project")() == "mine"


def test_a_library_that_is_in_use_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path, "yaml.py", "def find(): return 'mine'\n")
    import yaml

    assert code_of("yaml:find", tmp_path) == "no-module"
    assert sys.modules["yaml"] is yaml


def test_what_cannot_be_found_is_told_by_its_code(tmp_path: Path) -> None:
    write(tmp_path, "lookups_d.py", "LIMIT = 3\ndef find(): ...\nclass Finder: ...\n")
    write(tmp_path, "broken_d.py", "import nothing_of_that_name\n")
    write(tmp_path, "exits_d.py", "raise SystemExit(3)\n")
    assert code_of("lookups_d.find", tmp_path) == "bad-function"
    assert code_of("lookups_e:find", tmp_path) == "no-module"
    assert code_of("lookups_d.deeper:find", tmp_path) == "no-module"
    assert code_of("lookups_d:fnd", tmp_path) == "no-function"
    assert code_of("lookups_d:LIMIT", tmp_path) == "no-function"
    assert code_of("lookups_d:Finder", tmp_path) == "no-function"
    assert code_of("broken_d:find", tmp_path) == "import-failed"
    assert code_of("exits_d:find", tmp_path) == "import-failed"


class Address(BaseModel):
    street: str
    number: int = 1


@dataclass
class Span:
    first: int
    last: int


def find_customer(
    name: str,
    where: Address | None = None,
    kinds: list[Literal["a", "b"]] | None = None,
    since: date | None = None,
    limit: Annotated[int, Field(ge=1, description="At most so many.")] = 10,
) -> str:
    """Find customers.

    Looks in all regions.

    Args:
        name: The name,
            or a part of it.
        limit: Told by the annotation already.

    Returns:
        What was found.
    """
    return f"{name} {where} {kinds} {since} {limit}"


def test_a_schema_is_made_of_annotations_and_docstring() -> None:
    described = describe(find_customer)
    assert described.name == "find_customer"
    assert described.description == "Find customers.\n\nLooks in all regions."
    schema = described.input_schema
    assert schema is not None
    assert schema["type"] == "object"
    assert schema["required"] == ["name"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["name"] == {"description": "The name, or a part of it.", "type": "string"}
    assert schema["properties"]["limit"] == {
        "description": "At most so many.", "default": 10, "minimum": 1, "type": "integer",
    }  # fmt: skip
    assert schema["$defs"]["Address"]["required"] == ["street"]
    assert "title" not in str(schema)


def test_a_parameter_that_is_called_title_keeps_its_name() -> None:
    def find(title: str, properties: str) -> str:
        """Find."""
        return title + properties

    schema = describe(find).input_schema
    assert schema is not None
    assert schema["properties"] == {"title": {"type": "string"}, "properties": {"type": "string"}}


def test_dataclasses_and_free_keywords_have_schemas() -> None:
    def find(span: Span, **more: int) -> str:
        """Find."""
        return f"{span} {more}"

    schema = describe(find).input_schema
    assert schema is not None
    assert schema["$defs"]["Span"]["required"] == ["first", "last"]
    assert schema["additionalProperties"] == {"type": "integer"}


def test_a_function_that_says_too_little_has_no_schema() -> None:
    def unannotated(name):  # type: ignore[no-untyped-def]  # that is what is tested
        """Find."""

    def by_place(name: str, /) -> None:
        """Find."""

    def starred(*names: str) -> None:
        """Find."""

    def of_a_connection(connection: object) -> None:
        """Find."""

    for function in (unannotated, by_place, starred):
        problem = describe(function).problem
        assert problem is not None
        assert problem.code == "no-schema"


def test_a_schema_of_the_authors_own_has_to_fit_the_function() -> None:
    def find(name: str, limit: int = 3) -> str:
        """Find."""
        return name * limit

    def schema(*required: str, **properties: Any) -> dict[str, Any]:
        return {"type": "object", "properties": properties, "required": list(required)}

    check_takes(find, schema("name", name={"type": "string"}))
    for unfit in (schema("name", nme={}), schema("name", name={}, more={}), schema(name={})):
        with pytest.raises(ToolError, match=r"parameter|needs"):
            check_takes(find, unfit)


def test_docstrings_without_sections_are_all_description() -> None:
    assert split_docstring("Find it.") == ("Find it.", {})
    assert split_docstring("Find it.\n\nArgs:\n    a (int): first\n    b: second\n\nRaises:\n    c: no parameter") == (
        "Find it.",
        {"a": "first", "b": "second"},
    )
