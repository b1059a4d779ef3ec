"""`tool_choice` and `container`: what may be said about the use of tools, and what a model refuses of it.

Owns   the shapes of both parameters, and the rules of forced choice.
Knows  facts of the model; what is not known is not checked. No flag of the Models API tells which models take a forced
       choice, so they stand here.

Source: SDK 2.12.0 `types/tool_choice_*_param.py`, `types/container_params.py`; platform.claude.com
agents-and-tools/tool-use/define-tools, build-with-claude/thinking, api/errors, read November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from runner.catalog.models import ModelFacts
from runner.catalog.shapes import ByType, Either, Fields, ListOf, OneOf, ParamPath, ParamProblem, Shape, Switch, Text

NO_FORCED_CHOICE = frozenset(
    f"claude-{name}" for name in ("fable-5-1", "fable-5-2", "mythos-5-1", "mythos-5-2", "opus-5-5", "sonnet-5-5")
)
"""Models that refuse `any` and `tool` (errors and thinking pages). Of Haiku 5.5 nobody says so."""
_DATED = re.compile(r"-\d{8}$")

_PARALLEL: Mapping[str, Shape] = {"type": Text(), "disable_parallel_tool_use": Switch()}
TOOL_CHOICE = ByType(
    {
        "auto": Fields(_PARALLEL),
        "any": Fields(_PARALLEL),
        "tool": Fields({**_PARALLEL, "name": Text()}, ("name",)),
        "none": Fields({"type": Text()}),
    }
)

_SKILL = Fields({"type": OneOf(("anthropic", "custom")), "skill_id": Text(), "version": Text()}, ("type", "skill_id"))
_CONTAINER = Fields({"id": Text(), "skills": ListOf(_SKILL)})


CONTAINER = Either({str: Text(), Mapping: _CONTAINER}, "an id or a mapping")


def choice_problems(params: Mapping[str, Any], facts: ModelFacts) -> Iterator[ParamProblem]:
    """What is well-formed and refused: a forced choice on a model that takes none, or together with thinking."""
    kind = (params.get("tool_choice") or {}).get("type")
    if kind not in ("any", "tool"):
        return
    path: ParamPath = ("tool_choice", "type")
    hint = "write `auto` and say in the prompt when to call it; for structured replies write `output:`"
    if _DATED.sub("", facts.id) in NO_FORCED_CHOICE:
        message = f"{facts.id} refuses a tool choice of type {kind!r}: no model that always thinks is forced to call"
        yield ParamProblem(path, "refused-value", message, hint)
    elif (thinking := (params.get("thinking") or {}).get("type")) in ("enabled", "adaptive"):
        message = f"the API refuses a tool choice of type {kind!r} together with thinking of type {thinking!r}"
        yield ParamProblem(path, "refused-value", message, hint)
