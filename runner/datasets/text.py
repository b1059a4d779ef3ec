"""The dataset of text files: csv, tsv, jsonl, json; one file or URL, a glob over several, or stdin.

Owns   which reader takes which file, and how problems over several files come together.
Knows  its options and the root. Files are found when it is made, so that a missing one is told at once; each is opened
       when its turn comes, one at a time.

stdin is read once, as jsonl where no format is given; it is not decompressed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, cast, get_args

from runner.column_types import STRING, ColumnType
from runner.datasets import DatasetContext, SourceRow
from runner.datasets.csv_text import DELIMITERS, CsvReader
from runner.datasets.discovery import display_name, find_any
from runner.datasets.json_array import read_json_array
from runner.datasets.json_lines import read_json_lines
from runner.datasets.options import TextFormat, TextOptions
from runner.datasets.problems import Enough, ProblemList, data_error
from runner.datasets.streams import STDIN_NAME, Source, stdin_is_terminal
from runner.errors import InputError
from runner.plugins import kind_of

STDIN = "-"


class TextDataset:
    """Rows of text files, in the order of the files and of the lines in them."""

    Options: ClassVar[type[TextOptions]] = TextOptions

    def __init__(self, options: TextOptions, context: DatasetContext) -> None:
        """Find the files. Raises InputError where there are none, StorageError where a store does not answer."""
        if options.path == STDIN:
            self._sources: tuple[Source, ...] = (Source(STDIN_NAME, None),)
            self._format: TextFormat = options.format or "jsonl"
        else:
            files = find_any(options.path, context.root)
            self._sources = tuple(Source(display_name(file, context.root), file) for file in files)
            self._format = options.format or _format_of(self._sources)
        self._drained = False

    @classmethod
    def open(cls, path: str, root: Path) -> TextDataset:
        """The dataset at a path, its format told by the suffix. Raises InputError."""
        return cls(TextOptions(path=path), DatasetContext(root))

    def columns(self) -> tuple[str, ...] | None:
        """The header of the first csv or tsv file; None for other formats, and for stdin, which cannot be read
        twice."""
        if self._format not in DELIMITERS or self._sources[0].path is None:
            return None
        return CsvReader(self._sources[0], DELIMITERS[self._format]).header()

    def column_types(self) -> Mapping[str, ColumnType] | None:
        """Of csv and tsv: all are texts."""
        columns = self.columns()
        return None if columns is None else dict.fromkeys(columns, STRING)

    def rows(self) -> Iterator[SourceRow]:
        """All rows. Raises InputError with the first problems where the data has any; no row after them is yielded."""
        self._take_stdin()
        found = ProblemList()
        try:
            for row in self._read(found):
                if found:
                    found.look_on()
                else:
                    yield row
        except InputError as error:
            found.take(error)
        except Enough:
            pass
        found.raise_any()

    def _read(self, found: ProblemList) -> Iterator[SourceRow]:
        match self._format:
            case "csv" | "tsv":
                return self._read_csv(found, DELIMITERS[self._format])
            case "jsonl":
                return (row for source in self._sources for row in read_json_lines(source, found))
            case "json":
                return (row for source in self._sources for row in read_json_array(source, found))

    def _read_csv(self, found: ProblemList, delimiter: str) -> Iterator[SourceRow]:
        first = CsvReader(self._sources[0], delimiter)
        yield from first.rows(found)
        for source in self._sources[1:]:
            yield from CsvReader(source, delimiter).rows(found, first)

    def _take_stdin(self) -> None:
        if self._sources[0].path is not None:
            return
        if self._drained:
            raise data_error("stdin-used", "can be read only once", STDIN_NAME, hint="write it to a file first")
        if stdin_is_terminal():
            raise data_error(
                "no-stdin", "is a terminal", STDIN_NAME, hint="pipe the rows in: generate | runner run job.yaml"
            )
        self._drained = True


def _format_of(sources: tuple[Source, ...]) -> TextFormat:
    """The one format that all suffixes tell."""
    first, formats = sources[0], tuple(kind_of(source.name) for source in sources)
    for source, found in zip(sources, formats, strict=True):
        if found not in get_args(TextFormat):
            message = f"the name does not tell one of the formats {', '.join(get_args(TextFormat))}"
            raise data_error(
                "unknown-format", message, source.name, hint="rename it so that its name ends in one of them"
            )
        if found != formats[0]:
            message = f"is {found}, but {first.name} is {formats[0]}"
            raise data_error("mixed-formats", message, source.name, hint="files read as one dataset are of one format")
    return cast(TextFormat, formats[0])
