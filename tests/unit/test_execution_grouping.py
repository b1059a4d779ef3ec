"""Rows that share a prefix of their own come together, whatever order they have in the dataset."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import LedgerError
from runner.execution.grouping import ALL, grouped
from runner.ledger import Ledger, OpenStep
from runner.planning.pieces import CompiledMessage, TextBlock, text_block
from runner.planning.requests import CacheShape, CompiledJob
from runner.templating import TemplateSet
from runner.types import CacheTtl, Row, Step

TEMPLATES = TemplateSet.from_sources({name: f"{{{{ row.{name} }}}}" for name in ("book", "page", "question")})


def job(*cached: str, system: bool = True) -> CompiledJob:
    """Blocks of the row, these of them cached."""

    def block(name: str) -> TextBlock:
        ttl: CacheTtl | None = "5m" if name in cached else None
        return TextBlock(name, TEMPLATES.template(name), ttl)

    return CompiledJob(
        name="job",
        mode="parallel",
        shared={"model": "m", "max_tokens": 5, "system": [text_block("Rules.", "5m" if system else None)]},
        messages=[CompiledMessage("user", [block(name) for name in ("book", "page", "question")])],
        betas=(),
        context={},
        schema=None,
        cache=CacheShape(0, True, {"parallel": "5m", "batch": "1h"}),
    )


@dataclass
class Rows:
    """A ledger as far as it is asked for rows."""

    values: Sequence[Mapping[str, Any]]

    def row(self, index: int) -> Row:
        return Row(f"k{index}", index, self.values[index])

    def opened(self) -> Iterator[tuple[OpenStep, Row, int]]:
        for index in range(len(self.values)):
            yield OpenStep(Step(index), index % 3, index % 2), self.row(index), ALL


def in_groups(
    folder: Path,
    compiled: CompiledJob,
    values: Iterable[Mapping[str, Any]],
    *,
    least_bytes: float = 0.0,
    stopped: Callable[[], bool] = lambda: False,
) -> list[tuple[OpenStep, Row, int]]:
    rows = Rows(list(values))
    ledger = cast(Ledger, rows)
    return list(grouped(rows.opened(), ledger, compiled, folder, least_bytes=least_bytes, stopped=stopped))


def asked(book: object, page: object = "p", question: object = "q") -> dict[str, object]:
    return {"book": book, "page": page, "question": question}


def test_rows_about_one_book_come_together_books_in_the_order_of_their_first_row(tmp_path: Path) -> None:
    books = ["b", "a", "c", "a", "b", "b", "d"]
    found = in_groups(tmp_path, job("book"), map(asked, books))
    assert [row.index for _, row, _ in found] == [0, 4, 5, 1, 3, 2, 6]
    assert [step.step.row for step, _, _ in found] == [row.index for _, row, _ in found]
    assert [(step.attempts, step.tries) for step, _, _ in found][:2] == [(0, 0), (1, 0)], "with what they have had"


def test_prefixes_that_no_other_row_has_are_of_no_use(tmp_path: Path) -> None:
    found = in_groups(tmp_path, job("book"), map(asked, "aba"))
    assert [(row.index, useful) for _, row, useful in found] == [(0, 2), (2, 2), (1, 1)]
    found = in_groups(tmp_path, job("book", system=False), map(asked, "aba"))
    assert [(row.index, useful) for _, row, useful in found] == [(0, 1), (2, 1), (1, 0)]


def test_pages_come_together_within_their_book(tmp_path: Path) -> None:
    pages = [("a", 1), ("b", 1), ("a", 2), ("a", 1), ("b", 1), ("a", 2), ("a", 3)]
    found = in_groups(tmp_path, job("book", "page"), (asked(*page) for page in pages))
    assert [pages[row.index] for _, row, _ in found] == [
        ("a", 1), ("a", 1), ("a", 2), ("a", 2), ("a", 3), ("b", 1), ("b", 1),
    ]  # fmt: skip
    assert [useful for _, _, useful in found] == [3, 3, 3, 3, 2, 3, 3]


def test_a_prefix_that_is_too_short_moves_nothing(tmp_path: Path) -> None:
    books = ["short", "long" * 100, "short", "long" * 100]
    found = in_groups(tmp_path, job("book"), map(asked, books), least_bytes=300)
    assert [(row.index, useful) for _, row, useful in found] == [(0, 1), (1, 2), (3, 2), (2, 1)]


def test_within_a_book_that_is_too_short_its_pages_still_come_together(tmp_path: Path) -> None:
    pages = [("a", "x" * 400), ("b", "y" * 400), ("a", "x" * 400), ("b", "y" * 400), ("a", "z")]
    found = in_groups(tmp_path, job("book", "page"), (asked(*page) for page in pages), least_bytes=300)
    assert [row.index for _, row, _ in found] == [0, 2, 1, 3, 4]


def test_a_row_that_cannot_be_rendered_stays_where_it_stands(tmp_path: Path) -> None:
    values: list[Mapping[str, Any]] = [asked("a"), {"page": 1}, asked("b"), {"page": 2}, asked("a")]
    found = in_groups(tmp_path, job("book"), values)
    assert [(row.index, useful) for _, row, useful in found] == [(0, 2), (4, 2), (1, 1), (2, 1), (3, 1)]


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 3)), max_size=60))
def test_every_row_comes_once_and_no_prefix_is_left_and_taken_up_again(
    tmp_path_factory: pytest.TempPathFactory, pages: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    found = in_groups(folder, job("book", "page"), (asked(*page) for page in pages))
    assert sorted(row.index for _, row, _ in found) == list(range(len(pages)))
    order = [pages[row.index] for _, row, _ in found]
    groups = [page for page, _ in groupby(order)]
    assert len(groups) == len(set(groups))
    books = [book for book, _ in groupby(book for book, _ in order)]
    assert books == list(dict.fromkeys(book for book, _ in pages))


def test_more_rows_than_are_noted_at_once_all_come(tmp_path: Path) -> None:
    books = random.Random(3).choices(range(700), k=3_000)
    found = in_groups(tmp_path, job("book"), map(asked, books))
    order = [books[row.index] for _, row, _ in found]
    assert len(order) == 3_000
    assert [book for book, _ in groupby(order)] == list(dict.fromkeys(books))


def test_its_file_has_no_name_so_that_none_is_left_and_two_do_not_meet(tmp_path: Path) -> None:
    rows = Rows([asked(book) for book in range(2_000)])
    one, two = (
        grouped(rows.opened(), cast(Ledger, rows), job("book"), tmp_path, least_bytes=0, stopped=lambda: False)
        for _ in range(2)
    )
    next(one)
    next(two)
    assert list(tmp_path.iterdir()) == []
    assert len(list(one)) == len(list(two)) == 1_999


def test_a_run_that_stops_does_not_wait_for_all_rows_to_be_looked_at(tmp_path: Path) -> None:
    assert in_groups(tmp_path, job("book"), map(asked, "aa"), stopped=lambda: True) == []


def test_a_disk_that_refuses_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as caught:
        in_groups(tmp_path / "gone", job("book"), map(asked, "aa"))
    assert caught.value.code in ("cannot-write", "disk-error")
