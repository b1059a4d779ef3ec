"""What fits only together: parameters and model, breakpoints in their order, paths and what reads or writes them.

Owns   the checks of a job as a whole that need no row and no connection.
Knows  the tree (for places), the catalog's parameters, and of datasets and sinks their names.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from runner.catalog.api import MAX_BREAKPOINTS
from runner.catalog.models import ModelFacts
from runner.errors import Problem, SpecError
from runner.plugins import Plugin, dataset_for, sink_for
from runner.spec.asking import check_asking
from runner.spec.conversation import check_conversation
from runner.spec.hints import choice_hint
from runner.spec.inputs import missing_file
from runner.spec.node import ListNode, MapNode, Node, Path, ScalarNode, child, find, plain
from runner.spec.output_checks import check_output
from runner.spec.params import batch_only, mode_of, param_problems
from runner.spec.provider import provider_problems
from runner.spec.sink_checks import check_sinks
from runner.spec.table_checks import check_tables
from runner.spec.templates import expressions
from runner.spec.texts import Text, datasets_of, locate_in_scalar
from runner.spec.tools import calls_functions
from runner.storage import as_path, check_writable, is_url, missing_for, shown
from runner.templating import ColumnUse, Expression, TemplateFailure, TemplateSet
from runner.types import CacheTtl, Mode


def check_together(
    tree: MapNode,
    texts: Sequence[Text],
    templates: TemplateSet | None,
    schema: Mapping[str, Any] | None,
    root: FilePath,
    *,
    lenient: bool,
    facts: ModelFacts | None = None,
) -> list[Problem]:
    """All problems and warnings of this kind. `facts`: what is known of the model beyond the snapshot."""
    paths = _Paths(tree, texts, templates, root)
    return [
        *param_problems(tree, facts),
        *provider_problems(tree),
        *_deadline(tree),
        *_variables(tree, lenient=lenient),
        *check_conversation(tree, schema),
        *_breakpoints(tree),
        *paths.datasets(),
        *paths.sinks(),
        *check_sinks(tree),
        *check_tables(tree),
        *_output_fields(tree, schema),
        *check_asking(tree, mode_of(tree), schema),
        *check_output(tree, schema),
    ]


def _deadline(tree: MapNode) -> Iterator[Problem]:
    """A deadline needs batches to watch, and requests that can be finished in parallel."""
    deadline = find(tree, ("limits", "deadline"))
    if deadline is None or plain(deadline) is None:
        return
    where = deadline.span.location()
    mode = mode_of(tree)
    if mode == "parallel":
        found = "a deadline changes nothing in parallel mode: there every request is sent as soon as it may be"
        yield Problem("no-effect", found, where, "take it out, or write `mode: auto` or `mode: batch`", "warning")
    elif mode == "batch" and (betas := batch_only(tree)):
        found = f"`{betas[0]}` works in batches only, so what is left near the deadline cannot be finished in parallel"
        yield Problem("batch-only", found, where, "take the deadline out, or the beta")
    for name in ("input_tokens_per_minute", "output_tokens_per_minute"):
        ceiling = find(tree, ("limits", name))
        if mode != "parallel" and ceiling is not None and plain(ceiling) is not None:
            found = f"when batches are taken back for the deadline is reckoned without `{name}`"
            hint = "say the same by `requests_per_minute`, which it knows, or give the deadline more time"
            yield Problem("slower-than-assumed", found, ceiling.span.location(), hint, "warning")


def _modes(tree: MapNode) -> tuple[Mode, ...]:
    """The modes in which requests may be sent: what a batch leaves over is finished in parallel where it can be."""
    mode = mode_of(tree)
    if mode == "parallel" or calls_functions(tree):
        return ("parallel",)
    if mode == "batch" and batch_only(tree):
        return ("batch",)
    return ("parallel", "batch")


def _variables(tree: MapNode, *, lenient: bool) -> Iterator[Problem]:
    """A null variable must be given."""
    node = tree.get("vars")
    for name, entry in node.entries.items() if isinstance(node, MapNode) else ():
        if isinstance(entry.value, ScalarNode) and entry.value.value is None:
            severity = "warning" if lenient else "error"
            where = entry.key.location()
            yield Problem(
                "missing-variable", f"the variable `{name}` must be given", where, f"--var {name}=…", severity
            )


def _breakpoints(tree: MapNode) -> Iterator[Problem]:
    """At most four, and those of an hour before those of five minutes (api-facts, section 5)."""
    marks = list(_cache_marks(tree))
    for _, node in marks[MAX_BREAKPOINTS:]:
        found = f"more than {MAX_BREAKPOINTS} cache breakpoints"
        yield Problem(
            "too-many-breakpoints", found, node.span.location(), "mark only the last block of what stays the same"
        )
    yield from _breakpoint_order(marks, _modes(tree))


_TRUE_MEANS: Mapping[Mode, CacheTtl] = {"parallel": "5m", "batch": "1h"}


def _breakpoint_order(marks: Sequence[tuple[object, Node]], modes: Sequence[Mode]) -> Iterator[Problem]:
    """A 1h breakpoint behind a shorter one, in any of the modes; each is told once."""
    found = "a 1h breakpoint stands behind a shorter one"
    hint = "give the earlier block `cache: 1h` too, or this one `cache: 5m`"
    told = set(_behind_shorter([mark for mark, _ in marks]))
    for i in sorted(told):
        yield Problem("breakpoint-order", found, marks[i][1].span.location(), hint)
    for mode in modes:
        means = _TRUE_MEANS[mode]
        said = f"in {mode} mode, where `cache: true` means {means}, {found}"
        behind = set(_behind_shorter([means if mark is True else mark for mark, _ in marks])) - told
        for i in sorted(behind):
            yield Problem("breakpoint-order", said, marks[i][1].span.location(), hint)
        told |= behind


def _behind_shorter(marks: Sequence[object]) -> Iterator[int]:
    """Which breakpoints of an hour stand behind one of five minutes."""
    for i, mark in enumerate(marks):
        if mark == "1h" and "5m" in marks[:i]:
            yield i


def _cache_marks(tree: MapNode) -> Iterator[tuple[object, Node]]:
    """The breakpoints in the order of a request."""
    lists = [tree.get("tools"), tree.get("system")]
    messages = tree.get("messages")
    lists += [child(message, "content") for message in messages.items] if isinstance(messages, ListNode) else []
    lists.append(tree.get("turns"))
    for blocks in lists:
        for block in blocks.items if isinstance(blocks, ListNode) else ():
            mark = child(block, "cache")
            if isinstance(mark, ScalarNode) and mark.value in (True, "5m", "1h"):
                yield mark.value, mark


def _output_fields(tree: MapNode, schema: Mapping[str, Any] | None) -> Iterator[Problem]:
    """`output.<field>` in `columns` must be one that the schema has."""
    fields = (schema or {}).get("properties")
    if not isinstance(fields, Mapping):
        return
    for name, node in expressions(tree):
        for use in _uses(name, node, "output"):
            if use.column not in fields and not use.optional:
                where = locate_in_scalar(node, use.line, f"output.{use.column}")
                hint = choice_hint(use.column, fields, "Fields of the output")
                yield Problem("unknown-field", f"`output` has no field `{use.column}`", where, hint)


def _uses(name: str, node: ScalarNode, variable: str) -> tuple[ColumnUse, ...]:
    """None for an expression that cannot be read: that has been told."""
    try:
        return Expression(str(node.value), name).columns(variable)
    except TemplateFailure:
        return ()


class _Paths:
    """Checks the paths of the dataset and the sinks, rendered as far as they can be before there is a run."""

    def __init__(self, tree: MapNode, texts: Sequence[Text], templates: TemplateSet | None, root: FilePath) -> None:
        self._tree = tree
        self._templates = templates
        self._root = root
        self._named = {text.path: text for text in texts if text.kind == "path"}
        self.problems: list[Problem] = []

    def datasets(self) -> list[Problem]:
        for at in datasets_of(self._tree):
            self._dataset((*at, "path"))
        return self._taken()

    def _dataset(self, place: Path) -> None:
        node = find(self._tree, place)
        path = self._rendered(place, node)
        if path is None or node is None or self._refused(node, path, dataset_for):
            return
        if path == "-":
            if place != ("dataset", "path"):
                found = "a dataset in `cross` cannot be read from stdin"
                self.problems.append(Problem("bad-path", found, node.span.location(), "write it to a file"))
            return
        where = node.span.location()
        path = as_path(path)
        if is_url(path):
            self._missing_library(node, path)
        elif glob.has_magic(path):
            if not (self._root / path).is_file() and not _matches(path, self._root):
                found = f"no file matches `{path}`"
                self.problems.append(Problem("file-not-found", found, where, "paths start at the project's root"))
        elif not (self._root / path).is_file():
            self.problems.append(missing_file(path, self._root, where))

    def sinks(self) -> list[Problem]:
        sinks = self._tree.get("sinks")
        sources = self._source_files()
        seen: dict[str, int] = {}
        for number, sink in enumerate(sinks.items if isinstance(sinks, ListNode) else ()):
            node = child(sink, "path")
            path = self._rendered(("sinks", number, "path"), node)
            if path is None or node is None or self._refused(node, path, sink_for):
                continue
            if is_url(as_path(path)):
                self._missing_library(node, path)
            target = self._place(path)
            if target in seen:
                found = f"sink {seen[target] + 1} writes to `{shown(path)}` too"
                self.problems.append(
                    Problem("duplicate-sink", found, node.span.location(), "give each sink a path of its own")
                )
            elif target in sources:
                found = f"`{shown(path)}` is the dataset itself"
                hint = "write to a file of its own, such as out/…"
                self.problems.append(Problem("sink-is-dataset", found, node.span.location(), hint))
            seen.setdefault(target, number)
        return self._taken()

    def _source_files(self) -> set[str]:
        """The files of the datasets that can be known before a run."""
        return set().union(*(self._files_of((*at, "path")) for at in datasets_of(self._tree)))

    def _files_of(self, place: Path) -> set[str]:
        node = find(self._tree, place)
        told = len(self.problems)
        path = self._rendered(place, node)
        del self.problems[told:]
        if path is None or path == "-" or "\0" in path:
            return set()
        path = as_path(path)
        if is_url(path):
            return {path}
        # `Path.glob` takes no absolute patterns.
        found = glob.glob(path, root_dir=self._root, recursive=True) if glob.has_magic(path) else [path]  # noqa: PTH207
        return {str((self._root / each).resolve()) for each in found}

    def _place(self, path: str) -> str:
        """What a sink's path means, so that two spellings of one are equal."""
        path = as_path(path)
        return path if path == "-" or is_url(path) else str((self._root / path).resolve())

    def _missing_library(self, node: Node, path: str) -> None:
        missing = missing_for(path)
        if missing is not None:
            self.problems.append(Problem(missing.code, missing.message, node.span.location(), missing.hint))

    def _rendered(self, place: Path, node: Node | None) -> str | None:
        value = plain(node) if node is not None else None
        if not isinstance(value, str) or not value:
            return None
        text = self._named.get(place)
        if text is None:
            return value
        if self._templates is None or not self._templates.template(text.name).names() <= text.sees:
            return None
        variables = self._tree.get("vars")
        known = plain(variables) if isinstance(variables, MapNode) else {}
        if any(item is None for item in known.values()):
            return None
        context = {"vars": known, "job": {"name": plain(self._tree.get("name") or text.node)}, "run": {"id": "run"}}
        try:
            return self._templates.template(text.name).render({name: context[name] for name in text.sees})
        except TemplateFailure as failure:
            self.problems.append(Problem(failure.code, failure.message, text.node.span.location(), failure.hint))
            return None

    def _refused(self, node: Node, path: str, kind_for: Callable[[str], Plugin]) -> bool:
        """Whether there is nothing that reads or writes such a path; tells so."""
        try:
            kind_for(path)
            if kind_for is sink_for and is_url(as_path(path)):
                check_writable(path)
        except SpecError as error:
            where = node.span.location()
            self.problems += [Problem(found.code, found.message, where, found.hint) for found in error.problems]
            return True
        return False

    def _taken(self) -> list[Problem]:
        problems, self.problems = self.problems, []
        return problems


def _matches(pattern: str, root: FilePath) -> bool:
    # `Path.glob` takes no absolute patterns.
    return next(glob.iglob(pattern, root_dir=root, recursive=True), None) is not None  # noqa: PTH207
