"""Which columns the rows of a run have, and of what type: noted while they are enrolled, for the sinks.

Owns   the notes, their bounds, and their form in the ledger's meta.
Knows  rows as values; the types that a dataset declares, which spare the looking.

A row whose names, and whose values' kinds, were met before costs one look-up; only integers, Decimals and datetimes are
looked at one by one, because their kind does not tell their column's type.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from runner.column_types import ColumnType, type_of
from runner.ledger import EnrolledRow

COLUMNS = "columns"
COLUMN_TYPES = "column_types"
"""Names in the ledger's meta."""

MAX_COLUMNS = 10_000
"""Column names that are remembered of rows that differ (json objects used as mappings): a bound on memory, not on
data."""

_MAX_SHAPES = 10_000
"""Shapes of rows that are remembered, each of at most so many columns."""
_MAX_SHAPE = 1_000

_LOOKED_AT = (int, Decimal, dt.datetime)


class ColumnNotes:
    """The columns met so far, in the order in which they first appeared, with the join of their values' types."""

    def __init__(self, declared: Mapping[str, ColumnType] | None = None) -> None:
        self._declared = declared is not None
        self.types: dict[str, ColumnType] = dict(declared or {})
        self._shapes: dict[tuple[Any, ...], tuple[str, ...]] = {}

    def to_meta(self) -> dict[str, Any]:
        return {COLUMNS: list(self.types), COLUMN_TYPES: {name: each.to_json() for name, each in self.types.items()}}

    def noting(self, rows: Iterable[EnrolledRow]) -> Iterator[EnrolledRow]:
        """The same rows, noted as they pass. A dataset that declares its columns has no others."""
        return iter(rows) if self._declared else self._noted(rows)

    def _noted(self, rows: Iterable[EnrolledRow]) -> Iterator[EnrolledRow]:
        for enrolled in rows:
            values = enrolled.row.values
            shape = (*values, *map(type, values.values()))
            looked_at = self._shapes.get(shape)
            if looked_at is None:
                self._note(values)
                self._remember(shape, values)
            elif looked_at:
                types = self.types
                for name in looked_at:
                    found = type_of(values[name])
                    if found is not types[name]:
                        types[name] = types[name].join(found)
            yield enrolled

    def _note(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            known = self.types.get(name)
            if known is not None:
                self.types[name] = known.join(type_of(value))
            elif len(self.types) < MAX_COLUMNS:
                self.types[name] = type_of(value)

    def _remember(self, shape: tuple[Any, ...], values: Mapping[str, Any]) -> None:
        if len(self._shapes) < _MAX_SHAPES and len(values) <= _MAX_SHAPE:
            self._shapes[shape] = tuple(
                name
                for name, value in values.items()
                if isinstance(value, _LOOKED_AT) and type(value) is not bool and name in self.types
            )


def types_in(meta: Mapping[str, Any]) -> dict[str, ColumnType]:
    """The types that a run's meta tells; none of a run from before they were noted."""
    return {name: ColumnType.of_json(each) for name, each in meta.get(COLUMN_TYPES, {}).items()}
