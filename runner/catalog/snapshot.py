"""What was known of the models when this version was made: for offline work, and where the Models API leaves fields
null.

Owns   data, nothing else. The Models API, where it answers, stands above it (`models.Catalog`).

Source: platform.claude.com about-claude/models/overview, the models' own pages, build-with-claude/thinking,
build-with-claude/effort, build-with-claude/fast-mode, manage-claude/data-residency and about-claude/model-deprecations,
and the SDK's `DEPRECATED_MODELS` (2.12.0); read 22 to 28 November 2026. What could not be
verified is left out (None, or no entry), and nothing is then checked against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

SNAPSHOT_DATE = "2026-11-28"

Fast = Literal["no", "yes", "beta"]
"""Whether a model has a fast mode, and whether behind a beta."""

_LONG = 300_000
"""Batch guide, "Extended output"; for Sonnet 5.5 and Haiku 5.5 their own pages, which the guide does not list."""

_LOW_TO_HIGH = ("low", "medium", "high")
_TO_MAX = (*_LOW_TO_HIGH, "max")
_ALL_LEVELS = (*_LOW_TO_HIGH, "xhigh", "max")

_ALWAYS = {"adaptive": True, "disabled": False, "enabled": False}
_BY_BUDGET = {"adaptive": False, "disabled": True, "enabled": True}


class KnownModel(Struct, frozen=True):
    """One model of the snapshot.

    `thinking`: which `thinking.type` it takes, as far as known. `effort`: the levels it takes, none where it has no
    effort. `thinks_unasked`: it thinks where `thinking` is left out. `prefill`: the last message may be the
    assistant's. `wide_tokenizer`: about 30 % more tokens for the same text. `cache_minimum`: tokens of the shortest
    prefix that is cached. `long_output_tokens`: the longest reply in a batch with the beta of long outputs, None where
    the batch guide and the model's own page name none. `fast`: see `Fast`; it ends on the day `fast_until`.
    `inference_geo`: it takes that parameter (models from 4.6 on).
    """

    id: str
    max_input_tokens: int = 1_000_000
    max_tokens: int = 128_000
    long_output_tokens: int | None = None
    effort: tuple[str, ...] = _ALL_LEVELS
    thinking: dict[str, bool] | None = None
    thinks_unasked: bool = False
    prefill: bool = False
    wide_tokenizer: bool = True
    cache_minimum: int | None = None
    retires_at: str | None = None
    fast: Fast = "no"
    fast_until: str | None = None
    inference_geo: bool = True


MODELS = (
    KnownModel("claude-fable-5-2", thinking=_ALWAYS, thinks_unasked=True, fast="yes"),
    KnownModel("claude-fable-5-1", thinking=_ALWAYS, thinks_unasked=True, cache_minimum=512),
    KnownModel("claude-fable-5", thinking=_ALWAYS, thinks_unasked=True, cache_minimum=512),
    KnownModel("claude-mythos-5-2", thinking=_ALWAYS, thinks_unasked=True, fast="yes"),
    KnownModel("claude-mythos-5-1", thinking=_ALWAYS, thinks_unasked=True, cache_minimum=512),
    KnownModel("claude-mythos-5", thinking=_ALWAYS, thinks_unasked=True, cache_minimum=512),
    KnownModel(
        "claude-opus-5-5",
        long_output_tokens=_LONG,
        thinking=_ALWAYS,
        thinks_unasked=True,
        cache_minimum=512,
        fast="yes",
    ),
    KnownModel(
        "claude-opus-5",
        long_output_tokens=_LONG,
        thinking={"adaptive": True, "disabled": True},
        thinks_unasked=True,
        cache_minimum=512,
        fast="beta",
    ),
    KnownModel(
        "claude-opus-4-8",
        long_output_tokens=_LONG,
        thinking={"adaptive": True, "enabled": False},
        cache_minimum=1024,
        fast="beta",
        fast_until="2026-11-30",
    ),
    KnownModel(
        "claude-opus-4-7", long_output_tokens=_LONG, thinking={"adaptive": True, "enabled": False}, cache_minimum=2048
    ),
    KnownModel(
        "claude-opus-4-6",
        long_output_tokens=_LONG,
        effort=_TO_MAX,
        thinking={"adaptive": True, "enabled": True, "disabled": True},
        wide_tokenizer=False,
        cache_minimum=4096,
    ),
    KnownModel(
        "claude-opus-4-5",
        max_input_tokens=200_000,
        max_tokens=64_000,
        effort=_LOW_TO_HIGH,
        thinking=_BY_BUDGET,
        prefill=True,
        inference_geo=False,
        wide_tokenizer=False,
        cache_minimum=4096,
    ),
    KnownModel(
        "claude-sonnet-5-5",
        long_output_tokens=_LONG,
        thinking={"adaptive": True, "between_tools": True, "disabled": False, "enabled": False},
        thinks_unasked=True,
        cache_minimum=512,
    ),
    KnownModel(
        "claude-sonnet-5",
        long_output_tokens=_LONG,
        thinking={"adaptive": True, "disabled": True, "enabled": False},
        thinks_unasked=True,
        cache_minimum=1024,
    ),
    KnownModel(
        "claude-sonnet-4-6",
        long_output_tokens=_LONG,
        effort=_TO_MAX,
        thinking={"adaptive": True, "enabled": True, "disabled": True},
        wide_tokenizer=False,
        cache_minimum=1024,
    ),
    KnownModel(
        "claude-sonnet-4-5",
        # 1M tokens of context need a beta header.
        max_input_tokens=200_000,
        max_tokens=64_000,
        effort=(),
        thinking=_BY_BUDGET,
        prefill=True,
        inference_geo=False,
        wide_tokenizer=False,
        cache_minimum=1024,
        retires_at="2026-11-30",
    ),
    KnownModel(
        "claude-haiku-5-5",
        long_output_tokens=_LONG,
        thinking={"adaptive": True, "disabled": True, "enabled": False},
        thinks_unasked=True,
        cache_minimum=512,
    ),
    KnownModel(
        "claude-haiku-4-5",
        max_input_tokens=200_000,
        max_tokens=64_000,
        effort=(),
        thinking=_BY_BUDGET,
        prefill=True,
        inference_geo=False,
        wide_tokenizer=False,
        cache_minimum=4096,
    ),
)

RETIRED = {
    "claude-1.3": "2024-11-06",
    "claude-1.3-100k": "2024-11-06",
    "claude-instant-1.1": "2024-11-06",
    "claude-instant-1.1-100k": "2024-11-06",
    "claude-instant-1.2": "2024-11-06",
    "claude-2.0": "2025-07-21",
    "claude-2.1": "2025-07-21",
    "claude-3-sonnet-20240229": "2025-07-21",
    "claude-3-opus-20240229": "2026-01-05",
    "claude-3-5-haiku-20241022": "2026-02-19",
    "claude-3-5-haiku-latest": "2026-02-19",
    "claude-3-7-sonnet-20250219": "2026-02-19",
    "claude-3-7-sonnet-latest": "2026-02-19",
    "claude-opus-4-0": "2026-06-15",
    "claude-opus-4-20250514": "2026-06-15",
    "claude-sonnet-4-0": "2026-06-15",
    "claude-sonnet-4-20250514": "2026-06-15",
    "claude-mythos-preview": "2026-06-30",
}
"""Models that answer no more, with the day they were retired."""

SUCCESSORS: Mapping[str, str] = {
    **{name: "claude-haiku-5-5" for name in RETIRED if "haiku" in name or "instant" in name},
    **{name: "claude-sonnet-5-5" for name in RETIRED if "sonnet" in name},
    **{name: "claude-opus-5-5" for name in RETIRED if "opus" in name},
    **{name: "claude-sonnet-5-5" for name in RETIRED if name.startswith(("claude-1", "claude-2"))},
    "claude-mythos-preview": "claude-mythos-5-2",
    "claude-sonnet-4-5": "claude-sonnet-5-5",
}
"""What to move to: the newest model of the same line, as of the snapshot's date; a hint, no more."""
