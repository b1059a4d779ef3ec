"""The tree between a file and the models: values that know where they stand.

Owns   `Source`, `Span` and the three kinds of node. Trees are immutable, so layers can share parts of one another.
Knows  nothing of jobs. YAML (`spec.source`), TOML tables and `--set` arguments all become these nodes.

Lines and columns inside are 0-based, as parsers give them; `Span.location` makes the 1-based place that people see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from runner.errors import Location

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What PyYAML and libyaml count as the end of a line (YAML 1.1 line breaks)."""

Path: TypeAlias = tuple[str | int, ...]
"""The way to a node from the root: keys and list positions."""


class Source(Struct, frozen=True):
    """A text that nodes were read from. `file` is what people see; `lines` are without their line breaks."""

    file: str
    lines: tuple[str, ...]

    @classmethod
    def of(cls, file: str, text: str) -> Source:
        return cls(file, tuple(_LINE_BREAK.split(text)))

    def line(self, index: int) -> str:
        return self.lines[index] if 0 <= index < len(self.lines) else ""

    def location(self, line: int, column: int, length: int = 1) -> Location:
        """A place in the text, from 0-based `line` and `column`."""
        return Location(self.file, line + 1, column + 1, max(1, length), self.line(line))


class Span(Struct, frozen=True):
    """From `(line, column)` up to, not including, `(end_line, end_column)`."""

    source: Source
    line: int
    column: int
    end_line: int
    end_column: int

    def location(self) -> Location:
        """Where it begins; the caret covers it as far as it stands on its first line."""
        if self.end_line == self.line:
            length = self.end_column - self.column
        else:
            length = len(self.source.line(self.line).rstrip()) - self.column
        return self.source.location(self.line, self.column, length)


class ScalarNode(Struct, frozen=True):
    """A single value. `style` is `'`, `"`, `|`, `>` or, for a plain one, the empty string."""

    value: str | int | float | bool | None
    span: Span
    style: str = ""


class ListNode(Struct, frozen=True):
    items: tuple[Node, ...]
    span: Span


class Entry(Struct, frozen=True):
    """One key of a mapping with the place of the key itself."""

    key: Span
    value: Node


class MapNode(Struct, frozen=True):
    entries: Mapping[str, Entry]
    span: Span

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry.value if entry else None

    def with_entries(self, entries: Mapping[str, Entry]) -> MapNode:
        return MapNode(entries, self.span)


Node: TypeAlias = ScalarNode | ListNode | MapNode


def plain(node: Node) -> Any:
    """The JSON value of a tree, without positions."""
    match node:
        case ScalarNode():
            return node.value
        case ListNode():
            return [plain(item) for item in node.items]
        case MapNode():
            return {key: plain(entry.value) for key, entry in node.entries.items()}


def size(node: Node) -> int:
    """How many nodes a tree has, keys not counted."""
    match node:
        case ScalarNode():
            return 1
        case ListNode():
            return 1 + sum(size(item) for item in node.items)
        case MapNode():
            return 1 + sum(size(entry.value) for entry in node.entries.values())


def child(node: Node, part: str | int) -> Node | None:
    """The node one step down, None where there is none."""
    if isinstance(node, MapNode) and isinstance(part, str):
        return node.get(part)
    if isinstance(node, ListNode) and isinstance(part, int) and 0 <= part < len(node.items):
        return node.items[part]
    return None


def find(root: Node, path: Path) -> Node | None:
    """The node at `path`, None where there is none."""
    node: Node | None = root
    for part in path:
        node = child(node, part) if node is not None else None
    return node


def locate(root: Node, path: Path, *, key: bool = False) -> Location:
    """Where `path` stands: its value, or with `key` its key. What does not exist is at its nearest ancestor."""
    node, span = root, root.span
    for part in path:
        below = child(node, part)
        if below is None:
            return span.location()
        span = node.entries[str(part)].key if key and isinstance(node, MapNode) else below.span
        node = below
    return span.location()


def from_value(value: Any, span: Span) -> Node:
    """A tree of a JSON value that stands, as a whole, at one place."""
    if isinstance(value, Mapping):
        return MapNode({str(key): Entry(span, from_value(item, span)) for key, item in value.items()}, span)
    if isinstance(value, list | tuple):
        return ListNode(tuple(from_value(item, span) for item in value), span)
    return ScalarNode(value, span)
