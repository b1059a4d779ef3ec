"""Tickets between the feeder's thread and the loop: each content seen to once, what is at hand, and what ends a run."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterable, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from runner.clock import SystemClock
from runner.engines.halt import Halt
from runner.engines.retry import RetryPolicy
from runner.errors import SetupError
from runner.execution import uploads as module
from runner.execution.uploading import UploadPlan
from runner.execution.uploads import Ticket, Uploads, files_of
from runner.providers import FilePage, FileProvider, Provider, RemoteFile
from runner.types import Capabilities, Failure, PendingFile
from support.engine_fakes import Listener
from support.execution_fakes import EchoProvider

CLOCK = SystemClock()


class Shelf:
    """Keeps files in memory. `held`: uploads wait for it; `refusing`: what they are answered with."""

    capabilities = Capabilities(batches=False, count_tokens=False, models=False, files=True)

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.asked: list[str] = []
        self.held = asyncio.Event()
        self.held.set()
        self.refusing: Failure | None = None
        self.broken = False
        self.at_once = self.most_at_once = 0

    async def upload_file(
        self, chunks: AsyncIterable[bytes], size_bytes: int, *, filename: str, media_type: str, expires_in_s: int | None
    ) -> RemoteFile | Failure:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            data = b"".join([chunk async for chunk in chunks])
            await self.held.wait()
            if self.broken:
                raise LookupError("a bug")
            if self.refusing is not None:
                return self.refusing
            self.sent.append(data)
            now = CLOCK.now()
            until = None if expires_in_s is None else now + timedelta(seconds=expires_in_s)
            return RemoteFile(f"file_{len(self.sent)}", filename, media_type, size_bytes, now, until)
        finally:
            self.at_once -= 1

    async def retrieve_file(self, file_id: str) -> RemoteFile | Failure:
        self.asked.append(file_id)
        return RemoteFile(file_id, "x", "application/pdf", 1, CLOCK.now())

    async def list_files(self, *, page: str | None = None, limit: int = 1000) -> FilePage | Failure:
        return FilePage([], None)


def pending(name: str, size: int = 0) -> PendingFile:
    data = name.encode().ljust(size, b".")
    return PendingFile(hashlib.sha256(data).digest(), "application/pdf", len(data), lambda: data)


A, B = pending("a"), pending("b")


def missing() -> bytes:
    raise FileNotFoundError("gone")


async def arrived(found: Any) -> Any:
    """The ids or the failure, whether they were at hand or come by a ticket."""
    if not isinstance(found, Ticket):
        return found
    async with asyncio.timeout(60):
        while not found.is_done:  # noqa: ASYNC110 - a ticket is looked at, as the feeder does
            await asyncio.sleep(0.001)
    if found.error is not None:
        raise found.error
    return found.result


def working(tmp_path: Path, act: Callable[[Uploads, Shelf, Halt], Awaitable[None]]) -> None:
    async def go() -> None:
        shelf, halt = Shelf(), Halt()
        plan = UploadPlan(tmp_path / "uploads.db", b"me", "run", 86_400, "parallel", RetryPolicy(2, 0.001, 1.0, 0.001))
        uploads = Uploads(plan, cast(FileProvider, shelf), clock=CLOCK, observer=Listener(), halt=halt)
        try:
            await act(uploads, shelf, halt)
        finally:
            await uploads.aclose()

    asyncio.run(go())


def test_a_content_is_sent_once_however_many_ask(tmp_path: Path) -> None:
    async def act(uploads: Uploads, shelf: Shelf, _: Halt) -> None:
        shelf.held.clear()
        tickets = [uploads.ids_of([A]), uploads.ids_of([A, B]), uploads.ids_of([B, A])]
        assert all(isinstance(ticket, Ticket) for ticket in tickets)
        shelf.held.set()
        results = [await arrived(ticket) for ticket in tickets]
        assert sorted(shelf.sent) == [b"a", b"b"]
        assert results[1] == results[2]
        assert results[1].items() >= results[0].items()

    working(tmp_path, act)


def test_what_is_known_is_at_hand(tmp_path: Path) -> None:
    async def act(uploads: Uploads, _: Shelf, __: Halt) -> None:
        ids = await arrived(uploads.ids_of([A, B]))
        assert uploads.ids_of([B, A]) == ids

    working(tmp_path, act)


def test_a_doubted_file_is_asked_for_once_a_pass(tmp_path: Path) -> None:
    async def first(uploads: Uploads, _: Shelf, __: Halt) -> None:
        await arrived(uploads.ids_of([A]))

    async def second(uploads: Uploads, shelf: Shelf, __: Halt) -> None:
        ids = await arrived(uploads.ids_of([A], doubted=True))
        assert shelf.asked == ["file_1"]
        assert uploads.ids_of([A], doubted=True) == ids, "it has just been looked at"
        assert shelf.sent == []

    working(tmp_path, first)
    working(tmp_path, second)


def test_only_so_many_are_sent_at_once(tmp_path: Path) -> None:
    async def act(uploads: Uploads, shelf: Shelf, _: Halt) -> None:
        shelf.held.clear()
        tickets = [uploads.ids_of([pending(str(number))]) for number in range(3 * module.AT_ONCE)]
        async with asyncio.timeout(60):
            while shelf.at_once < module.AT_ONCE:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        shelf.held.set()
        for ticket in tickets:
            await arrived(ticket)
        assert shelf.most_at_once == module.AT_ONCE

    working(tmp_path, act)


def test_who_asks_waits_while_too_much_waits_to_be_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES", 250)

    async def act(uploads: Uploads, shelf: Shelf, _: Halt) -> None:
        shelf.held.clear()
        tickets: list[Any] = []

        def ask() -> None:
            tickets.extend(uploads.ids_of([pending(str(number), 100)]) for number in range(5))

        feeder = threading.Thread(target=ask)
        feeder.start()
        async with asyncio.timeout(60):
            while shelf.at_once < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert feeder.is_alive()
        assert shelf.at_once == 2, "the third would be too much"
        shelf.held.set()
        await asyncio.to_thread(feeder.join, 60)
        for ticket in tickets:
            await arrived(ticket)
        assert len(shelf.sent) == 5

    working(tmp_path, act)


def test_stopping_lets_nobody_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES", 1)

    async def act(uploads: Uploads, shelf: Shelf, _: Halt) -> None:
        shelf.held.clear()
        feeder = threading.Thread(target=lambda: [uploads.ids_of([file]) for file in (A, B)])
        feeder.start()
        async with asyncio.timeout(60):
            while not shelf.at_once:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        uploads.stop()
        await asyncio.to_thread(feeder.join, 60)
        assert not feeder.is_alive()

    working(tmp_path, act)


def test_a_failure_of_a_file_is_its_rows_alone(tmp_path: Path) -> None:
    async def act(uploads: Uploads, shelf: Shelf, halt: Halt) -> None:
        shelf.refusing = Failure("too_large", "it is", http_status=413)
        failure = await arrived(uploads.ids_of([A]))
        assert (failure.kind, failure.message) == ("too_large", "upload of a file: it is")
        assert halt.reason is None
        shelf.refusing = None
        assert isinstance(await arrived(uploads.ids_of([A])), dict), "who asks later has another try"

    working(tmp_path, act)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure("authentication_error", "no", scope="job"), "credentials"),
        (Failure("invalid_request_error", "full", scope="job", code="storage_quota_exceeded"), "storage_full"),
    ],
)
def test_a_failure_of_all_files_stops_the_run(tmp_path: Path, failure: Failure, kind: str) -> None:
    async def act(uploads: Uploads, shelf: Shelf, halt: Halt) -> None:
        shelf.refusing = failure
        answer = await arrived(uploads.ids_of([A]))
        assert answer.scope == "job"
        assert halt.reason is not None
        assert halt.reason.kind == kind

    working(tmp_path, act)


def test_a_bug_reaches_who_asked(tmp_path: Path) -> None:
    async def act(uploads: Uploads, shelf: Shelf, _: Halt) -> None:
        shelf.broken = True
        with pytest.raises(LookupError):
            await arrived(uploads.ids_of([A]))

    working(tmp_path, act)


def test_a_file_larger_than_the_api_keeps_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.execution.uploading.MAX_FILE_BYTES", 10)

    async def act(uploads: Uploads, shelf: Shelf, _: Halt) -> None:
        failure = await arrived(uploads.ids_of([pending("a", 11)]))
        assert failure.kind == "too_large"
        assert shelf.sent == []

    working(tmp_path, act)


def test_a_provider_without_files_is_refused_with_the_cure() -> None:
    with pytest.raises(SetupError) as refused:
        files_of(cast(Provider, EchoProvider()))
    assert "leave `upload` out" in str(refused.value.hint)


@pytest.mark.parametrize(("load", "words"), [(lambda: b"other", "has changed"), (missing, "cannot be read once more")])
def test_a_file_that_is_not_what_it_was_is_not_sent(tmp_path: Path, load: Callable[[], bytes], words: str) -> None:
    async def act(uploads: Uploads, shelf: Shelf, _: Halt) -> None:
        failure = await arrived(uploads.ids_of([PendingFile(b"x" * 32, "application/pdf", 5, load)]))
        assert failure.kind == "input_error"
        assert words in failure.message
        assert shelf.sent == []

    working(tmp_path, act)
