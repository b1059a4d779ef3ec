"""The peers of batch mode: what people write by hand over the SDK, and the floor that no client can go below.

    python -m benchmarks.sdk_batch submit ROWS.csv SYSTEM.md     a list of requests, one create after the other
    python -m benchmarks.sdk_batch upload ROWS.csv SYSTEM.md     the same bytes, streamed by a bare HTTP connection
    python -m benchmarks.sdk_batch rendered BODIES.jsonl         bodies as `runner render` prints them, in one batch
    python -m benchmarks.sdk_batch results ID…                   read all results and do nothing with them
    python -m benchmarks.sdk_batch lines ID…                     the same by a bare HTTP connection and orjson

Each prints a line of JSON. None of them is durable, knows what is in doubt, or would find its batches after a crash.
`submit` counts a request's bytes cheaply (its text, the shared block and a bit), which a careful user would not.
"""

from __future__ import annotations

import csv
import http.client
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.bodies import MAX_TOKENS, MODEL
from runner.clock import SystemClock

MAX_REQUESTS = 95_000
MAX_BYTES = 230_000_000
"""Runner's own defaults, so that both send batches of one size."""
ENVELOPE_BYTES = 240
"""About what a request has beside its two texts."""
PATH = "/v1/messages/batches"


def submit(rows: Path, system: Path) -> dict[str, Any]:
    from anthropic import Anthropic

    shared = [{"type": "text", "text": system.read_text("utf-8"), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    shared_bytes = system.stat().st_size
    client = Anthropic()
    ids: list[str] = []
    requests: list[dict[str, Any]] = []
    size = 0

    def create() -> None:
        ids.append(client.messages.batches.create(requests=requests).id)  # type: ignore[arg-type]  # plain dicts
        requests.clear()

    for row in _rows(rows):
        more = shared_bytes + len(row["text"].encode()) + ENVELOPE_BYTES
        if len(requests) == MAX_REQUESTS or size + more > MAX_BYTES:
            create()
            size = 0
        messages = [{"role": "user", "content": row["text"]}]
        params = {"model": MODEL, "max_tokens": MAX_TOKENS, "system": shared, "messages": messages}
        requests.append({"custom_id": row["id"], "params": params})
        size += more
    if requests:
        create()
    return {"batches": ids}


def upload(rows: Path, system: Path) -> dict[str, Any]:
    """The floor: JSON put together from ready pieces, sent in pieces of 1 MiB."""
    marked = {"type": "text", "text": system.read_text("utf-8"), "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    head = json.dumps({"model": MODEL, "max_tokens": MAX_TOKENS, "system": [marked]}, ensure_ascii=False)[:-1].encode()
    ids: list[str] = []
    tails: list[bytes] = []
    size = 0
    for row in _rows(rows):
        text = json.dumps([{"role": "user", "content": row["text"]}], ensure_ascii=False)
        tail = b'{"custom_id":"%s","params":%%s,"messages":%s}}' % (
            row["id"].encode(),
            text.replace("%", "%%").encode(),
        )
        more = len(tail) - 2 + len(head) + 1
        if len(tails) == MAX_REQUESTS or size + more > MAX_BYTES:
            ids.append(_post(head, tails))
            tails, size = [], 0
        tails.append(tail)
        size += more
    if tails:
        ids.append(_post(head, tails))
    return {"batches": ids}


def _post(head: bytes, tails: Sequence[bytes]) -> str:
    size = sum(len(tail % b"") + len(head) for tail in tails) + len(tails) - 1 + len(b'{"requests":[]}')
    headers = {**_headers(), "content-type": "application/json", "content-length": str(size)}
    connection = _connect()
    connection.request("POST", PATH, _pieces(head, tails), headers)
    batch: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return str(batch["id"])


def _pieces(head: bytes, tails: Iterable[bytes]) -> Iterator[bytes]:
    piece = bytearray(b'{"requests":[')
    comma = b""
    for tail in tails:
        piece += comma + tail % head
        comma = b","
        if len(piece) > 2**20:
            yield bytes(piece)
            piece.clear()
    piece += b"]}"
    yield bytes(piece)


def rendered(bodies: Path) -> dict[str, Any]:
    from anthropic import Anthropic

    params = [json.loads(line) for line in bodies.read_text("utf-8").splitlines()]
    requests = [{"custom_id": f"row-{index}", "params": body} for index, body in enumerate(params)]
    return {"batches": [Anthropic().messages.batches.create(requests=requests).id]}  # type: ignore[arg-type]  # as above


def results(ids: Sequence[str]) -> dict[str, Any]:
    from anthropic import Anthropic

    clock, client, read = SystemClock(), Anthropic(), 0
    began = clock.monotonic()
    for batch_id in ids:
        for _ in client.messages.batches.results(batch_id):
            read += 1
    return {"read": read, "elapsed_s": clock.monotonic() - began}


def lines(ids: Sequence[str]) -> dict[str, Any]:
    import orjson

    clock, read = SystemClock(), 0
    began = clock.monotonic()
    for batch_id in ids:
        connection = _connect()
        connection.request("GET", f"{PATH}/{batch_id}/results", headers=_headers())
        for line in connection.getresponse():
            orjson.loads(line)
            read += 1
        connection.close()
    return {"read": read, "elapsed_s": clock.monotonic() - began}


def _connect() -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(os.environ["ANTHROPIC_BASE_URL"]).netloc)


def _headers() -> dict[str, str]:
    return {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01"}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def main(what: str, *arguments: str) -> None:
    match what:
        case "submit" | "upload":
            rows, system = map(Path, arguments)
            done = submit(rows, system) if what == "submit" else upload(rows, system)
        case "rendered":
            done = rendered(Path(arguments[0]))
        case "results":
            done = results(arguments)
        case _:
            done = lines(arguments)
    print(json.dumps(done))


if __name__ == "__main__":
    main(*sys.argv[1:])
