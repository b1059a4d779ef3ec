"""Selection: its order, its keys, its problems."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from runner.datasets import SourceRow
from runner.datasets.problems import data_error
from runner.datasets.selection import Selection, key_of, select
from runner.errors import InputError, Problem, UsageError
from runner.templating import Expression


@dataclass
class Rows:
    """A dataset of given rows that counts how many were read; raises after `sound` of them."""

    values: Sequence[Mapping[str, Any]]
    sound: int | None = None
    read: int = 0

    def columns(self) -> None:
        return None

    def rows(self) -> Iterator[SourceRow]:
        for number, values in enumerate(self.values):
            if number == self.sound:
                raise data_error("bad-json", "is not JSON", "rows.jsonl", number + 1)
            self.read += 1
            yield SourceRow(values, "rows.jsonl", number + 1)


def numbers(count: int) -> Rows:
    return Rows([{"n": number} for number in range(count)])


def chosen(dataset: Rows, selection: Selection) -> list[Any]:
    return [selected.row.values["n"] for selected in select(dataset, selection)]


def problems(dataset: Rows, selection: Selection) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        list(select(dataset, selection))
    return list(caught.value.problems)


def where(text: str) -> Any:
    expression = Expression(text, "dataset.where")
    return lambda values: expression.evaluate({"row": values})


def test_without_a_selection_all_rows_come_with_their_position_as_key() -> None:
    found = list(select(numbers(3), Selection()))
    assert [(each.row.key, each.row.index, each.file, each.line) for each in found] == [
        ("0", 0, "rows.jsonl", 1),
        ("1", 1, "rows.jsonl", 2),
        ("2", 2, "rows.jsonl", 3),
    ]


def test_the_default_key_is_the_position_before_selection() -> None:
    found = list(select(numbers(10), Selection(where=where("row.n % 3 == 1"), offset=1)))
    assert [(each.row.key, each.row.index) for each in found] == [("4", 0), ("7", 1)]


def test_the_order_is_where_sample_offset_limit() -> None:
    even = [number for number in range(100) if number % 2 == 0]
    sampled = chosen(Rows([{"n": number} for number in even]), Selection(sample=(10, 3)))
    whole = Selection(where=where("row.n % 2 == 0"), sample=(10, 3), offset=2, limit=5)
    assert chosen(numbers(100), whole) == sampled[2:7]


def test_a_limit_stops_reading() -> None:
    dataset = numbers(1_000)
    assert chosen(dataset, Selection(offset=1, limit=2)) == [1, 2]
    assert dataset.read == 3


def test_a_sample_is_the_same_for_the_same_seed_on_every_machine() -> None:
    """The numbers are pinned: a later version must not choose other rows."""
    assert chosen(numbers(1_000), Selection(sample=(8, 7))) == [235, 261, 511, 548, 653, 687, 790, 918]
    assert chosen(numbers(1_000), Selection(sample=(8, 8))) != chosen(numbers(1_000), Selection(sample=(8, 7)))


def test_a_sample_larger_than_the_dataset_is_all_of_it() -> None:
    assert chosen(numbers(5), Selection(sample=(10, 1))) == [0, 1, 2, 3, 4]


def test_every_row_is_as_likely_in_a_sample() -> None:
    times = [0] * 20
    for seed in range(2_000):
        for number in chosen(numbers(20), Selection(sample=(5, seed))):
            times[number] += 1
    assert min(times) > 400  # 500 expected, standard deviation 19
    assert max(times) < 600


@pytest.mark.parametrize(
    ("values", "columns", "key"),
    [
        ({"id": "r-17"}, ["id"], "r-17"),
        ({"id": " 0017 "}, ["id"], " 0017 "),
        ({"id": 17}, ["id"], "17"),
        ({"id": 12345678901234567890123}, ["id"], "12345678901234567890123"),
        ({"id": 1.0}, ["id"], "1.0"),
        ({"id": 1e22}, ["id"], "1e+22"),
        ({"id": True}, ["id"], "true"),
        ({"id": 0}, ["id"], "0"),
        ({"a": "x", "b": 1}, ["b", "a"], '[1,"x"]'),
        ({"id": dt.date(2026, 1, 31)}, ["id"], "2026-01-31"),
        ({"id": dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)}, ["id"], "2026-01-31T12:00:00+00:00"),
        ({"id": dt.time(9, 30)}, ["id"], "09:30:00"),
        ({"id": dt.timedelta(hours=1)}, ["id"], "PT1H"),
        ({"id": Decimal("12.50")}, ["id"], "12.50"),
        ({"a": dt.date(2026, 1, 31), "b": Decimal("1E+2")}, ["a", "b"], '["2026-01-31","100"]'),
        ({"a": 'é"', "b": ""}, ["a", "b"], '["é\\"",""]'),
    ],
)
def test_a_key_is_a_column_as_text_or_a_compact_array_of_several(values: Any, columns: list[str], key: str) -> None:
    assert key_of(values, columns) == key


def test_a_number_that_python_does_not_write_is_no_key() -> None:
    found = problems(Rows([{"id": 10**3900}, {"id": -(10**5000)}]), Selection(key=["id"]))
    assert [(problem.code, str(problem.where)) for problem in found] == [("unusable-key", "rows.jsonl:2")]


def test_rows_without_a_key_are_all_told_with_their_places() -> None:
    rows: list[dict[str, Any]] = [{"id": "a"}, {"id": ""}, {"id": None}, {}, {"id": []}, {"id": "\ud83d"}, {"id": "b"}]
    found = problems(Rows(rows), Selection(key=["id"]))
    assert [(problem.code, str(problem.where)) for problem in found] == [
        ("empty-key", "rows.jsonl:2"),
        ("null-key", "rows.jsonl:3"),
        ("no-key-column", "rows.jsonl:4"),
        ("unusable-key", "rows.jsonl:5"),
        ("unusable-key", "rows.jsonl:6"),
    ]


def test_a_key_of_several_columns_may_have_an_empty_one_but_no_null() -> None:
    assert [problem.code for problem in problems(Rows([{"a": "", "b": ""}]), Selection(key=["a", "b"]))] == [
        "empty-key"
    ]
    assert [problem.code for problem in problems(Rows([{"a": "x", "b": None}]), Selection(key=["a", "b"]))] == [
        "null-key"
    ]


def test_a_key_column_that_is_not_there_names_near_ones() -> None:
    found = problems(Rows([{"review_id": 1, "text": ""}]), Selection(key=["reviewid"]))
    assert found[0].hint == "did you mean `review_id`?"


def test_rows_that_are_not_selected_need_no_key() -> None:
    rows: list[dict[str, Any]] = [{"id": None, "keep": False}, {"id": "a", "keep": True}]
    assert [each.row.key for each in select(Rows(rows), Selection(key=["id"], where=where("row.keep")))] == ["a"]


def test_where_must_be_true_or_false() -> None:
    rows: list[dict[str, Any]] = [{"x": True}, {"x": "yes"}, {"x": None}, {"x": 1}, {"x": [1]}]
    found = problems(Rows(rows), Selection(where=where("row.x")))
    assert [(problem.code, str(problem.where), problem.message) for problem in found] == [
        ("where-not-boolean", "rows.jsonl:2", "`where` gives a string, neither true nor false"),
        ("where-not-boolean", "rows.jsonl:3", "`where` gives null, neither true nor false"),
        ("where-not-boolean", "rows.jsonl:4", "`where` gives 1, neither true nor false"),
        ("where-not-boolean", "rows.jsonl:5", "`where` gives a list, neither true nor false"),
    ]


def test_a_where_that_fails_names_the_row() -> None:
    found = problems(
        Rows([{"stars": "5"}, {"stars": "many"}, {"star": "1"}]), Selection(where=where("row.stars | int < 3"))
    )
    assert [(problem.code, str(problem.where)) for problem in found] == [
        ("where-failed", "rows.jsonl:2"),
        ("where-failed", "rows.jsonl:3"),
    ]


def test_problems_of_the_selection_and_of_the_data_are_told_together() -> None:
    found = problems(Rows([{"id": None}, {"id": 1}, {"id": None}, {"id": 2}], sound=3), Selection(key=["id"]))
    assert [(problem.code, str(problem.where)) for problem in found] == [
        ("null-key", "rows.jsonl:1"),
        ("null-key", "rows.jsonl:3"),
        ("bad-json", "rows.jsonl:4"),
    ]


def test_at_most_twenty_problems_are_told() -> None:
    dataset = Rows([{"id": None}] * 1_000)
    assert len(problems(dataset, Selection(key=["id"]))) == 20
    assert dataset.read == 20


def test_no_row_after_the_first_problem_is_yielded() -> None:
    rows = select(Rows([{"id": 1}, {"id": None}, {"id": 2}]), Selection(key=["id"]))
    assert next(rows).row.key == "1"
    with pytest.raises(InputError):
        next(rows)


def test_only_keys_picks_among_the_selected_rows_and_stops_reading() -> None:
    dataset = Rows([{"id": f"r-{number}", "n": number} for number in range(100)])
    found = list(select(dataset, Selection(key=["id"], where=where("row.n > 5"), only_keys=["r-20", "r-7"])))
    assert [(each.row.key, each.row.index) for each in found] == [("r-7", 0), ("r-20", 1)]
    assert dataset.read == 21


def test_keys_that_no_row_has_are_all_told_with_near_ones() -> None:
    dataset = Rows([{"id": f"row-{number}"} for number in range(30)])
    with pytest.raises(UsageError) as caught:
        list(select(dataset, Selection(key=["id"], only_keys=["row-3", "row_17", "zzz"])))
    assert caught.value.message == "no selected row has the keys 'row_17', 'zzz'"
    assert caught.value.hint is not None
    assert "'row-17'" in caught.value.hint


def test_a_key_far_from_all_shows_what_keys_look_like() -> None:
    with pytest.raises(UsageError) as caught:
        list(select(numbers(5), Selection(only_keys=["zzz"])))
    assert caught.value.hint == "keys there are: '0', '1', '2', …"


def test_an_unsound_row_is_told_rather_than_a_key_it_may_have() -> None:
    found = problems(Rows([{"id": "a"}, {"id": None}]), Selection(key=["id"], only_keys=["b"]))
    assert [problem.code for problem in found] == ["null-key"]
