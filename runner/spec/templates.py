"""What can be said against the templates and expressions of a job before there are rows.

Owns   the loading of the closed TemplateSet, and the check of every name that a text uses: what it may see,
       declared variables and assets, the fields of a record in a sink's `columns`.
Knows  trees and templating. Columns of the dataset are checked by `spec.columns`, once the dataset is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath

from msgspec.structs import replace

from runner.errors import Location, Problem
from runner.settings import Settings
from runner.spec.hints import choice_hint
from runner.spec.node import ListNode, MapNode, Node, Path, ScalarNode, child, find
from runner.spec.texts import ITEM, PER_ROW, RULE, WHERE, Places, Text, datasets_of, locate_in_scalar
from runner.templating import Expression, NameUse, TemplateFailure, TemplateFinder, TemplateSet
from runner.templating.analysis import Uses
from runner.types import COLUMN_FIELDS, RECORD_FIELDS

_JOB_FIELDS = ("name", "description", "model")
_RECORD = frozenset((*RECORD_FIELDS, *COLUMN_FIELDS))


class TemplateCheck:
    """Loads and checks the templates of one job. `problems` collects what is wrong."""

    def __init__(self, tree: MapNode, texts: Sequence[Text], settings: Settings) -> None:
        self.problems: list[Problem] = []
        self.places = Places({text.name: text.node for text in texts if text.is_inline}, {}, {})
        self._tree = tree
        self._texts = [text for text in texts if text.kind not in ("file", "source")]
        self._finder = TemplateFinder(settings.template_dirs, settings.root, (settings.state_dir,))

    def load(self) -> TemplateSet | None:
        """The set of all templates that the job names, None where one is missing or wrong."""
        templates: TemplateSet | None
        try:
            templates = self._load(self._texts)
        except TemplateFailure:
            templates = None
            self._check_one_by_one()
        else:
            for text in self._texts:
                self._check_names(text, templates.template(text.name).uses)
        self._check_expressions()
        return templates

    def _load(self, texts: Sequence[Text]) -> TemplateSet:
        names = dict.fromkeys(text.name for text in texts if not text.is_inline)
        templates = TemplateSet.load(
            self._finder, names, {text.name: text.template_text for text in texts if text.is_inline}
        )
        self._know(templates.paths, templates.sources)
        return templates

    def _check_one_by_one(self) -> None:
        """Something is wrong with some of the texts; the others are checked all the same."""
        for text in self._texts:
            try:
                templates = self._load([text])
            except TemplateFailure as failure:
                self._add_failures(text, failure.failures)
            else:
                self._check_names(text, templates.template(text.name).uses)

    def _know(self, paths: Mapping[str, FilePath], sources: Mapping[str, str]) -> None:
        known = self.places
        self.places = Places(known.inline, {**known.files, **paths}, {**known.sources, **sources})

    def _add_failures(self, text: Text, failures: Iterable[TemplateFailure]) -> None:
        for failure in failures:
            name = failure.template
            if name is None or (name not in self.places.inline and not self._is_readable(name)):
                where = text.node.span.location()
            else:
                where = self.places.locate(name, failure.line)
            self._add(failure.code, failure.message, where, failure.hint)

    def _is_readable(self, name: str) -> bool:
        """Whether a template that is wrong has a text to show; learns it."""
        if name in self.places.sources:
            return True
        try:
            path, source = self._finder.find(name)
        except TemplateFailure:
            return False
        self._know({name: path}, {name: source})
        return True

    # -- names -----------------------------------------------------------------------------------------------------

    def _check_names(self, text: Text, uses: Uses) -> None:
        for use in uses.names:
            if use.name not in text.sees and not use.optional:
                self._refuse_name(text, use)
        for variable, known, noun in (
            ("vars", self._declared("vars"), "Variables of this job"),
            ("assets", self._declared("assets"), "Assets of this job"),
            ("job", _JOB_FIELDS, "Fields"),
        ):
            for field in uses.columns(variable):
                if field.column not in known and not field.optional:
                    where = self.places.locate(field.template, field.line, f"{variable}.{field.column}")
                    hint = choice_hint(field.column, known, noun)
                    self._add("unknown-variable", f"`{variable}` has no `{field.column}`", where, hint)

        if text.path[0] == "turns":
            self._check_replies(uses, int(text.path[1]) + 1)

    def _check_replies(self, uses: Uses, count: int) -> None:
        """`replies` has one text for each turn before, which is `count` of them."""
        for use in uses.indexes:
            if use.variable == "replies" and not use.optional and not -count <= use.index < count:
                where = self.places.locate(use.template, use.line, f"replies[{use.index}]")
                there = (
                    "`replies[0]` is the only one"
                    if count == 1
                    else f"there are `replies[0]` to `replies[{count - 1}]`"
                )
                hint = f"{there}, counted from the first turn, and `replies[-1]` is the one that came last"
                found = f"turn {count + 1} has no `replies[{use.index}]`: {_replies(count)} before it"
                self._add("no-such-reply", found, where, hint)

    def _refuse_name(self, text: Text, use: NameUse) -> None:
        where = self.places.locate(use.template, use.line, use.name)
        if use.name == "row" and text.path[0] == "system":
            found = "`row` is not known in `system`, which every row shares"
            self._add("row-in-system", found, where, "put what depends on the row in the first user message")
            return
        if use.name == ITEM:
            hint = "only a block with `each` knows `item`, and `each` itself does not"
        elif use.name in self._declared("vars"):
            hint = f"did you mean `vars.{use.name}`?"
        elif use.name in self._declared("assets"):
            hint = f"did you mean `assets.{use.name}`?"
        else:
            hint = _names_hint(use.name, text.sees)
        self._add("unknown-name", f"`{use.name}` is not known here", where, hint)

    def _declared(self, key: str) -> list[str]:
        node = self._tree.get(key)
        return list(node.entries) if isinstance(node, MapNode) else []

    # -- expressions -----------------------------------------------------------------------------------------------

    def _check_expressions(self) -> None:
        for name, node in expressions(self._tree):
            self._check_expression(name, node, self._known_in(name))

    def _known_in(self, name: str) -> frozenset[str]:
        """The names that an expression may use, by what it is called."""
        if is_where(name):
            return WHERE
        if name.startswith("messages."):
            return PER_ROW
        return RULE if name.startswith("output.rules.") else self._record()

    def _record(self) -> frozenset[str]:
        """The fields that a record of this job has."""
        some = {"turns": "turns", "samples": "samples", "vote": "samples"}
        return _RECORD | {field for field, key in some.items() if self._tree.get(key) is not None}

    def _check_expression(self, name: str, node: ScalarNode, known: frozenset[str]) -> None:
        try:
            expression = Expression(str(node.value), name)
        except TemplateFailure as failure:
            self._add(failure.code, failure.message, locate_in_scalar(node, failure.line, None), failure.hint)
            return
        for found in expression.uses.failures:
            self._add(found.code, found.message, locate_in_scalar(node, found.line, None), found.hint)
        for use in expression.uses.names:
            if use.name not in known and not use.optional:
                where = locate_in_scalar(node, use.line, use.name)
                hint = _names_hint(use.name, known)
                self._add("unknown-name", f"`{use.name}` is not known here", where, hint)
        for variable in ("vars", "assets"):
            for field in expression.columns(variable):
                declared = self._declared(variable)
                if variable in known and field.column not in declared and not field.optional:
                    where = locate_in_scalar(node, field.line, f"{variable}.{field.column}")
                    hint = choice_hint(field.column, declared, f"Names in {variable}")
                    self._add("unknown-variable", f"`{variable}` has no `{field.column}`", where, hint)

    def _add(self, code: str, message: str, where: Location, hint: str | None) -> None:
        self.problems.append(Problem(code, message, where, hint))


def _replies(count: int) -> str:
    return "one reply stands" if count == 1 else f"{count} replies stand"


def _names_hint(name: str, known: frozenset[str]) -> str:
    hint = choice_hint(name, sorted(known), "Names here")
    if known == RULE:
        return f"a field of the output is `output.{name}`, a column `row.{name}`. {hint}"
    return f"a column is `row.{name}`. {hint}" if "row" in known and "key" not in known else hint


def where_name(dataset: Path) -> str:
    """What the `where` of a dataset is called."""
    return ".".join([*map(str, dataset), "where"])


def is_where(name: str) -> bool:
    return name == "dataset.where" or (name.startswith("dataset.cross.") and name.endswith(".where"))


def expressions(tree: Node) -> Iterator[tuple[str, ScalarNode]]:
    """The Jinja expressions of a job (`expand`, `where`, `rules`, `columns`) with what they are called."""
    yield from _expansions(tree)
    for at in datasets_of(tree):
        where = find(tree, (*at, "where"))
        if isinstance(where, ScalarNode) and isinstance(where.value, str):
            yield where_name(at), where
    rules = find(tree, ("output", "rules"))
    for number, rule in enumerate(rules.items if isinstance(rules, ListNode) else ()):
        text = child(rule, "rule")
        if isinstance(text, ScalarNode) and isinstance(text.value, str):
            yield f"output.rules.{number}", text
    sinks = child(tree, "sinks")
    number = 0
    while sinks is not None and (sink := child(sinks, number)) is not None:
        columns = child(sink, "columns")
        for name, entry in columns.entries.items() if isinstance(columns, MapNode) else ():
            if isinstance(entry.value, ScalarNode) and isinstance(entry.value.value, str):
                yield f"sinks.{number}.columns.{name}", entry.value
        number += 1


def _expansions(tree: Node) -> Iterator[tuple[str, ScalarNode]]:
    """`expand: "{{ row.history }}"`: what is between the braces, where the text is nothing but one expression."""
    messages, number = child(tree, "messages"), 0
    while messages is not None and (message := child(messages, number)) is not None:
        node = child(message, "expand")
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            text = Expression.whole(node.value)
            if text is not None:
                yield f"messages.{number}.expand", replace(node, value=text)
        number += 1
