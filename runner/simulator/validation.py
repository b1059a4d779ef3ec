"""What the Messages API refuses before it answers, in its words as far as they are known.

Owns   the three checks, of a message, a count and a request in a batch; the rules on parameters and tools, and on what
       one model accepts (bounds, thinking, effort, prefill, forced tool choice). Those on messages are in `blocks`.
Knows  the decoded body, the API version and the model's card. It answers nothing and keeps nothing.

A body that passes can be read without further checks by `prompt` and `answers`.

Source: the API's reference, errors, versioning (2026-10-21), thinking, structured-outputs and prompt-caching pages; the
parameter names are the SDK's `types/message_create_params.py` (2.12.0). Wording is not stable there and not relied on
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.simulator.blocks import check_breakpoints, check_cache_control, check_keys, check_messages, check_system
from runner.simulator.media import check_media
from runner.simulator.models import Card, card_of
from runner.simulator.output_schema import check_schema
from runner.simulator.refusal import Refused
from runner.simulator.tools import check_tool, is_paused

NEWER_VERSION = "2026-10-21"
"""From this API version on: no sampling parameters, no document in an assistant turn, no citations in a user's text."""

VERSIONS = ("2023-01-01", "2023-06-01", NEWER_VERSION)

_COUNTED = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control", "speed"}
)
_CREATED = _COUNTED | {
    "max_tokens", "container", "diagnostics", "inference_geo", "metadata", "service_tier", "stop_sequences", "stream",
}  # fmt: skip
_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
_BETA = frozenset({"context_management", "fallbacks", "mcp_servers"})
"""Taken only with an `anthropic-beta` header."""

LONG_OUTPUT_BETA = "output-300k-2026-03-24"
_LONG_OUTPUT_TOKENS = 300_000
_LONG_OUTPUT_MODELS = frozenset(
    f"claude-{name}"
    for name in (
        "opus-5-5", "opus-5", "opus-4-8", "opus-4-7", "opus-4-6", "sonnet-5-5", "sonnet-5", "sonnet-4-6", "haiku-5-5",
    )
)  # fmt: skip
"""Outputs beyond a model's own maximum: in batches only, and of these models. Source: batch guide and model pages."""

FAST_BETA = "fast-mode-2026-02-01"
CONTEXT_BETA = "context-management-2025-06-27"
TASK_BUDGET_BETA = "task-budgets-2026-03-13"
_EDITS = ("clear_tool_uses_20250919", "clear_thinking_20251015", "compact_20260112")

_MIN_BUDGET = 1_024


def check_create(body: Any, version: str, betas: str) -> Card:
    """Check a body of `POST /v1/messages`. Raises Refused; returns the card of its model."""
    card = _check_shared(body, version, betas, _CREATED)
    _check_max_tokens(body, card)
    _check_prefill(body, card)
    if not isinstance(body.get("stream", False), bool):
        raise Refused("stream: Input should be a valid boolean")
    if body.get("service_tier", "auto") not in ("auto", "standard_only"):
        raise Refused("service_tier: Input should be 'auto' or 'standard_only'")
    _check_metadata(body.get("metadata"))
    _check_stop_sequences(body.get("stop_sequences"))
    if body["max_tokens"] == 0:
        _check_prewarm(body)
    return card


def check_row(body: Any, version: str, betas: str) -> Card:
    """Check the `params` of a request in a batch: as for `POST /v1/messages`, less what a batch cannot do, and with
    longer outputs under their beta. Raises Refused; returns the card of its model."""
    if not isinstance(body, dict):
        return check_create(body, version, betas)
    for refused, what in (
        (body.get("stream"), "stream: true"),
        (body.get("max_tokens") == 0, "max_tokens: 0"),
        (body.get("speed") is not None, "speed"),
    ):
        if refused:
            raise Refused(f"{what}: not supported in a message batch")
    wanted, model = body.get("max_tokens"), body.get("model")
    if LONG_OUTPUT_BETA in betas and model in _LONG_OUTPUT_MODELS and isinstance(wanted, int):
        card = card_of(model)
        if card.max_tokens < wanted <= _LONG_OUTPUT_TOKENS:
            return check_create({**body, "max_tokens": card.max_tokens}, version, betas)
    return check_create(body, version, betas)


def check_count(body: Any, version: str, betas: str) -> Card:
    """Check a body of `POST /v1/messages/count_tokens`. Raises Refused; returns the card of its model."""
    return _check_shared(body, version, betas, _COUNTED)


def check_size(prompt_tokens: int, card: Card) -> None:
    """Refuse a prompt that is longer than the model's context."""
    if prompt_tokens > card.max_input_tokens:
        raise Refused(f"prompt is too long: {prompt_tokens} tokens > {card.max_input_tokens} maximum")


def _check_shared(body: Any, version: str, betas: str, allowed: frozenset[str]) -> Card:
    if not isinstance(body, dict):
        raise Refused("Input should be a valid dictionary or object to extract fields from")
    newer = version >= NEWER_VERSION
    check_keys(body, allowed | (_BETA if betas else frozenset()) | (frozenset() if newer else _SAMPLING))
    for name in ("model", "messages"):
        if name not in body:
            raise Refused(f"{name}: Field required")
    if not isinstance(body["model"], str):
        raise Refused("model: Input should be a valid string")
    card = card_of(body["model"])
    _check_sampling(body)
    check_system(body.get("system"))
    check_messages(body["messages"], newer)
    _check_tools(body, card)
    _check_thinking(body, card)
    _check_output(body, card, betas)
    _check_serving(body, card, betas)
    _check_context_management(body, betas)
    check_breakpoints(body)
    check_media(body, card)
    return card


def _check_serving(body: Mapping[str, Any], card: Card, betas: str) -> None:
    """`speed` and `inference_geo`: how, and where, the model runs."""
    speed, geo = body.get("speed"), body.get("inference_geo")
    if speed not in (None, "standard", "fast"):
        raise Refused("speed: Input should be 'standard' or 'fast'")
    if speed == "fast" and not card.fast:
        raise Refused(f"speed: 'fast' is not supported by {card.id}")
    if speed is not None and card.fast_beta and FAST_BETA not in betas:
        raise Refused("speed: Extra inputs are not permitted")
    if geo is not None and not card.geo:
        raise Refused(f"inference_geo: not supported by {card.id}")
    if geo not in (None, "global", "us"):
        raise Refused("inference_geo: Input should be 'global' or 'us'")


def _check_context_management(body: Mapping[str, Any], betas: str) -> None:
    config = body.get("context_management")
    if config is None:
        return
    if CONTEXT_BETA not in betas:
        raise Refused("context_management: Extra inputs are not permitted")
    if not isinstance(config, dict):
        raise Refused("context_management: Input should be a valid dictionary")
    check_keys(config, ("edits",), "context_management.")
    for index, edit in enumerate(config.get("edits") or ()):
        if not isinstance(edit, dict) or edit.get("type") not in _EDITS:
            raise Refused(f"context_management.edits.{index}: Input tag does not match any of the expected tags")


def _check_sampling(body: Mapping[str, Any]) -> None:
    for name, top in (("temperature", 1), ("top_p", 1)):
        value = body.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 <= value <= top):
            raise Refused(f"{name}: Input should be between 0 and {top}")


def _check_max_tokens(body: Mapping[str, Any], card: Card) -> None:
    if "max_tokens" not in body:
        raise Refused("max_tokens: Field required")
    value = body["max_tokens"]
    if not _is_integer(value):
        raise Refused("max_tokens: Input should be a valid integer")
    if value < 0:
        raise Refused("max_tokens: Input should be greater than or equal to 0")
    if value > card.max_tokens:
        bound = f"{card.max_tokens}, which is the maximum allowed number of output tokens for {card.id}"
        raise Refused(f"max_tokens: {value} > {bound}")


def _check_prewarm(body: Mapping[str, Any]) -> None:
    """`max_tokens: 0` only warms the cache, and does not go with what wants an answer."""
    thinking = body.get("thinking") or {}
    choice = body.get("tool_choice") or {}
    for refused, what in (
        (body.get("stream"), "stream"),
        (thinking.get("type") == "enabled", "thinking.type: enabled"),
        ((body.get("output_config") or {}).get("format"), "output_config.format"),
        (choice.get("type") in ("any", "tool"), "a forced tool_choice"),
    ):
        if refused:
            raise Refused(f"max_tokens: 0 is not supported with {what}")


def _check_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise Refused("metadata: Input should be a valid dictionary")
    check_keys(metadata, {"user_id"}, "metadata.")


def _check_stop_sequences(stops: Any) -> None:
    if stops is None:
        return
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise Refused("stop_sequences: Input should be a valid list of strings")
    if any(not stop.strip() for stop in stops):
        raise Refused("stop_sequences: each stop sequence must contain non-whitespace")


def _check_tools(body: Mapping[str, Any], card: Card) -> None:
    tools = body.get("tools") or []
    if not isinstance(tools, list):
        raise Refused("tools: Input should be a valid list")
    names: set[str] = set()
    for index, tool in enumerate(tools):
        name = check_tool(tool, f"tools.{index}")
        check_cache_control(tool.get("cache_control"), f"tools.{index}.cache_control")
        if name in names:
            raise Refused("tools: Tool names must be unique.")
        names.add(name)
    _check_tool_choice(body, names, card)


def _check_tool_choice(body: Mapping[str, Any], names: set[str], card: Card) -> None:
    choice = body.get("tool_choice")
    if choice is None:
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise Refused("tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'")
    if not names:
        raise Refused("tool_choice: may only be specified while providing tools")
    if kind not in ("any", "tool"):
        return
    if not card.forced_tool_choice:
        raise Refused(f"tool_choice: forced tool use ('{kind}') is not supported by {card.id}")
    if (body.get("thinking") or {}).get("type") == "enabled":
        raise Refused("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "tool" and choice.get("name") not in names:
        raise Refused(f"tool_choice.tool.name: Tool '{choice.get('name')}' not found in provided tools")


def _check_thinking(body: Mapping[str, Any], card: Card) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in ("adaptive", "between_tools", "disabled", "enabled"):
        expected = "'adaptive', 'between_tools', 'disabled', 'enabled'"
        raise Refused(f"thinking: Input tag does not match any of the expected tags: {expected}")
    if kind not in card.thinking:
        raise Refused(f"thinking.type: '{kind}' is not supported by {card.id}")
    effort = (body.get("output_config") or {}).get("effort") or card.default_effort
    if kind in ("disabled", "between_tools") and card.thinks and effort in ("xhigh", "max"):
        raise Refused(f"thinking.type: '{kind}' is not supported at effort '{effort}'")
    if kind != "enabled":
        check_keys(thinking, ("type", "display") if kind == "adaptive" else ("type",), f"thinking.{kind}.")
        return
    check_keys(thinking, ("type", "budget_tokens", "display"), "thinking.enabled.")
    budget = thinking.get("budget_tokens")
    if not _is_integer(budget):
        raise Refused("thinking.enabled.budget_tokens: Field required")
    if budget < _MIN_BUDGET:
        raise Refused(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_MIN_BUDGET}")
    if "max_tokens" in body and _is_integer(body["max_tokens"]) and budget >= body["max_tokens"] > 0:
        raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`")


def _check_output(body: Mapping[str, Any], card: Card, betas: str) -> None:
    config = body.get("output_config")
    if config is None:
        return
    if not isinstance(config, dict):
        raise Refused("output_config: Input should be a valid dictionary")
    check_keys(config, ("effort", "format", *(("task_budget",) if TASK_BUDGET_BETA in betas else ())), "output_config.")
    effort = config.get("effort")
    if effort is not None and effort not in ("low", "medium", "high", "xhigh", "max"):
        raise Refused("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
    if effort is not None and effort not in card.efforts:
        raise Refused(f"output_config.effort: '{effort}' is not supported by {card.id}")
    if config.get("format") is not None:
        _check_format(config["format"], body)


def _check_format(output_format: Any, body: Mapping[str, Any]) -> None:
    if not isinstance(output_format, dict) or output_format.get("type") != "json_schema":
        raise Refused("output_config.format.type: Input should be 'json_schema'")
    check_keys(output_format, ("type", "schema"), "output_config.format.")
    if not isinstance(output_format.get("schema"), dict):
        raise Refused("output_config.format.schema: Field required")
    check_schema(output_format["schema"], "output_config.format.schema")
    last = body["messages"][-1]
    if last["role"] == "assistant" and not is_paused(last):
        raise Refused("output_config.format: not supported with assistant message prefill")
    contents = (message["content"] for message in body["messages"] if isinstance(message["content"], list))
    for block in (block for content in contents for block in content):
        if block["type"] in ("document", "search_result") and (block.get("citations") or {}).get("enabled"):
            raise Refused("output_config.format: not supported with citations enabled")


def _check_prefill(body: Mapping[str, Any], card: Card) -> None:
    last = body["messages"][-1]
    if last["role"] != "assistant" or is_paused(last):
        return
    if not card.prefill:
        raise Refused(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    content = last["content"]
    text = content if isinstance(content, str) else content[-1].get("text", "")
    if text != text.rstrip():
        raise Refused("messages: final assistant content cannot end with trailing whitespace")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
