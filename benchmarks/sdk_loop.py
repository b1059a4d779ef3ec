"""The peer: what people write by hand, a loop over the SDK with a semaphore.

    python -m benchmarks.sdk_loop ROWS.csv SYSTEM.md OUT.jsonl IN_FLIGHT [aiohttp]

It keeps all rows and replies in memory, writes the file at the end, and knows nothing of caps, crashes or reuse. A row
that fails after the SDK's own two retries is lost: the loop prints {"lost": n}. `aiohttp` is the SDK's faster
transport (`anthropic[aiohttp]`); without it the client is the one that the SDK makes by default.
"""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from anthropic import AnthropicError, AsyncAnthropic, DefaultAioHttpClient

from benchmarks.bodies import MAX_TOKENS, MODEL


async def answers(rows: Iterable[dict[str, str]], shared: str, in_flight: int, transport: str) -> list[str | None]:
    """A line for every row, None for one that failed."""
    client = AsyncAnthropic(http_client=DefaultAioHttpClient() if transport == "aiohttp" else None)
    slots = asyncio.Semaphore(in_flight)

    async def ask(row: dict[str, str]) -> str | None:
        async with slots:
            try:
                message = await client.messages.create(
                    model=MODEL,
                    max_tokens=MAX_TOKENS,
                    system=[{"type": "text", "text": shared, "cache_control": {"type": "ephemeral"}}],
                    messages=[{"role": "user", "content": row["text"]}],
                )
            except AnthropicError:
                return None
        text = "".join(block.text for block in message.content if block.type == "text")
        return json.dumps({"key": row["id"], "output": text, "usage": message.usage.to_dict()}, ensure_ascii=False)

    lines = await asyncio.gather(*map(ask, rows))
    await client.close()
    return lines


def main(rows: Path, system: Path, out: Path, in_flight: str, transport: str = "default") -> None:
    with rows.open(encoding="utf-8", newline="") as file:
        shared = system.read_text(encoding="utf-8")
        lines = asyncio.run(answers(csv.DictReader(file), shared, int(in_flight), transport))
    out.parent.mkdir(exist_ok=True)
    out.write_text("".join(f"{line}\n" for line in lines if line is not None), encoding="utf-8")
    print(json.dumps({"lost": lines.count(None)}))


if __name__ == "__main__":
    places = [Path(argument) for argument in sys.argv[1:4]]
    main(places[0], places[1], places[2], *sys.argv[4:])
