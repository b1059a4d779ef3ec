"""Problems of data, gathered so that one enrolment tells many of them.

Owns   how many are gathered, and for how long a reader looks on after the first.
Knows  `errors` only. Messages hold positions and counts, never a row's content, which may be private.
"""

from __future__ import annotations

from runner.errors import InputError, Location, Problem

MAX_PROBLEMS = 20
"""Told at once. A file that is wrong throughout is not worth a longer list."""

LOOK_AHEAD = 100_000
"""Rows that are still looked at after the first problem: under a second of reading, whatever the file's size."""


class Enough(Exception):
    """It is time to stop looking for further problems. Never leaves the dataset or the selection."""


class ProblemList:
    """Problems in the order they were found."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._looked_at = 0

    def __bool__(self) -> bool:
        return bool(self._problems)

    def add(self, *problems: Problem) -> None:
        """Note problems. Raises Enough where there are enough of them."""
        self._problems.extend(problems)
        if len(self._problems) >= MAX_PROBLEMS:
            raise Enough

    def take(self, error: InputError) -> None:
        """Note what ended the reading."""
        self._problems.extend(error.problems)

    def look_on(self) -> None:
        """Count a sound row seen after the first problem. Raises Enough where that is far enough."""
        self._looked_at += 1
        if self._looked_at >= LOOK_AHEAD:
            raise Enough

    def raise_any(self) -> None:
        """Raise InputError with the first problems, where there are any."""
        if self._problems:
            raise InputError(self._problems[:MAX_PROBLEMS])


def data_problem(
    code: str, message: str, file: str, line: int | None = None, *, column: int | None = None, hint: str | None = None
) -> Problem:
    return Problem(code, message, Location(file, line, column), hint)


def data_error(
    code: str, message: str, file: str, line: int | None = None, *, column: int | None = None, hint: str | None = None
) -> InputError:
    """One problem after which the file cannot be read on."""
    return InputError([data_problem(code, message, file, line, column=column, hint=hint)])
