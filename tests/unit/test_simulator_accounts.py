from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from runner.simulator.accounts import AcceptedBatch, Accounts, Entry
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


def accepted(batch_id: str, body: str, workspace: str = "w") -> AcceptedBatch:
    return AcceptedBatch(batch_id, "2026-11-22T10:00:00.000Z", workspace, 3, body, "ids", "a")


def test_batches_are_told_apart_from_single_requests(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    bill(accounts, entry("a"), replace(entry("a", 2), mode="batch", batch_id="msgbatch_1"), entry("b"))
    modes = accounts.totals()["modes"]
    assert {mode: (sums["requests"], sums["cost_pico"], sums["distinct"]) for mode, sums in modes.items()} == {
        "parallel": (2, 10, 2),
        "batch": (1, 2, 1),
    }
    accounts.close()


def test_a_batch_that_is_bought_twice_is_seen(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    for batch in (accepted("m1", "x"), accepted("m2", "y"), accepted("m3", "x"), accepted("m4", "x", "another")):
        accounts.accept(batch)
    totals = accounts.totals()
    assert (totals["batches"], totals["batch_requests"], totals["batches_repeated"]) == (4, 12, 1)
    assert [batch["id"] for batch in accounts.accepted_batches()] == ["m1", "m2", "m3", "m4"]
    accounts.clear()
    assert accounts.accepted_batches() == []
    accounts.close()


def test_entries_of_a_batch_are_delivered_together(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    mine = replace(entry("b"), mode="batch", batch_id="m1")
    accounts.enter([entry("a"), mine, replace(mine, batch_id="m2"), mine])
    accounts.batch_delivered("m1")
    accounts.batch_delivered("m1")
    assert [row["delivered"] for row in accounts.entries()] == [0, 1, 0, 1]
    assert accounts.totals()["delivered"] == 2
    accounts.close()


def test_books_of_an_earlier_version_are_taken_over(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    bill(accounts, entry("a"))
    for column in ("mode", "batch_id", "custom_id"):
        accounts.database.execute(f"ALTER TABLE billed DROP COLUMN {column}")
    accounts.close()
    accounts = Accounts(tmp_path)
    bill(accounts, replace(entry("b"), mode="batch", batch_id="m1", custom_id="r1"))
    assert [(row["mode"], row["batch_id"], row["custom_id"]) for row in accounts.entries()] == [
        ("parallel", None, None),
        ("batch", "m1", "r1"),
    ]
    accounts.close()


def test_the_turn_of_the_clock_is_kept(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    assert accounts.ahead_s() == 0
    accounts.set_ahead_s(5.5)
    accounts.set_ahead_s(7.5)
    accounts.close()
    accounts = Accounts(tmp_path)
    assert accounts.ahead_s() == 7.5
    accounts.close()
