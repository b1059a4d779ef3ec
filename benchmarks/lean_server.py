"""A server that costs next to nothing, so that what is measured is the client: the same reply to every message.

    python -m benchmarks.lean_server [--latency SECONDS]      LEAN_REPLY: the text of every reply, if not the usual one

Owns   a fixed reply with the headers that the API sends (limits nobody reaches), a latency, and what it saw: when the
       first request was there, when the last reply left, how many at once, and the time of every so many replies.
Knows  nothing of keys, models, caches or prices; the stand-in does. The first message of all is told to have written
       the cache, every other one to have read it. A request for a stream is answered with one, whose first event
       leaves after a quarter of the latency, as the stand-in has it. So has one without an answer (`max_tokens: 0`) its
       end then: what takes the rest of the time is the writing.

Prints {"base_url"} when it listens and ends when its standard input is closed. `GET /bench/seen` tells, `POST
/bench/reset` forgets. Some 25 µs of CPU a request of 9 kB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, cast

import uvloop

from benchmarks.bodies import LAP, MODEL

BEGIN_SHARE = 0.25
"""As the stand-in: the part of the latency that passes before the first byte of a stream."""
_UNLIMITED = 100_000_000
_TEXT = os.environ.get("LEAN_REPLY", "word " * 50)


def _message(written: int, read: int) -> dict[str, Any]:
    usage = {
        "input_tokens": 200,
        "output_tokens": 50,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
    }
    return {
        "id": "msg_lean%08x",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": _TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }


_BODIES = tuple(json.dumps(_message(*counts), separators=(",", ":")).encode() for counts in ((2_000, 0), (0, 2_000)))
"""Of the first message and of the others; each takes its number."""


def _empty(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "content": [], "stop_reason": "max_tokens", "usage": {**message["usage"], "output_tokens": 0}}


_EMPTY = tuple(
    json.dumps(_empty(_message(*counts)), separators=(",", ":")).encode() for counts in ((2_000, 0), (0, 2_000))
)


def _events(message: dict[str, Any]) -> tuple[bytes, bytes]:
    """A stream in two parts: what begins the reply, and the rest."""
    start = {**message, "content": [], "stop_reason": None}
    text = {"type": "text_delta", "text": _TEXT}
    first = _event("message_start", message=start)
    rest = (
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        _event("content_block_delta", index=0, delta=text),
        _event("content_block_stop", index=0),
        _event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 50}),
        _event("message_stop"),
    )
    return first, b"".join(rest)


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


_STREAMS = tuple(_events(_message(*counts)) for counts in ((2_000, 0), (0, 2_000)))
_FIXED = {
    "/v1/messages/count_tokens": b'{"input_tokens":2200}',
    "/v1/models": b'{"data":[],"has_more":false,"first_id":null,"last_id":null}',
}
"""What else a client may ask for."""


@dataclass(slots=True)
class Seen:
    """Since the start or the last reset; times are the machine's monotonic clock, which all processes share."""

    received: int = 0
    replied: int = 0
    max_in_flight: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    laps: list[float] = field(default_factory=list)

    def forget(self) -> None:
        self.received = self.replied = self.max_in_flight = 0
        self.first_at = self.last_at = 0.0
        self.laps = []

    def take(self) -> int:
        """A message is there; returns its number."""
        if self.received == 0:
            self.first_at = time.monotonic()
        self.received += 1
        self.max_in_flight = max(self.max_in_flight, self.received - self.replied)
        return self.received

    def reply(self) -> None:
        self.replied += 1
        self.last_at = time.monotonic()
        if self.replied % LAP == 0:
            self.laps.append(self.last_at)

    def describe(self) -> bytes:
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()


class Heads:
    """The heads of replies, made anew when the second of their date has passed."""

    def __init__(self) -> None:
        self._until = 0.0
        self._plain = self._stream = b""

    def plain(self, number: int, size: int) -> bytes:
        self._refresh()
        return self._plain % (number, size)

    def stream(self, number: int) -> bytes:
        self._refresh()
        return self._stream % number

    def _refresh(self) -> None:
        now = time.time()
        if now < self._until:
            return
        self._until = int(now) + 1.0
        reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        limits = "".join(
            f"anthropic-ratelimit-{name}-limit: {_UNLIMITED}\r\n"
            f"anthropic-ratelimit-{name}-remaining: {_UNLIMITED}\r\n"
            f"anthropic-ratelimit-{name}-reset: {reset}\r\n"
            for name in ("requests", "tokens", "input-tokens", "output-tokens")
        )
        common = (
            f"HTTP/1.1 200 OK\r\ndate: {formatdate(now, usegmt=True)}\r\n{limits}"
            "anthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\n"
            "strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"
            "server: lean\r\nx-robots-tag: none\r\nrequest-id: req_lean%08x\r\n"
        )
        self._plain = (common + "content-type: application/json\r\ncontent-length: %d\r\n\r\n").encode()
        chunked = "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
        self._stream = (common + chunked).encode()


class Connection(asyncio.Protocol):
    """One client's connection; a request is answered before the next one on it is looked at."""

    __slots__ = ("_buffer", "_heads", "_latency_s", "_loop", "_seen", "_size", "_start", "_transport")

    def __init__(self, seen: Seen, heads: Heads, latency_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self._seen = seen
        self._heads = heads
        self._latency_s = latency_s
        self._loop = loop
        self._buffer = bytearray()
        self._start = self._size = 0
        """Where the body of the request at the buffer's front begins and ends; 0 while its head is not whole."""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._is_whole():
            request = bytes(self._buffer[: self._size])
            del self._buffer[: self._size]
            start, self._start, self._size = self._start, 0, 0
            self._answer(request, start)

    def _is_whole(self) -> bool:
        if not self._size:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = bytes(self._buffer[: end + 2]).lower()
            place = head.find(b"\r\ncontent-length:")
            body = int(head[place + 17 : head.index(b"\r\n", place + 17)]) if place >= 0 else 0
            self._start = end + 4
            self._size = self._start + body
            if b"\r\nexpect: 100-continue" in head:
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return len(self._buffer) >= self._size

    def _answer(self, request: bytes, start: int) -> None:
        path = request[: request.index(b" HTTP/")].partition(b" ")[2].partition(b"?")[0].decode()
        if path == "/v1/messages":
            self._answer_message(request, start)
        elif path in _FIXED:
            self._write_plain(0, _FIXED[path])
        elif path == "/bench/seen":
            self._write_plain(0, self._seen.describe())
        elif path == "/bench/reset":
            self._seen.forget()
            self._write_plain(0, b"{}")
        else:
            self._write(b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")

    def _answer_message(self, request: bytes, start: int) -> None:
        number = self._seen.take()
        if b'"stream":true' in request[start:] or b'"stream": true' in request[start:]:
            self._after(self._latency_s * BEGIN_SHARE, self._begin_stream, number)
        elif b'"max_tokens":0,' in request[start:]:
            self._after(self._latency_s * BEGIN_SHARE, self._end_empty, number)
        else:
            self._after(self._latency_s, self._reply, number)

    def _after(self, seconds: float, act: Any, number: int) -> None:
        if seconds > 0:
            self._loop.call_later(seconds, act, number)
        else:
            act(number)

    def _reply(self, number: int) -> None:
        self._seen.reply()
        self._write_plain(number, _BODIES[number > 1] % number)

    def _end_empty(self, number: int) -> None:
        self._seen.reply()
        self._write_plain(number, _EMPTY[number > 1] % number)

    def _begin_stream(self, number: int) -> None:
        first, _ = _STREAMS[number > 1]
        self._write(self._heads.stream(number) + _chunk(first % number))
        self._after(self._latency_s * (1 - BEGIN_SHARE), self._end_stream, number)

    def _end_stream(self, number: int) -> None:
        self._seen.reply()
        self._write(_chunk(_STREAMS[number > 1][1]) + b"0\r\n\r\n")

    def _write_plain(self, number: int, body: bytes) -> None:
        self._write(self._heads.plain(number, len(body)) + body)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def serve(latency_s: float) -> None:
    loop = asyncio.get_running_loop()
    seen, heads = Seen(), Heads()
    server = await loop.create_server(lambda: Connection(seen, heads, latency_s, loop), "127.0.0.1", 0, backlog=4_096)
    print(json.dumps({"base_url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}), flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), _watch_pipe, ended)
    await ended.wait()


def _watch_pipe(ended: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4_096):
        ended.set()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lean_server", description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))
    uvloop.run(serve(parser.parse_args().latency))


if __name__ == "__main__":
    main()
