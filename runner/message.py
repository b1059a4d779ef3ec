"""The API's message object: from JSON bytes to a `Reply`.

Owns   the one reading of a Messages reply, whether it has just arrived or comes back out of a spool.
Facts  field names and nullability: SDK 2.12 `types/message.py`, `types/usage.py`. Unknown fields and blocks pass
       through; branches elsewhere go by the `type` strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from runner.encoding import decode
from runner.types import Reply, Usage

MAX_TOKENS = 100_000_000
"""More than any context window has, few enough that their price fits the ledger's 64-bit integers: a count beyond it
is a server's mistake, and booking it would make the run impossible to open."""


def parse_reply(body: bytes, request_id: str | None = None) -> Reply:
    """Read a message object. Raises ValueError where the bytes are no JSON or no message."""
    return reply_of(_decode(body), request_id)


def reply_of(message: Any, request_id: str | None = None) -> Reply:
    """The same, from the decoded object. Raises ValueError where it is no message."""
    if not isinstance(message, dict) or message.get("type") != "message":
        raise ValueError("not a message object")
    content = message.get("content")
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise ValueError("a message whose content is no list of blocks")
    usage, stop_reason, stop_details = message.get("usage"), message.get("stop_reason"), message.get("stop_details")
    if not isinstance(usage, dict):
        raise ValueError("a message without usage")
    if not isinstance(stop_reason, str | None) or not isinstance(stop_details, dict | None):
        raise ValueError("a message whose stop reason has another shape")
    return Reply(
        message_id=str(message.get("id", "")),
        request_id=request_id,
        model=str(message.get("model", "")),
        stop_reason=stop_reason,
        content=content,
        usage=parse_usage(usage),
        stop_details=stop_details,
    )


def parse_usage(usage: Mapping[str, Any]) -> Usage:
    """Read the API's `usage` object into disjoint counts.

    Raises ValueError for a count that is no count. Cache writes without a split by time-to-live (an older gateway)
    count as 5-minute writes, the API's default.
    """
    written = _count(usage, "cache_creation_input_tokens")
    split = usage.get("cache_creation") or {}
    if not isinstance(split, dict):
        raise ValueError("a usage whose cache writes are no object")
    one_hour = _count(split, "ephemeral_1h_input_tokens")
    return Usage(
        input_tokens=_count(usage, "input_tokens"),
        output_tokens=_count(usage, "output_tokens"),
        cache_read_input_tokens=_count(usage, "cache_read_input_tokens"),
        ephemeral_5m_input_tokens=max(written - one_hour, _count(split, "ephemeral_5m_input_tokens")),
        ephemeral_1h_input_tokens=one_hour,
    )


def _count(counts: Mapping[str, Any], name: str) -> int:
    """A number of tokens; money is computed from it, so nothing else is taken for one."""
    value = counts.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= MAX_TOKENS:
        raise ValueError(f"a usage whose {name} is {value!r}")
    return value


def _decode(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # A text cut inside an emoji arrives with a lone surrogate, which is JSON but has no UTF-8 form.
        try:
            return decode(body)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
