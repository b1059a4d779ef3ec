"""From records to bytes: jsonl, csv, tsv.

Owns   the formats. Knows  records and columns; nothing of files.

Everything is UTF-8 with non-ASCII as it is. Lone surrogates have no UTF-8 form and are written as U+FFFD. Lines end in
a line feed in all three: RFC 4180 has CRLF for csv, but every reader takes both, and `diff`, `grep` and `wc` only this
one. In csv and tsv, null is an empty field, true and false are lower case, lists and mappings compact JSON; a field is
quoted where it has to be; NUL, which csv readers refuse, is written as U+FFFD.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import orjson

from runner.encoding import encode_text, printable
from runner.sinks import SinkContext
from runner.sinks.columns import Columns, expression_columns, make_columns
from runner.sinks.options import DelimitedOptions, FileFormat, SinkOptions
from runner.sinks.spreadsheets import as_text
from runner.types import FIELDS_OF_SOME_JOBS, Record
from runner.values import TEXT_FORMS, TypedValues, json_form

_DELIMITERS = {"csv": ",", "tsv": "\t"}


class Encoder(Protocol):
    """Bytes of a file, in order: `header` once, then `encode` for each group of records."""

    def header(self) -> bytes: ...

    def encode(self, records: Sequence[Record]) -> bytes: ...


def make_encoder(file_format: FileFormat, options: SinkOptions, context: SinkContext) -> Encoder:
    """The encoder a sink's options ask for. Raises SpecError where default columns clash."""
    if file_format != "jsonl":
        escapes = isinstance(options, DelimitedOptions) and options.spreadsheet
        return DelimitedEncoder(make_columns(options, context), _DELIMITERS[file_format], escapes=escapes)
    if options.columns is not None:
        return JsonTableEncoder(expression_columns(options.columns, context))
    return RecordEncoder(options.include_row)


class RecordEncoder:
    """jsonl of whole records."""

    def __init__(self, include_row: bool | Sequence[str] = True) -> None:
        self._include_row = include_row

    def header(self) -> bytes:
        return b""

    def encode(self, records: Sequence[Record]) -> bytes:
        return b"".join([self._line(record) for record in records])

    def _line(self, record: Record) -> bytes:
        """What `encode_text` makes of a record, in a third of the time."""
        quick = self._value(record)
        usual = record.turns is None and record.samples is None
        for name in _NOT_ALWAYS_ALIKE if usual else _NOT_ALWAYS_ALIKE_OF_SOME_JOBS:
            part = quick.get(name)
            if type(part) is not str and not _is_alike(part):
                quick[name] = orjson.Fragment(encode_text(part))
        try:
            return orjson.dumps(quick, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # JSONEncodeError is one
            return _json_lines([self._value(record)])

    def _value(self, record: Record) -> dict[str, Any]:
        value = record.to_dict()
        if type(record.row) is TypedValues:
            value["row"] = json_form(record.row)
        if self._include_row is False:
            del value["row"]
        elif self._include_row is not True:
            value["row"] = {name: value["row"].get(name) for name in self._include_row}
        return value


_ALIKE = {str, int, bool, type(None)}
"""What the quick encoder writes as `encode_text` does, where it takes it: it refuses integers of many digits and halves
of surrogate pairs, and writes some floats in another way."""
_NOT_ALWAYS_ALIKE = ("output", "row", "cost_usd")
_NOT_ALWAYS_ALIKE_OF_SOME_JOBS = (*_NOT_ALWAYS_ALIKE, *FIELDS_OF_SOME_JOBS)


def _is_alike(value: Any) -> bool:
    """Whether both encoders write the same; of a mapping's values only plain ones are looked at."""
    if type(value) is dict:
        return _ALIKE.issuperset(map(type, value.values())) and _TEXT_NAMES.issuperset(map(type, value))
    if type(value) is float:
        return 1e-4 <= abs(value) < 1e16 or value == 0  # beyond, one writes 9.9e-05 and the other 0.000099
    return type(value) in _ALIKE


_TEXT_NAMES = {str}


class JsonTableEncoder:
    """jsonl of the columns that a job names."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._names = columns.names

    def header(self) -> bytes:
        return b""

    def encode(self, records: Sequence[Record]) -> bytes:
        cells = self._columns.cells
        return _json_lines(dict(zip(self._names, cells(record), strict=True)) for record in records)


class DelimitedEncoder:
    """csv and tsv."""

    def __init__(self, columns: Columns, delimiter: str, *, escapes: bool = False) -> None:
        """`escapes`: whether texts that a spreadsheet would compute are kept from it."""
        self._columns = columns
        self._cell = _escaped if escapes else _cell
        self._lines: list[str] = []
        # Before Python 3.11.9 the writer quotes a lone carriage return only where its own line end has one (measured
        # with 3.11.7), and unquoted it breaks every reader: so it is told CRLF, and `write` makes a line feed of that.
        self._writer = csv.writer(self, delimiter=delimiter, lineterminator="\r\n")

    def header(self) -> bytes:
        self._writer.writerow(map(self._cell, self._columns.names))
        return self._take()

    def encode(self, records: Sequence[Record]) -> bytes:
        cells, cell = self._columns.cells, self._cell
        self._writer.writerows([cell(value) for value in cells(record)] for record in records)
        return self._take()

    def write(self, line: str) -> None:
        """Called by the csv writer with each line."""
        self._lines.append(line[:-2])

    def _take(self) -> bytes:
        text = _joined(self._lines).replace("\0", "\ufffd")
        self._lines.clear()
        return _utf8(text)


def _cell(value: Any) -> Any:
    """A value as the csv writer takes it: text and numbers as they are, None as an empty field."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in TEXT_FORMS:
        return TEXT_FORMS[kind](value)
    form = json_form(value)
    return form if type(form) is str else encode_text(form)


def _escaped(value: Any) -> Any:
    return as_text(_cell(value), value)


_PLAIN = {str, int, float, type(None)}


def _json_lines(values: Iterable[Any]) -> bytes:
    return _utf8(_joined([_json_text(value) for value in values]))


def _json_text(value: Any) -> str:
    try:
        return encode_text(value)
    except (TypeError, ValueError):  # a date, bytes, NaN
        return encode_text(json_form(value))


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n" if lines else ""


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return printable(text).encode()
