"""What may stand under `params:`, and why the rest may not.

Owns   every parameter of the Messages API by name, those in beta too, with its JSON type, or the reason why it is
       refused here; and what a parameter may not say in the modes of a job. What depends on the model is `model_rules`,
       what passes unchecked `extra_body`.
Knows  the API by its documents and the SDK's types, but never imports the SDK (1.5 s): a test compares the names with
       the installed SDK's `MessageCreateParams` and its beta form, and fails when a new version brings one that is not
       decided on here.

Source: SDK 2.12.0 `types/message_create_params.py`, `types/beta/message_create_params.py` and what they name;
platform.claude.com api/versioning (2026-10-21), build-with-claude/fast-mode and manage-claude/data-residency, read
November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from runner.catalog.betas import (
    BATCH_ONLY_BETAS,
    KNOWN_BETAS,
    LONG_OUTPUT_BETA,
    NEEDED_BETAS,
    is_beta_name,
    nearest_beta,
)
from runner.catalog.extra_body import extra_body_problems
from runner.catalog.model_rules import EFFORT_LEVELS, model_problems
from runner.catalog.models import ModelFacts, snapshot_facts
from runner.catalog.shapes import (
    ByType,
    Either,
    Fields,
    Free,
    ListOf,
    OneOf,
    ParamPath,
    ParamProblem,
    Shape,
    Switch,
    Text,
    Whole,
    unknown_param,
)
from runner.catalog.tool_choice import CONTAINER, TOOL_CHOICE

__all__ = ["BATCH_ONLY_BETAS", "EFFORT_LEVELS", "LONG_OUTPUT_BETA", "batch_only_betas", "check_params"]

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

_TASK_BUDGET = Fields({"type": OneOf(("tokens",)), "total": Whole(1), "remaining": Whole(0)}, ("type", "total"))


def _amount(*kinds: str) -> Fields:
    return Fields({"type": OneOf(kinds), "value": Whole(0)}, ("type", "value"))


_CLEAR_THINKING_KEEP = ByType(
    {
        "all": Fields({"type": Text()}),
        "thinking_turns": Fields({"type": Text(), "value": Whole(1)}, ("value",)),
    }
)
_CONTEXT_MANAGEMENT = Fields(
    {
        "edits": ListOf(
            ByType(
                {
                    "clear_tool_uses_20250919": Fields(
                        {
                            "type": Text(),
                            "trigger": _amount("input_tokens", "tool_uses"),
                            "keep": _amount("tool_uses"),
                            "clear_at_least": _amount("input_tokens"),
                            "exclude_tools": ListOf(Text()),
                            "clear_tool_inputs": Either(
                                {bool: Switch(), list: ListOf(Text())}, "true, false or a list of tools"
                            ),
                        }
                    ),
                    "clear_thinking_20251015": Fields(
                        {
                            "type": Text(),
                            "keep": Either({str: OneOf(("all",)), Mapping: _CLEAR_THINKING_KEEP}, "`all` or a mapping"),
                        }
                    ),
                }
            )
        )
    }
)
"""Without the edit `compact_20260112`: see `_COMPACTION`."""

TAKEN: Mapping[str, Shape] = {
    "max_tokens": Whole(1),
    "thinking": _THINKING,
    "output_config": Fields({"effort": OneOf(EFFORT_LEVELS), "task_budget": _TASK_BUDGET}),
    "stop_sequences": ListOf(Text()),
    "metadata": Fields({"user_id": Text()}),
    "service_tier": OneOf(("auto", "standard_only")),
    "tool_choice": TOOL_CHOICE,
    "container": CONTAINER,
    "speed": OneOf(("standard", "fast")),
    "inference_geo": OneOf(("global", "us")),
    "context_management": _CONTEXT_MANAGEMENT,
    "betas": ListOf(Text()),
    "extra_body": Free(),
}
"""Parameters that work, with their shapes. `betas` and `extra_body` are the SDK's names for the header
`anthropic-beta`, and for keys of the body that it does not know."""

ABOUT: Mapping[str, str] = {
    "max_tokens": "The most tokens that a reply may have; thinking counts towards it.",
    "thinking": "Whether and how the model thinks first. What a model takes differs; `runner check` tells.",
    "output_config": "`effort`: how much work the model puts into a reply. `task_budget`: how many tokens it is told "
    "to get by with (beta).",
    "stop_sequences": "Texts at which a reply ends.",
    "metadata": "`user_id`: an opaque id of who asks; no name, no address.",
    "tool_choice": "Whether the model must call a tool (`any`, `tool`), may (`auto`), or may not (`none`).",
    "container": "Where tools that run code do so: the id of a container, or skills to be loaded into it.",
    "service_tier": "Whether capacity that was paid in advance may be used. Batches have a tier of their own.",
    "speed": "`fast`: the same model, quicker and about twice as dear; for some models, in parallel mode only.",
    "inference_geo": "Where the model runs: `us` costs a tenth more. Default: what the workspace says.",
    "context_management": "What the API clears from a long conversation before the model sees it (beta).",
    "betas": "Features of the API that are in beta, by the names of their headers.",
    "extra_body": "Further keys of the request's body, sent as they are and not checked. Part of what makes requests "
    "the same.",
}
"""What each of them is for, in the words of the reference page."""


class Refused(Struct, frozen=True):
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
    "tools": Refused(_ELSEWHERE, "`tools` is a key of the job itself", "move it to the top level"),
    "diagnostics": Refused(
        _NOT_TAKEN,
        "`diagnostics` compares a request with one that was sent before, and rows stand for themselves",
        "leave it out; `runner plan` tells of prefixes that are too short, `runner show` how much came from the cache",
    ),
    "user_profile_id": Refused(
        _NOT_TAKEN,
        "a user profile is a header of the call, not a part of what is asked",
        "set `ANTHROPIC_CUSTOM_HEADERS` to `anthropic-user-profile-id: …`",
    ),
    "billing_policy": Refused(
        _NOT_TAKEN,
        "it bills another organization, whose spending no cap of this job could bound",
        "leave it out",
    ),
    "compaction": Refused(
        _NOT_TAKEN, "a compaction request has no answer, only a summary to be sent on", "leave it out"
    ),
    "fallbacks": Refused(
        _NOT_TAKEN,
        "each model that is fallen back on is billed at its own price, unseen by the cap",
        "write `output: {on_refusal: {model: …}}`, which is priced, and works in batches too",
    ),
    "fallback_credit_token": Refused(
        _NOT_TAKEN,
        "it belongs to one refused request, and a job has many",
        "write `output: {on_refusal: {model: …}}`",
    ),
    "mcp_servers": Refused(
        _NOT_TAKEN,
        "the key of an MCP server would be a part of every request, and be kept with the run",
        "fetch what rows need into the dataset",
    ),
    "thread": Refused(
        _NOT_TAKEN,
        "the API would hold the conversation, and a row could not be sent again",
        "write the turns under `messages:`",
    ),
}

_COMPACTION = "compact_20260112"
"""An edit of `context_management` that is refused: the summary is a pass of its own, billed beside the reply."""

_NOT_IN_BATCHES: Mapping[str, Refused] = {
    "speed": Refused(_NOT_TAKEN, "batches have no fast mode", "leave it out, or write `mode: parallel`"),
    "stream": Refused(_NOT_TAKEN, "a batch does not stream", "leave it out"),
}
"""What the Messages API takes and batches do not (batch guide, "Supported operations")."""


def batch_only_betas(params: Mapping[str, Any]) -> list[str]:
    """Those of a job's betas that work in batches only, in their order."""
    betas = params.get("betas")
    return [beta for beta in betas if beta in BATCH_ONLY_BETAS] if isinstance(betas, list | tuple) else []


def check_params(
    model: str,
    params: Mapping[str, Any],
    facts: ModelFacts | None = None,
    *,
    mode: str = "auto",
    capped: bool = False,
) -> list[ParamProblem]:
    """Everything that is wrong with a job's params, in their order; warnings too.

    Args:
        facts: what is known of the model, by default what the snapshot knows. What is not known is not checked.
        mode: the job's. What its requests may not say in a mode that they may be sent in is a problem.
        capped: whether the job has a cap on its cost, which some keys of `extra_body` would pass by.
    """
    facts = facts or snapshot_facts(model)
    problems = [problem for name, value in params.items() for problem in _problems(name, value, mode, capped=capped)]
    if "max_tokens" not in params:
        hint = "for instance `max_tokens: 1024`; thinking counts towards it"
        problems.append(ParamProblem(("max_tokens",), "missing-key", "`params` needs `max_tokens`", hint))
    if not any(problem.severity == "error" for problem in problems):
        problems += [
            *_of_thinking_budget(params),
            *model_problems(params, facts),
            *_mode_problems(params, mode),
            *_missing_betas(params),
        ]
    return problems


def _problems(name: str, value: Any, mode: str, *, capped: bool) -> Iterator[ParamProblem]:
    if name == "speed" and mode == "batch":
        refused = _NOT_IN_BATCHES[name]
        yield ParamProblem((name,), refused.code, refused.reason, refused.hint)
    elif name in TAKEN:
        value, misplaced = _without_misplaced(name, value)
        yield from misplaced
        yield from TAKEN[name].problems(value, (name,))
        if name == "betas" and isinstance(value, list | tuple):
            yield from _unknown_betas(value)
        if name == "extra_body" and isinstance(value, Mapping):
            yield from extra_body_problems(value, TAKEN, capped=capped)
    elif name in REFUSED:
        refused = _NOT_IN_BATCHES.get(name, REFUSED[name]) if mode == "batch" else REFUSED[name]
        yield ParamProblem((name,), refused.code, refused.reason, refused.hint)
    else:
        yield unknown_param((name,), name, "the Messages API", TAKEN)


def _without_misplaced(name: str, value: Any) -> tuple[Any, list[ParamProblem]]:
    """A value without the parts that have another place, or none, and what is to be said of these."""
    if name == "output_config" and isinstance(value, Mapping) and "format" in value:
        problem = ParamProblem(
            ("output_config", "format"),
            _ELSEWHERE,
            "the output's format is the job's `output:`",
            "write `output: {schema: …}`, so that replies are checked too",
        )
        return {key: item for key, item in value.items() if key != "format"}, [problem]
    edits = value.get("edits") if name == "context_management" and isinstance(value, Mapping) else None
    if not isinstance(edits, list | tuple):
        return value, []
    problems = [
        ParamProblem(
            (name, "edits", number, "type"),
            _REFUSED_VALUE,
            "compaction is a pass of its own, which is billed beside the reply and which no cap would bound",
            "leave this edit out; `clear_tool_uses_20250919` and `clear_thinking_20251015` cost nothing",
        )
        for number, edit in enumerate(edits)
        if _is_compaction(edit)
    ]
    if not problems:
        return value, []
    return {**value, "edits": [edit for edit in edits if not _is_compaction(edit)]}, problems


def _is_compaction(edit: Any) -> bool:
    return isinstance(edit, Mapping) and edit.get("type") == _COMPACTION


def _unknown_betas(betas: Sequence[Any]) -> Iterator[ParamProblem]:
    """A name that the SDK does not know may be new, or a slip of the pen: the API ignores neither."""
    for number, beta in enumerate(betas):
        if not isinstance(beta, str) or not beta.strip() or beta in KNOWN_BETAS:
            continue
        if not is_beta_name(beta):
            message = f"{beta[:80]!r} is no name of a beta: it becomes a part of a header"
            hint = "write one name an item, in letters, digits, dots, hyphens and underscores"
            yield ParamProblem(("betas", number), "unknown-value", message, hint)
        else:
            near = nearest_beta(beta)
            hint = f"did you mean `{near}`?" if near else "the API refuses names that it does not know"
            message = f"`{beta}` is no beta that this version of the SDK knows"
            yield ParamProblem(("betas", number), "unknown-beta", message, hint, "warning")


def _missing_betas(params: Mapping[str, Any]) -> Iterator[ParamProblem]:
    given = params.get("betas") or ()
    for path, beta in NEEDED_BETAS.items():
        value: Any = params
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None and beta not in given:
            message = f"`{'.'.join(path)}` is a beta feature of the API"
            yield ParamProblem(path, "missing-beta", message, f"add `{beta}` to `betas`")


def _mode_problems(params: Mapping[str, Any], mode: str) -> Iterator[ParamProblem]:
    """What works in one mode only must not meet a job that may be sent in the other."""
    if mode == "auto" and "speed" in params:
        hint = "write `mode: parallel`, or take `speed` out"
        message = "`speed` works in parallel mode only, and `mode: auto` may send requests in batches"
        yield ParamProblem(("speed",), "parallel-only", message, hint)
    if mode == "batch":
        return
    says = "this job says `mode: parallel`" if mode == "parallel" else "`mode: auto` may send requests in parallel"
    for beta in batch_only_betas(params):
        path: ParamPath = ("betas", params["betas"].index(beta))
        hint = "write `mode: batch`, or take the beta out"
        yield ParamProblem(path, "batch-only", f"`{beta}` works in batches only, and {says}", hint)


def _of_thinking_budget(params: Mapping[str, Any]) -> Iterator[ParamProblem]:
    max_tokens: int = params["max_tokens"]
    if (params.get("thinking") or {}).get("budget_tokens", 0) >= max_tokens:
        path = ("thinking", "budget_tokens")
        yield ParamProblem(path, "out-of-range", f"the thinking budget must be below `max_tokens` ({max_tokens})")
