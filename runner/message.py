"""The API's message object: from JSON bytes to a `Reply`.

Owns   the one reading of a Messages reply, whether it has just arrived or comes back out of a spool.
Facts  field names and nullability: SDK 2.12 `types/message.py`, `types/usage.py`. Unknown fields and blocks pass through;
       branches elsewhere go by the `type` strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from runner.types import Reply, Usage


def parse_reply(body: bytes, request_id: str | None = None) -> Reply:
    """Read a message object. Raises ValueError where the bytes are no JSON or no message (an error page, a cut-off body)."""
    message = orjson.loads(body)
    if not isinstance(message, dict) or message.get("type") != "message":
        raise ValueError("not a message object")
    content = message.get("content")
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise ValueError("a message whose content is no list of blocks")
    usage = message.get("usage")
    if not isinstance(usage, dict):
        raise ValueError("a message without usage")
    return Reply(
        message_id=str(message.get("id", "")),
        request_id=request_id,
        model=str(message.get("model", "")),
        stop_reason=message.get("stop_reason"),
        content=content,
        usage=parse_usage(usage),
        stop_details=message.get("stop_details"),
    )


def parse_usage(usage: Mapping[str, Any]) -> Usage:
    """Read the API's `usage` object into disjoint counts.

    Cache writes without a split by time-to-live (an older gateway) count as 5-minute writes, the API's default.
    """
    written = usage.get("cache_creation_input_tokens") or 0
    split = usage.get("cache_creation") or {}
    one_hour = split.get("ephemeral_1h_input_tokens") or 0
    return Usage(
        input_tokens=usage.get("input_tokens") or 0,
        output_tokens=usage.get("output_tokens") or 0,
        cache_read_input_tokens=usage.get("cache_read_input_tokens") or 0,
        ephemeral_5m_input_tokens=max(written - one_hour, split.get("ephemeral_5m_input_tokens") or 0),
        ephemeral_1h_input_tokens=one_hour,
    )
