"""The sink of an xlsx file: one sheet, its header in the first row.

Owns   how a value stands in a cell, and Excel's limits.
Knows  xlsxwriter, which is imported when the file is opened and not before, and writes row by row (`constant_memory`).

    text                        a text, never a formula
    number, boolean             themselves; an integer of more than 15 digits is a text of them
    date, datetime              Excel's, from 1900-03-01 on, with the time to the millisecond; earlier ones are texts.
                                With a zone: the time in UTC, as Excel has no zones
    time                        Excel's
    bytes, lists, mappings      base64, JSON

Columns that the output's schema calls dates are dates here, though a record holds them as texts. Null is an empty cell.

What Excel cannot hold is told before anything is lost: more records than a sheet has rows stop the delivery (and the
run before it, where the dataset has as many), and a record with a longer text than a cell takes is left out and told.

Sources: Microsoft, "Excel specifications and limits" (1,048,576 rows by 16,384 columns, 32,767 characters a cell, 15
digits a number); ECMA-376, part 1, section 18.17.4 (serial dates; 1900-02-29 counts, though that day was none).
"""

from __future__ import annotations

import datetime as dt
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from runner.column_types import ColumnType
from runner.encoding import encode_text, printable
from runner.errors import DeliveryError, Problem, SpecError
from runner.extras import require
from runner.sinks import Refused, SinkContext
from runner.sinks.fitting import Misfit, fitter
from runner.sinks.options import XlsxOptions
from runner.sinks.spreadsheets import as_text
from runner.sinks.staged_sink import Staged, StagedSink, refuse_compression
from runner.sinks.staging import StagedFile
from runner.sinks.typed_columns import typed_columns
from runner.types import Record
from runner.values import json_form, text_form

MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
MAX_CHARACTERS = 32_767
"""As Excel counts them: two for what UTF-16 has two units for."""
_MAX_EXACT = 10**15 - 1
"""Excel keeps 15 digits of a number."""
_FIRST_DAY = dt.date(1900, 3, 1)
_MADE = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - xlsxwriter takes naive times
"""What the file says of when it was made: nothing, so that equal records make equal bytes."""
_COPIED = 1 << 20


class XlsxSink(StagedSink):
    """Records to the rows of one sheet."""

    Options: ClassVar[type[XlsxOptions]] = XlsxOptions
    kind = "xlsx"

    def __init__(self, options: XlsxOptions, context: SinkContext) -> None:
        """Raises SpecError for a URL that takes no files, and columns that clash or are too many."""
        super().__init__(options.path, context, overwrite=options.overwrite)
        refuse_compression(options.path, self.kind)
        require("xlsxwriter", "an xlsx file")
        self._typed = typed_columns(options, context)
        self._escapes = options.spreadsheet
        self._row_count = context.row_count
        self._sheet: _Sheet | None = None
        if len(self._typed.names) > MAX_COLUMNS:
            message = f"{self._target} would have {len(self._typed.names):,} columns, and a sheet has {MAX_COLUMNS:,}"
            raise SpecError([Problem("too-many-columns", message, hint=_INSTEAD)])

    def check(self) -> None:
        super().check()
        if self._row_count is not None and self._row_count >= MAX_ROWS:
            raise self._too_long(self._row_count)

    def _begin(self, staging: Path) -> Staged:
        staged = StagedFile(staging / "part", "")
        self._sheet = _Sheet(staging, self._typed.types)
        self._sheet.write(self._escaped(self._typed.names, self._typed.names))
        return staged

    def _take(self, records: Sequence[Record]) -> None:
        assert self._sheet is not None
        for record in records:
            if self._sheet.rows >= MAX_ROWS:
                raise self._too_long(self._sheet.rows)
            values = self._typed.columns.cells(record)
            cells = self._escaped(self._sheet.cells(values), values)
            refused = self._refused(record.key, cells)
            if refused is None:
                self._sheet.write(cells)
            else:
                self._left_out.add(refused)

    def _escaped(self, cells: Sequence[Any], values: Sequence[Any]) -> Sequence[Any]:
        return list(map(as_text, cells, values)) if self._escapes else cells

    def _refused(self, key: str, cells: Sequence[Any]) -> Refused | None:
        for name, cell in zip(self._typed.names, cells, strict=True):
            if isinstance(cell, str) and len(cell) > MAX_CHARACTERS // 2 and _units(cell) > MAX_CHARACTERS:
                message = f"column {name!r}: a text of {_units(cell):,} characters, and a cell takes {MAX_CHARACTERS:,}"
                return Refused(key, message)
        return None

    def _end(self) -> None:
        assert self._sheet is not None
        assert isinstance(self._staged, StagedFile)
        self._sheet.end(self._staged)
        self._sheet = None

    def _give_up(self) -> None:
        if self._sheet is not None:
            self._sheet.give_up()
            self._sheet = None

    def _too_long(self, records: int) -> DeliveryError:
        message = f"{self._target} cannot hold {records:,} records: a sheet has {MAX_ROWS:,} rows with its header"
        return DeliveryError(message, hint=_INSTEAD, code="too-many-rows")


_INSTEAD = "write csv or parquet instead, or part of it: `rows:`, `columns:`"


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class _Sheet:
    """The file in the making. Its parts are in a folder of their own until `end`."""

    def __init__(self, staging: Path, types: Sequence[ColumnType | None]) -> None:
        import xlsxwriter

        self._folder = tempfile.TemporaryDirectory(prefix="xlsx-", dir=staging)
        self._path = Path(self._folder.name) / "sheet.xlsx"
        options = {"constant_memory": True, "tmpdir": self._folder.name, "use_zip64": True}
        self._book = xlsxwriter.Workbook(str(self._path), options)
        self._book.set_properties({"created": _MADE})
        self._sheet = self._book.add_worksheet("records")
        self._sheet.freeze_panes(1, 0)
        formats = {dt.date: "yyyy-mm-dd", dt.datetime: "yyyy-mm-dd hh:mm:ss", dt.time: "hh:mm:ss"}
        self._formats = {kind: self._book.add_format({"num_format": each}) for kind, each in formats.items()}
        self._fits = [
            fitter(type_) if type_ is not None and type_.kind in ("date", "datetime") else None for type_ in types
        ]
        self.rows = 0

    def cells(self, values: Sequence[Any]) -> list[Any]:
        """What stands in the cells for values: a text, a number, a boolean, Excel's times, or None."""
        return [_cell(value, fits) for value, fits in zip(values, self._fits, strict=True)]

    def write(self, cells: Sequence[Any]) -> None:
        sheet, row = self._sheet, self.rows
        for column, cell in enumerate(cells):
            kind = type(cell)
            if kind is str:
                sheet.write_string(row, column, cell)
            elif kind is bool:
                sheet.write_boolean(row, column, cell)
            elif kind in self._formats:
                sheet.write_datetime(row, column, cell, self._formats[kind])
            elif cell is not None:
                sheet.write_number(row, column, cell)
        self.rows += 1

    def end(self, output: StagedFile) -> None:
        """Copy the finished file to its place."""
        self._book.close()
        with self._path.open("rb") as file:
            while data := file.read(_COPIED):
                output.write(data)
        self._folder.cleanup()

    def give_up(self) -> None:
        self._book.fileclosed = 1  # or it would be written when it is collected
        rows = getattr(self._sheet, "row_data_fh", None)  # its rows so far; the library closes them when it writes
        if rows is not None:
            rows.close()
        self._folder.cleanup()


def _cell(value: Any, fits: Callable[[Any], Any] | None) -> Any:
    if fits is not None and value is not None:
        with suppress(Misfit):  # then it is a text like any other
            value = fits(value)
    match value:
        case None | bool():
            return value
        case str():
            return printable(value)
        case int():
            return value if -_MAX_EXACT <= value <= _MAX_EXACT else str(value)
        case float():
            return value if math.isfinite(value) else json_form(value)
        case Decimal():
            return _number(value)
        case dt.datetime():
            try:
                naive = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo is not None else value
            except OverflowError:  # the first or the last day there is
                return text_form(value)
            return naive if naive.date() >= _FIRST_DAY else text_form(value)
        case dt.date():
            return value if value >= _FIRST_DAY else text_form(value)
        case dt.time() if value.tzinfo is None:
            return value
    form = json_form(value)
    return printable(form if isinstance(form, str) else encode_text(form))


def _number(value: Decimal) -> int | float | str:
    form = json_form(value)
    return str(form) if isinstance(form, int) and not -_MAX_EXACT <= form <= _MAX_EXACT else form
