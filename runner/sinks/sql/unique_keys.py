"""The unique key of a table and the records that share one.

Owns   whether two records of a run can have the same unique key at all; where they can, the telling apart.
Knows  columns and what they look up; the key book. No database.

The keys of a run's records are all different, as enrolment has seen to it. So nothing is looked at where the unique key
has the record's `key` in it, or all the columns of the dataset that the key is made of, and their column takes no two
of them for the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runner.encoding import printable
from runner.errors import Problem, SpecError, closest
from runner.sinks import Refused, SinkContext
from runner.sinks.columns import Columns, ExpressionColumns, kept_columns
from runner.sinks.sql.columns import Column
from runner.sinks.sql.key_book import KeyBook, key_digest
from runner.sinks.sql.loading import KeyedRow
from runner.sinks.sql.options import SqlOptions


class UniqueKeys:
    """What a delivery does about its unique key. `places` are those of its columns among the table's."""

    def __init__(self, names: Sequence[str], places: Sequence[int], *, told_apart: bool) -> None:
        self._names = names
        self._places = places
        self._told_apart = told_apart
        self._folds: Sequence[str | None] = [None] * len(places)

    def see(self, columns: Sequence[Column]) -> None:
        """Take note of the columns as the table has them."""
        self._folds = [columns[place].folds for place in self._places]

    def book(self, path: Path | None, delivery: str) -> KeyBook | None:
        """Where keys are noted, None where that is not needed."""
        if not self._places or (self._told_apart and not any(self._folds)):
            return None
        if path is None:
            raise ValueError("a sink whose keys may come twice needs a file to note them in")
        return KeyBook(path, delivery)

    def apart(self, rows: Sequence[KeyedRow], book: KeyBook | None) -> tuple[list[KeyedRow], list[Refused]]:
        """The rows that can be told apart, and the others."""
        kept: list[KeyedRow] = []
        refused: list[Refused] = []
        for row in rows if self._places else ():
            if any(row[1][place] is None for place in self._places):
                refused.append(Refused(row[0], f"its unique key ({', '.join(self._names)}) has a null in it"))
            else:
                kept.append(row)
        if not self._places:
            kept = list(rows)
        return self._by_book(kept, refused, book) if book is not None else (kept, refused)

    def _by_book(
        self, rows: list[KeyedRow], refused: list[Refused], book: KeyBook
    ) -> tuple[list[KeyedRow], list[Refused]]:
        folded = [fold is not None for fold in self._folds]
        keys = [key_digest([values[place] for place in self._places], folded=folded) for _, values in rows]
        records = [printable(key) for key, _ in rows]
        kept = []
        for row, record, holder in zip(rows, records, book.claim(keys, records), strict=True):
            if holder == record:
                kept.append(row)
                continue
            values = ", ".join(repr(row[1][place]) for place in self._places)
            why = f"the record {holder!r} has the same unique key ({', '.join(self._names)}): {values}"
            collation = next((fold for fold in self._folds if fold is not None), None)
            if collation is not None:
                why += f", or one that the collation {collation} may take for the same"
            refused.append(Refused(row[0], why))
        return kept, refused


def unique_keys(options: SqlOptions, columns: Columns, context: SinkContext) -> UniqueKeys:
    """Raises SpecError for a unique key that is none of the columns."""
    names = options.unique_key or ()
    for name in names:
        if name not in columns.names:
            near = closest(name, columns.names)
            hint = (f"did you mean `{near}`? " if near else "") + f"Columns: {', '.join(columns.names)}"
            raise SpecError([Problem("unknown-column", f"`unique_key`: the sink has no column `{name}`", hint=hint)])
    places = [columns.names.index(name) for name in names]
    looked_up = _paths(options, columns, context)
    found = {looked_up[place] for place in places}
    by_row = {("row", column) for column in context.key_columns}
    return UniqueKeys(names, places, told_apart=("key",) in found or (bool(by_row) and by_row <= found))


def _paths(options: SqlOptions, columns: Columns, context: SinkContext) -> list[tuple[str | int, ...] | None]:
    if isinstance(columns, ExpressionColumns):
        return list(columns.paths)
    rows = kept_columns(context.row_columns, options.include_row)
    known: list[tuple[str | int, ...] | None] = [("key",), *[("row", name) for name in rows]]
    return known + [None] * (len(columns.names) - len(known))
