"""The images and documents that a job names itself: read once when it is loaded, and copied into its runs.

Owns   which sources are fixed (no row in them), the reading of their files, and what can be said against them before
       there are rows: no file, wrong media, too large.
Knows  a shaped tree, its texts and templates, and the files of the project. What a row names is read when the row is
       rendered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from runner.errors import Problem
from runner.media.content import Content, MediaKind, Unsendable, too_large
from runner.media.scaling import can_scale
from runner.spec.inputs import missing_file
from runner.spec.node import MapNode, Node, Path, child, find, plain
from runner.spec.origins import LocalFiles, Unreadable, origin_of
from runner.spec.texts import ITEM, Text, bare_expression
from runner.storage import missing_for
from runner.templating import Expression, TemplateFailure, TemplateSet

INSTALL = 'pip install "rowrunner[media]"'


class FixedMedia:
    """Reads the fixed sources of one job. `media` is content by its path as it is used, `problems` what is wrong."""

    def __init__(
        self, tree: MapNode, texts: Sequence[Text], files: LocalFiles, root: FilePath, *, offline: bool = False
    ) -> None:
        self.media: dict[str, bytes] = {}
        self.problems: list[Problem] = []
        self._tree = tree
        self._texts = texts
        self._files = files
        self._root = root
        self._offline = offline

    def read_written(self) -> None:
        """Those that are written as they are."""
        for text in self._texts:
            if text.kind == "source":
                self._take(text, text.name)

    def read_rendered(self, templates: TemplateSet, context: Mapping[str, Any]) -> None:
        """Those that depend on variables and assets. What cannot be rendered is left to the compiler to tell."""
        for text in self._texts:
            if text.kind == "value" and text.path[-1] in ("image", "source"):
                try:
                    for source in self._values(text, templates, context):
                        if isinstance(source, str) and source.strip():
                            self._take(text, source.strip())
                except TemplateFailure:
                    continue

    def _values(self, text: Text, templates: TemplateSet, context: Mapping[str, Any]) -> Iterator[Any]:
        """What a source becomes; nothing where a row has a part in it."""
        template = templates.template(text.name)
        each, condition = (self._expression(text, key) for key in ("each", "if"))
        names = template.names().union(*(one.names() for one in (each, condition) if one is not None))
        if "row" in names:
            return
        items = each.evaluate(context) if each is not None else [None]
        whole = Expression.whole(template.text)
        for item in items if isinstance(items, list | tuple) else ():
            seen = {**context, ITEM: item} if each is not None else context
            if condition is not None and condition.evaluate(seen) is not True:
                continue
            found = template.render(seen) if whole is None else Expression(whole, text.name).evaluate(seen)
            yield from found if isinstance(found, list | tuple) else (found,)

    def _expression(self, text: Text, key: str) -> Expression | None:
        node = child(self._block(text), key)
        return Expression(bare_expression(str(plain(node))), key) if node is not None else None

    def _block(self, text: Text) -> Node:
        block = find(self._tree, block_path(text.path))
        assert block is not None
        return block

    def _take(self, text: Text, source: str) -> None:
        where, block, origin = text.node.span.location(), self._block(text), None
        try:
            origin = origin_of(source)
            if origin not in ("path", "store"):
                return
            if origin == "store" and self._offline:
                missing = missing_for(source)
                if missing is not None:
                    self.problems.append(Problem(missing.code, missing.message, where, missing.hint))
                return
            data = self.media.get(source)
            if data is None:
                data = self._files.trusted(source)
            kind: MediaKind = "image" if text.path[-1] == "image" else "document"
            content = Content.of(data, f"`{source}`", kind)
            problem = too_large(content) if kind == "image" else None
            if problem is not None and (cure := _cure_of_size(block)) is not None:
                raise Unsendable(problem, cure, code="image-too-large")
            self.media[source] = data
        except Unreadable as failure:
            if not failure.missing:
                self.problems.append(Problem(failure.code, failure.message, where, failure.hint))
            elif plain_of(block, "optional") is not True:
                found = Problem(failure.code, failure.message, where, failure.hint)
                self.problems.append(missing_file(source, self._root, where) if origin == "path" else found)
        except Unsendable as refused:
            self.problems.append(Problem(refused.code, refused.message, where, refused.hint))


def block_path(path: Path) -> Path:
    """The path of the block that a text is a part of: behind `system`, or behind a message's `content`."""
    return path[:2] if path[0] == "system" else path[:4]


def plain_of(block: Node, key: str) -> Any:
    node = child(block, key)
    return None if node is None else plain(node)


def _cure_of_size(block: Node) -> str | None:
    """What to do about an image that is too large; None where it is scaled."""
    if plain_of(block, "resize") == "refuse":
        return "make it smaller, or write `resize: fit`"
    return None if can_scale() else f"install what scales images: {INSTALL}; or make it smaller"
