"""What is well-formed and refused by one model: length, effort, thinking, speed, geography.

Owns   the rules that depend on the model, each with the key that it is about.
Knows  facts of the model; what is not known is not checked.

Source: platform.claude.com build-with-claude/thinking, build-with-claude/effort, build-with-claude/fast-mode and
manage-claude/data-residency, read November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.catalog.betas import FAST_BETA, LONG_OUTPUT_BETA
from runner.catalog.models import ModelFacts
from runner.catalog.shapes import ParamPath, ParamProblem
from runner.catalog.tool_choice import choice_problems

EFFORT_LEVELS = ("low", "medium", "high", "xhigh", "max")

_REFUSED_VALUE = "refused-value"


def model_problems(params: Mapping[str, Any], facts: ModelFacts | None) -> Iterator[ParamProblem]:
    """What this model refuses of params whose shapes are right."""
    if facts is None:
        return
    thinking: Mapping[str, Any] = params.get("thinking") or {}
    effort: str | None = (params.get("output_config") or {}).get("effort")
    yield from _length_problems(params, facts)
    yield from _effort_problems(effort, facts)
    yield from _thinking_problems(thinking.get("type"), effort, facts)
    yield from choice_problems(params, facts)
    yield from _speed_problems(params, facts)
    yield from _geo_problems(params, facts)
    yield from _context_problems(params, facts)


def _length_problems(params: Mapping[str, Any], facts: ModelFacts) -> Iterator[ParamProblem]:
    most, hint = facts.max_tokens, None
    if LONG_OUTPUT_BETA in (params.get("betas") or ()):
        # Where the beta has no place, that is told; the length need not be told too.
        most = facts.long_output_tokens or most
    elif facts.long_output_tokens is not None and params["max_tokens"] <= facts.long_output_tokens:
        hint = f"in batch mode `betas: [{LONG_OUTPUT_BETA}]` allows {facts.long_output_tokens:,}"
    if most is not None and params["max_tokens"] > most:
        message = f"{facts.id} writes at most {most:,} tokens, not {params['max_tokens']:,}"
        yield ParamProblem(("max_tokens",), "out-of-range", message, hint)


def _effort_problems(effort: str | None, facts: ModelFacts) -> Iterator[ParamProblem]:
    if effort is None or facts.effort is None or effort in facts.effort:
        return
    levels = [level for level in EFFORT_LEVELS if level in facts.effort]
    path: ParamPath = ("output_config", "effort")
    if levels:
        message = f"{facts.id} has no effort {effort!r}"
        yield ParamProblem(path, _REFUSED_VALUE, message, f"its levels are {', '.join(levels)}")
    else:
        yield ParamProblem(path, _REFUSED_VALUE, f"{facts.id} has no effort levels", "leave `effort` out")


def _thinking_problems(kind: str | None, effort: str | None, facts: ModelFacts) -> Iterator[ParamProblem]:
    if kind is None:
        return
    path: ParamPath = ("thinking", "type")
    if facts.thinking.get(kind) is False:
        taken = [name for name, supported in facts.thinking.items() if supported]
        hint = f"it takes {', '.join(taken)}" if taken else "leave `thinking` out"
        if facts.thinks_unasked and kind in ("disabled", "enabled"):
            hint += "; `output_config.effort` says how much it thinks"
        yield ParamProblem(path, _REFUSED_VALUE, f"{facts.id} refuses thinking of type {kind!r}", hint)
    elif kind in ("disabled", "between_tools") and effort in ("xhigh", "max") and facts.thinks_unasked:
        # Stated for Opus 5 (`disabled`) and Sonnet 5.5 (`between_tools`), reported for Haiku 5.5 (`disabled`).
        message = f"{facts.id} refuses thinking of type {kind!r} at effort {effort!r}"
        yield ParamProblem(path, _REFUSED_VALUE, message, "take effort high or lower, or let it think")


def _speed_problems(params: Mapping[str, Any], facts: ModelFacts) -> Iterator[ParamProblem]:
    if "speed" not in params or facts.fast is None:
        return
    if facts.fast == "no":
        if params["speed"] == "fast":
            message = f"{facts.id} has no fast mode"
            yield ParamProblem(("speed",), _REFUSED_VALUE, message, "leave `speed` out, or take a model that has it")
    elif facts.fast == "beta" and FAST_BETA not in (params.get("betas") or ()):
        message = f"{facts.id} takes `speed` as a beta feature only"
        yield ParamProblem(("speed",), "missing-beta", message, f"add `{FAST_BETA}` to `betas`")


def _geo_problems(params: Mapping[str, Any], facts: ModelFacts) -> Iterator[ParamProblem]:
    if "inference_geo" in params and facts.inference_geo is False:
        message = f"{facts.id} takes no `inference_geo`"
        hint = "leave it out; models from 4.6 on take it"
        yield ParamProblem(("inference_geo",), "refused-param", message, hint)


def _context_problems(params: Mapping[str, Any], facts: ModelFacts) -> Iterator[ParamProblem]:
    if facts.context_management is None:
        return
    for number, edit in enumerate((params.get("context_management") or {}).get("edits") or ()):
        if edit["type"] not in facts.context_management:
            known = ", ".join(sorted(facts.context_management)) or "none"
            path: ParamPath = ("context_management", "edits", number, "type")
            message = f"{facts.id} does not take the edit {edit['type']!r}"
            yield ParamProblem(path, _REFUSED_VALUE, message, f"it takes: {known}")
