"""Datasets: where rows come from. This module is the contract of the plugin folder.

A dataset yields `SourceRow`s one after another, in a stable order, in bounded memory, and can be opened more than once
(except stdin). It knows nothing of keys, selection or templates: those are `datasets.selection`, applied to any
dataset.

    dataset = TextDataset(options, root)    constructed from its Options; relative paths resolve against `root`

What is wrong with the data (a ragged line, a line that is not JSON, a wrong encoding) is raised as `errors.InputError`
with the file, the line and the cure. The row where it is found, and every later one, is never yielded: whoever stops
early has seen only sound rows. A dataset may read on for further problems, within bounds, so that several are told at
once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol


class SourceRow(NamedTuple):
    """One row as the source has it; `file` and `line` (1-based, where the row begins) say where it stands."""

    values: Mapping[str, Any]
    file: str
    line: int | None = None


class Dataset(Protocol):
    """An opened source of rows."""

    def columns(self) -> tuple[str, ...] | None:
        """The columns that every row has, where they are known without reading all of it (a csv header); else None."""
        ...

    def rows(self) -> Iterator[SourceRow]:
        """All rows in order. Raises InputError."""
        ...
