"""The files that a job names beside its templates: raw texts, assets and the schema, each read once and whole.

Owns   the reading of those files, their formats and their bounds.
Knows  the tree that names them (for positions) and the root they are resolved against. Paths that the author wrote
       plainly are trusted; none of them comes from a row.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from runner.catalog.schema_weakening import is_object, weakened
from runner.encoding import decode
from runner.errors import Location, Problem, closest
from runner.settings import shown_path
from runner.spec.json_schema import schema_problems, schema_warnings
from runner.spec.node import MapNode, Node, Path, ScalarNode, Source, Span, from_value, locate, plain
from runner.spec.origins import Unreadable, in_store, of_store
from runner.spec.output import fields_path, fields_schema, labels_schema
from runner.spec.source import read_yaml
from runner.spec.syntax import half_in_json
from runner.storage import missing_for

MAX_FILE_BYTES = 32_000_000
"""The API takes no request above 32 MB (api-facts), so no text of a request is larger; an asset is meant to be
small."""

_TABLES = {".csv": ",", ".tsv": "\t"}
_SEPARATORS = {",": "comma", "\t": "tab"}


class Inputs:
    """Reads the files of one job. `problems` collects what is wrong with them, `warnings` what is doubtful. `offline`:
    no connection is made, and a text that lies in a store is one that says so."""

    def __init__(self, root: FilePath, *, offline: bool = False) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._root = root
        self._offline = offline

    def file(self, node: ScalarNode) -> str | None:
        """The text of a `{file: …}` block, as it is: of a path, or of an object of a store."""
        data = self._object(node) if in_store(str(node.value)) else self._bytes(node)
        return None if data is None else self._text(data, node)

    def asset(self, node: ScalarNode) -> Any:
        """What a file holds, by its ending: a list of rows, a JSON or YAML value, or text."""
        data = self._bytes(node)
        if data is None:
            return None
        suffix = FilePath(str(node.value)).suffix.lower()
        shown = self._shown(node)
        if suffix in (".yaml", ".yml"):
            tree = self._yaml(data, shown)
            return None if tree is None else plain(tree)
        text = self._text(data, node)
        if text is None:
            return None
        if suffix in _TABLES:
            return self._table(text, _TABLES[suffix], shown)
        if suffix in (".jsonl", ".ndjson"):
            return self._json_lines(text, shown)
        if suffix == ".json":
            return self._json(text, shown)
        return text

    def output_schema(self, output: Node | None) -> dict[str, Any] | None:
        """The JSON Schema of `output`, None where replies are free text, or where it is wrong."""
        if not isinstance(output, MapNode):
            return None
        # What is not sent may be a list, a number, a text; and of any form.
        is_sent = output.get("extract") is None
        for key in ("fields", "labels"):
            node = output.get(key)
            if node is not None:
                built, problems = fields_schema(node) if key == "fields" else labels_schema(node)
                self.problems.extend(problems)
                if not built:  # no mapping, or no list
                    return None
                if is_sent and not problems:
                    self._sendable(built, node, fields_path)
                return built
        schema: Node | None = output.get("schema")
        if isinstance(schema, ScalarNode) and isinstance(schema.value, str):
            data = self._bytes(schema)
            schema = None if data is None else self._schema_file(data, schema)
        elif not isinstance(schema, MapNode):
            return None
        return None if schema is None else self._checked_schema(schema, is_sent=is_sent)

    def _checked_schema(self, tree: Node, *, is_sent: bool) -> dict[str, Any] | None:
        problems = schema_problems(tree)
        if not isinstance(tree, MapNode) and not problems:
            problems = [Problem("bad-schema", "a schema for replies is a mapping", tree.span.location())]
        elif isinstance(tree, MapNode) and is_sent and plain(tree).get("type", "object") != "object":
            kind = tree.get("type") or tree
            hint = "put it into a property: {type: object, properties: {value: …}}"
            problems.append(
                Problem("bad-schema", "the schema of a reply must be that of an object", kind.span.location(), hint)
            )
        self.problems.extend(problems)
        if problems:
            return None
        self.warnings.extend(schema_warnings(tree))
        schema: dict[str, Any] = plain(tree)
        if is_sent:
            self._sendable(schema, tree, lambda _, path: path)
        return schema

    def _sendable(self, schema: Mapping[str, Any], tree: Node, written_at: Callable[[Node, Path], Path]) -> None:
        """Tell what of a schema cannot be sent, and what a reply can no longer hold that the author allows."""

        def place(path: Path) -> Location:
            return locate(tree, written_at(tree, path))

        made = weakened(schema)
        for found in made.refused:
            self.problems.append(Problem(found.code, found.reason, place(found.path), found.hint))
        for found in made.narrowed:
            said = f"a reply can hold less than the schema allows: {found.reason}"
            self.warnings.append(Problem("schema-narrowed", said, place(found.path), found.hint, "warning"))
        if made.schema and not is_object(made.schema):
            hint = "put it into a property: {type: object, properties: {value: …}}"
            found_at = place(())
            self.problems.append(
                Problem("bad-schema", "the schema of a reply must be that of an object", found_at, hint)
            )

    def _schema_file(self, data: bytes, node: ScalarNode) -> Node | None:
        """JSON is YAML but for tabs and escaped surrogates: one reader gives positions for both, where it can."""
        shown = self._shown(node)
        if FilePath(str(node.value)).suffix.lower() != ".json":
            return self._yaml(data, shown)
        text = self._text(data, node)
        if text is None:
            return None
        problems = len(self.problems)
        value = self._json(text, shown)
        if len(self.problems) > problems:
            return None
        root = read_yaml(text.replace("\t", " "), shown)
        if root.root is not None and not root.problems:
            return root.root
        source = Source.of(shown, text)
        half = half_in_json(source)
        if half is not None:
            hint = "write the character itself, or both halves of it"
            self.problems.append(Problem("bad-schema", "an escape that is half a character", half, hint))
            return None
        return from_value(value, Span(source, 0, 0, 0, 1))

    def _object(self, node: ScalarNode) -> bytes | None:
        name, where = str(node.value), node.span.location()
        missing = missing_for(name)
        if missing is not None:
            self.problems.append(Problem(missing.code, missing.message, where, missing.hint))
            return None
        if self._offline:
            return f"(the text of {name})".encode()
        try:
            return of_store(name)
        except Unreadable as failure:
            self.problems.append(Problem(failure.code, failure.message, where, failure.hint))
            return None

    def _bytes(self, node: ScalarNode) -> bytes | None:
        name = str(node.value)
        where = node.span.location()
        path = self._root / name
        if "\0" in name:
            self.problems.append(Problem("bad-path", "a path cannot hold a NUL character", where))
            return None
        try:
            if not path.is_file():
                self.problems.append(missing_file(name, self._root, where))
                return None
            if path.stat().st_size > MAX_FILE_BYTES:
                found = f"`{name}` is larger than {MAX_FILE_BYTES // 1_000_000} MB"
                self.problems.append(Problem("file-too-large", found, where, "data for many rows is a `dataset`"))
                return None
            return path.read_bytes()
        except OSError as error:
            self.problems.append(Problem("unreadable-file", f"cannot read `{name}`: {error.strerror}", where))
            return None

    def _text(self, data: bytes, node: ScalarNode) -> str | None:
        try:
            return data.decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            found = f"`{node.value}` is not UTF-8 text: byte 0x{data[error.start]:02x} in line {line}"
            self.problems.append(Problem("not-utf8", found, node.span.location(), "save the file as UTF-8"))
            return None

    def _yaml(self, data: bytes, shown: str) -> Node | None:
        reading = read_yaml(data, shown)
        self.problems.extend(reading.problems)
        if reading.root is None and not reading.problems:
            self.problems.append(Problem("empty-file", "the file is empty", Location(shown, 1, 1)))
        return reading.root

    def _table(self, text: str, delimiter: str, shown: str) -> list[dict[str, str]]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header: Sequence[str] = ()
        rows: list[dict[str, str]] = []
        try:
            header = next(reader, [])
            for values in reader:
                if len(values) != len(header):
                    fields = "1 field" if len(values) == 1 else f"{len(values)} fields"
                    found = f"the row has {fields}, the header {len(header)}"
                    hint = f"put a value that has a {_SEPARATORS[delimiter]} or a line break in it in double quotes"
                    self.problems.append(Problem("ragged-row", found, Location(shown, reader.line_num), hint))
                    return rows
                rows.append(dict(zip(header, values, strict=True)))
        except csv.Error as error:
            self.problems.append(Problem("bad-csv", str(error), Location(shown, reader.line_num)))
        return rows

    def _json_lines(self, text: str, shown: str) -> list[Any]:
        rows = []
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                rows.append(decode(line))
            except ValueError as error:
                where = Location(shown, number, getattr(error, "colno", None), 1, line[:200])
                self.problems.append(Problem("bad-json", f"this line is not JSON: {_short(error)}", where))
                break
        return rows

    def _json(self, text: str, shown: str) -> Any:
        try:
            return decode(text)
        except ValueError as error:
            line = getattr(error, "lineno", None)
            source = Source.of(shown, text).line(line - 1) if line else None
            where = Location(shown, line, getattr(error, "colno", None), 1, source)
            self.problems.append(Problem("bad-json", f"the file is not JSON: {_short(error)}", where))
            return None

    def _shown(self, node: ScalarNode) -> str:
        return shown_path(self._root / str(node.value))


def missing_file(name: str, root: FilePath, where: Location) -> Problem:
    """The problem of a path that leads to no file, with the nearest name in its folder."""
    path = root / name
    if path.is_dir():
        return Problem("file-not-found", f"`{name}` is a folder", where, "name a file in it")
    hint = "paths start at the project's root"
    folder = path.parent
    if folder.is_dir():
        close = closest(path.name, sorted(entry.name for entry in os.scandir(folder) if entry.is_file()))
        if close is not None:
            hint = f"did you mean `{(FilePath(name).parent / close).as_posix()}`?"
    return Problem("file-not-found", f"there is no file `{name}`", where, hint)


def _short(error: ValueError) -> str:
    return str(getattr(error, "msg", error))
