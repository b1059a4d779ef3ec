"""The dataset of Excel workbooks: a sheet of one file or URL, or of each of a glob's.

Owns   what a cell is as a row's value, the header, and what is wrong with a workbook.
Knows  its options and what it may know of the project. Files are found when it is made; a sheet is held as a whole
       while its rows are taken (it has 1,048,576 rows at most), one at a time.

The first row that has anything in it names the columns; empty rows are no rows. An empty cell is null, and so is one
with an error (`#N/A`). Excel knows no whole numbers: 5.0 is 5. A date without a time of day is a date, also where other
cells of the column have one. Of a formula its stored result is taken. A row's place is its number in the sheet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, PasswordError

from runner.datasets import DatasetContext, SourceRow
from runner.datasets.discovery import display_name, find_any
from runner.datasets.options import WorkbookOptions
from runner.datasets.problems import MAX_PROBLEMS, data_error, data_problem
from runner.errors import InputError, Problem, closest
from runner.storage import RemoteFile
from runner.values import text_form

_EXACT = 2**53
"""Up to here every whole number is a float."""


class _Book(NamedTuple):
    name: str
    path: Path | RemoteFile


class WorkbookDataset:
    """Rows of sheets, in the order of the files and of the rows in them."""

    Options: ClassVar[type[WorkbookOptions]] = WorkbookOptions

    def __init__(self, options: WorkbookOptions, context: DatasetContext) -> None:
        """Find the files. Raises InputError where there are none."""
        found = find_any(options.path, context.root)
        self._books = tuple(_Book(display_name(file, context.root), file) for file in found)
        self._sheet = options.sheet
        self._header: tuple[str, ...] | None = None
        self._opened: CalamineSheet | None = None

    def columns(self) -> tuple[str, ...]:
        """The header of the first workbook's sheet. Raises InputError."""
        if self._header is None:
            self._opened = self._sheet_of(self._books[0])
            self._header = _Sheet(self._opened, self._books[0].name).header
        return self._header

    def rows(self) -> Iterator[SourceRow]:
        expected = self.columns()
        for book in self._books:
            is_first = book is self._books[0]
            opened, self._opened = (self._opened if is_first else None), None
            sheet = _Sheet(opened or self._sheet_of(book), book.name)
            if sheet.header != expected:
                raise self._other_columns(expected, sheet)
            yield from sheet.rows()

    def _sheet_of(self, book: _Book) -> CalamineSheet:
        with _told(book.name):
            workbook = _opened(book.path)
            names = workbook.sheet_names
            if self._sheet is None and names:
                return workbook.get_sheet_by_index(0)
            if self._sheet in names:
                return workbook.get_sheet_by_name(self._sheet)
        near = closest(self._sheet or "", names)
        hint = f"did you mean `{near}`?" if near else f"its sheets: {', '.join(map(repr, names)) or 'none'}"
        what = f"has no sheet {self._sheet!r}" if self._sheet else "has no sheet"
        raise data_error("no-such-sheet", what, book.name, hint=hint)

    def _other_columns(self, expected: tuple[str, ...], sheet: _Sheet) -> InputError:
        missing = ", ".join(repr(name) for name in expected if name not in sheet.header)
        extra = ", ".join(repr(name) for name in sheet.header if name not in expected)
        parts = [f"it lacks {missing}"] if missing else []
        parts += [f"it also has {extra}"] if extra else []
        why = " and ".join(parts) or "their order differs"
        message = f"its columns are not those of {self._books[0].name}: {why}"
        hint = "files read as one dataset need the same header; narrow the pattern or mend the file"
        return data_error("header-mismatch", message, sheet.name, sheet.header_line, hint=hint)


class _Sheet:
    """One sheet with its header, once through."""

    def __init__(self, sheet: CalamineSheet, name: str) -> None:
        self.name = name
        self._first_column = (sheet.start or (0, 0))[1]
        self._lines = enumerate(([_value(cell) for cell in cells] for cells in sheet.iter_rows()), 1)
        empty: tuple[int, list[Any]] = (1, [])
        self.header_line, names = next(((line, cells) for line, cells in self._lines if _has_any(cells)), empty)
        if not names:
            raise data_error("no-header", "the sheet is empty", name, hint="its first row names the columns")
        while names[-1] is None:
            names.pop()
        self.header = self._named(names)

    def _named(self, cells: list[Any]) -> tuple[str, ...]:
        names: list[str] = []
        problems: list[Problem] = []
        for place, cell in enumerate(cells):
            name = "" if cell is None else text_form(cell)
            column = self._letters(place)
            if not name.strip():
                problems.append(self._problem(f"column {column} has no name", "name every column, or remove it"))
            elif name in names:
                other = self._letters(names.index(name))
                message = f"two columns are named {name!r}: {other} and {column}"
                problems.append(self._problem(message, "rename one of them"))
            names.append(name)
        if problems:
            raise InputError(problems[:MAX_PROBLEMS])
        return tuple(names)

    def rows(self) -> Iterator[SourceRow]:
        header, width, name = self.header, len(self.header), self.name
        for line, cells in self._lines:
            if not _has_any(cells):
                continue
            if _has_any(cells[width:]):
                column = self._letters(next(place for place in range(width, len(cells)) if cells[place] is not None))
                message = f"there is a value in column {column}, which has no name"
                hint = f"name the column in row {self.header_line}, or remove it"
                raise data_error("ragged-row", message, name, line, hint=hint)
            yield SourceRow(dict(zip(header, cells, strict=False)), name, line)

    def _problem(self, message: str, hint: str) -> Problem:
        return data_problem("bad-header", message, self.name, self.header_line, hint=hint)

    def _letters(self, place: int) -> str:
        """A column as Excel names it: A, B, … AA."""
        number, letters = self._first_column + place + 1, ""
        while number:
            number, letter = divmod(number - 1, 26)
            letters = chr(ord("A") + letter) + letters
        return letters


def _has_any(cells: list[Any]) -> bool:
    return any(cell is not None for cell in cells)


def _value(cell: Any) -> Any:
    if type(cell) is str:
        return cell or None
    if type(cell) is float and cell.is_integer() and abs(cell) <= _EXACT:
        return int(cell)
    return cell


def _opened(file: Path | RemoteFile) -> CalamineWorkbook:
    if isinstance(file, Path):
        return CalamineWorkbook.from_path(str(file))
    with file.open() as stream:
        return CalamineWorkbook.from_filelike(stream)


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except PasswordError as error:
        hint = "save it without one"
        raise data_error("unreadable-file", "is protected by a password", name, hint=hint) from error
    except CalamineError as error:
        message = f"is no Excel workbook, or damaged: {error}"
        raise data_error("damaged-file", message, name, hint="save it again, as .xlsx") from error
    except OSError as error:
        raise data_error("unreadable-file", f"cannot be read: {error.strerror or error}", name) from error
