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


def parse_reply(body: bytes, request_id: str | None = None, usage: Usage | None = None) -> Reply:
    """Read a message object; `usage` is what it counts, where that is known already. Raises ValueError where the bytes
    are no JSON or no message."""
    return reply_of(_decode(body), request_id, usage)


def reply_of(message: Any, request_id: str | None = None, known_usage: Usage | None = None) -> Reply:
    """The same, from the decoded object. Raises ValueError where it is no message."""
    # The lines of a batch's results come through here by the hundred thousand, so nothing is looked at twice, and the
    # values are given by position.
    if not isinstance(message, dict) or message.get("type") != "message":
        raise ValueError("not a message object")
    get = message.get
    content, usage, stop_reason, stop_details = get("content"), get("usage"), get("stop_reason"), get("stop_details")
    if not isinstance(content, list):
        raise ValueError("a message whose content is no list of blocks")
    for block in content:
        if not isinstance(block, dict):
            raise ValueError("a message whose content is no list of blocks")
    if not isinstance(usage, dict):
        raise ValueError("a message without usage")
    if not (stop_reason is None or isinstance(stop_reason, str)) or not (
        stop_details is None or isinstance(stop_details, dict)
    ):
        raise ValueError("a message whose stop reason has another shape")
    return Reply(
        str(get("id", "")),
        request_id,
        str(get("model", "")),
        stop_reason,
        content,
        parse_usage(usage) if known_usage is None else known_usage,
        stop_details,
    )


def parse_usage(usage: Mapping[str, Any]) -> Usage:
    """Read the API's `usage` object into disjoint counts.

    Raises ValueError for a count that is no count. Cache writes without a split by time-to-live (an older gateway)
    count as 5-minute writes, the API's default.
    """
    # One look at all of them is half the price of reading a usage: where all bits together are no number below 0 or
    # above the bound, none is. What is not as usual is looked at one by one.
    try:
        fresh, output = usage["input_tokens"], usage["output_tokens"]
        read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
        split = usage["cache_creation"]
        five_minutes, one_hour = split["ephemeral_5m_input_tokens"], split["ephemeral_1h_input_tokens"]
        is_usual = (
            fresh.__class__ is output.__class__ is read.__class__ is written.__class__ is int
            and five_minutes.__class__ is one_hour.__class__ is int
            and 0 <= fresh | output | read | written | five_minutes | one_hour <= MAX_TOKENS
        )
    except (LookupError, TypeError):
        is_usual = False
    if not is_usual:
        fresh, output = _count(usage, "input_tokens"), _count(usage, "output_tokens")
        read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
        five_minutes, one_hour = _split_of(usage)
    if written > five_minutes + one_hour:
        five_minutes = written - one_hour
    used = usage.get("server_tool_use")
    if used:
        return Usage(fresh, output, read, five_minutes, one_hour, _searches(used))
    return Usage(fresh, output, read, five_minutes, one_hour)


def _searches(used: Any) -> int:
    if not isinstance(used, dict):
        raise ValueError("a usage whose server tools are no object")
    return _count(used, "web_search_requests")


def _split_of(usage: Mapping[str, Any]) -> tuple[int, int]:
    """Cache writes by time-to-live, as far as a usage tells."""
    split = usage.get("cache_creation")
    if not split:
        return 0, 0
    if not isinstance(split, dict):
        raise ValueError("a usage whose cache writes are no object")
    return _count(split, "ephemeral_5m_input_tokens"), _count(split, "ephemeral_1h_input_tokens")


def _count(counts: Mapping[str, Any], name: str) -> int:
    """A number of tokens; money is computed from it, so nothing else is taken for one."""
    value = counts.get(name)
    if value.__class__ is int and 0 <= value <= MAX_TOKENS:
        return value
    if value is None:
        return 0
    raise ValueError(f"a usage whose {name} is {value!r}")


def _decode(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # A text cut inside an emoji arrives with a lone surrogate, which is JSON but has no UTF-8 form.
        try:
            return decode(body)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
