"""The layers of a job, from the weakest to the strongest, merged into one tree.

    [defaults] · [profiles.P.defaults] · extends · the job · [profiles.P.set] · --set and --var

Owns   the reading of every layer, each shaped to long forms first, and the rules of merging: mappings merge, lists
       replace, keys that exclude one another replace each other, null removes; `name` and `description` are not
       inherited.
Knows  files and settings; not what a key means.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.errors import Location, Problem
from runner.settings import ProjectFile, Settings, shown_path
from runner.spec.hints import choice_hint
from runner.spec.job import JobFile
from runner.spec.model import Model
from runner.spec.node import Entry, ListNode, MapNode, Node, ScalarNode, Source, Span, plain
from runner.spec.scalars import Doubtful, resolve
from runner.spec.shape import Shaper, field_shapes
from runner.spec.source import read_yaml

_NOT_INHERITED = ("name", "description", "extends")
_BEGINNING = "a job begins with keys: `model: …`, `prompt: …`, `dataset: …`"
_FREE = ("vars",)
"""Mappings in which null is a value: a variable that must be given."""


class Layers:
    """Reads and merges the layers of one job file. `problems` collects what is wrong in any of them."""

    def __init__(self, settings: Settings, profile: str | None) -> None:
        self.problems: list[Problem] = []
        self.shaper = Shaper()
        self._settings = settings
        self._profile = profile

    def merge(self, path: Path, sets: Sequence[str], variables: Sequence[str]) -> MapNode | None:
        """The merged tree, None where the job file cannot be read at all."""
        job = self._with_bases(path, ())
        if job is None:
            return None
        merged = MapNode({}, job.span)
        for layer in (*self._defaults(), job, *self._profile_set()):
            merged = merge(merged, layer)
        for argument in sets:
            merged = self._apply_set(merged, argument)
        for argument in variables:
            merged = self._apply_variable(merged, argument)
        return MapNode(merged.entries, job.span)

    def _with_bases(self, path: Path, seen: tuple[Path, ...]) -> MapNode | None:
        """A job file over what it extends."""
        shown = shown_path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            self.problems.append(Problem("unreadable-file", f"cannot read it: {error.strerror}", Location(shown)))
            return None
        reading = read_yaml(data, shown)
        self.problems.extend(reading.problems)
        if reading.root is None:
            if not reading.problems:
                self.problems.append(Problem("empty-file", "the file is empty", Location(shown, 1, 1), _BEGINNING))
            return None
        if not isinstance(reading.root, MapNode):
            where = reading.root.span.location()
            self.problems.append(Problem("not-a-job", "a job is a mapping of keys", where, _BEGINNING))
            return None
        layer = self.shaper.job(reading.root)
        extends = layer.entries.get("extends")
        own = layer.with_entries({name: entry for name, entry in layer.entries.items() if name != "extends"})
        if extends is None or not isinstance(extends.value, ScalarNode) or not isinstance(extends.value.value, str):
            if extends is not None:
                found = "`extends`: expected the name of a file"
                self.problems.append(Problem("wrong-type", found, extends.value.span.location()))
            return own
        base = self._base(path, extends.value, (*seen, Path(os.path.realpath(path))))
        return own if base is None else MapNode(merge(base, own).entries, own.span)

    def _base(self, path: Path, name: ScalarNode, seen: tuple[Path, ...]) -> MapNode | None:
        where = name.span.location()
        base = path.parent / str(name.value)
        if Path(os.path.realpath(base)) in seen:
            self.problems.append(Problem("extends-cycle", f"`{name.value}` extends this file in turn", where))
            return None
        if not base.is_file():
            hint = f"it is looked for beside this file: {shown_path(base)}"
            self.problems.append(Problem("file-not-found", f"there is no file `{name.value}`", where, hint))
            return None
        layer = self._with_bases(base, seen)
        if layer is None:
            return None
        return layer.with_entries({key: entry for key, entry in layer.entries.items() if key not in _NOT_INHERITED})

    def _defaults(self) -> list[MapNode]:
        project = self._settings.project
        if project is None:
            return []
        layers = [self._table(project, ("defaults",), project.defaults())]
        if self._profile in project.profiles:
            keys = ("profiles", str(self._profile), "defaults")
            layers.append(self._table(project, keys, project.defaults(self._profile)))
        return [
            layer.with_entries({key: entry for key, entry in layer.entries.items() if key not in _NOT_INHERITED})
            for layer in layers
        ]

    def _profile_set(self) -> list[MapNode]:
        project, profile = self._settings.project, self._profile
        if profile is None:
            return []
        if project is None or profile not in project.profiles:
            names = list(project.profiles) if project else []
            place = project.shown if project else shown_path(self._settings.root / "runner.toml")
            hint = choice_hint(profile, names, "Profiles")
            self.problems.append(Problem("unknown-profile", f"there is no profile `{profile}`", Location(place), hint))
            return []
        return [self._table(project, ("profiles", profile, "set"), project.overrides(profile))]

    def _table(self, project: ProjectFile, keys: tuple[str, ...], table: Mapping[str, Any]) -> MapNode:
        node = toml_node(project, keys, _nested(table))
        assert isinstance(node, MapNode)
        return self.shaper.job(node)

    def _apply_set(self, tree: MapNode, argument: str) -> MapNode:
        parsed = self._parse_assignment("set", argument, "limits.max_cost_usd=1")
        if parsed is None:
            return tree
        keys, key_span, value = parsed
        if _crosses_list(tree, keys):
            return self._replace_item(tree, keys, key_span, value)
        layer = MapNode({keys[-1]: Entry(key_span, value)}, value.span)
        for key in reversed(keys[:-1]):
            layer = MapNode({key: Entry(key_span, layer)}, value.span)
        return merge(tree, self.shaper.job(layer))

    def _replace_item(self, tree: MapNode, keys: tuple[str, ...], key_span: Span, value: Node) -> MapNode:
        updated = _updated(tree, keys, key_span, value)
        if not isinstance(updated, MapNode):
            found = f"`{'.'.join(keys)}` is in no list of the job"
            self.problems.append(Problem("bad-set", found, key_span.location(), "positions count from 0"))
            return tree
        return self.shaper.job(updated)

    def _apply_variable(self, tree: MapNode, argument: str) -> MapNode:
        parsed = self._parse_assignment("var", argument, "since=2026-01-01")
        if parsed is None:
            return tree
        keys, key_span, value = parsed
        name = ".".join(keys)
        declared = tree.get("vars")
        names = list(declared.entries) if isinstance(declared, MapNode) else []
        if name not in names:
            hint = choice_hint(name, names, "Variables of this job")
            found = f"the job has no variable `{name}`"
            self.problems.append(Problem("unknown-variable", found, key_span.location(), hint))
            return tree
        layer = MapNode({name: Entry(key_span, value)}, value.span)
        return merge(tree, MapNode({"vars": Entry(key_span, layer)}, value.span))

    def _parse_assignment(self, flag: str, argument: str, example: str) -> tuple[tuple[str, ...], Span, Node] | None:
        """`a.b=value`: the keys, their place, and the value read as YAML."""
        source = Source.of(f"<--{flag}>", argument)
        name, equals, _ = argument.partition("=")
        key_span = Span(source, 0, 0, 0, len(name))
        keys = tuple(name.split("."))
        half = next((column for column, char in enumerate(argument) if "\ud800" <= char <= "\udfff"), None)
        if half is not None:  # what Python makes of such bytes
            found, hint = "the argument holds bytes that are no UTF-8", "give it in UTF-8"
            self.problems.append(Problem("not-utf8", found, source.location(0, half), hint))
            return None
        if not equals or not all(keys):
            hint = f"--{flag} {example}"
            self.problems.append(Problem("bad-assignment", "expected `name=value`", key_span.location(), hint))
            return None
        value = self._argument_value(argument, len(name) + 1, source)
        return None if value is None else (keys, key_span, value)

    def _argument_value(self, argument: str, start: int, source: Source) -> Node | None:
        """Lists, mappings and quoted texts are YAML; anything else is one plain scalar, whatever stands in it."""
        text = argument[start:]
        span = Span(source, 0, start, 0, len(argument))
        if text.startswith(("[", "{", '"', "'")):
            # Spaces keep the columns as they are in the argument.
            reading = read_yaml(" " * start + text, source.file)
            self.problems.extend(reading.problems)
            return reading.root
        value = resolve(text.strip())
        if isinstance(value, Doubtful):
            self.problems.append(Problem("doubtful-number", value.message, span.location(), value.hint))
            return None
        return ScalarNode(value, span)


def merge(base: MapNode, over: MapNode, model: type[Model] | None = JobFile, *, free: bool = False) -> MapNode:
    """`over` on top of `base`; both in long forms. `model` says which keys exclude one another."""
    entries = dict(base.entries)
    shapes = field_shapes(model) if model else {}
    for group in model.one_of if model else ():
        if any(name in group and not _is_null(entry.value) for name, entry in over.entries.items()):
            entries = {name: entry for name, entry in entries.items() if name not in group or name in over.entries}
    for name, entry in over.entries.items():
        below = entries.get(name)
        if _is_null(entry.value) and below is not None and not free:
            del entries[name]
        elif below is not None and isinstance(below.value, MapNode) and isinstance(entry.value, MapNode):
            shape = shapes.get(name)
            inner = shape.model if shape is not None else None
            if shape is not None and shape.named:
                entries[name] = Entry(entry.key, _merge_each(below.value, entry.value, inner))
                continue
            under = MapNode({}, below.value.span) if _is_another(below.value, entry.value, inner) else below.value
            entries[name] = Entry(entry.key, merge(under, entry.value, inner, free=name in _FREE))
        else:
            entries[name] = entry
    return MapNode(entries, over.span)


def _merge_each(base: MapNode, over: MapNode, model: type[Model] | None) -> MapNode:
    """Mappings of models under names: those of one name are merged."""
    entries = dict(base.entries)
    for name, entry in over.entries.items():
        below = entries.get(name)
        if _is_null(entry.value):
            entries.pop(name, None)
        elif below is not None and isinstance(below.value, MapNode) and isinstance(entry.value, MapNode):
            entries[name] = Entry(entry.key, merge(below.value, entry.value, model))
        else:
            entries[name] = entry
    return MapNode(entries, over.span)


def _is_another(base: MapNode, over: MapNode, model: type[Model] | None) -> bool:
    """Whether `over` is of another kind than `base`, whose keys then mean nothing in it."""
    kind = model.kind if model is not None else None
    said = over.get(kind) if kind is not None else None
    if kind is None or said is None:
        return False
    below = base.get(kind)
    return below is not None and plain(said) != plain(below)


def _crosses_list(tree: Node, keys: tuple[str, ...]) -> bool:
    node: Node | None = tree
    for key in keys:
        if isinstance(node, ListNode):
            return True
        node = node.get(key) if isinstance(node, MapNode) else None
    return False


def _updated(node: Node | None, keys: tuple[str, ...], key_span: Span, value: Node) -> Node | None:
    """A copy of the tree with the value at `keys`, None where a list has no such position."""
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(node, ListNode):
        if not key.isdecimal() or int(key) >= len(node.items):
            return None
        changed = _updated(node.items[int(key)], rest, key_span, value)
        if changed is None:
            return None
        return ListNode((*node.items[: int(key)], changed, *node.items[int(key) + 1 :]), node.span)
    entries = dict(node.entries) if isinstance(node, MapNode) else {}
    below = entries[key].value if key in entries else None
    changed = _updated(below, rest, key_span, value)
    if changed is None:
        return None
    entries[key] = Entry(key_span, changed)
    return MapNode(entries, node.span if node is not None else value.span)


def _nested(table: Mapping[str, Any]) -> dict[str, Any]:
    """`"limits.max_cost_usd" = 1` is short for the table that it names."""
    result: dict[str, Any] = {}
    for name, value in table.items():
        *above, last = name.split(".")
        inner = result
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = (
            {**inner[last], **value} if isinstance(value, dict) and isinstance(inner.get(last), dict) else value
        )
    return result


def toml_node(project: ProjectFile, keys: tuple[str, ...], value: Any) -> Node:
    """A value of the settings file as a tree that knows where it stands."""
    where = project.locate(*keys)
    source = Source(project.shown, project.lines)
    line, column = (where.line or 1) - 1, (where.column or 1) - 1
    span = Span(source, line, column, line, column + where.length)
    if isinstance(value, Mapping):
        entries = {}
        for name, item in value.items():
            below = toml_node(project, (*keys, name), item)
            entries[name] = Entry(below.span, below)
        return MapNode(entries, span)
    if isinstance(value, list):
        return ListNode(tuple(toml_node(project, keys, item) for item in value), span)
    if isinstance(value, dt.date | dt.time):
        return ScalarNode(value.isoformat(), span)
    return ScalarNode(value, span)


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value is None
