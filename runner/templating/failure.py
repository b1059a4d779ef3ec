"""How templating says that something is wrong: place, what was found, what to do.

Owns   `TemplateFailure`, the one exception that leaves this package, `Refusal`, what filters, operators and look-ups
       raise while a template runs (they do not know where they are), and the turning of the one into the other.
Knows  Jinja's and Python's exceptions; nothing of jobs or rows.

Source of the line: Jinja compiles a template to Python and keeps a map of line numbers; the innermost frame of the
traceback that belongs to a template is the place that failed, also inside includes and macros.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

import jinja2

from runner.errors import closest

MAX_NAMES_SHOWN = 40
"""How many names a hint lists; the amazon sample has 10 columns, wide tables hundreds."""


class TemplateFailure(Exception):
    """A template that cannot be used, or that failed while it rendered.

    `template` is the name of the template that failed (None where the job itself named one that is not there), `line`
    is 1-based. `code` is kebab-case and stable. `failures` holds everything that is wrong when a set is loaded, this
    one first.
    """

    def __init__(
        self,
        template: str | None,
        line: int | None,
        message: str,
        hint: str | None = None,
        *,
        code: str = "template",
    ) -> None:
        super().__init__(template, line, message, hint)
        self.template = template
        self.line = line
        self.message = message
        self.hint = hint
        self.code = code
        self.failures: tuple[TemplateFailure, ...] = (self,)

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.template, self.line) if part is not None)
        return f"{place}: {self.message}" if place else self.message

    def __reduce__(self) -> Any:
        others = self.failures[1:]
        return (_rebuild, (type(self), self.args, self.code, others, getattr(self, "name", None)))


class TemplateNotFound(TemplateFailure):
    """No template of that name where templates are looked for. `name` is the name that was asked for."""

    def __init__(
        self, name: str, message: str, hint: str | None = None, *, template: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(template, line, message, hint, code="template-not-found")
        self.name = name

    def named_at(self, template: str, line: int) -> TemplateNotFound:
        """The same failure, said of the template and line that named the missing one."""
        return TemplateNotFound(self.name, self.message, self.hint, template=template, line=line)


def _rebuild(
    kind: type[TemplateFailure],
    args: tuple[Any, ...],
    code: str,
    others: tuple[TemplateFailure, ...],
    name: str | None,
) -> TemplateFailure:
    template, line, message, hint = args
    failure = (
        TemplateNotFound(name or "", message, hint, template=template, line=line)
        if issubclass(kind, TemplateNotFound)
        else kind(template, line, message, hint, code=code)
    )
    failure.failures = (failure, *others)
    return failure


def all_at_once(failures: Sequence[TemplateFailure]) -> TemplateFailure:
    """The first of `failures`, carrying all of them."""
    first = failures[0]
    first.failures = tuple(failures)
    return first


class Refusal(jinja2.TemplateRuntimeError):
    """Raised while a template runs: what was found and what to do. Its place is added by `failure_of`."""

    def __init__(self, message: str, hint: str | None = None, code: str = "template") -> None:
        super().__init__(message)
        self.text = message
        self.hint = hint
        self.code = code


RENDER_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What an expression over data can raise; anything else is a bug of ours and passes through."""


def failure_of(error: BaseException, name: str, line: int | None = None) -> TemplateFailure:
    """Place an error that came out of a running template.

    `name` and `line` are said where no template is to be seen in its traceback.
    """
    refusal = error if isinstance(error, Refusal) else explain(error)
    template, line = _place_of(error.__traceback__, name, line)
    return TemplateFailure(template, line, refusal.text, refusal.hint, code=refusal.code)


def _place_of(traceback: TracebackType | None, name: str, line: int | None) -> tuple[str, int | None]:
    """The innermost template frame of a traceback as (template, line)."""
    place = (name, line)
    while traceback is not None:
        compiled = traceback.tb_frame.f_globals.get("__jinja_template__")
        if compiled is not None:
            place = (compiled.name or name, compiled.get_corresponding_lineno(traceback.tb_lineno))
        traceback = traceback.tb_next
    return place


def explain(error: BaseException) -> Refusal:
    """Say in a user's words what a Python or Jinja exception means in a template."""
    if isinstance(error, RecursionError):
        return Refusal(
            "the template calls or includes itself without end",
            "let the macro, include or block stop at some depth",
            "template-bounds",
        )
    if isinstance(error, MemoryError):
        return Refusal("the template needs more memory than there is", None, "template-bounds")
    if isinstance(error, ZeroDivisionError):
        return Refusal("division by zero", "test the divisor first: `{% if n %}…{% endif %}`")
    if isinstance(error, jinja2.TemplateError):
        return Refusal(error.message or type(error).__name__)
    message = str(error) or type(error).__name__
    operands = _OPERANDS.search(message)
    if operands is not None:
        sign, left, right = operands.group("compared") or operands.group("sign"), operands["left"], operands["right"]
        return _mismatch(sign, left, right)
    return Refusal(message, _NULL_CURE if "'NoneType'" in message else None)


_OPERANDS = re.compile(
    r"(?:operand type\(s\) for (?P<sign>\S+?)(?: or \S+)?: |'(?P<compared>\S+)' not supported between instances of )"
    r"'(?P<left>[\w.]+)' and '(?P<right>[\w.]+)'"
)
"""Python's words for two values that do not go together, in arithmetic and in comparisons."""

_TYPE_WORDS = {
    "str": "text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "NoneType": "null",
    "dict": "a mapping",
    "list": "a list",
    "bytes": "bytes",
    "date": "a date",
    "datetime": "a datetime",
    "time": "a time",
    "timedelta": "a duration",
    "Decimal": "a decimal",
}

_MADE_OF_TEXT = {"date": "date", "datetime": "datetime", "Decimal": "decimal"}
"""Types that a filter makes of a text, with its name."""

_NULL_CURE = (
    "a value is null here; test it first: `{% if x is not none %}…{% endif %}`, "
    "or in an expression `x is not none and …`"
)


def word_for(kind: type) -> str:
    """The user's word for a type: `text`, `a number`, `null`, `a list` …"""
    return _word(kind.__name__)


def _word(kind: str) -> str:
    return _TYPE_WORDS.get(kind.rpartition(".")[2], f"a {kind}")


def mismatch(sign: str, left: type, right: type) -> Refusal:
    """An operator between two values that do not go together."""
    return _mismatch(sign, left.__name__, right.__name__)


def _mismatch(sign: str, left: str, right: str) -> Refusal:
    kinds = {left.rpartition(".")[2], right.rpartition(".")[2]}
    typed = sorted(kinds & _MADE_OF_TEXT.keys())
    cure = None
    if "NoneType" in kinds:
        cure = _NULL_CURE
    elif "str" in kinds and kinds & {"int", "float"}:
        cure = "csv columns are text: turn one into a number with `| int` or `| float`; `~` joins texts"
    elif "str" in kinds and typed:
        cure = f'make one of the text: `("…" | {_MADE_OF_TEXT[typed[0]]})`'
    return Refusal(f"`{sign}` does not work between {_word(left)} and {_word(right)}", cure)


def did_you_mean(name: str, known: Iterable[str], *, what: str = "There are") -> str | None:
    """`did you mean …?` where a known name is close, and which names there are."""
    names = list(known)
    parts = []
    close = closest(name, names[:1000])
    if close is not None:
        parts.append(f"did you mean `{close}`?")
    if names:
        shown = ", ".join(names[:MAX_NAMES_SHOWN])
        more = f", … ({len(names)} in all)" if len(names) > MAX_NAMES_SHOWN else ""
        parts.append(f"{what}: {shown}{more}")
    return " ".join(parts) or None
