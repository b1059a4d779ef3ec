"""Which listed batch is the one in doubt: newer than the watermark, of its size, and with our own custom ids."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engines.custom_ids import custom_id
from runner.engines.reconcile import MAX_PAGES, MAX_SAMPLES, Look, Reconciler, candidates, owner
from runner.ledger import Batch
from runner.providers import BatchPage, RemoteBatch
from runner.types import Failure, Step
from support.engine_batches import MARK, BatchApi, LastingClock, LedgerBook, ledger_of
from support.engine_fakes import EPOCH, run_virtual

GONE = Failure("not_found_error", "no results", http_status=404)


def remote(name: str, requests: int = 3, *, minutes: float = 0.0, **fields: Any) -> RemoteBatch:
    created_at = EPOCH + timedelta(minutes=minutes)
    tallies = {"processing": 0, "succeeded": requests, "errored": 0, "canceled": 0, "expired": 0}
    values = {"status": "ended", "tallies": tallies, **fields}
    return RemoteBatch(name, created_at=created_at, expires_at=created_at + timedelta(hours=24), **values)


def in_doubt(number: int = 1, steps: int = 3, watermark: str | None = "w") -> Batch:
    return Batch(number, "in_doubt", None, steps, b"", watermark, 100, EPOCH, None)


class Listed(BatchApi):
    """An API whose list and results a test writes down."""

    def __init__(self, listed: list[RemoteBatch], ids: dict[str, list[str]], *, page: int = 2) -> None:
        super().__init__(LastingClock())
        self.listed = listed
        self.ids = ids
        self.page = page
        self.downloads: list[str] = []
        self.loops = False

    async def list_batches(self, *, after_id: str | None = None, limit: int = 100) -> BatchPage | Failure:
        self.pages += 1
        names = [batch.batch_id for batch in self.listed]
        start = 0 if after_id is None or self.loops else names.index(after_id) + 1
        more = self.loops or start + self.page < len(self.listed)
        return BatchPage(self.listed[start : start + self.page], more)

    async def download_results(self, batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        self.downloads.append(batch_id)
        if batch_id not in self.ids:
            return GONE
        for text in self.ids[batch_id]:
            await write(b'{"custom_id":"%s","end":"succeeded","body":{}}\n' % text.encode())
        return 1


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., Look]:
    ledger = ledger_of(tmp_path / "run", 1)

    def act(api: Listed, *doubtful: Batch, known: frozenset[str] = frozenset(), looks: int = 1) -> Look:
        reconciler = Reconciler(api, LedgerBook(ledger, api.clock), mark=MARK, known_ids=lambda: known)

        async def scenario() -> Look:
            for _ in range(looks - 1):
                await reconciler.look(doubtful)
            return await reconciler.look(doubtful)

        return run_virtual(scenario())

    return act


def ours(number: int = 1, rows: int = 3) -> list[str]:
    return [custom_id(MARK, number, Step(row)) for row in range(rows)]


def test_a_batch_with_our_ids_is_proven(look: Callable[..., Look]) -> None:
    api = Listed([remote("c"), remote("b"), remote("a"), remote("w")], {"b": ours(), "c": ["x-1-1"], "a": ["row-1"]})
    found = look(api, in_doubt())
    assert {number: batch.batch_id for number, batch in found.proven.items()} == {1: "b"}
    assert found.held == 0


def test_what_is_not_newer_than_the_watermark_is_none(look: Callable[..., Look]) -> None:
    api = Listed([remote("c", 5), remote("w"), remote("a")], {"a": ours(), "w": ours()})
    assert look(api, in_doubt()) == Look()
    assert api.downloads == []


def test_another_size_and_a_known_id_are_not_even_asked_about(look: Callable[..., Look]) -> None:
    api = Listed([remote("c", 4), remote("b"), remote("w")], {"b": ours(), "c": ours()})
    assert look(api, in_doubt(), known=frozenset({"b"})) == Look()
    assert api.downloads == []


def test_a_batch_that_has_not_ended_is_held(look: Callable[..., Look]) -> None:
    api = Listed([remote("b", status="in_progress"), remote("w")], {"b": ours()})
    assert look(api, in_doubt()) == Look(held=1)


def test_results_that_are_not_there_yet_are_held_and_asked_for_again_but_not_for_ever(
    look: Callable[..., Look],
) -> None:
    api = Listed([remote("b"), remote("w")], {})
    assert look(api, in_doubt()) == Look(held=1, failure=GONE)
    assert look(api, in_doubt(), looks=MAX_SAMPLES + 3) == Look()
    assert len(api.downloads) == 1 + MAX_SAMPLES


def test_a_foreign_batch_is_read_once(look: Callable[..., Look]) -> None:
    api = Listed([remote("b"), remote("w")], {"b": ["foreign-1-1"]})
    assert look(api, in_doubt(), looks=5) == Look()
    assert api.downloads == ["b"]


def test_archived_results_can_prove_nothing(look: Callable[..., Look]) -> None:
    api = Listed([remote("b", archived_at=EPOCH), remote("w")], {"b": ours()})
    assert look(api, in_doubt()) == Look()


def test_two_of_one_size_are_told_apart_by_their_number(look: Callable[..., Look]) -> None:
    api = Listed([remote("c"), remote("b"), remote("w")], {"b": ours(2), "c": ours(1)})
    found = look(api, in_doubt(1), in_doubt(2))
    assert {number: batch.batch_id for number, batch in found.proven.items()} == {1: "c", 2: "b"}


def test_a_list_that_never_ends_is_left(look: Callable[..., Look]) -> None:
    api = Listed([remote(f"n{number}", 5) for number in range(1_000)], {}, page=1)
    assert look(api, in_doubt(watermark=None)) == Look()
    assert api.pages == MAX_PAGES
    api.pages, api.loops = 0, True
    assert look(api, in_doubt(watermark=None)) == Look()
    assert api.pages == 2


def test_paging_stops_at_the_oldest_watermark(look: Callable[..., Look]) -> None:
    api = Listed([remote(f"n{number}", 5) for number in range(1_000)], {}, page=1)
    assert look(api, in_doubt(watermark="n2"), in_doubt(2, watermark="n7")) == Look()
    assert api.pages == 8


def test_a_long_result_is_not_read_to_its_end(look: Callable[..., Look]) -> None:
    api = Listed([remote("b", 50_000), remote("w")], {"b": ours(rows=50_000)})
    written = 0
    download = api.download_results

    async def counting(batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        async def count(chunk: bytes) -> None:
            nonlocal written
            written += 1
            await write(chunk)

        return await download(batch_id, count)

    api.download_results = counting  # type: ignore[method-assign]  # to be counted
    assert look(api, in_doubt(steps=50_000)).proven
    assert written == 20


owners = st.sampled_from(["m4rk-1-1", "m4rk-1-2", "m4rk-2-1", "m4rk2-1-1", "foreign", ""])


@given(st.lists(owners, max_size=5))
def test_a_batch_is_of_one_run_and_number_or_of_nobody(ids: list[str]) -> None:
    heads = {text.rsplit("-", 1)[0] for text in ids}
    owned_by = owner(ids)
    if owned_by is None:
        assert len(heads) != 1 or heads <= {"foreign", ""}
    else:
        assert heads == {f"{owned_by[0]}-{owned_by[1]}"}


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans()), max_size=8))
def test_candidates_have_the_size_and_are_in_no_ledger(found: list[tuple[int, bool, bool]]) -> None:
    listed = [
        remote(f"n{place}", size, archived_at=EPOCH if archived else None)
        for place, (size, _, archived) in enumerate(found)
    ]
    taken = {f"n{place}" for place, (_, known, _) in enumerate(found) if known}
    kept = {f"n{place}" for place, (size, known, archived) in enumerate(found) if size == 3 and not (known or archived)}
    assert {batch.batch_id for batch in candidates(listed, in_doubt(), taken)} == kept


def test_asyncio_is_left_alone_by_a_look_that_is_cancelled(look: Callable[..., Look]) -> None:
    api = Listed([remote("b"), remote("w")], {"b": ours()})

    async def hang(batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        raise asyncio.CancelledError

    api.download_results = hang  # type: ignore[method-assign]  # a fault of this one test
    with pytest.raises(asyncio.CancelledError):
        look(api, in_doubt())


def test_results_without_a_last_line_end_prove_as_well(look: Callable[..., Look]) -> None:
    """A batch of one request, as the priming one is, has one line."""

    class Unended(Listed):
        async def download_results(self, batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
            async def unended(data: bytes) -> None:
                await write(data.rstrip(b"\n"))

            return await super().download_results(batch_id, unended)

    api = Unended([remote("b", 1), remote("w")], {"b": ours(rows=1)})
    assert list(look(api, in_doubt(steps=1)).proven) == [1]


def test_a_clock_that_is_wrong_by_a_year_hides_nothing(look: Callable[..., Look]) -> None:
    listed = [remote(f"n{number}", 5, minutes=-500_000) for number in range(6)]
    api = Listed([*listed, remote("b", minutes=-500_001), remote("w", minutes=-500_002)], {"b": ours()})
    assert list(look(api, in_doubt()).proven) == [1]
