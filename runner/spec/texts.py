"""The texts of a job: where each stands, what it is called as a template, and what it may see.

Owns   the naming of inline texts (`jobs/x.yaml#messages.0.content.0`), and the way back from a template's line to
       a place that people can open: in the template's own file, or in the job file where the text is written.
Knows  trees and the TemplateSet's names; nothing of rendering. Of a block it knows which of its keys hold what.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Literal

from msgspec import Struct

from runner.errors import Location
from runner.settings import shown_path
from runner.spec.node import ListNode, MapNode, Node, Path, ScalarNode, Source, child, find
from runner.templating import Expression

SHARED = frozenset({"vars", "assets", "job"})
"""What text in `system` sees."""
PER_ROW = SHARED | {"row"}
"""What text in `messages` sees."""
PER_TURN = PER_ROW | {"replies"}
"""What text in `turns` sees."""
WHERE = frozenset({"row", "vars", "assets"})
RULE = frozenset({"output", "text", "stop_reason", "model", "content", "key", "row", "vars", "assets"})
"""What `output.rules` see: the parts of a record that are known when a reply is judged."""
DATASET_PATH = frozenset({"vars"})
"""What `dataset.path` and `dataset.bind` see."""
SINK_PATH = frozenset({"job", "vars", "run"})

_JINJA = re.compile(r"\{[{%#]")

Kind = Literal["text", "template", "file", "path", "value", "expression", "source"]
"""`value`: a short text of a block that is rendered, or one whole `{{ expression }}`. `expression`: `if` and `each`.
`source`: where an image or a document comes from, as it is written."""

BLOCK_VALUES = ("image", "search_result", "title", "context")
"""Keys of a block that hold one value."""
BLOCK_EXPRESSIONS = ("if", "each")
ITEM = "item"
"""What `each` calls the item that a block is made for."""


class Text(Struct, frozen=True):
    """One text of the job. `path` leads to the scalar; `name` is that of the template, or of the file as written."""

    kind: Kind
    path: Path
    node: ScalarNode
    name: str
    sees: frozenset[str]

    @property
    def is_inline(self) -> bool:
        return self.kind in ("text", "path", "value", "expression")

    @property
    def template_text(self) -> str:
        """An inline text as a template. Of an expression it is one that prints it: only its names are looked at."""
        text = str(self.node.value)
        return f"{{{{ {bare_expression(text)} }}}}" if self.kind == "expression" else text


def texts_of(tree: MapNode, job_file: str) -> list[Text]:
    """All texts of a shaped tree that are rendered or sent, in the order of a request."""
    texts = list(_blocks(tree.get("system"), ("system",), SHARED, job_file))
    messages = tree.get("messages")
    if isinstance(messages, ListNode):
        for number, message in enumerate(messages.items):
            path = ("messages", number, "content")
            texts.extend(_blocks(child(message, "content"), path, PER_ROW, job_file))
    texts.extend(_blocks(tree.get("turns"), ("turns",), PER_TURN, job_file))
    texts.extend(_paths(tree, job_file))
    for at in datasets_of(tree):
        bind = find(tree, (*at, "bind"))
        if bind is not None:
            texts.extend(_nested(bind, (*at, "bind"), DATASET_PATH, job_file))
    return texts


def name_texts(values: dict[str, Any], texts: Sequence[Text]) -> None:
    """Write each block's name into the job's values, beside its text."""
    for text in texts:
        if text.kind not in ("text", "template", "file"):
            continue
        holder: Any = values
        for part in text.path[:-1]:
            holder = holder[part]
        holder["name"] = text.name


def _blocks(node: Node | None, path: Path, sees: frozenset[str], job_file: str) -> Iterator[Text]:
    if not isinstance(node, ListNode):
        return
    for number, block in enumerate(node.items):
        here = (*path, number)
        within = sees | {ITEM} if child(block, "each") is not None else sees
        yield from _texts(block, here, within, job_file)
        document = child(block, "document")
        if document is not None:
            yield from _texts(document, (*here, "document"), within, job_file)
            yield from _values(document, (*here, "document"), ("source",), within, job_file)
        yield from _values(block, here, BLOCK_VALUES, within, job_file)
        passages = child(block, "content")
        for place, passage in enumerate(passages.items if isinstance(passages, ListNode) else ()):
            yield from _value(passage, (*here, "content", place), within, job_file)
        for key in BLOCK_EXPRESSIONS:
            value = child(block, key)
            if isinstance(value, ScalarNode) and isinstance(value.value, str):
                known = sees if key == "each" else within
                yield Text("expression", (*here, key), value, inline_name(job_file, (*here, key)), known)


def _texts(node: Node, here: Path, sees: frozenset[str], job_file: str) -> Iterator[Text]:
    for kind in _TEXT_KINDS:
        value = child(node, kind)
        if isinstance(value, ScalarNode) and isinstance(value.value, str):
            name = inline_name(job_file, here) if kind == "text" else value.value
            yield Text(kind, (*here, kind), value, name, sees)


_TEXT_KINDS: tuple[Literal["text", "template", "file"], ...] = ("text", "template", "file")


def _values(node: Node, here: Path, keys: Sequence[str], sees: frozenset[str], job_file: str) -> Iterator[Text]:
    for key in keys:
        value = child(node, key)
        if value is not None:
            yield from _value(value, (*here, key), sees, job_file)


def _nested(node: Node, path: Path, sees: frozenset[str], job_file: str) -> Iterator[Text]:
    """The values in a mapping or a list, however deep."""
    match node:
        case MapNode():
            for name, entry in node.entries.items():
                yield from _nested(entry.value, (*path, name), sees, job_file)
        case ListNode():
            for number, item in enumerate(node.items):
                yield from _nested(item, (*path, number), sees, job_file)
        case _:
            yield from _value(node, path, sees, job_file)


def _value(value: Node, path: Path, sees: frozenset[str], job_file: str) -> Iterator[Text]:
    if not isinstance(value, ScalarNode) or not isinstance(value.value, str):
        return
    if _JINJA.search(value.value):
        yield Text("value", path, value, inline_name(job_file, path), sees)
    elif path[-1] in ("image", "source"):
        yield Text("source", path, value, value.value, sees)


def bare_expression(text: str) -> str:
    """An expression as it is written, with or without the braces around it."""
    return Expression.whole(text) or text


def datasets_of(tree: Node) -> list[Path]:
    """Where the datasets of a job are written: its own, and those that this one is crossed with."""
    cross = find(tree, CROSS)
    return [("dataset",), *((*CROSS, name) for name in cross.entries)] if isinstance(cross, MapNode) else [("dataset",)]


CROSS: Path = ("dataset", "cross")


def _paths(tree: MapNode, job_file: str) -> Iterator[Text]:
    """The paths that are templates."""
    sinks = tree.get("sinks")
    places: list[tuple[Path, frozenset[str]]] = [((*at, "path"), DATASET_PATH) for at in datasets_of(tree)]
    if isinstance(sinks, ListNode):
        places += [(("sinks", number, "path"), SINK_PATH) for number in range(len(sinks.items))]
    for path, sees in places:
        value = find(tree, path)
        if isinstance(value, ScalarNode) and isinstance(value.value, str) and _JINJA.search(value.value):
            yield Text("path", path, value, inline_name(job_file, path), sees)


def inline_name(job_file: str, path: Path) -> str:
    """What an inline text is called in the TemplateSet."""
    return f"{job_file}#{'.'.join(str(part) for part in path)}"


class Places(Struct, frozen=True):
    """The way from a template's name and line to a file, a line and a column.

    `inline` are the scalars that hold a template in the job itself; `files` are the paths of the others; `sources`
    the texts.
    """

    inline: Mapping[str, ScalarNode]
    files: Mapping[str, FilePath]
    sources: Mapping[str, str]

    def locate(self, template: str, line: int | None, token: str | None = None) -> Location:
        """Where a line of a template is written; `token` is what the caret looks for in it."""
        node = self.inline.get(template)
        if node is not None:
            return locate_in_scalar(node, line, token)
        path = self.files.get(template)
        shown = shown_path(path) if path is not None else template
        if line is None:
            return Location(shown)
        return _in_line(Source.of(shown, self.sources.get(template, "")), line - 1, 0, token)


def locate_in_scalar(node: ScalarNode, line: int | None, token: str | None) -> Location:
    """Where line `line` (1-based) of a scalar's text is written in its file.

    Exact for `|` blocks and for texts of one line. Folded texts have lost their line breaks: there the token is
    looked for.
    """
    span = node.span
    if line is not None and node.style == "|":
        # Line 1 of the text is the one below the `|`.
        return _in_line(span.source, span.line + line, 0, token)
    if token is not None:
        for number in range(span.line, span.end_line + 1):
            match = _word(token).search(span.source.line(number), span.column if number == span.line else 0)
            if match:
                return span.source.location(number, match.start(), match.end() - match.start())
    return span.location()


def _in_line(source: Source, line: int, start: int, token: str | None) -> Location:
    text = source.line(line)
    match = _word(token).search(text, start) if token else None
    if match:
        return source.location(line, match.start(), match.end() - match.start())
    indent = len(text) - len(text.lstrip())
    return source.location(line, indent, len(text.strip()))


def _word(token: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.]){re.escape(token)}(?!\w)")
