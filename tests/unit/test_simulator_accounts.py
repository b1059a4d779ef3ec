from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from runner.simulator.accounts import Accounts, Entry
from runner.types import Usage


def entry(request_hash: str, cost_pico: int | None = 5) -> Entry:
    return Entry("2026-11-22T10:00:00.000Z", request_hash, "echo", "msg_1", "model", Usage(1, 2, 3, 4, 5), cost_pico)


def bill(accounts: Accounts, *entries: Entry) -> list[int]:
    async def all_at_once() -> list[int]:
        return list(await asyncio.gather(*(accounts.bill(one) for one in entries)))

    return asyncio.run(all_at_once())


def test_totals_add_up_and_tell_repeats(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    bill(accounts, entry("a"), entry("b"), entry("a", None))
    sums = {
        "requests": 3,
        "delivered": 0,
        "input_tokens": 3,
        "output_tokens": 6,
        "cache_read_input_tokens": 9,
        "ephemeral_5m_input_tokens": 12,
        "ephemeral_1h_input_tokens": 15,
        "cost_pico": 10,
        "unpriced": 1,
        "cache_writes": 3,
        "distinct": 2,
    }
    accepted = {"batches": 0, "batch_requests": 0, "batches_repeated": 0}
    assert accounts.totals() == {**sums, "most_repeated": 2, **accepted, "modes": {"parallel": sums}}
    assert accounts.counts() == {"a": 2, "b": 1}
    accounts.close()


def test_empty_books_have_totals_too(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    totals = accounts.totals()
    assert totals.pop("modes") == {}
    assert set(totals.values()) == {0}
    accounts.close()


def test_an_entry_is_on_disk_when_bill_returns(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    assert bill(accounts, entry("a")) == [1]
    reader = apsw.Connection(str(tmp_path / "accounts.db"), flags=apsw.SQLITE_OPEN_READONLY)
    assert list(reader.execute("SELECT count(*) FROM billed")) == [(1,)]
    reader.close()
    accounts.close()


def test_books_go_on_after_a_restart(tmp_path: Path) -> None:
    first = Accounts(tmp_path)
    bill(first, entry("a"), entry("b"))
    first.close()
    second = Accounts(tmp_path)
    assert bill(second, entry("c")) == [3]
    assert [row["request_hash"] for row in second.entries()] == ["a", "b", "c"]
    second.close()


def test_delivery_is_noted(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)

    async def bill_and_deliver() -> None:
        accounts.delivered(await accounts.bill(entry("a")))
        await accounts.bill(entry("b"))

    asyncio.run(bill_and_deliver())
    assert [row["delivered"] for row in accounts.entries()] == [1, 0]
    accounts.close()


def test_a_failed_commit_reaches_everybody_who_waits_for_it(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    accounts._database.execute("DROP TABLE billed")

    async def both() -> list[int | BaseException]:
        calls = [accounts.bill(entry("a")), accounts.bill(entry("b"))]
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(result) for result in asyncio.run(both())] == [apsw.SQLError, apsw.SQLError]
    with pytest.raises(apsw.SQLError):
        accounts.totals()
    accounts._database.close()
