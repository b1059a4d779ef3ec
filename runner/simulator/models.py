"""What the stand-in knows of each model, and the Models endpoints.

Owns   one `Card` a model: bounds, cache minimum, what it accepts (thinking, effort, prefill, forced tool choice), how
       it counts tokens; and the JSON of `GET /v1/models`. These facts are kept apart from runner's own catalog on
       purpose.
Knows  nothing of requests.

Source: the API's models, thinking, fast-mode, data-residency, prompt-caching and errors pages as read in October and
November 2026, and the SDK's `types/model.py`, `model_info.py` and `model_capabilities.py` (2.12.0). Where they are
silent the card takes the neighbouring model's value. A release date that is not known is the epoch, as the API's own
type allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from runner.simulator.platforms import own_name
from runner.simulator.refusal import Refused

_EPOCH = "1970-01-01T00:00:00Z"
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_PAGE_DEFAULT, _PAGE_MAX = 20, 1000


class Card(Struct, frozen=True):
    """One model. `thinking` lists the accepted types; `thinks` says whether it does so without being asked.

    `dense_tokenizer`: gives about 30 % more tokens for the same text (models from 4.7 on). `fast_beta`: `speed` is
    taken with its beta only. `geo`: takes `inference_geo`.
    """

    id: str
    name: str
    line: str
    cache_minimum: int
    thinking: tuple[str, ...]
    thinks: bool = True
    default_effort: str = "high"
    efforts: tuple[str, ...] = _EFFORTS
    max_input_tokens: int = 1_000_000
    max_tokens: int = 128_000
    forced_tool_choice: bool = True
    prefill: bool = False
    fast: bool = False
    fast_beta: bool = False
    geo: bool = True
    dense_tokenizer: bool = True
    lifecycle: str = "active"
    created_at: str = _EPOCH
    deprecated_at: str | None = None
    retires_at: str | None = None
    alias: str | None = None

    def tokens(self, size_bytes: int) -> int:
        """Tokens of a text of that many bytes: a quarter, rounded up; 1.3 times as many on the newer tokenizer.

        Deterministic, and never more than the bytes themselves, so that bounds by bytes hold as they do for real.
        """
        return (size_bytes * 13 + 39) // 40 if self.dense_tokenizer else (size_bytes + 3) // 4

    def bytes_within(self, tokens: int) -> int:
        """The most bytes that count for at most `tokens`."""
        return tokens * 40 // 13 if self.dense_tokenizer else tokens * 4

    def info(self) -> dict[str, Any]:
        """The API's ModelInfo object."""
        return {
            "type": "model",
            "id": self.id,
            "display_name": self.name,
            "created_at": self.created_at,
            "lifecycle": self.lifecycle,
            "deprecated_at": self.deprecated_at,
            "retires_at": self.retires_at,
            "line": self.line,
            "max_input_tokens": self.max_input_tokens,
            "max_tokens": self.max_tokens,
            "capabilities": self._capabilities(),
        }

    def _capabilities(self) -> dict[str, Any]:
        types = ("adaptive", "between_tools", "disabled", "enabled")
        effort: dict[str, Any] = {level: _supported(level in self.efforts) for level in _EFFORTS}
        strategies = ("clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112")
        return {
            "batch": _supported(True),
            "citations": _supported(True),
            "code_execution": _supported(True),
            "context_management": {"supported": True} | {name: _supported(True) for name in strategies},
            "effort": {"supported": bool(self.efforts)} | effort,
            "image_input": _supported(True),
            "pdf_input": _supported(True),
            "server_tools": {"supported": True, "web_search": _supported(True), "code_execution": _supported(True)},
            "structured_outputs": _supported(True),
            "thinking": {"supported": True, "types": {name: _supported(name in self.thinking) for name in types}},
        }


def _supported(yes: bool) -> dict[str, bool]:
    return {"supported": yes}


_ADAPTIVE = ("adaptive",)
_OPTIONAL = ("adaptive", "disabled")
_EITHER = ("adaptive", "disabled", "enabled")
_BUDGET = ("disabled", "enabled")
_NO_XHIGH = ("low", "medium", "high", "max")

_CARDS = (
    Card(
        "claude-fable-5-2", "Claude Fable 5.2", "fable", 512, _ADAPTIVE,
        forced_tool_choice=False, fast=True, created_at="2026-11-09T00:00:00Z",
    ),
    Card("claude-mythos-5-2", "Claude Mythos 5.2", "mythos", 512, _ADAPTIVE, forced_tool_choice=False, fast=True),
    Card("claude-haiku-5-5", "Claude Haiku 5.5", "haiku", 512, _OPTIONAL, default_effort="medium"),
    Card(
        "claude-sonnet-5-5", "Claude Sonnet 5.5", "sonnet", 512, ("adaptive", "between_tools"),
        forced_tool_choice=False,
    ),
    Card("claude-fable-5-1", "Claude Fable 5.1", "fable", 512, _ADAPTIVE, forced_tool_choice=False),
    Card(
        "claude-opus-5-5", "Claude Opus 5.5", "opus", 512, _ADAPTIVE,
        default_effort="medium", forced_tool_choice=False, fast=True,
    ),
    Card("claude-mythos-5-1", "Claude Mythos 5.1", "mythos", 512, _ADAPTIVE, forced_tool_choice=False),
    Card("claude-sonnet-5", "Claude Sonnet 5", "sonnet", 1024, _OPTIONAL),
    Card("claude-fable-5", "Claude Fable 5", "fable", 512, _ADAPTIVE),
    Card("claude-mythos-5", "Claude Mythos 5", "mythos", 512, _ADAPTIVE),
    Card("claude-opus-5", "Claude Opus 5", "opus", 512, _OPTIONAL, fast=True, fast_beta=True),
    Card(
        "claude-opus-4-8", "Claude Opus 4.8", "opus", 1024, _OPTIONAL, thinks=False, fast=True, fast_beta=True,
    ),
    Card("claude-opus-4-7", "Claude Opus 4.7", "opus", 2048, _OPTIONAL, thinks=False),
    Card(
        "claude-mythos-preview", "Claude Mythos Preview", "mythos", 2048, _ADAPTIVE,
        lifecycle="retired", deprecated_at=_EPOCH, retires_at="2026-06-30T00:00:00Z",
    ),
    Card(
        "claude-opus-4-6", "Claude Opus 4.6", "opus", 4096, _EITHER,
        thinks=False, efforts=_NO_XHIGH, dense_tokenizer=False,
    ),
    Card(
        "claude-sonnet-4-6", "Claude Sonnet 4.6", "sonnet", 1024, _EITHER,
        thinks=False, efforts=_NO_XHIGH, dense_tokenizer=False,
    ),
    Card(
        "claude-haiku-4-5-20251001", "Claude Haiku 4.5", "haiku", 4096, _BUDGET,
        thinks=False, efforts=(), max_input_tokens=200_000, max_tokens=64_000, prefill=True, geo=False,
        dense_tokenizer=False, created_at="2025-10-01T00:00:00Z", alias="claude-haiku-4-5",
    ),
    Card(
        "claude-opus-4-5-20251101", "Claude Opus 4.5", "opus", 4096, _BUDGET,
        thinks=False, efforts=("low", "medium", "high"), prefill=True, geo=False,
        dense_tokenizer=False, created_at="2025-11-01T00:00:00Z", alias="claude-opus-4-5",
    ),
    Card(
        "claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", "sonnet", 1024, _BUDGET,
        thinks=False, efforts=(), prefill=True, geo=False, dense_tokenizer=False, lifecycle="deprecated",
        created_at="2025-09-29T00:00:00Z", deprecated_at=_EPOCH, retires_at="2026-11-30T00:00:00Z",
        alias="claude-sonnet-4-5",
    ),
)  # fmt: skip

_BY_NAME = {name: card for card in _CARDS for name in (card.id, card.alias) if name is not None}


def card_of(model: str) -> Card:
    """The card of a model that can be called. Raises Refused (404) for an unknown or retired one.

    The names that platforms have for it are taken too, so that jobs for them can be simulated.
    """
    card = _BY_NAME.get(model) or _BY_NAME.get(own_name(model))
    if card is None or card.lifecycle == "retired":
        raise Refused(f"model: {model}", 404)
    return card


def model_info(model: str) -> dict[str, Any]:
    """`GET /v1/models/{id}`: also of a retired model, and by alias."""
    card = _BY_NAME.get(model)
    if card is None:
        raise Refused(f"model: {model}", 404)
    return card.info()


def list_models(query: Mapping[str, str], lifecycles: list[str]) -> dict[str, Any]:
    """`GET /v1/models`: one page, newest first; retired models only where asked for."""
    limit = query.get("limit", str(_PAGE_DEFAULT))
    if not limit.isdigit() or not 1 <= int(limit) <= _PAGE_MAX:
        raise Refused(f"limit: Input should be between 1 and {_PAGE_MAX}")
    shown = [card for card in _CARDS if card.lifecycle in (lifecycles or ("active", "deprecated"))]
    ids = [card.id for card in shown]
    after, before = query.get("after_id"), query.get("before_id")
    if before is not None:
        end = _position(ids, before, "before_id")
        start = max(0, end - int(limit))
        more = start > 0
    else:
        start = _position(ids, after, "after_id") + 1 if after is not None else 0
        end = start + int(limit)
        more = end < len(shown)
    page = [card.info() for card in shown[start:end]]
    return {
        "data": page,
        "has_more": more,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def _position(ids: list[str], wanted: str, name: str) -> int:
    if wanted not in ids:
        raise Refused(f"{name}: {wanted} is not in the list")
    return ids.index(wanted)
