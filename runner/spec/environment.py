"""`${NAME}`, `${NAME:-default}` and `$$` in a job.

Owns   where they are allowed (`limits`, `url`, `headers`, `bind`), the substitution, and the refusal everywhere else.
Knows  a tree and a mapping of names. Values are secrets: they are in the substituted tree only, never in a
       message, and the tree that is stored keeps the names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.errors import Problem
from runner.spec.node import Entry, ListNode, MapNode, Node, Path, ScalarNode
from runner.spec.scalars import Doubtful, resolve

_ALLOWED = frozenset({"limits", "url", "headers", "bind"})
_IGNORED = frozenset({"description"})
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_TOKEN = re.compile(r"\$\$|\$\{[^}]*\}?")


@dataclass(slots=True)
class Substitution:
    """Substitutes in a tree. With `lenient`, a name that is not set is a warning, and its key is left out."""

    environment: Mapping[str, str]
    lenient: bool = False
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def apply(self, tree: MapNode) -> MapNode:
        """The tree with the values of the names."""
        node = self._node(tree, ())
        return node if isinstance(node, MapNode) else tree

    def _node(self, node: Node, path: Path) -> Node | None:
        match node:
            case MapNode():
                entries = {}
                for name, entry in node.entries.items():
                    value = self._node(entry.value, (*path, name))
                    if value is not None:
                        entries[name] = Entry(entry.key, value)
                return node.with_entries(entries)
            case ListNode():
                items = (self._node(item, (*path, number)) for number, item in enumerate(node.items))
                return ListNode(tuple(item for item in items if item is not None), node.span)
            case ScalarNode(value=str(text)) if "$" in text:
                if not _IGNORED.isdisjoint(path[:1]):
                    return node
                if _ALLOWED.isdisjoint(path):
                    self._refuse(node, text)
                    return node
                return self._text(node, text)
        return node

    def _text(self, node: ScalarNode, text: str) -> ScalarNode | None:
        """A scalar that is only `${…}` gets the type of what it becomes."""
        missing = False

        def value_of(match: re.Match[str]) -> str:
            nonlocal missing
            value = self._value(node, match.group())
            missing = missing or value is None
            return value or ""

        substituted = _TOKEN.sub(value_of, text)
        if missing:
            return None
        if not _VARIABLE.fullmatch(text):
            return ScalarNode(substituted, node.span, node.style)
        typed = resolve(substituted.strip())
        if isinstance(typed, Doubtful):
            # The message of `Doubtful` quotes the value, and the value is a secret.
            found = f"the value of `{text}` can be read as more than one number"
            self.problems.append(Problem("doubtful-number", found, node.span.location()))
            return None
        return ScalarNode(typed, node.span, node.style)

    def _value(self, node: ScalarNode, written: str) -> str | None:
        if written == "$$":
            return "$"
        where = node.span.location()
        match = _VARIABLE.fullmatch(written)
        if not match:
            hint = "`${NAME}` or `${NAME:-default}`; for a dollar sign write `$$`"
            self.problems.append(Problem("bad-variable", f"`{written}` names no variable", where, hint))
            return None
        name, default = match.groups()
        value = self.environment.get(name)
        if default is not None:
            return value or default
        if value is not None:
            return value
        hint = f"set it, add it to .env in the project's root, or give a default: `${{{name}:-…}}`"
        problem = Problem("unset-variable", f"`{name}` is not set", where, hint, "warning" if self.lenient else "error")
        (self.warnings if self.lenient else self.problems).append(problem)
        return None

    def _refuse(self, node: ScalarNode, text: str) -> None:
        match = _VARIABLE.search(text)
        if match is None:
            return
        where = node.span.location()
        column = node.span.source.line(node.span.line).find(match.group(), node.span.column)
        if column >= 0:
            where = node.span.source.location(node.span.line, column, len(match.group()))
        hint = (
            f'to pass a value to templates: `vars: {{x: null}}` and `--var x="${match.group(1)}"`; '
            "to mean these characters, put the text in a template or file"
        )
        found = f"`{match.group()}` is not replaced here: only under url, headers, bind and limits"
        self.problems.append(Problem("variable-not-allowed", found, where, hint))
