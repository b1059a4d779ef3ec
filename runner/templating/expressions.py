"""One Jinja expression over values: `where`, sink columns, values that pass as they are.

Owns   `Expression`: the same sandbox and bounds as templates, but the result is a value and not text.
Knows  nothing of who asks. With `null_safe`, an item of null is null, and so is an item past a list's end: a sink's
       column over a record whose `output` is null. A name that is not there is an error all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import jinja2
from jinja2 import Undefined, nodes
from jinja2.runtime import Context
from jinja2.utils import Namespace

from runner.templating.analysis import ColumnUse, Uses, uses_of
from runner.templating.bounds import DEFAULT_BOUNDS, Bounds, Meter, active, counted
from runner.templating.failure import RENDER_ERRORS, Refusal, all_at_once, failure_of
from runner.templating.lookups import items_of
from runner.templating.sandbox import GLOBALS, Sandbox
from runner.templating.syntax import RESULT, compile_into, lex, parse_expression


class Expression:
    """An expression without braces: `row.stars | int < 3`. `name` is its place, told when it fails."""

    def __init__(self, text: str, name: str, *, null_safe: bool = False, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        """Raises TemplateFailure if the text is no expression."""
        self.text = text
        self.name = name
        self._null_safe = null_safe
        self._bounds = bounds
        self._parsed = parse_expression(text, name)
        if self._parsed.failures:
            raise all_at_once(self._parsed.failures)
        self._sandbox = Sandbox()
        self._root = compile_into(self._sandbox, self._parsed).root_render_func

    @staticmethod
    def whole(text: str) -> str | None:
        """The expression of a text that is exactly one `{{ expression }}`, white space around it aside; else None."""
        stripped = text.strip()
        if not (stripped.startswith("{{") and stripped.endswith("}}")):
            return None
        try:
            tokens = lex(stripped)
        except jinja2.TemplateSyntaxError:
            return None
        kinds = [kind for _, kind, _ in tokens]
        if kinds[:1] != ["variable_begin"] or kinds.index("variable_end") != len(kinds) - 1:
            return None
        return "".join(value for _, _, value in tokens[1:-1]).strip()

    def evaluate(self, context: Mapping[str, Any]) -> Any:
        """The value for these variables: a Python value, whatever it is. Raises TemplateFailure."""
        token = active.set(Meter(self._bounds, context, self._null_safe))
        try:
            state = Context(self._sandbox, {**GLOBALS, **context}, self.name, {})
            for _ in self._root(state):
                pass
            return _settled(state.vars[RESULT])
        except RENDER_ERRORS as error:
            raise failure_of(error, self.name, self._parsed.tree.lineno) from error
        finally:
            active.reset(token)

    @cached_property
    def uses(self) -> Uses:
        """Everything it takes from outside."""
        return uses_of(self._parsed, {})

    def names(self) -> frozenset[str]:
        """The variables it takes from outside."""
        return frozenset(use.name for use in self.uses.names)

    def columns(self, variable: str = "row") -> tuple[ColumnUse, ...]:
        """The items of a variable that it looks up by name, and where."""
        return self.uses.columns(variable)

    def items(self, variable: str) -> frozenset[str] | None:
        """All items of a variable that it may look at; None where it may be any."""
        return items_of(self._parsed, {}, variable)

    @cached_property
    def path(self) -> tuple[str | int, ...] | None:
        """The names and places of an expression that only looks something up: `output.items[0]`; None of any other."""
        assign = self._parsed.tree.body[0]
        return _path(assign.node) if isinstance(assign, nodes.Assign) else None


def _path(node: nodes.Node) -> tuple[str | int, ...] | None:
    match node:
        case nodes.Name():
            return (node.name,)
        case nodes.Getattr():
            holder, last = node.node, node.attr
        case nodes.Getitem(arg=nodes.Const(value=last)) if type(last) in {str, int}:
            holder = node.node
        case _:
            return None
    above = _path(holder)
    return None if above is None else (*above, last)


def _settled(value: Any) -> Any:
    """A value that outlives the expression: lazy lists are read, missing names told, also inside lists and mappings."""
    if isinstance(value, Iterator):
        value = list(counted(value))
    if isinstance(value, Undefined):
        str(value)  # raises for a missing name; an inline `if` without `else` is null
        return None
    if callable(value) or isinstance(value, Namespace):
        raise Refusal("the value is a function, macro or namespace", "call it, `name()`, or take one of its items")
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Undefined):
            str(item)
        elif isinstance(item, Mapping):
            active.get().step(len(item))
            pending.extend(item.values())
        elif isinstance(item, Sequence) and not isinstance(item, str | bytes | range):
            active.get().step(len(item))
            pending.extend(item)
    return value
