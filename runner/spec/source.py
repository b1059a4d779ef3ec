"""YAML to nodes with positions; everything that can be misread is an error.

Owns   the reading of one YAML text: PyYAML's parser delivers events, this module composes them (positions for
       every key and value, anchors, `<<`), `spec.scalars` gives plain scalars their values and `spec.syntax` words
       what the parser refuses.
Knows  nothing of jobs.

Bounds, so that no input can hang or exhaust the process
  * 1 MiB of UTF-8, one document, 50 levels, 10,000 nodes with aliases and merges counted as often as they are used.
  * Tags, duplicate keys, keys that are no plain text, recursive aliases: refused.

Why not `safe_load`: it takes the last of two equal keys in silence, reads `no` as False and `22:22` as 1342, and
hangs on a merge bomb of 340 bytes. libyaml parses where it is there; its wording differs, so a text
that it refuses is parsed once more in Python, and messages are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from msgspec import Struct
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from runner.errors import Location, Problem, SpecError
from runner.spec.node import Entry, ListNode, MapNode, Node, ScalarNode, Source, Span, size
from runner.spec.scalars import Doubtful, resolve
from runner.spec.syntax import eaten_template, half_character, syntax_problem, unquoted_template

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_NODES = 10_000

_PARSER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class Reading(Struct, frozen=True):
    """What a YAML text holds: `root` is None where nothing could be read, or where the text is empty."""

    root: Node | None
    problems: tuple[Problem, ...]


def parse_yaml(data: bytes | str, file: str) -> Node:
    """Read a YAML text that must be right. Raises SpecError with all that is wrong with it."""
    reading = read_yaml(data, file)
    if reading.problems:
        raise SpecError(reading.problems)
    if reading.root is None:
        raise SpecError([Problem("empty-file", "the file is empty", Location(file, 1, 1))])
    return reading.root


def read_yaml(data: bytes | str, file: str) -> Reading:
    """Read a YAML text as far as it goes; never raises for what is in it."""
    if len(data) > MAX_BYTES:
        hint = "keep data in a file of its own: `dataset`, `assets` and `{file: …}` read it"
        return Reading(None, (Problem("file-too-large", "larger than 1 MiB", Location(file), hint),))
    decoded = _decode(data, file)
    if isinstance(decoded, Problem):
        return Reading(None, (decoded,))
    text = decoded.removeprefix("\ufeff")
    source = Source.of(file, text)
    composer = _Composer(source)
    root = None
    try:
        root = composer.document(yaml.parse(text, Loader=_PARSER))
    except _Refused as refused:
        composer.problems.append(refused.problem)
    except yaml.YAMLError as error:
        composer.problems.append(syntax_problem(_python_error(text) or error, source))
    return Reading(root, tuple(composer.problems))


def _decode(data: bytes | str, file: str) -> str | Problem:
    if isinstance(data, str):
        return data
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Problem("not-utf8", "the file is UTF-16", Location(file, 1, 1), "save it as UTF-8")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        lines = Source.of(file, before).lines
        where = Location(file, len(lines), len(lines[-1]) + 1)
        found = f"byte 0x{data[error.start]:02x} is not UTF-8"
        return Problem("not-utf8", found, where, "save the file as UTF-8")


def _python_error(text: str) -> yaml.YAMLError | None:
    """What PyYAML's own parser says of a text, None where it has nothing to say."""
    try:
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as error:
        return error
    return None


class _Refused(Exception):
    """Composing cannot go on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _Composer:
    """Builds the tree from the parser's events. Problems that leave the rest readable are collected on the way."""

    def __init__(self, source: Source) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0
        self._events: Iterator[Event] = iter(())

    def document(self, events: Iterator[Event]) -> Node | None:
        """The one document of the stream, None where the stream is empty."""
        self._events = events
        root: Node | None = None
        for event in events:
            if isinstance(event, StreamStartEvent | StreamEndEvent):
                continue
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    where = self._span(event).location()
                    hint = "put each job in a file of its own, and leave out the `---`"
                    raise _Refused(Problem("several-documents", "a second document begins here", where, hint))
                root = self._node(next(events), 1)
                next(events)  # the end of the document
        return root

    def _node(self, event: Event, depth: int, *, key: bool = False) -> Node:
        span = self._span(event)
        self._count(1, span)
        if depth > MAX_DEPTH:
            raise _Refused(Problem("too-deep", f"nested deeper than {MAX_DEPTH} levels", span.location()))
        if isinstance(event, AliasEvent):
            return self._alias(event, span)
        self._refuse_tag(event, span)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = None
        node: Node
        if isinstance(event, ScalarEvent):
            node = self._scalar(event, span, key=key)
        elif isinstance(event, SequenceStartEvent):
            node = self._list(span, depth)
        else:
            # The grammar of events (pyyaml.org, "Events") has nothing else where a node stands.
            assert isinstance(event, MappingStartEvent)
            node = self._mapping(event, span, depth)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: AliasEvent, span: Span) -> Node:
        name = event.anchor
        if name not in self._anchors:
            hint = f'to mean the text, put it in quotes: "*{name}"; an anchor is set with `&{name}` above its use'
            raise _Refused(Problem("unknown-alias", f"no anchor `&{name}` stands above", span.location(), hint))
        node = self._anchors[name]
        if node is None:
            raise _Refused(Problem("recursive-alias", f"`*{name}` is inside `&{name}` itself", span.location()))
        self._count(size(node) - 1, span)
        return node

    def _scalar(self, event: ScalarEvent, span: Span, *, key: bool) -> ScalarNode:
        text, style = event.value, event.style or ""
        if any("\ud800" <= char <= "\udfff" for char in text):
            self.problems.append(half_character(self._source, span.line))
            return ScalarNode("", span, style)
        if key or not event.implicit[0]:
            return ScalarNode(text, span, style)
        eaten = eaten_template(self._source, span.end_line, span.end_column)
        if eaten is not None:
            self.problems.append(eaten)
            return ScalarNode((text + self._source.line(span.end_line)[span.end_column :]).strip(), span, '"')
        value = resolve(text)
        if isinstance(value, Doubtful):
            self.problems.append(Problem("doubtful-number", value.message, span.location(), value.hint))
            return ScalarNode(text, span, style)
        return ScalarNode(value, span, style)

    def _list(self, span: Span, depth: int) -> ListNode:
        items = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return ListNode(tuple(items), self._through(span, event))

    def _mapping(self, event: MappingStartEvent, span: Span, depth: int) -> Node:
        if event.flow_style and (problem := unquoted_template(self._source, span.line, span.column)) is not None:
            self.problems.append(problem)
            whole = self._through(span, self._skip_mapping())
            return ScalarNode(self._source.line(span.line)[span.column : whole.end_column], whole, '"')
        merged: dict[str, Entry] = {}
        own: dict[str, Entry] = {}
        while not isinstance(key := next(self._events), MappingEndEvent):
            name = self._key(key, depth)
            value = self._node(next(self._events), depth + 1)
            if name is None:
                continue
            if name == "<<" and isinstance(key, ScalarEvent) and key.implicit[0]:
                for inherited, entry in self._merge(value).items():
                    merged.setdefault(inherited, entry)
            elif name in own:
                self._refuse_duplicate(name, own[name].key, self._span(key))
            else:
                own[name] = Entry(self._span(key), value)
        return MapNode({**merged, **own}, self._through(span, key))

    def _key(self, event: Event, depth: int) -> str | None:
        """A key's text as it is written: `1`, `true` and `null` are names too. None where it cannot be a key."""
        node = self._node(event, depth + 1, key=True)
        if isinstance(node, ScalarNode) and node.value not in ("", None):
            return str(node.value)
        hint = "a value that starts with `{` or `[` and is meant as text needs quotes"
        self.problems.append(Problem("bad-key", "a key must be plain text", self._span(event).location(), hint))
        return None

    def _merge(self, node: Node) -> dict[str, Entry]:
        """The keys that `<<` brings; of several mappings the first that has a key gives it."""
        merged: dict[str, Entry] = {}
        for part in node.items if isinstance(node, ListNode) else (node,):
            if not isinstance(part, MapNode):
                hint = "`<<: *anchor`, where the anchor marks a mapping, or a list of such"
                self.problems.append(
                    Problem("bad-merge", "`<<` merges mappings, and this is none", part.span.location(), hint)
                )
                continue
            for name, entry in part.entries.items():
                merged.setdefault(name, entry)
        return merged

    def _skip_mapping(self) -> Event:
        depth = 1
        while depth:
            event = next(self._events)
            depth += isinstance(event, MappingStartEvent | SequenceStartEvent)
            depth -= isinstance(event, MappingEndEvent | SequenceEndEvent)
        return event

    def _refuse_tag(self, event: Event, span: Span) -> None:
        tag = getattr(event, "tag", None)
        if tag is None:
            return
        written = self._source.line(span.line)[span.column :].split(" ")[0]
        hint = "leave the tag out; a text that starts with `!` needs quotes"
        self.problems.append(Problem("yaml-tag", f"the tag `{written}` is not allowed", span.location(), hint))

    def _refuse_duplicate(self, name: str, first: Span, second: Span) -> None:
        hint = f"the first one is in line {first.line + 1}; keep one of them"
        self.problems.append(Problem("duplicate-key", f"`{name}` is given twice", second.location(), hint))

    def _count(self, nodes: int, span: Span) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            found = f"more than {MAX_NODES:,} values, aliases counted each time they are used"
            hint = "keep data in a file of its own: `dataset` and `assets` read it"
            raise _Refused(Problem("too-many-nodes", found, span.location(), hint))

    def _span(self, event: Event) -> Span:
        # The stubs allow None for events that are made by hand; a parser always sets both.
        start: Any = event.start_mark
        end: Any = event.end_mark
        return Span(self._source, start.line, start.column, end.line, end.column)

    def _through(self, span: Span, event: Event) -> Span:
        end = self._span(event)
        return Span(span.source, span.line, span.column, end.end_line, end.end_column)
