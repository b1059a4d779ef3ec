"""What a job wants done about a reply that is no answer, checked against the rest of the job.

Owns   the checks of `output.repair`, `on_truncation` and `on_refusal` that need no row and no connection: limits that
       grow and that the model has, another model that takes the job's parameters too.
Knows  the tree (for places) and the catalog's parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.catalog.parameters import check_params
from runner.errors import Problem
from runner.spec.node import ListNode, MapNode, find, plain


def check_asking(tree: MapNode, mode: str, schema: Mapping[str, Any] | None) -> list[Problem]:
    """All problems and warnings of this kind. `mode` is the job's."""
    params = plain(node) if isinstance(node := tree.get("params"), MapNode) else {}
    model = plain(node) if (node := tree.get("model")) is not None else None
    if not isinstance(model, str):
        return []
    return [
        *_repair(tree, schema),
        *_limits(tree, model, params, mode),
        *_other_model(tree, model, params, mode),
    ]


def _repair(tree: MapNode, schema: Mapping[str, Any] | None) -> Iterator[Problem]:
    node = find(tree, ("output", "repair"))
    if node is not None and plain(node) and not schema and not _says_how(tree):
        found = "`repair` changes nothing: without a schema no reply is invalid"
        hint = "say what a reply must look like (`fields`, `labels` or `schema`), or take it out"
        yield Problem("no-effect", found, node.span.location(), hint, "warning")


def _says_how(tree: MapNode) -> bool:
    """Whether the job says what a reply must look like, be it well or not."""
    return any(find(tree, ("output", key)) is not None for key in ("fields", "labels", "schema", "rules", "extract"))


def _limits(tree: MapNode, model: str, params: Mapping[str, Any], mode: str) -> Iterator[Problem]:
    node = find(tree, ("output", "on_truncation", "max_tokens"))
    first = params.get("max_tokens")
    if not isinstance(node, ListNode) or not _is_count(first):
        return
    known = _known(model, params, mode)
    before, what = first, "`params.max_tokens`"
    for item in node.items:
        limit = plain(item)
        if not _is_count(limit):
            continue  # that is told by the model of the job
        if limit <= before:
            found = f"{limit:,} is not more than {what} ({before:,}): a cut-off reply would be cut off again"
            yield Problem("out-of-range", found, item.span.location(), "give the limits in growing order")
        before, what = limit, "the limit before it"
        for problem in check_params(model, {**params, "max_tokens": limit}, mode=mode):
            if problem.path == ("max_tokens",) and (problem.path, problem.code) not in known:
                yield Problem(problem.code, problem.message, item.span.location(), problem.hint)


def _other_model(tree: MapNode, model: str, params: Mapping[str, Any], mode: str) -> Iterator[Problem]:
    node = find(tree, ("output", "on_refusal", "model"))
    other = plain(node) if node is not None else None
    if node is None or not isinstance(other, str):
        return
    where = node.span.location()
    if other == model:
        found = f"{other} is the model that refused: it is to be another one"
        yield Problem("same-model", found, where, "name another model, or write `on_refusal: fail`")
        return
    known = _known(model, params, mode)
    for limit in (params.get("max_tokens"), *_last_limit(tree)):
        for problem in check_params(other, {**params, "max_tokens": limit}, mode=mode):
            if problem.severity == "error" and (problem.path, problem.code) not in known:
                known.add((problem.path, problem.code))
                path = ".".join(str(part) for part in problem.path)
                yield Problem(problem.code, f"`params.{path}`: {problem.message}", where, problem.hint)


def _known(model: str, params: Mapping[str, Any], mode: str) -> set[tuple[object, str]]:
    """What is wrong with the params anyway, and told elsewhere."""
    return {(problem.path, problem.code) for problem in check_params(model, params, mode=mode)}


def _last_limit(tree: MapNode) -> list[int]:
    node = find(tree, ("output", "on_truncation", "max_tokens"))
    limits = [plain(item) for item in node.items] if isinstance(node, ListNode) else []
    return [limit for limit in limits[-1:] if _is_count(limit)]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
