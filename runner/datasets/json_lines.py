"""Rows of jsonl files: one JSON object a line.

Knows  lines of text, split at line feeds only (a U+2028 inside a string is no line end). Blank lines are no rows. A
       line that is unsound does not spoil the next one, so several are told at once.

Source: jsonlines.org.
"""

from __future__ import annotations

from collections.abc import Iterator

from runner.datasets import SourceRow
from runner.datasets.problems import ProblemList, data_problem
from runner.datasets.streams import STDIN_NAME, Source
from runner.datasets.strict_json import BadJson, parse
from runner.errors import Problem


def read_json_lines(source: Source, found: ProblemList) -> Iterator[SourceRow]:
    """All sound rows; unsound ones go to `found`."""
    file = source.name
    for number, line in enumerate(source.lines(), 1):
        try:
            values = parse(line)
        except BadJson as error:
            if line.strip(" \t\r\n"):
                found.add(_unsound(error, line, file, number))
            continue
        if isinstance(values, dict):
            yield SourceRow(values, file, number)
        else:
            found.add(not_an_object(values, file, number))


def not_an_object(value: object, file: str, line: int, column: int | None = None) -> Problem:
    """The problem of a row that is some other JSON value."""
    message = f"the row is {_JSON_NAMES.get(type(value), 'a number')}, not an object"
    return data_problem(
        "not-an-object", message, file, line, column=column, hint='a row names its columns: {"text": "…"}'
    )


def _unsound(error: BadJson, line: str, file: str, number: int) -> Problem:
    hint = error.hint
    if number == 1 and line.lstrip().startswith("["):
        hint = "it begins like one JSON array: name the file .json"
    elif number == 1 and file == STDIN_NAME:
        hint = "stdin is read as jsonl, one JSON object a line; rows of another format have to be in a file"
    column = error.position + 1 if error.position is not None else None
    return data_problem(error.code, str(error), file, number, column=column, hint=hint)


_JSON_NAMES = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
