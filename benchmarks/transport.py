"""CPU of one request: each transport's `send` beside a bare loop over aiohttp.

All do the same request against the same server, another process that does as little as a server can. What is measured
is a client's own processor time after a warm-up, user and system, so that neither start-up nor the server counts. They
take turns, each in a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import cast

import aiohttp
import orjson
import uvloop

from benchmarks.results import ROOT, Section, spread, table
from runner.plugins import find_provider
from runner.types import Request

KINDS = {"bare": "a bare aiohttp + uvloop loop", "wire": "`transport: wire`", "sdk": "`transport: sdk`"}
IN_FLIGHT = (64, 400, 800)
OBJECTS_A_COLLECTION = 50_000
"""As `runner` sets it: with Python's own 700 the collector walks what is in flight over and over."""

BODY = json.dumps({
    "model": "claude-haiku-5-5",
    "max_tokens": 200,
    "system": [{"type": "text", "text": "x" * 6_000, "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "some words here " * 40}],
}).encode()  # fmt: skip
_USAGE = {"input_tokens": 200, "output_tokens": 50, "cache_read_input_tokens": 2_000, "cache_creation_input_tokens": 0}
MESSAGE = json.dumps({
    "id": "msg_0123456789",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-5-5",
    "content": [{"type": "text", "text": "word " * 50}],
    "stop_reason": "end_turn",
    "usage": _USAGE,
}).encode()  # fmt: skip


def measure(quick: bool) -> Section:
    """Each kind at each number in flight, in turns."""
    turns, requests = (1, 500) if quick else (5, 6_000)
    found: dict[tuple[str, int], list[float]] = {}
    with _server() as port:
        for _ in range(turns):
            for in_flight in IN_FLIGHT:
                for kind in KINDS:
                    found.setdefault((kind, in_flight), []).append(_turn(kind, port, in_flight, requests))
    rows = [
        (name, *(spread([1e6 * cpu_s for cpu_s in found[kind, in_flight]], 0) for in_flight in IN_FLIGHT))
        for kind, name in KINDS.items()
    ]
    lines = [
        f"CPU a request in µs, {requests:,} requests of {len(BODY) / 1000:.1f} kB a turn, {turns} turns.",
        "",
        *table(("in flight", *map(str, IN_FLIGHT)), rows),
    ]
    return Section("One request by transport", lines)


def _turn(kind: str, port: int, in_flight: int, requests: int) -> float:
    arguments = [sys.executable, "-m", "benchmarks.transport", kind, str(port), str(in_flight), str(requests)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    done = subprocess.run(arguments, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300, check=True)
    return float(done.stdout)


@contextmanager
def _server() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with subprocess.Popen([sys.executable, "-m", "benchmarks.transport", "serve", str(port)], cwd=ROOT) as child:
        try:
            _wait_for(port)
            yield port
        finally:
            child.terminate()


def _wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the server does not come up")


# -- the children ------------------------------------------------------------------------------------------------------


class LeanServer(asyncio.Protocol):
    """Answers every request of known length with the same bytes, and looks at nothing else."""

    _ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_0123456789\r\n" + (
        b"anthropic-ratelimit-requests-limit: 4000\r\ncontent-length: %d\r\n\r\n%s" % (len(MESSAGE), MESSAGE)
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._received = bytearray()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head := self._received.find(b"\r\n\r\n")) >= 0:
            length = self._received[:head].lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            end = head + 4 + int(length)
            if len(self._received) < end:
                return
            del self._received[:end]
            self._transport.write(self._ANSWER)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(LeanServer, "127.0.0.1", port)
    await server.serve_forever()


async def _loop(kind: str, port: int, in_flight: int, requests: int) -> float:
    """CPU a request, in seconds."""
    gc.set_threshold(OBJECTS_A_COLLECTION)
    address = f"http://127.0.0.1:{port}"
    if kind == "bare":
        headers = {"authorization": "Bearer none", "content-type": "application/json"}
        connector = aiohttp.TCPConnector(limit=in_flight)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

            async def bare() -> None:
                async with session.post(f"{address}/v1/messages", data=BODY) as response:
                    orjson.loads(await response.read())

            return await _measured(bare, in_flight, requests)
    environ = {"ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": address}
    provider = find_provider("anthropic").load().connect(environ, max_concurrency=in_flight, transport=kind)
    request = Request(bytes(32), b"", BODY, "claude-haiku-5-5", 200, 2_000)

    async def send() -> None:
        sent = await provider.send(request)
        assert sent.reply is not None, sent.failure

    try:
        return await _measured(send, in_flight, requests)
    finally:
        await provider.aclose()


async def _measured(send: Callable[[], Awaitable[None]], in_flight: int, requests: int) -> float:
    async def all_of(count: int) -> None:
        places = iter(range(count))

        async def slot() -> None:
            for _ in places:
                await send()

        await asyncio.gather(*(slot() for _ in range(in_flight)))

    await all_of(3 * in_flight)  # connections stand, and everything has been imported
    before = time.process_time()
    await all_of(requests)
    return (time.process_time() - before) / requests


if __name__ == "__main__":
    what, where, *sizes = sys.argv[1:]
    if what == "serve":
        uvloop.run(_serve(int(where)))
    else:
        print(uvloop.run(_loop(what, int(where), *map(int, sizes))))
