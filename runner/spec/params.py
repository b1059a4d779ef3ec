"""The parameters of a job, each problem where it is written.

Owns   what `params:` may hold in the job at hand: its model, its mode, its cap.
Knows  the tree (for places) and the catalog's rules.
"""

from __future__ import annotations

from collections.abc import Iterator

from runner.catalog.models import ModelFacts
from runner.catalog.parameters import batch_only_betas, check_params
from runner.errors import Problem, closest
from runner.spec.node import MapNode, Path, find, locate, plain

_AT_KEY = frozenset(
    {
        "unknown-param", "not-supported-yet", "wrong-place", "refused-param", "parallel-only", "missing-beta",
        "extra-body", "unbounded-cost",
    }
)  # fmt: skip
"""Codes of parameters that are wrong by their name, not by their value."""


def param_problems(tree: MapNode, facts: ModelFacts | None) -> Iterator[Problem]:
    """What is wrong with the job's params, and what is worth a warning. `facts` None: what the snapshot knows."""
    params, model = tree.get("params"), tree.get("model")
    if params is not None and not isinstance(params, MapNode):
        return
    values = plain(params) if params is not None else {}
    name = plain(model) if model is not None else ""
    misspelled = any(closest(key, ["max_tokens"]) for key in values)
    checked = check_params(
        name if isinstance(name, str) else "", values, facts, mode=mode_of(tree), capped=_is_capped(tree)
    )
    for found in checked:
        if found.path == ("max_tokens",) and "max_tokens" not in values and misspelled:
            continue
        path: Path = ("params", *found.path)
        where = locate(tree, path, key=found.code in _AT_KEY)
        yield Problem(found.code, found.message, where, found.hint, found.severity)


def mode_of(tree: MapNode) -> str:
    """The job's mode; `auto` where it says none, or one that is told elsewhere."""
    node = tree.get("mode")
    mode = plain(node) if node is not None else None
    return mode if mode in ("batch", "parallel") else "auto"


def batch_only(tree: MapNode) -> list[str]:
    """The betas of a job that work in batches only."""
    params = tree.get("params")
    return batch_only_betas(plain(params)) if isinstance(params, MapNode) else []


def _is_capped(tree: MapNode) -> bool:
    cap = find(tree, ("limits", "max_cost_usd"))
    return cap is not None and plain(cap) is not None
