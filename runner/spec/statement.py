"""The statement of a dataset: `sql` or `query`, its text and where it is written.

Owns   the way from a line of the statement to a place that people can open: in the job file, or in the file that
       `{file: …}` names.
Knows  the tree and the job's files. The text is never rendered: values come in by `bind`.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from runner.errors import Location
from runner.spec.inputs import Inputs
from runner.spec.node import MapNode, Path, ScalarNode, Source, find
from runner.spec.texts import datasets_of, locate_in_scalar

KEYS = ("sql", "query")


class WrittenStatement(Struct, frozen=True):
    """`key` is the dataset's key that holds it; `file` names the file that has the text, None where it is inline."""

    key: str
    text: str
    node: ScalarNode
    file: str | None = None

    @property
    def files(self) -> Mapping[str, str]:
        """The text by the name of its file, as a run stores it."""
        return {} if self.file is None else {self.file: self.text}

    def locate(self, line: int | None, token: str | None = None) -> Location:
        """Where a line (from 1) of the statement is written, or a word of it."""
        if self.file is None:
            return locate_in_scalar(self.node, line, token)
        source = Source.of(self.file, self.text)
        lines = range(len(source.lines)) if line is None else [line - 1]
        for number in lines:
            column = source.line(number).find(token) if token else -1
            if token and column >= 0:
                return source.location(number, column, len(token))
        if line is None:
            return Location(self.file)
        text = source.line(line - 1)
        indent = len(text) - len(text.lstrip())
        return source.location(line - 1, indent, len(text.strip()))


def read_statements(tree: MapNode, inputs: Inputs) -> dict[Path, WrittenStatement]:
    """The statements of the job's datasets, by where these are written, without those that cannot be read: that is
    told."""
    read = {at: _statement_of(tree, at, inputs) for at in datasets_of(tree)}
    return {at: statement for at, statement in read.items() if statement is not None}


def _statement_of(tree: MapNode, at: Path, inputs: Inputs) -> WrittenStatement | None:
    for key in KEYS:
        text = find(tree, (*at, key, "text"))
        if isinstance(text, ScalarNode) and isinstance(text.value, str):
            return WrittenStatement(key, text.value, text)
        file = find(tree, (*at, key, "file"))
        if isinstance(file, ScalarNode) and isinstance(file.value, str):
            content = inputs.file(file)
            return None if content is None else WrittenStatement(key, content, file, file.value)
    return None
