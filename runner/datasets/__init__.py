"""Datasets: where rows come from. This module is the contract of the plugin folder.

A dataset yields `SourceRow`s one after another, in a stable order, in bounded memory, and can be opened more than once
(except stdin). It knows nothing of keys, selection or templates: those are `datasets.selection`, applied to any
dataset.

    dataset = TextDataset(options, context)    constructed from its Options and what it may know of the project

What is wrong with the data (a ragged line, a line that is not JSON, a wrong encoding) is raised as `errors.InputError`
with the file, the line and the cure. The row where it is found, and every later one, is never yielded: whoever stops
early has seen only sound rows. A dataset may read on for further problems, within bounds, so that several are told at
once.

The folder, in the order to read it in:

    selection       which rows belong to a run, and what each is called
    casting         columns made of another type
    crossing        every row with every row of small datasets
    discovery       which files a path means
    text            csv, tsv, jsonl, json
      streams         from a file to text
      csv_text        csv and tsv
      json_lines      jsonl
      json_array      json
      strict_json     one value, strictly
    tables          parquet, Arrow, ORC
      table_files     one file of a table
      arrow_values    from Arrow's columns to values of rows
    workbook        xlsx
    files           a folder of documents, a row a file
      documents       the text of one
      html_text       … of a page of HTML
    sql             a statement over a database that SQLAlchemy reaches
    duck            a statement that DuckDB answers
      duck_files      remote files for it
    sql_rows        what these two have in common
      sql_types       the types that databases declare
    python          a function of the project
    hub             the Hugging Face Hub
    options         what a job may set of each; light
      sql_options     … of those that ask a database
    problems        problems of data, gathered
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from runner.column_types import ColumnType
from runner.connections import Connection
from runner.errors import Location, Problem


def _in_statement(line: int | None, _token: str | None) -> Location:
    return Location("<statement>", line)


@dataclass(frozen=True, slots=True)
class DatasetContext:
    """What a dataset may know of the project it is read for.

    `root` is what relative paths resolve against. `used` are the columns that the job reads, where it reads only
    some: of the others a dataset need yield nothing; None where all are wanted. `environ` is the environment with
    what `.env` adds; it holds secrets. `connection` is the database that the job names, where it does.
    `statement_at` says where a line (from 1) or a word of the dataset's statement is written. `scratch` is a folder for
    what does not fit into memory, made where it is missing.
    """

    root: Path
    used: Collection[str] | None = None
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    connection: Connection | None = None
    statement_at: Callable[[int | None, str | None], Location] = _in_statement
    scratch: Path | None = None


class SourceRow(NamedTuple):
    """One row as the source has it; `file` and `line` (1-based, where the row begins) say where it stands.

    Values are those that a row may hold (`runner.values.held` makes them of other libraries' own).
    """

    values: Mapping[str, Any]
    file: str
    line: int | None = None


class Dataset(Protocol):
    """An opened source of rows."""

    def columns(self) -> tuple[str, ...] | None:
        """The columns that every row has, where they are known without reading all of it (a csv header); else None.
        Those that the job does not use are named too, also where rows come without them."""
        ...

    def rows(self) -> Iterator[SourceRow]:
        """All rows in order. Raises InputError."""
        ...


@runtime_checkable
class TypedDataset(Dataset, Protocol):
    """A dataset that can say of what type its columns are, as a table's file or a query's result does. Then the rows
    are not looked at for that, and a table of them has these columns, also where there are no rows."""

    def column_types(self) -> Mapping[str, ColumnType] | None:
        """Every column that rows have, in order, with its type, and no other; None where it is not known after all."""
        ...


class ComparedFiles(Struct, frozen=True):
    """What comparing the columns of a dataset's files came to: how many of them were looked at, and what is wrong."""

    looked_at: int
    files: int
    problems: Sequence[Problem]


@runtime_checkable
class DatasetOfFiles(Dataset, Protocol):
    """A dataset of several files, each of which says what columns it has."""

    def compare_files(self, at_most: int) -> ComparedFiles:
        """Compare the columns of the files, of so many of them at most; reads no rows."""
        ...


def declared_types(dataset: Dataset) -> Mapping[str, ColumnType] | None:
    """What a dataset declares of its columns, where it does."""
    return dataset.column_types() if isinstance(dataset, TypedDataset) else None
