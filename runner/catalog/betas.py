"""Names of the API's beta features, as they travel in the header `anthropic-beta`.

Owns   the names that the installed SDK knows, which of them work in batches only, and which parameter needs which.
Knows  nothing of jobs. The API takes further names: one that is not known is worth a warning, never an error.

Source: SDK 2.12.0 `types/anthropic_beta_param.py` (a test holds the two together); batch guide, "Extended output";
fast-mode guide; the SDK's docstrings of `context_management` and `task_budget`. Read November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from runner.errors import closest

KNOWN_BETAS = (
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "output-128k-2025-02-19",
    "mcp-client-2025-04-04",
    "mcp-client-2025-11-20",
    "dev-full-thinking-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "code-execution-2025-05-22",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "model-context-window-exceeded-2025-08-26",
    "fast-mode-2026-02-01",
    "output-300k-2026-03-24",
    "user-profiles-2026-03-24",
    "user-profiles-2026-08-18",
    "user-profiles-2026-09-04",
    "advisor-tool-2026-03-01",
    "managed-agents-2026-04-01",
    "dreaming-2026-04-21",
    "thinking-token-count-2026-05-13",
    "server-side-fallback-2026-06-01",
    "server-side-fallback-2026-07-01",
    "fallback-credit-2026-06-01",
    "fallback-credit-2026-07-01",
    "agent-memory-2026-07-22",
    "mid-conversation-tool-changes-2026-07-01",
    "compact-2026-01-12",
    "computer-use-2025-11-24",
    "mcp-tunnels-2026-06-22",
    "structured-outputs-2025-11-13",
    "task-budgets-2026-03-13",
    "thinking-display-updates-2026-08-18",
    "mid-conversation-output-config-2026-07-01",
    "thinking-binding-controls-2026-08-01",
    "mid-conversation-system-clear-at-2026-08-21",
    "compact-2026-09-04",
    "inline-tools-2026-09-15",
    "mcp-client-2026-09-15",
    "ce-plugins-2026-09-01",
    "spend-limit-reads-2026-09-26",
    "telemetry-destinations-2026-08-11",
    "webhooks-2026-10-07",
    "admin-user-sign-out-2026-10-08",
    "message-threads-2026-08-12",
    "analytics-usage-cost-2026-08-24",
    "experimental-claude-tag-2026-10-21",
    "message-batches-2024-09-24",
    "prompt-caching-2024-07-31",
    "pdfs-2024-09-25",
    "token-counting-2024-11-01",
    "token-efficient-tools-2025-02-19",
    "files-api-2025-04-14",
    "extended-cache-ttl-2025-04-11",
    "skills-2025-10-02",
    "cache-diagnosis-2026-04-07",
    "ce-user-management-2026-07-13",
    "ce-claude-code-managed-settings-2026-10-06",
    "user-profiles-billing-2026-10-01",
)

LONG_OUTPUT_BETA = "output-300k-2026-03-24"
"""Lets some models write longer replies, in batches only (batch guide, "Extended output")."""
BATCH_ONLY_BETAS = frozenset({LONG_OUTPUT_BETA})

FAST_BETA = "fast-mode-2026-02-01"
"""Some models take `speed` only with it (fast-mode guide, "Availability")."""

NEEDED_BETAS: Mapping[tuple[str, ...], str] = {
    ("context_management",): "context-management-2025-06-27",
    ("output_config", "task_budget"): "task-budgets-2026-03-13",
}
"""Parameters that the API takes with a beta only."""


_NAME = re.compile(r"[A-Za-z0-9._-]+")


def is_beta_name(name: str) -> bool:
    """Whether a text can be sent as the name of a beta: with a comma it is two, with a line break another header."""
    return _NAME.fullmatch(name) is not None


def nearest_beta(name: str) -> str | None:
    """The known beta whose name is nearest to one that is not known; a newer date of the same feature counts."""
    return closest(name, KNOWN_BETAS)
