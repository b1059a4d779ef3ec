from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.column_types import MAPPING, STRING, ColumnType
from runner.datasets import DatasetContext, SourceRow, crossing, declared_types
from runner.datasets.crossing import Crossed, Side
from runner.datasets.options import TextOptions
from runner.datasets.selection import Selection, select
from runner.datasets.text import TextDataset
from runner.errors import InputError


class Given:
    """A dataset of these rows, that counts how often it is read."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...] | None = None) -> None:
        self._rows = rows
        self._columns = columns
        self.read = 0

    def columns(self) -> tuple[str, ...] | None:
        return self._columns

    def rows(self) -> Iterator[SourceRow]:
        self.read += 1
        for line, values in enumerate(self._rows, 2):
            yield SourceRow(values, "given.csv", line)


def named(*names: str, column: str = "id") -> Given:
    return Given([{column: name, "text": f"about {name}"} for name in names], (column, "text"))


def side(name: str, dataset: Given, **selection: Any) -> Side:
    return Side(name, dataset, Selection(**selection))


def taken(crossed: Crossed, **selection: Any) -> list[tuple[str, Mapping[str, Any]]]:
    found = select(crossed, Selection(crossed=crossed.keys(), **selection))
    return [(selected.row.key, selected.row.values) for selected in found]


def keys(crossed: Crossed, **selection: Any) -> list[Any]:
    return [json.loads(key) for key, _ in taken(crossed, **selection)]


def test_every_row_meets_every_row_of_the_small_dataset_in_order() -> None:
    crossed = Crossed(named("r1", "r2"), [side("question", named("q1", "q2", "q3"), key=("id",))])
    found = taken(crossed, key=("id",))
    assert [key for key, _ in found] == [
        f'["{row}","{question}"]' for row in ("r1", "r2") for question in ("q1", "q2", "q3")
    ]
    assert found[4][1] == {"id": "r2", "text": "about r2", "question": {"id": "q2", "text": "about q2"}}
    assert crossed.columns() == ("id", "text", "question")
    assert crossed.columns_of_sides() == {"question": ("id", "text")}


def test_rows_stand_where_the_row_of_the_large_dataset_stands() -> None:
    crossed = Crossed(named("r1", "r2"), [side("q", named("a", "b"))])
    assert [(found.row.index, found.line) for found in select(crossed, Selection(crossed=crossed.keys()))] == [
        (0, 2), (1, 2), (2, 3), (3, 3),
    ]  # fmt: skip


def test_of_several_datasets_the_last_changes_fastest() -> None:
    crossed = Crossed(named("r"), [side("a", named("1", "2"), key=("id",)), side("b", named("x", "y"), key=("id",))])
    assert keys(crossed, key=("id",)) == [["r", "1", "x"], ["r", "1", "y"], ["r", "2", "x"], ["r", "2", "y"]]


def test_without_a_key_it_is_the_position_of_either() -> None:
    crossed = Crossed(named("r1", "r2"), [side("q", named("a", "b", "c"), offset=1)])
    assert keys(crossed) == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert keys(crossed, key=("id",)) == [["r1", 1], ["r1", 2], ["r2", 1], ["r2", 2]]
    assert next(key for key, _ in taken(crossed)) == "[0,1]"


def test_keys_of_several_columns_stand_side_by_side() -> None:
    rows = Given([{"shop": "s", "n": 1}, {"shop": "s", "n": 2}])
    crossed = Crossed(rows, [side("q", Given([{"a": "x", "b": 7}]), key=("a", "b"))])
    assert keys(crossed, key=("shop", "n")) == [["s", 1, "x", 7], ["s", 2, "x", 7]]


def test_selection_is_of_pairs() -> None:
    crossed = Crossed(named(*"abcdef"), [side("q", named(*"xyz"), key=("id",))])

    def where(row: Mapping[str, Any]) -> bool:
        return bool(row["q"]["id"] != "y" and row["id"] != "a")

    assert keys(crossed, key=("id",), where=where, offset=1, limit=3) == [["b", "z"], ["c", "x"], ["c", "z"]]
    sample = keys(crossed, key=("id",), where=where, sample=(4, 1))
    assert len(sample) == 4
    assert sample == sorted(sample)
    assert keys(crossed, key=("id",), only_keys=('["c","y"]',)) == [["c", "y"]]


def test_a_small_dataset_is_selected_by_its_own_and_read_once() -> None:
    questions = named(*"vwxyz")
    crossed = Crossed(
        named(*"abc"), [side("q", questions, key=("id",), where=lambda row: row["id"] > "v", offset=1, limit=2)]
    )
    assert keys(crossed, key=("id",), limit=2) == [["a", "x"], ["a", "y"]]
    assert len(list(crossed.rows())) == 6
    assert questions.read == 1


def test_an_empty_dataset_on_either_side_leaves_no_rows() -> None:
    assert keys(Crossed(named(), [side("q", named("a"))])) == []
    assert keys(Crossed(named("a"), [side("q", named()), side("p", named("b"))])) == []


class Declared(Given):
    def column_types(self) -> Mapping[str, ColumnType] | None:
        return {"id": STRING}


def test_declared_types_are_those_of_the_large_dataset_and_mappings() -> None:
    assert declared_types(Crossed(Declared([]), [side("q", named())])) == {"id": STRING, "q": MAPPING}
    assert declared_types(Crossed(named(), [side("q", Declared([]))])) is None


def problem_of(error: pytest.ExceptionInfo[InputError]) -> tuple[str, str, str | None]:
    (problem,) = error.value.problems
    return problem.code, f"{problem.where}: {problem.message}", problem.hint


def test_a_column_of_that_name_is_told_with_its_row() -> None:
    rows = Given([{"id": "a"}, {"id": "b", "question": "own"}])
    crossed = Crossed(rows, [side("question", named("q"))])
    with pytest.raises(InputError) as error:
        keys(crossed)
    code, message, hint = problem_of(error)
    assert (code, hint) == ("cross-clash", "give the one in `cross` another name")
    assert message == "given.csv:3: the row has a column 'question', which is also the name of a dataset in `cross`"


def test_a_key_that_a_small_dataset_has_twice_is_told_with_its_row() -> None:
    with pytest.raises(InputError) as error:
        Crossed(named("a"), [side("q", named("x", "y", "x"), key=("id",))]).keys()
    code, message, _ = problem_of(error)
    assert (code, message) == ("repeated-cross-key", "given.csv:4: the key 'x' of `cross.q` appears twice")


def test_a_dataset_that_is_not_small_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossing, "MAX_ROWS", 3)
    assert len(Crossed(named("a"), [side("q", named(*"wxy"))]).keys()) == 3
    with pytest.raises(InputError) as error:
        Crossed(named("a"), [side("q", named(*"wxyz"))]).keys()
    code, message, hint = problem_of(error)
    assert (code, message) == ("cross-too-large", "given.csv:5: `cross.q` has more than 3 rows, and is held in memory")
    assert hint is not None
    assert "make the larger one the `dataset`" in hint
    assert len(Crossed(named("a"), [side("q", named(*"wxyz"), limit=3)]).keys()) == 3


def test_values_that_take_too_much_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossing, "MAX_BYTES", 1 << 20)
    with pytest.raises(InputError, match="more than 1 MiB"):
        Crossed(named("a"), [side("q", Given([{"text": "x" * (1 << 18)}] * 5))]).keys()


def test_too_many_combinations_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossing, "MAX_COMBINATIONS", 5)
    with pytest.raises(InputError, match="more than 5 rows of each row, with `p`"):
        Crossed(named("a"), [side("q", named("x", "y")), side("p", named("u", "v", "w"))]).keys()


def test_memory_is_that_of_the_small_dataset(tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("w") as file:
        file.write("id,text\n")
        file.writelines(f"r{number},{'some text ' * 10}\n" for number in range(20_000))
    dataset = TextDataset(TextOptions(path="rows.csv"), DatasetContext(tmp_path))
    crossed = Crossed(dataset, [side("q", named(*"abcde"), key=("id",))])
    selection = Selection(key=("id",), crossed=crossed.keys())
    tracemalloc.start()
    try:
        assert sum(1 for _ in select(crossed, selection)) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
