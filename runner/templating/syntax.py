"""A template's text as a checked tree: syntax, the filters and tests it uses, and the templates it names.

Owns   `Parsed` and all that can be said against a template by itself, before anything is compiled.
Knows  Jinja's nodes. Which templates exist is not known here; `closure.py` follows the references.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.parser import Parser
from msgspec import Struct

from runner.templating.failure import TemplateFailure, did_you_mean
from runner.templating.filters import FILTERS, NOT_AVAILABLE, TESTS
from runner.templating.sandbox import Sandbox

_PARSER = Sandbox()
"""Parsing leaves no trace in an environment, so one serves all."""

_TAG_HINTS = {
    "do": "values cannot be changed; make a new one with `{% set %}`",
    "debug": "print what you need: `{{ row | tojson(indent=2) }}`",
    "break": "leave items out of the loop instead: `{% for x in xs if … %}`",
    "continue": "leave items out of the loop instead: `{% for x in xs if … %}`",
    "trans": "write the text itself",
}
RESULT = "result"
"""The variable that holds an expression's value after it has run."""


class Reference(Struct, frozen=True):
    """Templates that a tag names: those of `names` that there are belong to the set; `required`: there must be one."""

    names: tuple[str, ...]
    line: int
    required: bool
    tag: str


class Parsed(Struct, frozen=True, eq=False):
    """One template: its tree, the templates it names, and what is wrong with it (nothing else is right then)."""

    name: str
    text: str
    tree: nodes.Template
    references: tuple[Reference, ...]
    failures: tuple[TemplateFailure, ...] = ()


def parse(text: str, name: str) -> Parsed:
    """Parse and check one template. What is wrong is in `failures`; nothing is raised."""
    try:
        return _checked(name, text, _PARSER.parse(text, name))
    except _SYNTAX_ERRORS as error:
        return Parsed(name, text, nodes.Template([], lineno=1), (), (syntax_failure(error, name),))


def lex(text: str) -> list[tuple[int, str, str]]:
    """The raw tokens of a template as (line, kind, text). Raises Jinja's TemplateSyntaxError."""
    return list(_PARSER.lex(text))


def parse_expression(text: str, name: str) -> Parsed:
    """Parse one expression, without braces, as a template that leaves its value in `result`."""
    try:
        parser = Parser(_PARSER, text, name, state="variable")
        expression = parser.parse_expression()
        if not parser.stream.eos:
            raise jinja2.TemplateSyntaxError(
                "there is more text after the end of the expression", parser.stream.current.lineno
            )
        line = min([expression.lineno, *(node.lineno for node in expression.find_all(nodes.Expr))])
        assign = nodes.Assign(nodes.Name(RESULT, "store", lineno=line), expression, lineno=line)
        return _checked(name, text, nodes.Template([assign], lineno=line))
    except _SYNTAX_ERRORS as error:
        failure = _in_braces(text, name) or syntax_failure(error, name)
        return Parsed(name, text, nodes.Template([], lineno=1), (), (failure,))


def _in_braces(text: str, name: str) -> TemplateFailure | None:
    """What is wrong with an expression that is written as a template."""
    braced = _BRACED.fullmatch(text)
    if braced is None:
        return None
    hint = f"leave the braces out: `{braced[1]}`"
    return TemplateFailure(name, 1, "this is an expression, which stands without `{{ }}`", hint, code="template-syntax")


_BRACED = re.compile(r"\s*\{\{-?\s*(.*?)\s*-?\}\}\s*", re.DOTALL)


def compile_into(sandbox: Sandbox, parsed: Parsed) -> jinja2.Template:
    """Compile a parsed template. Raises TemplateFailure for what only shows then: a block twice, too deep nesting."""
    try:
        code = sandbox.compile(parsed.tree, parsed.name)
        return sandbox.template_class.from_code(sandbox, code, sandbox.globals)
    except jinja2.TemplateSyntaxError as error:
        raise syntax_failure(error, parsed.name) from error
    except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
        raise syntax_failure(RecursionError(), parsed.name) from error


_SYNTAX_ERRORS = (jinja2.TemplateSyntaxError, RecursionError, ValueError)
"""`ValueError`: a number literal of more digits than Python reads."""


def syntax_failure(error: Exception, name: str) -> TemplateFailure:
    """What is wrong with a template's syntax, in place."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        message = (error.message or "cannot be read").rstrip(".")
        return TemplateFailure(error.name or name, error.lineno, message, _hint(message), code="template-syntax")
    if isinstance(error, ValueError):
        return TemplateFailure(name, None, "a number is too long", "write it as text", code="template-syntax")
    return TemplateFailure(
        name,
        None,
        "expressions or blocks are nested too deeply",
        "split the template with `{% include %}`",
        code="template-syntax",
    )


def _hint(message: str) -> str | None:
    for tag, hint in _TAG_HINTS.items():
        if f"unknown tag '{tag}'" in message:
            return hint
    return next((f"every `{begin}` needs its `{end}`" for end_name, begin, end in _ENDS if end_name in message), None)


_ENDS = (
    (", expected 'end of print statement'", "{{", "}}"),
    (", expected 'end of statement block'", "{%", "%}"),
)
"""How Jinja says that it found no closing braces. Where it was surprised by them, `unexpected '…'`, they are there."""


def _checked(name: str, text: str, tree: nodes.Template) -> Parsed:
    failures = [*_unknown_names(tree, name), *_refused_tags(tree, name)]
    references: list[Reference] = []
    for node in tree.find_all(tuple(_TAGS)):
        tag = _TAGS[type(node)]
        choices = _choices(node.template)
        if choices is None or (tag != "include" and any(len(names) > 1 for names in choices)):
            failures.append(_unknown_choice(name, node.lineno, tag))
            continue
        required = not getattr(node, "ignore_missing", False)
        references.extend(Reference(names, node.lineno, required, tag) for names in choices)
    failures.sort(key=lambda failure: failure.line or 0)
    return Parsed(name, text, tree, tuple(references), tuple(failures))


_TAGS: dict[type[Any], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from",
    nodes.Extends: "extends",
}


def _choices(node: nodes.Expr) -> list[tuple[str, ...]] | None:
    """The templates an expression can name, as groups of which one has to be there; None where that cannot be known."""
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        return [(node.value,)]
    if isinstance(node, nodes.List | nodes.Tuple):
        members = [_choices(item) for item in node.items]
        if members and all(member is not None and len(member) == 1 for member in members):
            return [tuple(name for member in members if member is not None for name in member[0])]
    if isinstance(node, nodes.CondExpr) and node.expr2 is not None:
        yes, no = _choices(node.expr1), _choices(node.expr2)
        if yes is not None and no is not None:
            return [*yes, *no]
    return None


def _unknown_choice(name: str, line: int, tag: str) -> TemplateFailure:
    return TemplateFailure(
        name,
        line,
        f"which template `{tag}` takes is only known when a row is rendered",
        "write the names out, so that the job is complete before it starts: "
        f'`{{% {tag} "a.j2" if … else "b.j2" %}}`, or an `{{% if %}}` around each',
        code="template-name",
    )


def _unknown_names(tree: nodes.Template, name: str) -> Iterator[TemplateFailure]:
    for node in tree.find_all(nodes.Filter):
        if node.name not in FILTERS:
            yield _unknown("filter", node.name, name, node.lineno)
        else:
            yield from _unknown_inner(node, name)
    for test in tree.find_all(nodes.Test):
        if test.name not in TESTS:
            yield _unknown("test", test.name, name, test.lineno)


_INNER = {
    "map": ("filter", 0),
    "select": ("test", 0),
    "reject": ("test", 0),
    "selectattr": ("test", 1),
    "rejectattr": ("test", 1),
}
"""Filters that take the name of a filter or test as an argument, and its place."""


def _unknown_inner(node: nodes.Filter, name: str) -> Iterator[TemplateFailure]:
    kind, place = _INNER.get(node.name, ("", -1))
    arg = node.args[place] if 0 <= place < len(node.args) else None
    if isinstance(arg, nodes.Const) and arg.value not in (FILTERS if kind == "filter" else TESTS):
        yield _unknown(kind, str(arg.value), name, node.lineno)


def _unknown(kind: str, used: str, template: str, line: int) -> TemplateFailure:
    known = FILTERS if kind == "filter" else TESTS
    reason = NOT_AVAILABLE.get(used) if kind == "filter" else None
    hint = reason or did_you_mean(used, sorted(known), what=f"The {kind}s are")
    message = f"the {kind} `{used}` is not available here" if reason else f"there is no {kind} `{used}`"
    return TemplateFailure(template, line, message, hint, code=f"unknown-{kind}")


def _refused_tags(tree: nodes.Template, name: str) -> Iterator[TemplateFailure]:
    for node in tree.find_all(nodes.ScopedEvalContextModifier):
        yield TemplateFailure(
            name,
            node.lineno,
            "`autoescape` is not available",
            "use the filter `xml_escape` where it matters",
            code="template-syntax",
        )
