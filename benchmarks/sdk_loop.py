"""The peer: what people write by hand, a loop over the SDK with a semaphore.

    python -m benchmarks.sdk_loop ROWS.csv SYSTEM.md OUT.jsonl

It keeps all rows and replies in memory, writes the file at the end, and knows nothing of caps, crashes or reuse.
"""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from anthropic import AsyncAnthropic

from benchmarks.project import CONCURRENCY, MAX_TOKENS, MODEL


async def answers(rows: Iterable[dict[str, str]], shared: str) -> list[str]:
    client = AsyncAnthropic()
    slots = asyncio.Semaphore(CONCURRENCY)

    async def ask(row: dict[str, str]) -> str:
        async with slots:
            message = await client.messages.create(
                model=MODEL,
                max_tokens=MAX_TOKENS,
                system=[{"type": "text", "text": shared, "cache_control": {"type": "ephemeral"}}],
                messages=[{"role": "user", "content": row["text"]}],
            )
        text = "".join(block.text for block in message.content if block.type == "text")
        return json.dumps({"key": row["id"], "output": text, "usage": message.usage.to_dict()}, ensure_ascii=False)

    lines = await asyncio.gather(*map(ask, rows))
    await client.close()
    return lines


def main(rows: Path, system: Path, out: Path) -> None:
    with rows.open(encoding="utf-8", newline="") as file:
        lines = asyncio.run(answers(csv.DictReader(file), system.read_text(encoding="utf-8")))
    out.parent.mkdir(exist_ok=True)
    out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
