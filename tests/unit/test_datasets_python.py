"""Rows that a function of the project gives."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from runner.datasets import DatasetContext
from runner.datasets.options import PythonOptions
from runner.datasets.python import PythonDataset
from runner.errors import InputError, SpecError

MODULE = """
import datetime as dt

calls = []

def generated():
    calls.append(1)
    for number in range(3):
        yield {"id": number, "on": dt.date(2026, 1, number + 1), "tags": ("a", "b")}

def listed(since, last="z"):
    return [{"since": since, "last": last}]

def one_row():
    return {"id": 1}

def nothing():
    return None

def text():
    return "abc"

def empty():
    return []

async def waits():
    return []

def mixed():
    return [{"id": 1}, 5, {"id": {1, 2}}, {3: 4}, {"id": 2}]

def breaks():
    yield {"id": 1}
    raise RuntimeError("the database is away")

def breaks_at_once():
    raise KeyError("token")

class Source:
    def __iter__(self):
        return iter([{"id": 1}])

def a_source():
    return Source()

def leaves():
    yield {"id": 1}
    raise SystemExit(0)

def refused(token, more):
    raise RuntimeError(f"401 of https://example.com/?token={token}&{more['keys'][0]}")

def nested():
    items = []
    items.append(items)
    yield {"id": items}

def long():
    yield {"id": 10**4300}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "row_sources.py").write_text(MODULE)
    return tmp_path


def dataset(root: Path, name: str, **bind: Any) -> PythonDataset:
    return PythonDataset(PythonOptions(python=f"row_sources:{name}", bind=bind), DatasetContext(root))


def rows(root: Path, name: str, **bind: Any) -> list[dict[str, Any]]:
    return [dict(row.values) for row in dataset(root, name, **bind).rows()]


def test_a_generator_gives_rows_each_time_it_is_read(root: Path) -> None:
    source = dataset(root, "generated")
    first = list(source.rows())
    assert [row.values for row in first] == [
        {"id": number, "on": date(2026, 1, number + 1), "tags": ["a", "b"]} for number in range(3)
    ]
    assert [(row.file, row.line) for row in first] == [("row_sources:generated", number) for number in (1, 2, 3)]
    assert list(source.rows()) == first
    assert source.columns() is None


def test_it_reads_no_further_than_asked(root: Path) -> None:
    iterator = dataset(root, "breaks").rows()
    assert next(iterator).values == {"id": 1}


def test_what_is_bound_are_its_arguments(root: Path) -> None:
    assert rows(root, "listed", since="2026") == [{"since": "2026", "last": "z"}]


def test_anything_that_is_iterable_will_do(root: Path) -> None:
    assert rows(root, "a_source") == [{"id": 1}]
    assert rows(root, "empty") == []


@pytest.mark.parametrize(
    ("name", "bind", "message"),
    [
        ("listed", {}, "missing a required argument: 'since'"),
        ("generated", {"until": 1}, "got an unexpected keyword argument 'until'"),
    ],
)
def test_arguments_that_it_does_not_take_are_told(root: Path, name: str, bind: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        dataset(root, name, **bind)
    assert caught.value.code == "bad-arguments"


def test_a_function_that_is_not_there_is_told(root: Path) -> None:
    with pytest.raises(SpecError, match="has no `generate`") as caught:
        dataset(root, "generate")
    assert "generated" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("one_row", "gives a value of type dict, not rows"),
        ("nothing", "gives a value of type NoneType, not rows"),
        ("text", "gives a value of type str, not rows"),
        ("waits", "is `async`"),
        ("breaks", r"failed after 1 item: RuntimeError: the database is away \(row_sources.py, line 34\)"),
        ("leaves", r"failed after 1 item: SystemExit: 0"),
        ("nested", "column 'id' of item 1: it is nested too deep, or holds itself"),
        ("long", "column 'id' of item 1: a whole number of more than 4,300 digits"),
        ("breaks_at_once", r"failed: KeyError: 'token' \(row_sources.py, line 37\)"),
    ],
)
def test_a_function_that_gives_no_rows_is_told(root: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        rows(root, name)
    assert caught.value.hint


def test_no_message_holds_a_bound_value(root: Path) -> None:
    with pytest.raises(InputError, match="401 of") as caught:
        rows(root, "refused", token="canary-1", more={"keys": ["canary-2"]})
    assert "canary" not in str(caught.value)


def test_items_that_are_no_rows_are_told_by_their_numbers(root: Path) -> None:
    with pytest.raises(InputError) as caught:
        rows(root, "mixed")
    assert [problem.message for problem in caught.value.problems] == [
        "item 2 is a value of type int, not a mapping",
        "column 'id' of item 3: a value of type builtins.set cannot stand in a row",
        "item 4 has the key 3, which is no text",
    ]
