"""What stops a command: the exception tree, where a problem is, and how it is shown.

Owns   `RunnerError` and its children, `Location`, `Problem`, the exit status of each, `render`, the one function that
       turns an error into text, and `closest`, which every "did you mean" asks. A row that did not
       work out is not an exception but a `types.Failure`.
Knows  nothing of the rest of the project.

    RunnerError                  what, hint, code                                       (exit status)
    ├─ UsageError                the command line                                             2
    ├─ SpecError                 a group of located problems in the job, all at once          3
    ├─ PlanError                 a well-formed job that cannot be planned                     3
    ├─ InputError                problems in the dataset, found at enrolment                  3
    ├─ SetupError                credentials, permission, disk, a missing extra               4
    │    MissingExtras           the same for all libraries that a sound job lacks at once    4
    ├─ LedgerError               locked, damaged, newer version, another job's run            4
    ├─ BudgetError               the cap, or the confirmation, stands in the way              4
    └─ DeliveryError             a sink was not delivered                                     4

Anything else that reaches `cli.main` is a bug in runner: exit status 1, with a traceback.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from msgspec import Struct


class Location(Struct, frozen=True):
    """A place in a file. `line` and `column` are 1-based, columns count characters; `length` is what the caret
    underlines.

    `source` is the text of that line, so that an error can be shown after the file has changed.
    """

    file: str
    line: int | None = None
    column: int | None = None
    length: int = 1
    source: str | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


class Problem(Struct, frozen=True):
    """One thing that is wrong: what was found and expected (`message`), where, and what to do next (`hint`).

    `code` is kebab-case and stable; every code is listed in docs/errors.md.
    """

    code: str
    message: str
    where: Location | None = None
    hint: str | None = None
    severity: str = "error"

    def to_dict(self) -> dict[str, Any]:
        where = self.where
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "file": where.file if where else None,
            "line": where.line if where else None,
            "column": where.column if where else None,
            "hint": self.hint,
        }


class RunnerError(Exception):
    """The command cannot go on. `code` names the condition, `hint` says what to do about it."""

    exit_status: ClassVar[int] = 1
    default_code: ClassVar[str] = "error"

    def __init__(
        self, message: str, *, hint: str | None = None, code: str | None = None, where: Location | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code
        self.where = where

    @property
    def problems(self) -> Sequence[Problem]:
        return (Problem(self.code, self.message, self.where, self.hint),)

    def __reduce__(self) -> Any:
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(kind: type[RunnerError], args: tuple[Any, ...], state: dict[str, Any]) -> RunnerError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class _ManyProblems(RunnerError):
    """An error that is a list of problems, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise ValueError("an error needs at least one problem")
        first = problems[0]
        super().__init__(first.message, hint=first.hint, code=first.code, where=first.where)
        self._problems = tuple(problems)

    @property
    def problems(self) -> Sequence[Problem]:
        return self._problems


class UsageError(RunnerError):
    exit_status = 2
    default_code = "usage"


class SpecError(_ManyProblems):
    exit_status = 3


class InputError(_ManyProblems):
    exit_status = 3


class PlanError(RunnerError):
    exit_status = 3
    default_code = "cannot-plan"


class SetupError(RunnerError):
    exit_status = 4
    default_code = "setup"


class MissingExtras(_ManyProblems, SetupError):
    """Nothing is wrong with the job, but libraries that it needs are not installed; each hint has the command."""


class LedgerError(RunnerError):
    exit_status = 4
    default_code = "ledger"


class BudgetError(RunnerError):
    exit_status = 4
    default_code = "budget"


class DeliveryError(RunnerError):
    exit_status = 4
    default_code = "delivery"


def closest(name: str, options: Iterable[str]) -> str | None:
    """The option that was probably meant, None where nothing is close. Case does not count, and of two that are near
    the one with the same letters in another order is meant: `modle` is `model` and not `mode`."""
    folded = {option.casefold(): option for option in options}
    near = difflib.get_close_matches(name.casefold(), list(folded), n=3)
    swapped = [option for option in near if sorted(option) == sorted(name.casefold())]
    return next((folded[option] for option in (*swapped, *near)), None)


def render(error: RunnerError) -> str:
    """Show an error as text, in the shape editors can click on."""
    blocks = render_problems(error.problems)
    if len(error.problems) > 1:
        blocks.append(f"{len(error.problems)} problems")
    return "\n\n".join(blocks)


def render_problems(problems: Sequence[Problem]) -> list[str]:
    """One block a problem; rows one behind the other that have the same cure are one block, which says it once."""
    blocks = []
    for _, group in itertools.groupby(enumerate(problems), _cured_alike):
        *others, last = [problem for _, problem in group]
        blocks.append("\n".join([*map(_head, others), render_problem(last)]))
    return blocks


def _cured_alike(numbered: tuple[int, Problem]) -> object:
    number, problem = numbered
    quotes = problem.where is not None and problem.where.source is not None
    return number if quotes or problem.hint is None else (problem.severity, problem.code, problem.hint)


def _head(problem: Problem) -> str:
    where = f"{problem.where}: " if problem.where else ""
    return f"{where}{problem.severity}[{problem.code}]: {problem.message}"


def render_problem(problem: Problem) -> str:
    where = problem.where
    lines = [_head(problem)]
    if where is not None and where.source is not None and where.line is not None:
        number = str(where.line)
        source = where.source.rstrip("\r\n").replace("\t", " ")
        lines.append(f"  {number} | {source}")
        if where.column is not None:
            length = max(1, min(where.length, len(source) - where.column + 1))
            lines.append(f"  {' ' * len(number)} | {' ' * (where.column - 1)}{'^' * length}")
    if problem.hint:
        lines.extend(f"  {line}" for line in problem.hint.splitlines())
    return "\n".join(lines)
