"""Short forms to long ones, and the keys of a job: unknown, given twice over, not supported yet.

Owns   `Shaper.job`, which turns one layer's tree into a tree of the long forms that `spec.job` describes. Nodes
       keep their positions, so whatever is found wrong later is shown where it was written.
Knows  the models' class variables; the values themselves are checked by pydantic in `spec.validate`.

Keys that are refused are left out of the tree, so that nothing else complains of them. `null` stays: it removes
what a weaker layer gives, and `drop_nulls` takes it away in the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from types import UnionType
from typing import Any, Union, get_args, get_origin

from msgspec import Struct

from runner.catalog.parameters import REFUSED, TAKEN
from runner.errors import Problem, closest
from runner.spec.content import DocumentSource, TextSource
from runner.spec.hints import choice_hint
from runner.spec.job import Job, JobFile
from runner.spec.model import Model, OneOrMany
from runner.spec.node import Entry, ListNode, MapNode, Node, Path, ScalarNode, Span

_TEMPLATE_NAME = re.compile(r"\S+\.j2")
"""A string without spaces that ends in `.j2` names a template (docs/job.md, "A block of content")."""


_PARAMETERS = TAKEN.keys() | REFUSED.keys()


class FieldShape(Struct, frozen=True):
    """What a field holds: `model` is that of the value or, where `many`, of its items; `single` items need no list.
    `named` are values under names of the user's choice."""

    model: type[Model] | None
    many: bool
    single: bool
    named: bool = False


@cache
def field_shapes(model: type[Model]) -> Mapping[str, FieldShape]:
    """The keys of a model as a user writes them."""
    return {
        info.alias or name: _field_shape(info.annotation, any(isinstance(mark, OneOrMany) for mark in info.metadata))
        for name, info in model.model_fields.items()
        if not info.exclude
    }


def _field_shape(annotation: Any, single: bool) -> FieldShape:
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for option in options:
        if get_origin(option) is tuple:
            item = get_args(option)[0]
            return FieldShape(item if _is_model(item) else None, True, single)
        if get_origin(option) is dict and _is_model(get_args(option)[1]):
            return FieldShape(get_args(option)[1], False, single, named=True)
        if _is_model(option):
            return FieldShape(option, False, single)
    return FieldShape(None, False, single)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Model)


class Excused:
    """Keys whose absence needs no telling: a typo of them, or a key of a later version in their place, has been told.

    A mapping is known by its place, which stays when short forms move it to another path.
    """

    def __init__(self) -> None:
        self._keys: set[tuple[Span, str | None]] = set()

    def key(self, mapping: MapNode, name: str) -> None:
        self._keys.add((mapping.span, name))

    def all_keys(self, mapping: MapNode) -> None:
        self._keys.add((mapping.span, None))

    def covers(self, mapping: Node | None, names: Iterable[str]) -> bool:
        return mapping is not None and any((mapping.span, name) in self._keys for name in (None, *names))


class Shaper:
    """Shapes the layers of one job. `problems` collects what is wrong with their keys."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.excused = Excused()

    def job(self, node: MapNode) -> MapNode:
        """One layer: the whole of a job file, or a part of one."""
        kept = {name: entry for name, entry in node.entries.items() if not name.startswith("x-")}
        shaped = self._model(MapNode(kept, node.span), JobFile, ())
        if not isinstance(shaped, MapNode):
            return MapNode({}, node.span)
        return self._with_cross_in_dataset(_prompt_as_messages(shaped))

    def _model(self, node: Node, model: type[Model], path: Path) -> Node:
        if isinstance(node, ScalarNode) and isinstance(node.value, str) and model.short:
            node = MapNode({_short_key(node.value, model): Entry(node.span, node)}, node.span)
        if not isinstance(node, MapNode):
            return node
        entries = self._known(node, model, path)
        self._refuse_rivals(entries, model)
        shapes = field_shapes(model)
        return MapNode(
            {
                name: Entry(entry.key, self._field(entry.value, shapes[name], (*path, name)))
                for name, entry in entries.items()
            },
            node.span,
        )

    def _field(self, node: Node, shape: FieldShape, path: Path) -> Node:
        if isinstance(node, ScalarNode) and node.value is None:
            return node
        if shape.named and shape.model is not None:
            return _each(node, partial(self._named, shape.model, path))
        if not shape.many:
            return self._model(node, shape.model, path) if shape.model else node
        if not isinstance(node, ListNode):
            if not shape.single:
                return node
            node = ListNode((node,), node.span)
        if shape.model is None:
            return node
        return ListNode(
            tuple(self._model(item, shape.model, (*path, number)) for number, item in enumerate(node.items)), node.span
        )

    def _named(self, model: type[Model], path: Path, name: str, node: Node) -> Node:
        """A value under a name; null takes away what a weaker layer has there."""
        return node if _is_null(node) else self._model(node, model, (*path, name))

    def _with_cross_in_dataset(self, node: MapNode) -> MapNode:
        """`cross` beside `dataset` is short for one in it."""
        cross, dataset = node.entries.get("cross"), node.entries.get("dataset")
        if cross is None:
            return node
        entries = {name: entry for name, entry in node.entries.items() if name != "cross"}
        below = dataset.value if dataset is not None and isinstance(dataset.value, MapNode) else None
        if below is not None and "cross" in below.entries:
            hint = "keep the one under `dataset`"
            self.problems.append(Problem("one-of", "`cross` is given twice", cross.key.location(), hint))
        elif dataset is None or below is not None:
            inner = MapNode(
                {**(below.entries if below is not None else {}), "cross": cross}, (below or cross.value).span
            )
            entries["dataset"] = Entry(dataset.key if dataset is not None else cross.key, inner)
        return node.with_entries(entries)

    def _known(self, node: MapNode, model: type[Model], path: Path) -> dict[str, Entry]:
        """The entries whose keys the model has; the others are told."""
        known = field_shapes(model)
        entries = {}
        for name, entry in node.entries.items():
            if name in known:
                entries[name] = entry
                continue
            where = entry.key.location()
            if name in model.later:
                hint = "remove it for now: a later version of runner brings it"
                self.problems.append(Problem("not-supported-yet", f"`{name}` is not supported yet", where, hint))
                self.excused.all_keys(node)
            else:
                # A key that is needed and not there is the likelier one: `modle` is `model` rather than `mode`.
                needed = [key for key in _needed(model) if key not in node.entries]
                meant = closest(name, needed) or closest(name, known)
                hint = choice_hint(name, known, "Keys here", meant)
                if not path and name in _PARAMETERS:
                    hint = "parameters of the API go under `params:`"
                self.problems.append(Problem("unknown-key", f"`{name}` is no key of {_noun(path)}", where, hint))
                if meant is not None:
                    self.excused.key(node, "messages" if meant == "prompt" else meant)
        return entries

    def _refuse_rivals(self, entries: dict[str, Entry], model: type[Model]) -> None:
        for group in model.one_of:
            given = [name for name in entries if name in group and not _is_null(entries[name].value)]
            for name in given[1:]:
                found = f"`{name}` and `{given[0]}` exclude one another"
                where = entries[name].key.location()
                self.problems.append(Problem("one-of", found, where, "keep one of them"))
                del entries[name]


def missing_choices(node: Node, model: type[Model], path: Path = ()) -> list[tuple[Path, tuple[str, ...]]]:
    """The mappings of a shaped tree that give none of a group of keys of which one is needed."""
    missing: list[tuple[Path, tuple[str, ...]]] = []
    if not isinstance(node, MapNode):
        return missing
    keys = field_shapes(model)
    for group in model.one_of:
        usable = tuple(name for name in group if name in keys)
        needed = model.needs_choice or not node.entries
        if needed and usable and not any(name in node.entries for name in usable):
            missing.append((path, usable))
    for name, shape in keys.items():
        value = node.get(name)
        if value is None or shape.model is None:
            continue
        if shape.named:
            for each, entry in value.entries.items() if isinstance(value, MapNode) else ():
                missing.extend(missing_choices(entry.value, shape.model, (*path, name, each)))
            continue
        items = enumerate(value.items) if shape.many and isinstance(value, ListNode) else None
        if items is None:
            missing.extend(missing_choices(value, shape.model, (*path, name)))
        else:
            for number, item in items:
                missing.extend(missing_choices(item, shape.model, (*path, name, number)))
    return missing


def drop_nulls(node: MapNode, model: type[Model] = Job) -> MapNode:
    """Leave out the keys of models that are null, and null parameters. `vars` keeps its nulls: they must be given."""
    entries = {}
    shapes = field_shapes(model)
    for name, entry in node.entries.items():
        if _is_null(entry.value):
            continue
        shape = shapes.get(name)
        value = entry.value
        if shape and shape.model and shape.named and isinstance(value, MapNode):
            some = {key: item for key, item in value.entries.items() if not _is_null(item.value)}
            value = _each(value.with_entries(some), partial(_without_nulls, shape.model))
        elif shape and shape.model and isinstance(value, MapNode):
            value = drop_nulls(value, shape.model)
        elif shape and shape.model and isinstance(value, ListNode):
            items = (drop_nulls(item, shape.model) if isinstance(item, MapNode) else item for item in value.items)
            value = ListNode(tuple(items), value.span)
        elif name in ("params", "assets", "columns") and isinstance(value, MapNode):
            value = value.with_entries({key: item for key, item in value.entries.items() if not _is_null(item.value)})
        entries[name] = Entry(entry.key, value)
    return node.with_entries(entries)


def _without_nulls(model: type[Model], _name: str, node: Node) -> Node:
    return drop_nulls(node, model) if isinstance(node, MapNode) else node


def _each(node: Node, change: Callable[[str, Node], Node]) -> Node:
    """A mapping with each value changed; anything else as it is."""
    if not isinstance(node, MapNode):
        return node
    return node.with_entries({key: Entry(item.key, change(key, item.value)) for key, item in node.entries.items()})


@cache
def _needed(model: type[Model]) -> tuple[str, ...]:
    """Keys without which a mapping is no such model, alone or in a group."""
    required = (info.alias or name for name, info in model.model_fields.items() if info.is_required())
    return (*required, *(name for group in model.one_of for name in group if name in field_shapes(model)))


def _short_key(text: str, model: type[Model]) -> str:
    if issubclass(model, TextSource | DocumentSource) and _TEMPLATE_NAME.fullmatch(text):
        return "template"
    return str(model.short)


def _prompt_as_messages(node: MapNode) -> MapNode:
    """`prompt` is short for one user message; the entry keeps its place among the keys."""
    entries = {}
    for name, entry in node.entries.items():
        if name != "prompt" or _is_null(entry.value):
            entries["messages" if name == "prompt" else name] = entry
            continue
        span = entry.value.span
        message = MapNode({"content": Entry(entry.key, entry.value)}, span)
        entries["messages"] = Entry(entry.key, ListNode((message,), span))
    return node.with_entries(entries)


def _noun(path: Path) -> str:
    return f"`{'.'.join(str(part) for part in path)}`" if path else "a job"


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value is None
