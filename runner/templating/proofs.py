"""What a test proves to be there: in the branch that it opens, a variable or an item of one cannot be missing.

Owns   the reading of `x is defined`, `"x" in row`, their negations, and what `and`, `or` and `not` make of them.
Knows  Jinja's nodes, and by the scope what a name stands for. A test that it cannot read proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from jinja2 import nodes

from runner.templating.scopes import Scope, Whole

Subject = tuple[str, str | None]
"""A variable, or an item of one, that a test can prove to be there."""


def proven_by(test: nodes.Node, outcome: bool, scope: Scope) -> frozenset[Subject]:
    """What must be there if `test` came out as `outcome`."""
    if isinstance(test, nodes.Not):
        return proven_by(test.node, not outcome, scope)
    if isinstance(test, nodes.And if outcome else nodes.Or):
        return proven_by(test.left, outcome, scope) | proven_by(test.right, outcome, scope)
    if isinstance(test, nodes.Test) and test.name == ("defined" if outcome else "undefined"):
        return _subject(test.node, scope)
    if isinstance(test, nodes.Compare) and len(test.ops) == 1 and isinstance(test.expr, nodes.Const):
        operand = test.ops[0]
        if operand.op == ("in" if outcome else "notin"):
            return _items_in(_subject(operand.expr, scope), str(test.expr.value))
    return frozenset()


def _subject(node: nodes.Expr, scope: Scope) -> frozenset[Subject]:
    if isinstance(node, nodes.Name):
        bound, value = scope.find(node.name)
        if not bound:
            return frozenset({(node.name, None)})
        return frozenset({(value.variable, None)}) if isinstance(value, Whole) else frozenset()
    item: str | None = None
    if isinstance(node, nodes.Getattr):
        item = node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        item = node.arg.value
    if item is None or not isinstance(node, nodes.Getattr | nodes.Getitem):
        return frozenset()
    return _items_in(_subject(node.node, scope), item)


def _items_in(subjects: Iterable[Subject], item: str) -> frozenset[Subject]:
    """The item of each of these, as far down as items are followed."""
    return frozenset(
        (variable if inner is None else f"{variable}.{inner}", item)
        for variable, inner in subjects
        if inner is None or "." not in variable
    )
