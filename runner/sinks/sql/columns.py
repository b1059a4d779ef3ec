"""A table as it was found: its columns, and what is unique in it.

Owns   `Column`, `Table`, and what kinds of column there are for those who write values. Knows  nothing of databases:
       the dialects read these from their catalogs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

Family = Literal[
    "boolean", "integer", "number", "decimal", "string", "bytes", "date", "datetime", "time", "duration", "json",
    "list", "other",
]  # fmt: skip
"""What a column holds, whatever its database calls it. `other` is handed over as text: uuid, inet, an enumeration."""


class Column(Struct, frozen=True):
    """One column. `written` is its type as the database writes it."""

    name: str
    family: Family
    written: str
    nullable: bool = True
    has_default: bool = False
    """It has a value where none is given: a default, an identity, a sequence."""
    is_computed: bool = False
    """It takes no value: generated always."""
    least: int | None = None
    most: int | None = None
    """Of integers: the bounds."""
    length: int | None = None
    """Of texts: how many characters, of bytes: how many bytes."""
    precision: int | None = None
    scale: int | None = None
    """Of decimals."""
    zoned: bool = False
    """Of datetimes: it holds moments, not what a clock on a wall shows."""
    folds: str | None = None
    """Of texts: the collation that takes unlike texts for equal, where it does."""


class Table(Struct, frozen=True):
    """What stands in the catalog. `unique` are the sets of columns of which no two rows have the same values, as far as
    an upsert can rely on them: no partial index, none over an expression or a prefix, none that is checked later."""

    columns: Sequence[Column]
    unique: Sequence[frozenset[str]] = ()
    partly_unique: Sequence[frozenset[str]] = ()
    """Columns of further unique indexes, over parts of texts or expressions."""
    folds_case: bool = False
    """Names of columns that differ in case alone are one column: in all but PostgreSQL."""
    engine: str | None = None
    """Of MariaDB and MySQL."""

    def column(self, name: str) -> Column | None:
        wanted = self._folded(name)
        return next((column for column in self.columns if self._folded(column.name) == wanted), None)

    def is_unique(self, names: Sequence[str]) -> bool:
        wanted = self.as_names(names)
        return any(self.as_names(unique) == wanted for unique in self.unique)

    def as_names(self, names: Iterable[str]) -> frozenset[str]:
        """Names as the database tells them apart."""
        return frozenset(map(self._folded, names))

    def required(self, given: Sequence[str]) -> Iterator[Column]:
        """Columns that take no null, have no default, and are not among those given."""
        known = self.as_names(given)
        for column in self.columns:
            if not (column.nullable or column.has_default or column.is_computed or self._folded(column.name) in known):
                yield column

    def _folded(self, name: str) -> str:
        return name.casefold() if self.folds_case else name
