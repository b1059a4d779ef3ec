"""The conformance suite of datasets: `check_dataset`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from runner.datasets import Dataset

Make = Callable[[Sequence[Mapping[str, Any]]], Dataset]
"""Makes a source that holds exactly these rows, in this order, and opens it. All rows have the same columns and every
value is a string, so that any format can hold them. Each call is a new source."""

MANY = 5_000
"""Rows enough to show that a dataset streams: more than one block of any reader in use."""

_TEXTS = (
    "plain",
    "",
    " spaces ",
    'a "quote", a comma\tand a tab',
    "two\nlines",
    "日本語 é 😀",
    "line\u2028separator",
    "{{ row.x }} ${HOME} =1+1",
    "null",
    "0123",
)


def check_dataset(make: Make, *, reopens: bool = True) -> None:
    """Hold a dataset to its contract. `reopens` is False for a source that can be read only once (stdin).

    Raises:
        AssertionError: a promise is broken.
    """
    _empty(make)
    _one_row(make)
    _values(make)
    _wide(make)
    _order_and_laziness(make, reopens=reopens)


def _empty(make: Make) -> None:
    assert list(make([]).rows()) == [], "a source without rows yields none"


def _one_row(make: Make) -> None:
    rows = [{"id": "1", "text": "one"}]
    assert _values_of(make(rows)) == rows, "one row is read as it is"


def _values(make: Make) -> None:
    rows = [{"id": str(number), "text": text} for number, text in enumerate(_TEXTS)]
    dataset = make(rows)
    columns = dataset.columns()
    assert columns is None or columns == ("id", "text"), f"columns() names the columns in order, not {columns}"
    found = _values_of(dataset)
    assert len(found) == len(rows), f"{len(found)} of {len(rows)} rows were read"
    for got, expected in zip(found, rows, strict=True):
        assert got == expected, f"a value changed on its way: {expected!r} became {got!r}"


def _wide(make: Make) -> None:
    row = {f"column {number}": str(number) for number in range(1_000)}
    got = _values_of(make([row]))
    assert got == [row], "a row of a thousand columns is read as it is"
    assert list(got[0]) == list(row), "the order of columns is kept"


def _order_and_laziness(make: Make, *, reopens: bool) -> None:
    rows = [{"id": str(number), "text": f"text {number}"} for number in range(MANY)]
    dataset = make(rows)
    iterator = dataset.rows()
    first = list(islice(iterator, 3))
    assert [row.values["id"] for row in first] == ["0", "1", "2"], "rows come in order, one after another"
    assert all(row.file for row in first), "every row says which file it is from"
    _close(iterator)
    if not reopens:
        dataset = make(rows)
    assert [row["id"] for row in _values_of(dataset)] == [row["id"] for row in rows], "all rows come, in order"
    if reopens:
        assert _values_of(dataset) == _values_of(dataset), "a dataset that is read again gives the same"


def _values_of(dataset: Dataset) -> list[dict[str, Any]]:
    return [dict(row.values) for row in dataset.rows()]


def _close(iterator: object) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()
