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
    reply = _ReplyInTheMaking(
        str(get("id", "")), request_id, str(get("model", "")), stop_reason, content, parse_usage(usage), stop_details
    )
    reply.__class__ = Reply  # type: ignore[assignment]  # see the classes in the making
    return reply  # type: ignore[return-value]


def parse_usage(usage: Mapping[str, Any]) -> Usage:
    """Read the API's `usage` object into disjoint counts.

    Raises ValueError for a count that is no count. Cache writes without a split by time-to-live (an older gateway)
    count as 5-minute writes, the API's default.
    """
    get = usage.get
    read, written = get("cache_read_input_tokens"), get("cache_creation_input_tokens")
    fresh, output, split = get("input_tokens"), get("output_tokens"), get("cache_creation")
    # Four looks at once are half the price of reading a usage; what is not as usual is looked at one by one.
    if not (
        fresh.__class__ is output.__class__ is read.__class__ is written.__class__ is int
        and 0 <= fresh <= MAX_TOKENS
        and 0 <= output <= MAX_TOKENS
        and 0 <= read <= MAX_TOKENS
        and 0 <= written <= MAX_TOKENS
    ):
        fresh, output = _count(usage, "input_tokens"), _count(usage, "output_tokens")
        read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    if split:
        if not isinstance(split, dict):
            raise ValueError("a usage whose cache writes are no object")
        one_hour, five_minutes = split.get("ephemeral_1h_input_tokens"), split.get("ephemeral_5m_input_tokens")
        if not (
            one_hour.__class__ is five_minutes.__class__ is int
            and 0 <= one_hour <= MAX_TOKENS
            and 0 <= five_minutes <= MAX_TOKENS
        ):
            one_hour, five_minutes = (
                _count(split, "ephemeral_1h_input_tokens"),
                _count(split, "ephemeral_5m_input_tokens"),
            )
        five_minutes = max(written - one_hour, five_minutes)
    else:
        one_hour, five_minutes = 0, written
    counts = _UsageInTheMaking(fresh, output, read, five_minutes, one_hour)
    counts.__class__ = Usage  # type: ignore[assignment]  # see the classes in the making
    return counts  # type: ignore[return-value]


def _count(counts: Mapping[str, Any], name: str) -> int:
    """A number of tokens; money is computed from it, so nothing else is taken for one."""
    value = counts.get(name)
    if value.__class__ is int and 0 <= value <= MAX_TOKENS:
        return value
    if value is None:
        return 0
    raise ValueError(f"a usage whose {name} is {value!r}")


# Frozen dataclasses set each field by a call, which is half the price of reading a short reply (1.2 µs for a Usage,
# instead of 0.3). So the two are made as a class of the same layout that is not frozen, and are then turned into what
# they are: the interpreter refuses that where the fields are not the same.


class _UsageInTheMaking:
    __slots__ = Usage.__slots__

    def __init__(self, fresh: int, output: int, read: int, five_minutes: int, one_hour: int) -> None:
        self.input_tokens = fresh
        self.output_tokens = output
        self.cache_read_input_tokens = read
        self.ephemeral_5m_input_tokens = five_minutes
        self.ephemeral_1h_input_tokens = one_hour


class _ReplyInTheMaking:
    __slots__ = Reply.__slots__

    def __init__(
        self,
        message_id: str,
        request_id: str | None,
        model: str,
        stop_reason: str | None,
        content: list[dict[str, Any]],
        usage: Usage,
        stop_details: dict[str, Any] | None,
    ) -> None:
        self.message_id = message_id
        self.request_id = request_id
        self.model = model
        self.stop_reason = stop_reason
        self.content = content
        self.usage = usage
        self.stop_details = stop_details


def _decode(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # A text cut inside an emoji arrives with a lone surrogate, which is JSON but has no UTF-8 form.
        try:
            return decode(body)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
