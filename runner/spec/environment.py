"""`${NAME}`, `${NAME:-default}` and `$$` in a job.

Owns   where they are allowed (`limits`, `url`, `headers`, `signing_secret`, `bind`), the substitution, and the refusal
       everywhere else.
Knows  a tree and a mapping of names. Values are secrets: they are in the substituted tree only, never in a
       message, and the tree that is stored keeps the names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.encoding import printable
from runner.errors import Location, Problem
from runner.spec.node import Entry, ListNode, MapNode, Node, Path, ScalarNode
from runner.spec.scalars import Doubtful, resolve

_ALLOWED = frozenset({"limits", "url", "headers", "signing_secret", "bind"})
_TEXTS = frozenset({"headers", "signing_secret"})
"""Where a value is text whatever it looks like: a token may be all digits."""
_NEVER_EMPTY = frozenset({"url", "signing_secret"})
_MAY_BE_EMPTY = frozenset({"headers", "bind"})
"""Under these any name may stand, `url` too."""
_IGNORED = frozenset({"description"})
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_TOKEN = re.compile(r"\$\$|\$\{[^}]*\}?")


@dataclass(slots=True)
class Substitution:
    """Substitutes in a tree. With `lenient`, a name that is not set is a warning, and its key is left out; under the
    top-level keys of `needless` nothing is said of it."""

    environment: Mapping[str, str] = field(repr=False)
    lenient: bool = False
    needless: frozenset[str] = frozenset()
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
                    self._refuse(node, text, path)
                    return node
                told, warned = len(self.problems), len(self.warnings)
                found = self._text(node, text, typed=_TEXTS.isdisjoint(path))
                if found is not None and path[-1] in _NEVER_EMPTY and _MAY_BE_EMPTY.isdisjoint(path):
                    found = self._filled(found, text)
                if not self.needless.isdisjoint(path[:1]):
                    del self.problems[told:], self.warnings[warned:]
                return found
        return node

    def _text(self, node: ScalarNode, text: str, *, typed: bool) -> ScalarNode | None:
        """A scalar that is only `${…}` gets the type of what it becomes, where that may be another than text."""
        missing = False

        def value_of(match: re.Match[str]) -> str:
            nonlocal missing
            value = self._value(node, match.group())
            missing = missing or value is None
            return value or ""

        substituted = _TOKEN.sub(value_of, text)
        if missing:
            return None
        if not typed or not _VARIABLE.fullmatch(text):
            return ScalarNode(substituted, node.span, node.style)
        value = resolve(substituted.strip())
        if isinstance(value, Doubtful):
            # The message of `Doubtful` quotes the value, and the value is a secret.
            found = f"the value of `{text}` can be read as more than one number"
            self.problems.append(Problem("doubtful-number", found, node.span.location()))
            return None
        return ScalarNode(value, node.span, node.style)

    def _filled(self, found: ScalarNode, text: str) -> ScalarNode | None:
        """A value that cannot be empty, unless its default says so; CI systems set a name to nothing where a secret is
        missing."""
        if (found.value is not None and str(found.value).strip()) or ":-}" in text:
            return found
        self._lack(f"`{text}` is empty", found.span.location(), "set what it names to more than nothing")
        return None

    def _lack(self, found: str, where: Location, hint: str) -> None:
        problem = Problem("unset-variable", found, where, hint, "warning" if self.lenient else "error")
        (self.warnings if self.lenient else self.problems).append(problem)

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
        if value is not None and printable(value) != value:
            found = f"the value of `{name}` holds bytes that are no UTF-8"
            self.problems.append(Problem("not-utf8", found, where, "set it in UTF-8"))
            return None
        if default is not None:
            return value or default
        if value is not None:
            return value
        hint = f"set it, add it to .env in the project's root, or give a default: `${{{name}:-…}}`"
        self._lack(f"`{name}` is not set", where, hint)
        return None

    def _refuse(self, node: ScalarNode, text: str, path: Path) -> None:
        match = _VARIABLE.search(text)
        if match is None:
            return
        where = node.span.location()
        column = node.span.source.line(node.span.line).find(match.group(), node.span.column)
        if column >= 0:
            where = node.span.source.location(node.span.line, column, len(match.group()))
        passing = (
            "credentials of a URL are taken from the environment as its store reads it, for https from ~/.netrc"
            if path[-1] == "path" and "://" in text
            else f'`bind: {{x: "{match.group()}"}}` and `:x` in the statement'
            if "sql" in path or "query" in path
            else None
        )
        hint = passing or (
            f'to pass a value to templates: `vars: {{x: null}}` and `--var x="${match.group(1)}"`; '
            "to mean these characters, put the text in a template or file"
        )
        found = f"`{match.group()}` is not replaced here: only under url, headers, signing_secret, bind and limits"
        self.problems.append(Problem("variable-not-allowed", found, where, hint))
