from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import orjson
from aiohttp import web

from runner.simulator.accounts import Accounts, Entry
from runner.simulator.exchange import Exchange
from runner.simulator.faults import Faults
from runner.simulator.files import Files
from runner.simulator.messages import Messages
from runner.simulator.options import Options
from support.frozen_clock import FrozenClock

LONG = "A rule that everybody has to follow. " * 100


class RecordingExchange(Exchange):
    """An exchange whose reply is kept instead of sent."""

    sent: bytes = b""

    async def reply(self, body: bytes, *, content_type: str = "application/json", status: int = 200) -> web.Response:
        self.sent = body
        return web.Response(body=body, status=status)


class HeldAccounts(Accounts):
    """Books in which nothing is entered before `open` is set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.open = asyncio.Event()

    async def bill(self, entry: Entry) -> int:
        await self.open.wait()
        return await super().bill(entry)


def exchange() -> RecordingExchange:
    return RecordingExchange(cast(Any, None), "/v1/messages", "req_1", "workspace", "2026-10-21", "")


def body(question: str) -> bytes:
    system = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
    messages = [{"role": "user", "content": question}]
    return orjson.dumps({"model": "claude-haiku-5-5", "max_tokens": 500, "system": system, "messages": messages})


def standing_in(folder: Path, accounts: Accounts) -> Messages:
    options, clock = Options(state=folder), FrozenClock()
    return Messages(options, clock, accounts, Files(options, clock, accounts, Faults((), 0)))


def test_no_reply_leaves_before_its_entry_is_in_the_books(tmp_path: Path) -> None:
    async def ask() -> None:
        accounts = HeldAccounts(tmp_path)
        mine = exchange()
        call = asyncio.create_task(standing_in(tmp_path, accounts).create(mine, body("a"), None))
        for _ in range(20):
            await asyncio.sleep(0)
        assert mine.sent == b""
        accounts.open.set()
        await call
        assert orjson.loads(mine.sent)["id"] == accounts.entries()[0]["message_id"]
        accounts.close()

    asyncio.run(ask())


def test_requests_that_start_before_the_first_reply_has_begun_all_write_the_shared_block(tmp_path: Path) -> None:
    async def ask() -> list[int]:
        accounts = HeldAccounts(tmp_path)
        messages = standing_in(tmp_path, accounts)
        early = [asyncio.create_task(messages.create(exchange(), body(name), None)) for name in "abc"]
        await asyncio.sleep(0)
        accounts.open.set()
        await asyncio.gather(*early)
        await messages.create(exchange(), body("d"), None)
        writes = [entry["ephemeral_5m_input_tokens"] for entry in accounts.entries()]
        accounts.close()
        return writes

    writes = asyncio.run(ask())
    assert writes[0] == writes[1] == writes[2] > 512
    assert writes[3] == 0
