"""The dataset of table files: parquet, Arrow (Feather) and ORC; one file or URL, or a glob over several.

Owns   the order of files, which columns are read, and that all files of a glob have the same ones.
Knows  its options and what it may know of the project. Files are found when it is made; each is opened when its turn
       comes, one at a time, and read by record batch.

A row's place is its number in its file, from 1. Files of one dataset have the same columns, in any order: the first
file's order is kept. A column's types must agree in kind; one that is null throughout in a file agrees with all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, cast, get_args

import pyarrow as pa

from runner.column_types import ColumnType
from runner.datasets import ComparedFiles, DatasetContext, SourceRow
from runner.datasets.arrow_values import RowMaker, UnheldValue, column_type
from runner.datasets.discovery import display_name, find_any
from runner.datasets.options import TableOptions
from runner.datasets.problems import MAX_PROBLEMS, data_error
from runner.datasets.table_files import OpenTable, TableFormat, open_table
from runner.errors import InputError, Problem
from runner.plugins import kind_of
from runner.storage import RemoteFile


class _File(NamedTuple):
    name: str
    path: Path | RemoteFile
    format: TableFormat


class TableDataset:
    """Rows of table files, in the order of the files and of the rows in them."""

    Options: ClassVar[type[TableOptions]] = TableOptions

    def __init__(self, options: TableOptions, context: DatasetContext) -> None:
        """Find the files. Raises InputError where there are none."""
        found = find_any(options.path, context.root)
        self._files = tuple(_known(display_name(file, context.root), file) for file in found)
        self._used = None if context.used is None else frozenset(context.used)
        self._types: dict[str, ColumnType] | None = None
        self._first_with: dict[str, str] = {}
        """Of columns that are null throughout in the first file: the file that said first what they are."""
        self._columns: tuple[str, ...] = ()

    def columns(self) -> tuple[str, ...]:
        """All columns of the first file, also those that are not read. Raises InputError."""
        self._first_types()
        return self._columns

    def column_types(self) -> Mapping[str, ColumnType]:
        """The columns that are read, with what the files that were read so far say of them; at first, the first."""
        return {name: found for name, found in self._first_types().items() if self._is_read(name)}

    def compare_files(self, at_most: int) -> ComparedFiles:
        """Compare what the files say of their columns at their beginnings or ends. Where there are more of them than
        `at_most`, those are looked at that lie evenly among all, the first and the last with them: what changes mostly
        changes with time, and so do names. Raises InputError for the first file."""
        types = dict(self._first_types())
        last = len(self._files) - 1
        looked_at = min(len(self._files), at_most)
        problems: list[Problem] = []
        for number in range(1, looked_at):
            file = self._files[number * last // (looked_at - 1)]
            try:
                with open_table(file.path, file.name, file.format) as table:
                    self._agree(types, file, table.schema)
            except InputError as error:
                problems += error.problems
            if len(problems) >= MAX_PROBLEMS:
                return ComparedFiles(number + 1, len(self._files), problems)
        return ComparedFiles(looked_at, len(self._files), problems)

    def rows(self) -> Iterator[SourceRow]:
        types = self._first_types()
        names = [name for name in types if self._is_read(name)]
        for file in self._files:
            with open_table(file.path, file.name, file.format) as table:
                self._agree(types, file, table.schema)
                yield from self._rows_of(file, table, names)

    def _rows_of(self, file: _File, table: OpenTable, names: Sequence[str]) -> Iterator[SourceRow]:
        maker: RowMaker | None = None
        number = 0
        for batch in table.batches(names or table.schema.names[:1]):
            maker = maker or RowMaker(batch.schema, names)
            start = number
            try:
                for values in maker.rows(batch):
                    number += 1
                    yield SourceRow(values, file.name, number)
            except UnheldValue as error:
                hint = "mend the value, or leave the column out of what the job reads"
                raise data_error("unusable-value", str(error), file.name, start + error.row + 1, hint=hint) from error

    def _is_read(self, name: str) -> bool:
        return self._used is None or name in self._used

    def _first_types(self) -> dict[str, ColumnType]:
        if self._types is None:
            first = self._files[0]
            with open_table(first.path, first.name, first.format) as table:
                self._types = _types_of(table.schema, first.name)
                self._columns = tuple(self._types)
        return self._types

    def _agree(self, types: dict[str, ColumnType], file: _File, schema: pa.Schema) -> None:
        """Join a file's types to those known so far. Raises InputError, with both files, where they do not agree."""
        if file is self._files[0]:
            return
        found = _types_of(schema, file.name)
        if found.keys() != types.keys():
            raise self._other_columns(types, file, found)
        for name, known in types.items():
            if not _agree_in_kind(known, found[name]):
                first = self._first_with.get(name, self._files[0].name)
                message = f"the column {name!r} is {found[name]}, but {known} in {first}"
                hint = "write both files with one schema, or narrow the pattern"
                raise data_error("schema-mismatch", message, file.name, hint=hint)
            if known.kind == "null" != found[name].kind:
                self._first_with[name] = file.name
            types[name] = known.join(found[name])

    def _other_columns(
        self, known: Mapping[str, ColumnType], file: _File, found: Mapping[str, ColumnType]
    ) -> InputError:
        missing = ", ".join(repr(name) for name in known if name not in found)
        extra = ", ".join(repr(name) for name in found if name not in known)
        parts = [f"it lacks {missing}"] if missing else []
        parts += [f"it also has {extra}"] if extra else []
        message = f"its columns are not those of {self._files[0].name}: {' and '.join(parts)}"
        hint = "files read as one dataset need the same columns; narrow the pattern, or write them again"
        return data_error("header-mismatch", message, file.name, hint=hint)


def _agree_in_kind(one: ColumnType, other: ColumnType) -> bool:
    if "null" in (one.kind, other.kind):
        return True
    return one.kind == other.kind and (one.zone is None) == (other.zone is None)


def _types_of(schema: pa.Schema, name: str) -> dict[str, ColumnType]:
    found: dict[str, ColumnType] = {}
    for field in schema:
        if field.name in found:
            message = f"two columns are named {field.name!r}"
            raise data_error("bad-header", message, name, hint="rename one of them")
        found[field.name] = column_type(field.type)
    return found


def _known(name: str, file: Path | RemoteFile) -> _File:
    found = kind_of(name)
    if found not in get_args(TableFormat):
        message = f"the name does not tell one of the formats {', '.join(get_args(TableFormat))}"
        raise data_error("unknown-format", message, name, hint="files read as one dataset are of one kind")
    return _File(name, file, cast(TableFormat, found))
