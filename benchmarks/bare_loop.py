"""The floor: the loop that a good engineer writes in an afternoon, aiohttp on uvloop with orjson.

    python -m benchmarks.bare_loop ROWS.csv SYSTEM.md OUT.jsonl IN_FLIGHT

Its requests are those that runner sends, to the byte but for what names the library, so that a server has the same work
with both. The part that all of them share is encoded once (`orjson.Fragment`); rows are read and records written as it
goes, so memory stays flat. It keeps no ledger: what it did is lost when it is killed, the first failure ends it, and it
knows nothing of limits, caps, retries or the cache.
"""

from __future__ import annotations

import asyncio
import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import aiohttp
import orjson
import uvloop

from benchmarks.bodies import MAX_TOKENS, MODEL


async def answer(rows: Iterator[dict[str, str]], shared: str, out: BinaryIO, in_flight: int) -> None:
    block = {"type": "text", "text": shared, "cache_control": {"type": "ephemeral", "ttl": "5m"}}
    system = orjson.Fragment(orjson.dumps([block]))
    url = os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages"
    headers = {
        "accept": "application/json",
        "accept-encoding": "identity",
        "anthropic-version": "2026-10-21",
        "authorization": f"Bearer {os.environ['ANTHROPIC_API_KEY']}",
        "content-type": "application/json",
    }

    async def work(session: aiohttp.ClientSession) -> None:
        for row in rows:  # one iterator for all
            messages = [{"role": "user", "content": [{"type": "text", "text": row["text"]}]}]
            body = {"model": MODEL, "max_tokens": MAX_TOKENS, "system": system, "messages": messages}
            async with session.post(url, data=orjson.dumps(body)) as response:
                response.raise_for_status()
                message = orjson.loads(await response.read())
            text = "".join(block["text"] for block in message["content"] if block["type"] == "text")
            out.write(orjson.dumps({"key": row["id"], "output": text, "usage": message["usage"]}) + b"\n")

    connector = aiohttp.TCPConnector(limit=in_flight)
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        await asyncio.gather(*(work(session) for _ in range(in_flight)))


def main(rows: str, system: str, out: str, in_flight: str) -> None:
    Path(out).parent.mkdir(exist_ok=True)
    with open(rows, encoding="utf-8", newline="") as file, open(out, "wb") as written:  # noqa: PTH123 - as people do
        uvloop.run(answer(csv.DictReader(file), Path(system).read_text("utf-8"), written, int(in_flight)))


if __name__ == "__main__":
    main(*sys.argv[1:])
