"""A streamed reply, put together again: server-sent events in, the message object out.

Owns   the splitting of the bytes into events and the assembly of the message. Pure: no network, no clock.
Knows  the events of the Messages API. What comes out equals the message of a call that was not streamed in content,
       usage and stop reason, as JSON bytes.

Invariants
  * A message is complete only after `message_stop`; whatever ends before it is no reply.
  * Events of unknown types are passed over, as the API asks; a *delta* of an unknown type is not, since the message
    would lack a part of its content and nobody would know.
  * Events are split at `\\n` bytes only: U+2028 and its kin are ordinary characters of a text.

Source: the API's streaming page; SDK 2.12 `lib/streaming/_messages.py` (`accumulate_event`) for what each event
changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.encoding import decode, encode


class StreamBroken(ValueError):
    """The bytes are no stream of the Messages API."""


class StreamedMessage:
    """Feed it bytes as they come; ask what is known so far."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self._message: dict[str, Any] | None = None
        self._parts: dict[int, dict[str, list[str]]] = {}
        self.complete = False
        self.error: Mapping[str, Any] | None = None
        """The data of an `error` event; nothing follows it."""

    @property
    def begun(self) -> bool:
        """The model has begun to answer: what it read of the prompt is in the cache now."""
        return self._message is not None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises StreamBroken."""
        for data in self._lines.events(chunk):
            if self.complete or self.error is not None:
                return
            try:
                event = decode(data)
                self._take(event)
            except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError) as error:
                raise StreamBroken(f"an event that is not the API's: {error!r}") from error

    def body(self) -> bytes:
        """The message object as JSON bytes; only once `complete`."""
        if not self.complete or self._message is None:
            raise StreamBroken("the stream ended before the message did")
        return encode(self._message)

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "message_start":
            self._message = dict(event["message"])
            self._message["content"] = list(self._message["content"])
            self._message["usage"] = dict(self._message["usage"])
        elif kind == "content_block_start":
            self._content(event["index"], new=True).append(dict(event["content_block"]))
            self._parts[event["index"]] = {}
        elif kind == "content_block_delta":
            self._take_delta(event["index"], event["delta"])
        elif kind == "content_block_stop":
            self._close_block(event["index"])
        elif kind == "message_delta":
            self._take_message_delta(event)
        elif kind == "message_stop":
            self._content(0, new=False)
            if self._parts:
                raise StreamBroken("the message stopped inside a content block")
            self.complete = True
        elif kind == "error":
            self.error = event

    def _take_delta(self, index: int, delta: dict[str, Any]) -> None:
        kind = delta["type"]
        if kind in _TEXT_DELTAS:
            field = _TEXT_DELTAS[kind]
            # Parts are joined once, when the block ends: adding to a string for every token is quadratic.
            self._parts[index].setdefault(field, []).append(delta[field])
            return
        block = self._content(index, new=False)[index]
        if kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        elif kind == "signature_delta":
            block["signature"] = delta["signature"]
        else:
            raise StreamBroken(f"a delta of an unknown type {kind!r}")

    def _close_block(self, index: int) -> None:
        block = self._content(index, new=False)[index]
        for field, parts in self._parts.pop(index).items():
            text = "".join(parts)
            if field == "partial_json":
                block["input"] = _tool_input(text, block.get("input"))
            else:
                block[field] = block.get(field, "") + text

    def _take_message_delta(self, event: dict[str, Any]) -> None:
        self._content(0, new=False)
        assert self._message is not None
        # A null container or count means "not applicable here": what `message_start` said stays.
        for name, value in event["delta"].items():
            if name != "container" or value is not None:
                self._message[name] = value
        usage = self._message["usage"]
        usage.update({name: count for name, count in event["usage"].items() if count is not None})

    def _content(self, index: int, *, new: bool) -> list[dict[str, Any]]:
        if self._message is None:
            raise StreamBroken("an event before the message began")
        content: list[dict[str, Any]] = self._message["content"]
        if new and index != len(content):
            raise StreamBroken(f"content block {index} out of order")
        return content


_TEXT_DELTAS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def _tool_input(text: str, empty: Any) -> Any:
    """A tool's input from its pieces; what the block began with where none came, or where `max_tokens` cut it short."""
    try:
        return decode(text) if text else empty
    except ValueError:
        return empty


class _Lines:
    """Server-sent events by their `data`, from chunks that are cut anywhere."""

    def __init__(self) -> None:
        self._tail: list[bytes] = []
        self._data: list[bytes] = []

    def events(self, chunk: bytes) -> Iterator[bytes]:
        first, *rest = chunk.split(b"\n")
        if not rest:
            self._tail.append(first)
            return
        lines = [b"".join((*self._tail, first)), *rest[:-1]]
        self._tail = [rest[-1]]
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                yield b"\n".join(self._data)
                self._data = []
