"""Which items of a variable a template may look at, all of them: where something is said to depend on no others.

Owns   that answer. `analysis` leaves out what it cannot follow, so that each use it tells of is one; here what cannot
       be followed makes the answer "any".
Knows  Jinja's nodes, and the templates that a template names.
"""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import nodes

from runner.templating.syntax import Parsed


def items_of(parsed: Parsed, known: Mapping[str, Parsed], variable: str) -> frozenset[str] | None:
    """The items, looked up by name, that all uses of a variable come to, here and in the templates that are named; None
    where it may be any item: the variable is used as a whole, or an item's name is computed."""
    found: set[str] = set()
    seen, unread = {parsed.name}, [parsed]
    while unread:
        here = unread.pop()
        pending: list[nodes.Node] = [here.tree]
        while pending:
            node = pending.pop()
            if isinstance(node, nodes.Name) and node.name == variable:
                return None
            item = _item(node, variable)
            if item is None:
                pending.extend(node.iter_child_nodes())
            else:
                found.add(item)
        named = {name for reference in here.references for name in reference.names if name in known} - seen
        seen |= named
        unread += [known[name] for name in named]
    return frozenset(found)


def _item(node: nodes.Node, variable: str) -> str | None:
    """The item of the variable that a node looks up."""
    if isinstance(node, nodes.Getattr | nodes.Getitem) and isinstance(node.node, nodes.Name):
        if node.node.name != variable:
            return None
        if isinstance(node, nodes.Getattr):
            return node.attr
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            return node.arg.value
    return None
