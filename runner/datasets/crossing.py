"""Crossing: every row of a dataset with every row of one or several small ones (`dataset.cross`).

Owns   `Crossed`, a dataset of the pairs, and what makes their keys.
Knows  datasets by their contract, and selection, which the small ones have of their own. They are read into memory,
       once, before the first row of the large one.

    row "r1"  ×  question "q1", "q2"   ──▶   {…, "question": {…}} "r1 q1", "r1 q2", then "r2 q1", …

The row's own columns stand as ever, each small row under its dataset's name. The last dataset that is named changes
fastest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

from runner.column_types import MAPPING, ColumnType
from runner.datasets import Dataset, SourceRow, declared_types
from runner.datasets.problems import data_error
from runner.datasets.selection import Part, Selection, key_parts, key_text, select
from runner.errors import InputError, Problem

MAX_ROWS = 10_000
"""Of one small dataset, which is held in memory."""
MAX_BYTES = 64 << 20
"""Of its values as text, for the same reason."""
MAX_COMBINATIONS = 100_000
"""Of all of them: what each row is multiplied by. More of them is likelier a mistake than meant."""

_SMALLER = (
    "make the larger one the `dataset` and cross it with the smaller one, or narrow it by its own `where` or `limit`"
)


class Side(NamedTuple):
    """A small dataset, what it is called, and which of its rows are taken."""

    name: str
    dataset: Dataset
    selection: Selection


class _Member(NamedTuple):
    values: Mapping[str, Any]
    key: tuple[Part, ...]


class _Combination(NamedTuple):
    """One row of each small dataset: the columns they become, and their part of a key."""

    values: Mapping[str, Mapping[str, Any]]
    key: tuple[Part, ...]


class Crossed:
    """A dataset of pairs. Its rows stand where the row of the large one stands."""

    def __init__(self, dataset: Dataset, sides: Sequence[Side]) -> None:
        self._dataset = dataset
        self._sides = sides

    def columns(self) -> tuple[str, ...] | None:
        columns = self._dataset.columns()
        return None if columns is None else (*columns, *(side.name for side in self._sides))

    def column_types(self) -> Mapping[str, ColumnType] | None:
        declared = declared_types(self._dataset)
        return None if declared is None else {**declared, **{side.name: MAPPING for side in self._sides}}

    def columns_of_sides(self) -> dict[str, tuple[str, ...] | None]:
        """The columns of each small dataset, where they are known without reading all of it."""
        return {side.name: side.dataset.columns() for side in self._sides}

    def keys(self) -> list[tuple[Part, ...]]:
        """What each small row adds to a key, in order; reads the small datasets. Raises InputError."""
        return [combination.key for combination in self._combinations]

    def rows(self) -> Iterator[SourceRow]:
        combinations = self._combinations
        names = {side.name for side in self._sides}
        for source in self._dataset.rows():
            if not names.isdisjoint(source.values):
                raise _clash(min(names.intersection(source.values)), source)
            for combination in combinations:
                yield SourceRow({**source.values, **combination.values}, source.file, source.line)

    @cached_property
    def _combinations(self) -> list[_Combination]:
        names, members, count = [side.name for side in self._sides], [], 1
        for side in self._sides:
            members.append(_members(side))
            count *= len(members[-1])
            if count > MAX_COMBINATIONS:
                message = f"`cross` makes more than {MAX_COMBINATIONS:,} rows of each row, with `{side.name}`"
                raise InputError([Problem("cross-too-large", message, hint=_SMALLER)])
        return [
            _Combination(
                dict(zip(names, (member.values for member in combined), strict=True)),
                tuple(part for member in combined for part in member.key),
            )
            for combined in product(*members)
        ]


def _members(side: Side) -> list[_Member]:
    """The rows of a small dataset. Raises InputError, also for a key that is there twice."""
    found: dict[tuple[Part, ...], _Member] = {}
    size = 0
    for place, selected in enumerate(select(side.dataset, side.selection)):
        values, columns = selected.row.values, side.selection.key
        key = tuple(key_parts(values, columns)) if columns else (int(selected.row.key),)
        size += len(repr(values))
        if place >= MAX_ROWS or size > MAX_BYTES:
            most = f"{MAX_ROWS:,} rows" if place >= MAX_ROWS else f"{MAX_BYTES >> 20} MiB"
            message = f"`cross.{side.name}` has more than {most}, and is held in memory"
            raise data_error("cross-too-large", message, selected.file, selected.line, hint=_SMALLER)
        if key in found:
            message = f"the key {key_text(key)!r} of `cross.{side.name}` appears twice"
            hint = "its `key` must name columns that together are unique; leave it out to number its rows"
            raise data_error("repeated-cross-key", message, selected.file, selected.line, hint=hint)
        found[key] = _Member(values, key)
    return list(found.values())


def _clash(name: str, source: SourceRow) -> InputError:
    message = f"the row has a column {name!r}, which is also the name of a dataset in `cross`"
    return data_error("cross-clash", message, source.file, source.line, hint="give the one in `cross` another name")
