"""Rows of json files: one array of objects, read in bounded memory.

Owns   the walk over the array: which characters stand between rows, and when more text must be read.
Why    a json file may be larger than memory, on one line. An object ends with `}`, so that a value which parses in full
       is complete wherever the text was cut; one that does not is tried again with more text, twice as much each time,
       so that the work stays linear in the length of a row.
Knows  chunks of text of any length: rows do not depend on where they are cut.

After text that is no JSON nothing can be said of what follows, so the first such error ends the file; rows that are
values other than objects are gathered.
"""

from __future__ import annotations

from collections.abc import Iterator

from runner.datasets import SourceRow
from runner.datasets.json_lines import not_an_object
from runner.datasets.problems import ProblemList, data_error
from runner.datasets.streams import MAX_LINE_BYTES, Source
from runner.datasets.strict_json import BadJson, parse_at
from runner.errors import InputError

_SHAPE = 'a json file is one array of objects: [{"text": "…"}, …]'
_CUT_OFF = "the file is cut off: make or fetch it again"
_BLANKS = " \t\r\n"


def read_json_array(source: Source, found: ProblemList) -> Iterator[SourceRow]:
    """All sound rows; values that are no objects go to `found`. Raises InputError where the text is no JSON array."""
    walk = _Walk(source)
    walk.enter()
    while walk.next_row():
        line, column = walk.place()
        value = walk.value()
        if isinstance(value, dict):
            yield SourceRow(value, source.name, line)
        else:
            found.add(not_an_object(value, source.name, line, column))
    walk.leave()


class _Walk:
    """A position in the text of one file, of which only the part not used yet is held."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._chunks = source.chunks()
        self._text = ""
        self._at = 0
        self._ended = False
        self._rows = 0
        self._counted = 0  # a place in `_text`, up to which lines are counted
        self._lines = 0  # line ends before it
        self._line_start = 0  # where its line begins in `_text`; negative where that part is dropped

    def place(self) -> tuple[int, int]:
        """The physical line and column of the position, 1-based."""
        ends = self._text.count("\n", self._counted, self._at)
        if ends:
            self._lines += ends
            self._line_start = self._text.rindex("\n", self._counted, self._at) + 1
        self._counted = self._at
        return self._lines + 1, self._at - self._line_start + 1

    def enter(self) -> None:
        """Go past the bracket that opens the array."""
        opening = self._peek()
        if opening == "[":
            self._at += 1
            return
        if not opening:
            raise self._error("bad-json", "is empty", f"{_SHAPE}; without rows it is []")
        if opening == "{":
            hint = f"{_SHAPE}. One object a line: name the file .jsonl. Rows in a field: take them out by jq .field"
            raise self._error("not-an-array", "is an object, not an array", hint)
        raise self._error("not-an-array", "does not begin with [", _SHAPE)

    def next_row(self) -> bool:
        """Go to where the next value begins; False at the end of the array."""
        mark = self._peek()
        if mark == "]":
            self._at += 1
            return False
        if self._rows:
            if mark != ",":
                cure = "is a comma missing between two rows?" if mark else _CUT_OFF
                raise self._error("bad-json", self._found(mark, "a comma or ]"), cure)
            self._at += 1
            if self._peek() == "]":
                raise self._error("bad-json", "a comma stands before the closing ]", "remove it")
        if not self._peek():
            raise self._error("bad-json", self._found("", "a row or ]"), _CUT_OFF)
        self._rows += 1
        return True

    def value(self) -> object:
        """The value at the position, which moves behind it."""
        is_object = self._text[self._at] == "{"
        wanted = len(self._text) - self._at
        while True:
            try:
                value, end = parse_at(self._text, self._at)
                # 12 may be the beginning of 123, or with an `e-` behind it of 12e-3: only a bracket says where it ends
                if is_object or end + len("e-") < len(self._text) or self._ended:
                    self._at = end
                    return value
            except BadJson as error:
                if not error.at_end or self._ended:
                    raise self._unsound(error) from error
            if wanted == MAX_LINE_BYTES:
                raise self._error(
                    "line-too-long",
                    f"the row is longer than {MAX_LINE_BYTES // 1024**2} MiB",
                    "no request could hold it",
                )
            wanted = min(wanted * 2, MAX_LINE_BYTES)
            self._read(wanted)

    def leave(self) -> None:
        """Make sure that nothing follows the array."""
        if self._peek():
            raise self._error(
                "bad-json", "more text follows the array", "a json file holds one array; are there several joined?"
            )

    def _peek(self) -> str:
        """The next character that is not blank, to which the position moves; empty at the end of the file."""
        while True:
            text = self._text
            while self._at < len(text) and text[self._at] in _BLANKS:
                self._at += 1
            if self._at < len(text):
                return text[self._at]
            if self._ended:
                return ""
            self._read(1)

    def _read(self, wanted: int) -> None:
        """Drop what was used and read on until `wanted` characters are there, or the file ends."""
        self.place()  # counts the lines of what is dropped
        self._line_start -= self._at
        parts = [self._text[self._at :]]
        there = len(parts[0])
        while there < wanted and not self._ended:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._ended = True
            else:
                parts.append(chunk)
                there += len(chunk)
        self._text = "".join(parts)
        self._at = self._counted = 0

    def _unsound(self, error: BadJson) -> InputError:
        if error.position is not None:
            self._at = error.position
        rest = self._text[self._at :].rstrip()
        hint = error.hint if error.code != "bad-json" else _SHAPE if rest.endswith("]") else _CUT_OFF
        return self._error(error.code, f"row {self._rows}: {error}", hint)

    def _found(self, mark: str, expected: str) -> str:
        return f"expected {expected}, found {mark!r}" if mark else f"expected {expected}, found the end of the file"

    def _error(self, code: str, message: str, hint: str) -> InputError:
        line, column = self.place()
        return data_error(code, message, self._source.name, line, column=column, hint=hint)
