"""A reply on the wire: the message object, and the same as a stream of events.

Owns   the JSON of a Message and of its usage, and the order of server-sent events.
Knows  an answer and how its tokens were billed.

Source: the SDK's `types/message.py`, `types/usage.py` and `types/raw_message_stream_event.py` (2.12.0); order of
events: the API's streaming page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from msgspec import Struct

from runner.simulator.answers import Answer
from runner.types import Usage

_DELTA_CHARACTERS = 48
"""How much text one delta carries."""


class Envelope(Struct, frozen=True):
    """A reply with everything around it."""

    message_id: str
    model: str
    answer: Answer
    usage: Usage
    service_tier: str = "standard"
    speed: str = "standard"
    inference_geo: str = "global"

    def message(self) -> bytes:
        """The Message object as JSON."""
        answer = self.answer
        return orjson.dumps(
            {
                "id": self.message_id,
                "type": "message",
                "role": "assistant",
                "model": self.model,
                "content": answer.content,
                "stop_reason": answer.stop_reason,
                "stop_sequence": answer.stop_sequence,
                "stop_details": answer.stop_details,
                "usage": self._usage(answer.output_tokens),
            }
        )

    def opening(self) -> bytes:
        """What a stream sends as soon as the reply begins."""
        message: dict[str, Any] = {
            "id": self.message_id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(min(1, self.answer.output_tokens)),
        }
        return event("message_start", message=message) + event("ping")

    def events(self) -> Iterator[bytes]:
        """The rest of the stream, piece by piece."""
        for index, block in enumerate(self.answer.content):
            yield from _block_events(index, block)
        answer = self.answer
        delta = {
            "stop_reason": answer.stop_reason,
            "stop_sequence": answer.stop_sequence,
            "stop_details": answer.stop_details,
        }
        usage = self._usage(answer.output_tokens)
        cumulative = {name: usage[name] for name in _CUMULATIVE}
        if usage["server_tool_use"] is not None:
            cumulative["server_tool_use"] = usage["server_tool_use"]
        yield event("message_delta", delta=delta, usage=cumulative) + event("message_stop")

    def _usage(self, output_tokens: int) -> dict[str, Any]:
        return self.usage.to_dict() | {
            "output_tokens": output_tokens,
            "output_tokens_details": {"thinking_tokens": min(self.answer.thinking_tokens, output_tokens)},
            "server_tool_use": self._server_tool_use(),
            "service_tier": self.service_tier,
            "speed": self.speed,
            "inference_geo": self.inference_geo,
        }

    def _server_tool_use(self) -> dict[str, int] | None:
        searches, fetches = self.answer.searches, self.answer.fetches
        if not searches and not fetches:
            return None
        return {"web_search_requests": searches, "web_fetch_requests": fetches}


_CUMULATIVE = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
)
"""What `message_delta` tells of the usage."""


def event(name: str, **fields: Any) -> bytes:
    """One server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps({"type": name, **fields}))


def _block_events(index: int, block: Mapping[str, Any]) -> Iterator[bytes]:
    empty, deltas = _opened(block)
    yield event("content_block_start", index=index, content_block=empty)
    for delta in deltas:
        yield event("content_block_delta", index=index, delta=delta)
    yield event("content_block_stop", index=index)


def _opened(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it starts, and what is added to it bit by bit."""
    if block["type"] == "thinking":
        return {**block, "signature": ""}, [{"type": "signature_delta", "signature": block["signature"]}]
    if block["type"] in ("tool_use", "server_tool_use"):
        pieces = _pieces(orjson.dumps(block["input"]).decode())
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    if block["type"] != "text":  # what a tool of the API has found comes whole
        return dict(block), []
    return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])]


def _pieces(text: str) -> list[str]:
    return [text[start : start + _DELTA_CHARACTERS] for start in range(0, len(text), _DELTA_CHARACTERS)]
