"""Rows of csv and tsv files.

Owns   the dialect and what makes a line unsound.
Knows  lines of text. Values are strings as they stand; an empty field is the empty string.

The dialect is RFC 4180 with either line end: fields may be quoted, a quote in a quoted field is doubled, quoted fields
may hold line breaks. A tsv is the same with tabs. The first line names the columns. Blank lines are no rows. Quotes
inside an unquoted field are taken as they are (`5" pipe`), as every spreadsheet writes and reads them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import closing

from runner.datasets import SourceRow
from runner.datasets.problems import MAX_PROBLEMS, ProblemList, data_error, data_problem
from runner.datasets.streams import Source
from runner.errors import InputError, Problem

MAX_FIELD_CHARACTERS = 32 * 1024 * 1024
"""The API's limit of a request is 32 MB: no longer field could be sent. It also bounds what a quote that is never
closed swallows before it is told."""

csv.field_size_limit(MAX_FIELD_CHARACTERS)  # of the whole process; the default of 131,072 is shorter than documents are

DELIMITERS = {"csv": ",", "tsv": "\t"}
_OTHER_DELIMITERS = {
    ";": ("semicolon", "save it with commas, as .csv, or with tabs, as .tsv"),
    "\t": ("tab", "end its name in .tsv"),
    ",": ("comma", "end its name in .csv"),
}


class CsvReader:
    """One file, read from its beginning each time."""

    def __init__(self, source: Source, delimiter: str) -> None:
        self._source = source
        self._delimiter = delimiter

    @property
    def name(self) -> str:
        return self._source.name

    def header(self) -> tuple[str, ...]:
        """The columns; reads no further than the first line. Raises InputError where they are unsound."""
        with closing(self._source.lines()) as lines:
            return self._header(_Records(self.name, lines, self._delimiter))

    def rows(self, found: ProblemList, first: CsvReader | None = None) -> Iterator[SourceRow]:
        """All sound rows; ragged ones go to `found`. The columns must be those of `first`. Raises InputError."""
        records = _Records(self.name, self._source.lines(), self._delimiter)
        header = self._header(records)
        if first is not None:
            self._agree(header, first)
        width, name = len(header), self.name
        for line, fields in records:
            if len(fields) == width:
                yield SourceRow(dict(zip(header, fields, strict=False)), name, line)
            elif fields:
                found.add(self._ragged(line, len(fields), width))

    def _header(self, records: _Records) -> tuple[str, ...]:
        line, names = next(((line, fields) for line, fields in records if fields), (1, []))
        if not names:
            hint = "a csv file begins with a line of column names, also where it has no rows"
            raise data_error("no-header", "is empty", self.name, hint=hint)
        problems = self._other_delimiter(names[0], line) if len(names) == 1 else []
        for place, name in enumerate(names):
            if not name.strip():
                hint = "name every column in the first line"
                problems.append(
                    data_problem("bad-header", f"column {place + 1} has no name", self.name, line, hint=hint)
                )
            elif name in names[:place]:
                message = f"two columns are named {name!r}: {names.index(name) + 1} and {place + 1}"
                problems.append(data_problem("bad-header", message, self.name, line, hint="rename one of them"))
        if problems:
            raise InputError(problems[:MAX_PROBLEMS])
        return tuple(names)

    def _other_delimiter(self, name: str, line: int) -> list[Problem]:
        """One column whose name has delimiters in it is a header that was not split."""
        for delimiter, (word, cure) in _OTHER_DELIMITERS.items():
            if delimiter in name and delimiter != self._delimiter:
                message = f"the only column has a {word} in its name: is the file separated by {word}s?"
                return [data_problem("bad-header", message, self.name, line, hint=cure)]
        return []

    def _ragged(self, line: int, count: int, width: int) -> Problem:
        name = "tab" if self._delimiter == "\t" else "comma"
        if count > width:
            hint = f'put a value that has a {name} in it in double quotes: "a{self._delimiter}b"'
        elif width > 1 and count == 1:
            hint = "put a value with a line break in it in double quotes; remove lines that are no rows"
        else:
            hint = f"write a {name} for each empty value too"
        message = f"the row has {count} field{'s' * (count != 1)}, the header {width}"
        return data_problem("ragged-row", message, self.name, line, hint=hint)

    def _agree(self, header: tuple[str, ...], first: CsvReader) -> None:
        expected = first.header()
        if header == expected:
            return
        missing = ", ".join(repr(name) for name in expected if name not in header)
        extra = ", ".join(repr(name) for name in header if name not in expected)
        parts = [f"it lacks {missing}"] if missing else []
        parts += [f"it also has {extra}"] if extra else []
        message = f"its columns are not those of {first.name}: {' and '.join(parts) or 'their order differs'}"
        hint = "files read as one dataset need the same header; narrow the pattern or mend the file"
        raise data_error("header-mismatch", message, self.name, 1, hint=hint)


class _Records:
    """Lists of fields, each with the physical line it begins at."""

    def __init__(self, file: str, lines: Iterator[str], delimiter: str) -> None:
        self._file = file
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        reader = self._reader
        line = reader.line_num + 1
        try:
            for fields in reader:
                yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise self._unsound(error, line) from error

    def _unsound(self, error: csv.Error, line: int) -> InputError:
        """The reader's errors, told by their cause; after one of them it cannot say where the next row begins."""
        text = str(error)
        if "unexpected end of data" in text or "field limit" in text:
            message, hint = (
                "a double quote opens a field and is never closed",
                'a quote inside a quoted field is doubled: "a ""b"" c"',
            )
        elif "expected after" in text:
            message, hint = "text follows a closing quote", 'a quote inside a quoted field is doubled: "a ""b"" c"'
        elif "new-line character" in text:
            message, hint = "has a carriage return outside of quotes", "convert the line ends: tr '\\r' '\\n'"
        else:
            message, hint = f"is not csv: {text}", "mend the line"
        last = self._reader.line_num
        where = f" (read up to line {last})" if last > line else ""
        return data_error("bad-csv", message + where, self._file, line, hint=hint)
