"""The page of error codes, from two sources that cannot lie: the broken jobs of the tests, and the code itself.

Owns   `errors_page`. A code that a broken job brings about is shown as a person sees it; any other is listed with the
       message that the source gives it, values left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path

from runner import errors
from runner.errors import Problem, RunnerError, SpecError, render_problem
from runner.spec.columns import check_columns
from runner.spec.load import load

ROOT = Path(__file__).resolve().parents[1]
BAD_JOBS = ROOT / "tests" / "support" / "bad_jobs"
HEADER = ("id", "text", "stars")
"""The columns of the broken jobs' data/reviews.csv."""

PASSED_ON = {
    "database-error": "what the database says of a statement",
    "bad-csv": "what Python's csv reader says of an asset, with its line",
    "damaged": "what is damaged in the run's folder, and where",
    "price-file": "what is wrong with the file of your own prices",
    "nul-byte": "a line has a NUL byte: is the file binary, UTF-16 or damaged?",
    "template": "what went wrong while a template was rendered, with its line",
    "toml-syntax": "what Python's TOML reader says, with its place",
}
"""Codes whose message comes from elsewhere: what it is about."""

_FAR = 99
MAKERS = {
    "Problem": (0, 1),
    "ParamProblem": (1, 2),
    "data_error": (0, 1),
    "data_problem": (0, 1),
    "_row_problem": (1, 2),
    "_NoKey": (0, 1),
    "BadJson": (0, 1),
    "self._error": (0, 1),
    "self._tell": (0, 1),
    "ToolError": (0, 1),
    "Fault": (0, 1),
    "Refusal": (2, 0),
    "TemplateFailure": (_FAR, 2),
}
"""What makes a problem of a job or its data, and the places of code and message among its arguments; `_FAR` is a code
that is only given by its name."""

INTRODUCTION = """\
# Errors

Made by `make docs`. Every error that runner tells has a code, which stays the same between versions; `--format json`
has it as `code`. The shape is `file:line:column: error[code]: what was found`, then the line with a caret under the
place, then what to do. All problems of a job are told at once.

Exit statuses: 2 wrong usage, 3 the job or its data is wrong, 4 cannot start or go on. The rows that did not work out
are no errors in this sense: they have an `error.kind` in their record."""


def errors_page() -> str:
    shown = _examples()
    listed = {code: facts for code, facts in _in_source().items() if code not in shown}
    parts = [INTRODUCTION, "## In a job, as they are shown"]
    parts += [f"### {code}\n\n```text\n{example}\n```" for code, example in sorted(shown.items())]
    parts.append("## All others")
    parts.append("`…` stands for what is known only when it happens; exit status *none* marks a warning.")
    rows = [
        f"| `{code}` | {status} | {message or PASSED_ON.get(code, '')} |"
        for code, (status, message) in sorted(listed.items())
    ]
    parts.append("\n".join(["| code | exit status | message |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _examples() -> Mapping[str, str]:
    """For each code the shortest text that a broken job brings about; among equals the first."""
    shown: dict[str, str] = {}
    with chdir(BAD_JOBS):
        for path in sorted(Path("jobs").glob("[!_]*.yaml")):
            for problem in _problems(path):
                text = render_problem(problem)
                if len(text) < len(shown.get(problem.code, text + " ")):
                    shown[problem.code] = text
    return shown


def _problems(path: Path) -> list[Problem]:
    try:
        return [*check_columns(load(path, environ={}), HEADER)]
    except SpecError as error:
        return list(error.problems)


def _in_source() -> Mapping[str, tuple[str, str]]:
    """Each code that stands in the source: the exit status of what carries it, and its message."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted((ROOT / "runner").rglob("*.py")):
        for code, status, message in _codes(ast.parse(path.read_text(encoding="utf-8"))):
            if not found.get(code, ("", ""))[1]:
                found[code] = (status, message)
    return found


def _codes(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Code, exit status and message of every problem and error that a function makes."""
    constants = [node for node in ast.iter_child_nodes(tree) if isinstance(node, ast.Assign)]
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            reader = _Reader(function, constants)
            for node in ast.walk(function):
                if isinstance(node, ast.Call):
                    yield from reader.code(node)


class _Reader:
    """Reads texts inside one function, where `message = …` may stand above the call that uses it, or above the function
    as a constant of the module."""

    def __init__(self, function: ast.FunctionDef | ast.AsyncFunctionDef, constants: list[ast.Assign]) -> None:
        self._assigned = [
            (node.lineno, target.id, node.value)
            for node in (*constants, *ast.walk(function))
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        ]

    def code(self, call: ast.Call) -> Iterator[tuple[str, str, str]]:
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func) in MAKERS:
            name = ast.unparse(call.func)
        named = {keyword.arg: self._text(keyword.value) for keyword in call.keywords}
        given = [self._text(argument) for argument in call.args]
        kind = getattr(errors, name, None)
        if name in MAKERS and given:
            warning = named.get("severity") == "warning" or given[4:] == ["warning"]
            code, message = (
                given[place] if len(given) > place else named.get(word, "")
                for word, place in zip(("code", "message"), MAKERS[name], strict=True)
            )
            yield from _complete(code, "none" if warning else "3", message)
        elif isinstance(kind, type) and issubclass(kind, RunnerError) and given:
            yield from _complete(named.get("code", ""), str(kind.exit_status), given[0])

    def _text(self, node: ast.expr) -> str:
        """The text of an expression, with … for what is only known when the program runs."""
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=parts):
                return "".join(self._text(part) for part in parts)
            case ast.BinOp(left=left, right=right):
                return self._text(left) + self._text(right)
            case ast.IfExp(body=body):
                return self._text(body)
            case ast.Name(id=name):
                above = [value for line, target, value in self._assigned if target == name and line < node.lineno]
                return self._text(above[-1]) if above else "…"
            case _:
                return "…"


def _complete(code: str, status: str, message: str) -> Iterator[tuple[str, str, str]]:
    if code and "…" not in code:
        shown = message.replace("|", "\\|").replace("\n", " ")
        yield code, status, shown if shown.strip("… ") else ""
