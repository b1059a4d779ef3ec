"""The conformance suite of datasets: `check_dataset`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

from runner.datasets import Dataset, declared_types

Make = Callable[[Sequence[Mapping[str, Any]]], Dataset]
"""Makes a source that holds exactly these rows, in this order, and opens it. All rows have the same columns, and the
values of a column are of one kind: strings, which any format can hold, or one of `KINDS` that the source is said to
keep. Each call is a new source."""

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

_ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30))
KINDS: Mapping[str, Sequence[Any]] = {
    "boolean": (True, None, False),
    "integer": (0, None, -1, 2**53, 17),
    "number": (0.1, None, -1.5e300, 1e-7),
    "decimal": (Decimal("12.50"), None, Decimal("-0.01"), Decimal("99999999.99")),
    "bytes": (b"\x00\xff", None, b"", b"plain"),
    "date": (dt.date(2026, 1, 31), None, dt.date(1969, 12, 31), dt.date(2000, 2, 29)),
    "datetime": tuple(map(dt.datetime.fromisoformat, ("2026-01-31T12:30:15", "1969-12-31T23:59:59.500"))),
    "datetime with a zone": (dt.datetime(2026, 1, 31, 12, 30, 15, tzinfo=_ZONE), None),
    "time": (dt.time(1, 2, 3), None, dt.time(23, 59, 59)),
    "duration": (dt.timedelta(days=1, seconds=2), None, dt.timedelta(milliseconds=500)),
    "list": ([1, 2], None, [], [None]),
    "mapping": ({"a": 1, "b": None}, None, {"a": None, "b": "x"}),
}
"""Values of each kind that a source may keep as they are, with nulls among them."""


def check_dataset(
    make: Make, *, reopens: bool = True, keeps: Collection[str] = (), empty_is_null: bool = False
) -> None:
    """Hold a dataset to its contract. `reopens` is False for a source that can be read only once (stdin). `keeps` are
    those of `KINDS` whose values come back as they were; `empty_is_null` says that the source has no empty text, and
    gives null for one.

    Raises:
        AssertionError: a promise is broken.
    """
    _empty(make)
    _one_row(make)
    _values(make, empty_is_null=empty_is_null)
    _wide(make)
    for kind in keeps:
        _kind(make, kind)
    _order_and_laziness(make, reopens=reopens)


def _empty(make: Make) -> None:
    assert list(make([]).rows()) == [], "a source without rows yields none"


def _one_row(make: Make) -> None:
    rows = [{"id": "1", "text": "one"}]
    assert _values_of(make(rows)) == rows, "one row is read as it is"


def _values(make: Make, *, empty_is_null: bool) -> None:
    rows: list[dict[str, Any]] = [{"id": str(number), "text": text} for number, text in enumerate(_TEXTS)]
    dataset = make(rows)
    if empty_is_null:
        rows = [{**row, "text": row["text"] or None} for row in rows]
    columns = dataset.columns()
    assert columns is None or columns == ("id", "text"), f"columns() names the columns in order, not {columns}"
    found = _values_of(dataset)
    assert len(found) == len(rows), f"{len(found)} of {len(rows)} rows were read"
    for got, expected in zip(found, rows, strict=True):
        assert got == expected, f"a value changed on its way: {expected!r} became {got!r}"


def _kind(make: Make, kind: str) -> None:
    rows = [{"id": str(number), "value": value} for number, value in enumerate(KINDS[kind])]
    dataset = make(rows)
    found = _values_of(dataset)
    assert found == rows, f"values of the kind {kind} changed on their way: {rows} became {found}"
    for got, expected in zip(found, rows, strict=True):
        made, value = got["value"], expected["value"]
        assert type(made) is type(value), f"{value!r} became {made!r}, of another type"
        if isinstance(value, dt.datetime):
            assert made.utcoffset() == value.utcoffset(), f"{value!r} became {made!r}, of another zone"
        if isinstance(value, Decimal):
            assert str(made) == str(value), f"{value!r} became {made!r}, of other digits"
    declared = declared_types(dataset)
    if declared is not None:
        assert tuple(declared) == ("id", "value"), f"column_types() names the columns in order, not {tuple(declared)}"
        assert declared["value"].kind == kind.split(maxsplit=1)[0], f"{kind} is declared as {declared['value']}"
        assert (declared["value"].zone is not None) == ("zone" in kind), "a zone is declared where there is one"


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
