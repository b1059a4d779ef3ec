"""What a template will look up, found without rendering it.

Owns   the walk over the trees of a template and of all it includes, imports, extends and calls, that yields every use
       of a variable that the template does not make itself (`NameUse`) and of an item of such a variable (`ColumnUse`),
       and what can work for no row: a method called on data, a macro that an imported template does not have.
Knows  Jinja's nodes and scopes. It follows a variable through `{% set r = row %}`, `{% with %}`, macro arguments and
       blocks; what it cannot follow (`row[name]`, a row put into a list) it leaves out, so that every use it reports
       is one.

A use is `optional` where rendering does not fail without it: under `is defined`, `| default`, or in a branch that is
taken only when it is there (`{% if row.x is defined %}`, `{% if "x" in row %}`; `proofs` reads these). A name is
`hidden` where the caller's variables cannot be seen: in a template imported without context.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from jinja2 import nodes
from msgspec import Struct

from runner.encoding import printable
from runner.templating.failure import TemplateFailure, did_you_mean
from runner.templating.missing import FILTER_FOR_METHOD
from runner.templating.proofs import Subject, proven_by
from runner.templating.sandbox import GLOBALS
from runner.templating.scopes import Block, Macro, Module, Scope, Self, Value, Whole, whole_only
from runner.templating.syntax import Parsed


class NameUse(Struct, frozen=True):
    """A variable that a template takes from outside."""

    name: str
    template: str
    line: int
    optional: bool
    hidden: bool


class ColumnUse(Struct, frozen=True):
    """An item of such a variable that is looked up by name: `row.text` is the column `text` of the variable `row`, and
    `row.question.text` the item `text` of `row.question`."""

    column: str
    template: str
    line: int
    optional: bool = False


class IndexUse(Struct, frozen=True):
    """An item of such a variable that is looked up by a number as it is written: `replies[-1]`. `optional`: also where
    it stands in a branch or a loop, which may be there for the variables that are long enough."""

    variable: str
    index: int
    template: str
    line: int
    optional: bool


class Uses(Struct, frozen=True):
    """All uses of one template, each once a line, in the order they are met; and what can work for no row."""

    names: tuple[NameUse, ...]
    items: Mapping[str, tuple[ColumnUse, ...]]
    indexes: tuple[IndexUse, ...]
    failures: tuple[TemplateFailure, ...]

    def columns(self, variable: str) -> tuple[ColumnUse, ...]:
        return self.items.get(variable, ())


def uses_of(parsed: Parsed, known: Mapping[str, Parsed]) -> Uses:
    """Walk a template. `known` holds the templates that it may name."""
    walk = _Walk(known)
    walk.template(parsed, Scope(None))
    items: dict[str, list[ColumnUse]] = {}
    for (variable, name, template, line), optional in walk.fields.items():
        items.setdefault(variable, []).append(ColumnUse(name, template, line, optional))
    names = tuple(
        NameUse(name, template, line, optional, hidden)
        for (name, template, line, hidden), optional in walk.names.items()
    )
    failures = [*walk.failures.values(), *(_hidden_failure(use) for use in names if use.hidden and not use.optional)]
    indexes = tuple(IndexUse(*key, optional) for key, optional in walk.indexes.items())
    return Uses(names, {variable: tuple(uses) for variable, uses in items.items()}, indexes, tuple(failures))


def _hidden_failure(use: NameUse) -> TemplateFailure:
    return TemplateFailure(
        use.template,
        use.line,
        f"`{use.name}` is not visible here: an imported template does not see the variables of the one that imports it",
        f"give `{use.name}` to the macro as an argument, or import `with context`",
        code="unknown-name",
    )


class _Walk:
    """One analysis. `here` is the template whose nodes are being walked."""

    def __init__(self, known: Mapping[str, Parsed]) -> None:
        self.known = known
        self.names: dict[tuple[str, str, int, bool], bool] = {}
        self.fields: dict[tuple[str, str, str, int], bool] = {}
        self.indexes: dict[tuple[str, int, str, int], bool] = {}
        self.failures: dict[tuple[str, int, str], TemplateFailure] = {}
        self.here = ""
        self.root = Scope(None)
        self.blocks: dict[str, list[tuple[str, nodes.Block]]] = {}
        self.proven: frozenset[Subject] = frozenset()
        self.branches = 0
        """How many branches and loops are around."""
        self.lenient = False
        self.walked: set[object] = set()
        self.modules: dict[object, Module | None] = {}

    # -- Templates

    def template(self, parsed: Parsed, scope: Scope) -> None:
        """Walk a template that renders on its own: one that was asked for, or that is included."""
        with self._within(parsed.name, scope):
            self.blocks = {}
            self._body(parsed, scope)

    def _body(self, parsed: Parsed, scope: Scope) -> None:
        for block in parsed.tree.find_all(nodes.Block):
            self.blocks.setdefault(block.name, []).append((parsed.name, block))
        parents = [node for node in parsed.tree.body if isinstance(node, nodes.Extends)]
        for node in parsed.tree.body:
            # A child gives nothing of its own but what it sets; its blocks come where the parent has them.
            if not (parents and isinstance(node, nodes.Output | nodes.Block)):
                self.visit(node, scope)
        for extends in parsed.tree.find_all(nodes.Extends):
            for name in _constants(extends.template):
                parent = self.known.get(name)
                if parent is not None and self._first(("extends", parsed.name, name, scope)):
                    with self._within(name, scope):
                        self._body(parent, scope)

    @contextmanager
    def _within(self, template: str, scope: Scope) -> Iterator[None]:
        kept = self.here, self.root, self.blocks
        self.here, self.root = template, scope
        try:
            yield
        finally:
            self.here, self.root, self.blocks = kept

    def _first(self, key: object) -> bool:
        """Whether this is walked for the first time; ends recursion and repeated work."""
        if key in self.walked:
            return False
        self.walked.add(key)
        return True

    @property
    def _sure(self) -> tuple[frozenset[Subject], bool]:
        """What decides, beside its place, whether a use is optional."""
        return self.proven, self.branches > 0

    # -- Uses

    def _use(self, name: str, line: int, hidden: bool) -> None:
        optional = self.lenient or (name, None) in self.proven
        key = (name, self.here, line, hidden)
        self.names[key] = self.names.get(key, True) and optional

    def _use_field(self, variable: str, name: str, line: int) -> None:
        optional = self.lenient or (variable, name) in self.proven
        key = (variable, name, self.here, line)
        self.fields[key] = self.fields.get(key, True) and optional

    def _use_index(self, variable: str, index: int, line: int) -> None:
        key = (variable, index, self.here, line)
        self.indexes[key] = self.indexes.get(key, True) and (self.lenient or self.branches > 0)

    # -- Nodes

    def visit(self, node: nodes.Node, scope: Scope) -> Value:
        """Walk a node; gives what an expression stands for, where that is followed."""
        method = getattr(self, f"_on_{type(node).__name__.lower()}", None)
        if method is not None:
            value: Value = method(node, scope)
            return value
        for child in node.iter_child_nodes():
            self.visit(child, scope)
        return None

    def _all(self, children: Iterable[nodes.Node | None], scope: Scope) -> None:
        for child in children:
            if child is not None:
                self.visit(child, scope)

    def _on_output(self, node: nodes.Output, scope: Scope) -> None:
        for part in node.nodes:
            if isinstance(part, nodes.Const) and isinstance(part.value, str) and printable(part.value) != part.value:
                self.failures[self.here, part.lineno, "half"] = TemplateFailure(
                    self.here,
                    part.lineno,
                    "the text that is printed here holds half of a surrogate pair, which has no UTF-8 form",
                    "write the character itself, or `\\U` with its 8 digits",
                    code="not-utf8",
                )
        self._all(node.nodes, scope)

    def _on_name(self, node: nodes.Name, scope: Scope) -> Value:
        bound, value = scope.find(node.name)
        if bound or node.name in GLOBALS:
            return value
        if node.name == "self":
            return Self()
        self._use(node.name, node.lineno, scope.is_hidden())
        return None if scope.is_hidden() else Whole(node.name)

    def _on_getattr(self, node: nodes.Getattr, scope: Scope) -> Value:
        return self._item(node.node, node.attr, node.lineno, scope)

    def _on_getitem(self, node: nodes.Getitem, scope: Scope) -> Value:
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            return self._item(node.node, node.arg.value, node.lineno, scope)
        holder = self._strictly(node.node, scope)
        self._strictly(node.arg, scope)
        index = _number(node.arg)
        if index is not None and isinstance(holder, Whole):
            self._use_index(holder.variable, index, node.lineno)
        return None

    def _item(self, holder: nodes.Expr, name: str, line: int, scope: Scope) -> Value:
        value = self._strictly(holder, scope)
        if isinstance(value, Whole):
            self._use_field(value.variable, name, line)
            # Items of items are followed too, as `row.question`; no deeper, so that there are finitely many.
            return None if "." in value.variable else Whole(f"{value.variable}.{name}")
        if isinstance(value, Module):
            if name not in value.exports:
                self._not_exported(value, name, line)
            return value.exports.get(name)
        if isinstance(value, Self):
            return Block(name, 0)
        return None

    def _strictly(self, node: nodes.Expr, scope: Scope) -> Value:
        """`row.a.b is defined` fails without `row.a`."""
        kept, self.lenient = self.lenient, False
        try:
            return self.visit(node, scope)
        finally:
            self.lenient = kept

    def _leniently(self, node: nodes.Expr, scope: Scope) -> None:
        # `row.a | upper | default("")` fails in `upper`: only what is looked up right here may be missing.
        kept, self.lenient = self.lenient, isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem | nodes.CondExpr)
        try:
            self.visit(node, scope)
        finally:
            self.lenient = kept

    def _on_filter(self, node: nodes.Filter, scope: Scope) -> Value:
        if node.node is not None:
            if node.name in ("default", "d"):
                self._leniently(node.node, scope)
            else:
                self.visit(node.node, scope)
        self._all((*node.args, *node.kwargs, node.dyn_args, node.dyn_kwargs), scope)
        return None

    def _on_test(self, node: nodes.Test, scope: Scope) -> Value:
        if node.name in ("defined", "undefined"):
            self._leniently(node.node, scope)
        else:
            self.visit(node.node, scope)
        self._all((*node.args, *node.kwargs, node.dyn_args, node.dyn_kwargs), scope)
        return None

    # -- Branches

    def _on_and(self, node: nodes.And, scope: Scope) -> Value:
        self.visit(node.left, scope)
        with self._proving(node.left, True, scope):
            self.visit(node.right, scope)
        return None

    def _on_or(self, node: nodes.Or, scope: Scope) -> Value:
        self.visit(node.left, scope)
        with self._proving(node.left, False, scope):
            self.visit(node.right, scope)
        return None

    def _on_condexpr(self, node: nodes.CondExpr, scope: Scope) -> Value:
        self._strictly(node.test, scope)
        with self._proving(node.test, True, scope):
            yes = self.visit(node.expr1, scope)
        if node.expr2 is None:
            return None
        with self._proving(node.test, False, scope):
            no = self.visit(node.expr2, scope)
        return yes if yes == no else None

    def _on_if(self, node: nodes.If, scope: Scope) -> None:
        kept = self.proven
        self.visit(node.test, scope)
        with self._branching():
            for branch in (node, *node.elif_):
                if branch is not node:
                    self.visit(branch.test, scope)
                with self._proving(branch.test, True, scope):
                    self._all(branch.body, scope)
                self.proven |= proven_by(branch.test, False, scope)
            self._all(node.else_, scope)
        self.proven = kept

    @contextmanager
    def _proving(self, test: nodes.Node, outcome: bool, scope: Scope) -> Iterator[None]:
        kept = self.proven
        self.proven |= proven_by(test, outcome, scope)
        try:
            with self._branching():
                yield
        finally:
            self.proven = kept

    @contextmanager
    def _branching(self) -> Iterator[None]:
        self.branches += 1
        try:
            yield
        finally:
            self.branches -= 1

    # -- Binding

    def _bind(self, target: nodes.Node, value: Value, scope: Scope) -> None:
        if isinstance(target, nodes.Name):
            scope.names[target.name] = value
        elif isinstance(target, nodes.Tuple):
            for item in target.items:
                self._bind(item, None, scope)
        elif isinstance(target, nodes.NSRef):
            self._on_name(nodes.Name(target.name, "load", lineno=target.lineno), scope)

    def _on_assign(self, node: nodes.Assign, scope: Scope) -> None:
        self._bind(node.target, self.visit(node.node, scope), scope)

    def _on_assignblock(self, node: nodes.AssignBlock, scope: Scope) -> None:
        inner = Scope(scope)
        self._all(node.body, inner)
        if node.filter is not None:
            self.visit(node.filter, inner)
        self._bind(node.target, None, scope)

    def _on_with(self, node: nodes.With, scope: Scope) -> None:
        inner = Scope(scope)
        for target, value in zip(node.targets, node.values, strict=True):
            self._bind(target, self.visit(value, scope), inner)
        self._all(node.body, inner)

    def _on_for(self, node: nodes.For, scope: Scope) -> None:
        self.visit(node.iter, scope)
        inner = Scope(scope, names={"loop": None})
        self._bind(node.target, None, inner)
        with self._branching():
            self._all((node.test, *node.body), inner)
            self._all(node.else_, Scope(scope))

    def _on_filterblock(self, node: nodes.FilterBlock, scope: Scope) -> None:
        inner = Scope(scope)
        self._all(node.body, inner)
        self.visit(node.filter, inner)

    def _on_scope(self, node: nodes.Scope, scope: Scope) -> None:
        self._all(node.body, Scope(scope))

    # -- Macros and blocks

    def _on_macro(self, node: nodes.Macro, scope: Scope) -> None:
        # Its body counts where it is called, with what it is called with.
        scope.names[node.name] = Macro(self.here, node, scope)

    def _on_callblock(self, node: nodes.CallBlock, scope: Scope) -> None:
        self.visit(node.call, scope)
        inner = Scope(scope, names={arg.name: None for arg in node.args})
        self._all((*node.defaults, *node.body), inner)

    def _on_call(self, node: nodes.Call, scope: Scope) -> Value:
        if isinstance(node.node, nodes.Getattr) and self._is_data(node.node.node, scope):
            self.visit(node.node.node, scope)
            self._not_a_method(node.node)
            callee = None
        else:
            callee = self.visit(node.node, scope)
        places = [self.visit(arg, scope) for arg in node.args]
        named = {keyword.key: self.visit(keyword.value, scope) for keyword in node.kwargs}
        self._all((node.dyn_args, node.dyn_kwargs), scope)
        if isinstance(callee, Macro):
            self._call_macro(callee, places, named, spread=node.dyn_args is not None or node.dyn_kwargs is not None)
        elif isinstance(callee, Block):
            self._call_block(callee, self.root)
        return None

    def _is_data(self, node: nodes.Expr, scope: Scope) -> bool:
        """Whether an expression is a variable from outside or lies in one: nothing in data can be called."""
        while isinstance(node, nodes.Getattr | nodes.Getitem):
            node = node.node
        if not isinstance(node, nodes.Name) or node.name in GLOBALS or node.name == "self":
            return False
        bound, value = scope.find(node.name)
        return isinstance(value, Whole) if bound else not scope.is_hidden()

    def _not_a_method(self, node: nodes.Getattr) -> None:
        self.failures[self.here, node.lineno, node.attr] = TemplateFailure(
            self.here,
            node.lineno,
            f"`{node.attr}(…)` is called on data: `a.b` looks up an item, methods cannot be called",
            f"use the filter `| {FILTER_FOR_METHOD[node.attr]}`" if node.attr in FILTER_FOR_METHOD else None,
            code="unknown-item",
        )

    def _call_macro(self, macro: Macro, places: list[Value], named: dict[str, Value], spread: bool) -> None:
        given: dict[str, Value] = dict(zip((arg.name for arg in macro.node.args), places, strict=False)) | named
        key = frozenset((name, whole_only(value)) for name, value in given.items())
        if not self._first((macro.node, macro.scope, key, *self._sure)):
            return
        inner = Scope(macro.scope, names={"varargs": None, "kwargs": None, "caller": None})
        lenient, self.lenient = self.lenient, False
        without_default = len(macro.node.args) - len(macro.node.defaults)
        kept, self.here = self.here, macro.template
        for place, arg in enumerate(macro.node.args):
            if arg.name in given or spread or place < without_default:
                inner.names[arg.name] = given.get(arg.name)
            else:
                inner.names[arg.name] = self.visit(macro.node.defaults[place - without_default], inner)
        self._all(macro.node.body, inner)
        self.here, self.lenient = kept, lenient

    def _on_block(self, node: nodes.Block, scope: Scope) -> None:
        self._call_block(Block(node.name, 0), scope if node.scoped else self.root)

    def _call_block(self, block: Block, scope: Scope) -> None:
        chain = self.blocks.get(block.name, [])
        if block.depth >= len(chain) or not self._first((block, chain[block.depth][1], scope, *self._sure)):
            return
        template, node = chain[block.depth]
        inner = Scope(scope, names={"super": Block(block.name, block.depth + 1)})
        kept, self.here = self.here, template
        self._all(node.body, inner)
        self.here = kept

    # -- Other templates

    def _on_extends(self, node: nodes.Extends, scope: Scope) -> None:
        self._all((node.template,) if not isinstance(node.template, nodes.Const) else (), scope)

    def _on_include(self, node: nodes.Include, scope: Scope) -> None:
        self.visit(node.template, scope)
        inner = Scope(scope) if node.with_context else Scope(None, hidden=True)
        for name in _constants(node.template):
            parsed = self.known.get(name)
            key = ("include", name, inner.bindings(), inner.is_hidden(), *self._sure)
            if parsed is not None and self._first(key):
                self.template(parsed, inner)

    def _on_import(self, node: nodes.Import, scope: Scope) -> None:
        scope.names[node.target] = self._module(node, scope)

    def _on_fromimport(self, node: nodes.FromImport, scope: Scope) -> None:
        module = self._module(node, scope)
        for item in node.names:
            name, alias = item if isinstance(item, tuple) else (item, item)
            if module is not None and name not in module.exports:
                self._not_exported(module, name, node.lineno)
            scope.names[alias] = module.exports.get(name) if module is not None else None

    def _module(self, node: nodes.Import | nodes.FromImport, scope: Scope) -> Module | None:
        self.visit(node.template, scope)
        names = _constants(node.template)
        parsed = self.known.get(names[0]) if len(names) == 1 else None
        if parsed is None:
            return None
        inner = Scope(scope) if node.with_context else Scope(None, hidden=True)
        key = (parsed.name, inner.bindings(), inner.is_hidden(), *self._sure)
        if key not in self.modules:
            self.modules[key] = None  # what it stands for to itself, should it import itself
            self.template(parsed, inner)
            self.modules[key] = Module(parsed.name, inner.names)
        return self.modules[key]

    def _not_exported(self, module: Module, name: str, line: int) -> None:
        self.failures[self.here, line, name] = TemplateFailure(
            self.here,
            line,
            f"the imported template {module.template!r} has no macro or variable `{name}`",
            did_you_mean(name, module.exports, what="It has"),
            code="unknown-name",
        )


def _number(node: nodes.Expr) -> int | None:
    """A whole number as it is written, with or without a minus."""
    if isinstance(node, nodes.Neg):
        number = _number(node.node)
        return None if number is None else -number
    return node.value if isinstance(node, nodes.Const) and type(node.value) is int else None


def _constants(node: nodes.Expr) -> list[str]:
    """Every text written in an expression: the names of templates in an `include`."""
    found = [node.value] if isinstance(node, nodes.Const) else [child.value for child in node.find_all(nodes.Const)]
    return [value for value in found if isinstance(value, str)]
