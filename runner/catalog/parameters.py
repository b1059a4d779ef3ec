"""What may stand under `params:`, and why the rest may not.

Owns   every parameter of the Messages API by name, with its JSON type, or the reason why it is refused here; and the
       rules that depend on the model (thinking, effort, the largest `max_tokens`).
Knows  the API by its documents and the SDK's types, but never imports the SDK (1.5 s): a test compares the names with
       the installed SDK's `MessageCreateParams`, and fails when a new version brings one that is not decided on here.

Source: SDK 2.12.0 `types/message_create_params.py` and what it names; platform.claude.com api/versioning (2026-10-21),
build-with-claude/thinking and build-with-claude/effort, read November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runner.catalog.models import ModelFacts, snapshot_facts
from runner.catalog.shapes import (
    ByType,
    Fields,
    ListOf,
    OneOf,
    ParamPath,
    ParamProblem,
    Shape,
    Text,
    Whole,
    unknown_param,
)
from runner.catalog.tool_choice import CONTAINER, TOOL_CHOICE, choice_problems

EFFORT_LEVELS = ("low", "medium", "high", "xhigh", "max")
MIN_THINKING_BUDGET = 1024

_DISPLAY = OneOf(("summarized", "omitted"))
_THINKING = ByType(
    {
        "adaptive": Fields({"type": Text(), "display": _DISPLAY}),
        "between_tools": Fields({"type": Text()}),
        "disabled": Fields({"type": Text()}),
        "enabled": Fields(
            {"type": Text(), "budget_tokens": Whole(MIN_THINKING_BUDGET), "display": _DISPLAY}, ("budget_tokens",)
        ),
    }
)

TAKEN: Mapping[str, Shape] = {
    "max_tokens": Whole(1),
    "thinking": _THINKING,
    "output_config": Fields({"effort": OneOf(EFFORT_LEVELS)}),
    "stop_sequences": ListOf(Text()),
    "metadata": Fields({"user_id": Text()}),
    "service_tier": OneOf(("auto", "standard_only")),
    "inference_geo": Text(),
    "tool_choice": TOOL_CHOICE,
    "container": CONTAINER,
    "betas": ListOf(Text()),
}
"""Parameters that work, with their shapes. `betas` is the SDK's name for the header `anthropic-beta`."""

ABOUT: Mapping[str, str] = {
    "max_tokens": "The most tokens that a reply may have; thinking counts towards it.",
    "thinking": "Whether and how the model thinks first. What a model takes differs; `runner check` tells.",
    "output_config": "`effort`: how much work the model puts into a reply.",
    "stop_sequences": "Texts at which a reply ends.",
    "metadata": "`user_id`: an opaque id of who asks; no name, no address.",
    "service_tier": "Whether capacity that was paid in advance may be used.",
    "inference_geo": "Where the model runs, for instance `us`; may cost more.",
    "tool_choice": "Whether the model must call a tool (`any`, `tool`), may (`auto`), or may not (`none`).",
    "container": "Where tools that run code do so: the id of a container, or skills to be loaded into it.",
    "betas": "Features of the API that are in beta, by the names of their headers.",
}
"""What each of them is for, in the words of the reference page."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a parameter of the API has no place under `params:`."""

    code: str
    reason: str
    hint: str | None = None


_LATER = "not-supported-yet"
_ELSEWHERE = "wrong-place"
_NOT_TAKEN = "refused-param"
_REFUSED_VALUE = "refused-value"


def _sampling(name: str) -> Refused:
    reason = f"the API refuses `{name}` at any value since version 2026-10-21"
    return Refused(_NOT_TAKEN, reason, "leave it out; `output_config.effort` and the prompt steer the reply")


REFUSED: Mapping[str, Refused] = {
    "model": Refused(_ELSEWHERE, "`model` is a key of the job itself", "move it to the top level"),
    "messages": Refused(_ELSEWHERE, "`messages` is a key of the job itself", "move it to the top level"),
    "system": Refused(_ELSEWHERE, "`system` is a key of the job itself", "move it to the top level"),
    "stream": Refused(_ELSEWHERE, "the runner streams where a reply may be long", "leave it out"),
    "cache_control": Refused(
        _ELSEWHERE,
        "a breakpoint behind the whole request would write the cache for every row",
        "put `cache: true` on the last block that rows share",
    ),
    "workspace_id": Refused(_ELSEWHERE, "the workspace is that of the credential", "leave it out"),
    "temperature": _sampling("temperature"),
    "top_p": _sampling("top_p"),
    "top_k": _sampling("top_k"),
    "speed": Refused(_LATER, "`speed` is not supported yet", "leave it out: requests run at standard speed"),
    "tools": Refused(_ELSEWHERE, "`tools` is a key of the job itself", "move it to the top level"),
    "diagnostics": Refused(_LATER, "`diagnostics` is not supported yet", "leave it out"),
    "user_profile_id": Refused(_LATER, "user profiles are not supported yet", "leave it out"),
}


LONG_OUTPUT_BETA = "output-300k-2026-03-24"
"""Lets some models write longer replies, in batches only (batch guide, "Extended output")."""
BATCH_ONLY_BETAS = frozenset({LONG_OUTPUT_BETA})
_NOT_IN_BATCHES: Mapping[str, Refused] = {
    "speed": Refused(_NOT_TAKEN, "batches have no fast mode", "leave it out"),
    "stream": Refused(_NOT_TAKEN, "a batch does not stream", "leave it out"),
}
"""What the Messages API takes and batches do not (batch guide, "Supported operations")."""


def batch_only_betas(params: Mapping[str, Any]) -> list[str]:
    """Those of a job's betas that work in batches only, in their order."""
    betas = params.get("betas")
    return [beta for beta in betas if beta in BATCH_ONLY_BETAS] if isinstance(betas, list | tuple) else []


def check_params(
    model: str, params: Mapping[str, Any], facts: ModelFacts | None = None, *, mode: str = "auto"
) -> list[ParamProblem]:
    """Everything that is wrong with a job's params, in their order.

    `facts` are what is known of the model, by default what the snapshot knows. What is not known is not checked.
    `mode` is the job's: what its requests may not say in a mode that they may be sent in is a problem.
    """
    facts = facts or snapshot_facts(model)
    problems = [problem for name, value in params.items() for problem in _problems(name, value, mode)]
    if "max_tokens" not in params:
        hint = "for instance `max_tokens: 1024`; thinking counts towards it"
        problems.append(ParamProblem(("max_tokens",), "missing-key", "`params` needs `max_tokens`", hint))
    if not problems:
        problems = [*_model_problems(params, facts), *_batch_only_problems(params, mode)]
    return problems


def _problems(name: str, value: Any, mode: str) -> Iterator[ParamProblem]:
    if name in TAKEN:
        if name == "output_config" and isinstance(value, Mapping) and "format" in value:
            value = {key: item for key, item in value.items() if key != "format"}
            yield ParamProblem(
                ("output_config", "format"),
                _ELSEWHERE,
                "the output's format is the job's `output:`",
                "write `output: {schema: …}`, so that replies are checked too",
            )
        yield from TAKEN[name].problems(value, (name,))
    elif name in REFUSED:
        refused = _NOT_IN_BATCHES.get(name, REFUSED[name]) if mode == "batch" else REFUSED[name]
        yield ParamProblem((name,), refused.code, refused.reason, refused.hint)
    else:
        yield unknown_param((name,), name, "the Messages API", TAKEN)


def _batch_only_problems(params: Mapping[str, Any], mode: str) -> Iterator[ParamProblem]:
    """A request that only batches take must not meet a mode that may send it in parallel."""
    if mode == "batch":
        return
    says = "this job says `mode: parallel`" if mode == "parallel" else "`mode: auto` may send requests in parallel"
    for beta in batch_only_betas(params):
        path: ParamPath = ("betas", params["betas"].index(beta))
        hint = "write `mode: batch`, or take the beta out"
        yield ParamProblem(path, "batch-only", f"`{beta}` works in batches only, and {says}", hint)


def _model_problems(params: Mapping[str, Any], facts: ModelFacts | None) -> Iterator[ParamProblem]:
    """What is well-formed but refused by this model."""
    max_tokens: int = params["max_tokens"]
    thinking: Mapping[str, Any] = params.get("thinking") or {}
    effort: str | None = params.get("output_config", {}).get("effort")
    if thinking.get("budget_tokens", 0) >= max_tokens:
        path = ("thinking", "budget_tokens")
        yield ParamProblem(path, "out-of-range", f"the thinking budget must be below `max_tokens` ({max_tokens})")
    if facts is None:
        return
    yield from _length_problems(params, facts)
    yield from _effort_problems(effort, facts)
    yield from _thinking_problems(thinking.get("type"), effort, facts)
    yield from choice_problems(params, facts)


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
