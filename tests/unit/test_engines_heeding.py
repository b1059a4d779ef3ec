"""Calls about batches and files say whether anything answers, and stop the run where nothing does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from runner.engines.halt import Halt
from runner.engines.heeding import HeedingBatches, HeedingFiles
from runner.engines.outage import IN_A_ROW, Outage
from runner.providers import FilePage, RemoteFile
from runner.types import Failure
from support.engine_batches import LastingClock
from support.engine_fakes import EPOCH, Listener, VirtualClock, run_virtual
from support.outages import FOR_EVER, REFUSED, CutBatches, Network


async def nothing(_chunk: bytes) -> None:
    pass


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


BATCH_CALLS: dict[str, Callable[[HeedingBatches], Awaitable[object]]] = {
    "create": lambda provider: provider.create_batch(chunks(b"{}"), 2),
    "retrieve": lambda provider: provider.retrieve_batch("msgbatch_1"),
    "list": lambda provider: provider.list_batches(),
    "cancel": lambda provider: provider.cancel_batch("msgbatch_1"),
    "download": lambda provider: provider.download_results("msgbatch_1", nothing),
}


@pytest.mark.parametrize("call", BATCH_CALLS)
def test_a_call_that_nothing_answers_counts_and_the_last_one_stops_the_run(call: str) -> None:
    async def main() -> None:
        halt = Halt()
        outage = Outage(VirtualClock(), Listener(), patience_s=0.001)
        provider = HeedingBatches(CutBatches(LastingClock(), network=Network((0.0, FOR_EVER))), outage, halt)
        for number in range(IN_A_ROW):
            assert halt.reason is None, number
            assert await BATCH_CALLS[call](provider) == REFUSED, "the answer passes as it is"
        assert halt.reason is not None
        assert halt.reason.kind == "unreachable"

    run_virtual(main())


@pytest.mark.parametrize("call", ["retrieve", "list", "cancel", "download"])
def test_any_answer_is_heard(call: str) -> None:
    async def main() -> None:
        outage = Outage(VirtualClock(), Listener())
        await BATCH_CALLS[call](HeedingBatches(CutBatches(LastingClock()), outage, Halt()))
        assert outage.heard, "also that there is no such batch"

    run_virtual(main())


@dataclass
class BreakingDownloads(CutBatches):
    """Downloads begin and break off."""

    async def download_results(self, batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        await write(b'{"custom')
        await asyncio.sleep(10.0)
        return REFUSED


def test_a_download_that_breaks_off_was_answered() -> None:
    async def main() -> None:
        halt, outage = Halt(), Outage(VirtualClock(), Listener())
        provider = HeedingBatches(BreakingDownloads(LastingClock()), outage, halt)
        for _ in range(10 * IN_A_ROW):
            await provider.download_results("msgbatch_1", nothing)
        assert halt.reason is None

    run_virtual(main())


@dataclass
class Files(CutBatches):
    """As far as these calls go, a provider that keeps files."""

    answer: Failure | None = REFUSED
    asked: list[str] = field(default_factory=list)

    async def upload_file(
        self, chunks: object, size_bytes: int, *, filename: str, media_type: str, expires_in_s: int | None = None
    ) -> RemoteFile | Failure:
        self.asked.append(filename)
        return self.answer or RemoteFile("file_1", filename, media_type, size_bytes, EPOCH)

    async def retrieve_file(self, file_id: str) -> RemoteFile | Failure:
        return await self.upload_file(None, 1, filename=file_id, media_type="text/plain")

    async def list_files(self, *, page: str | None = None, limit: int = 1000) -> FilePage | Failure:
        return self.answer or FilePage([], None)

    async def delete_file(self, file_id: str) -> str | Failure:
        return self.answer or file_id


FILE_CALLS: dict[str, Callable[[HeedingFiles], Awaitable[object]]] = {
    "upload": lambda provider: provider.upload_file(chunks(b"x"), 1, filename="a", media_type="text/plain"),
    "retrieve": lambda provider: provider.retrieve_file("file_1"),
    "list": lambda provider: provider.list_files(),
    "delete": lambda provider: provider.delete_file("file_1"),
}


@pytest.mark.parametrize("call", FILE_CALLS)
def test_calls_about_files_count_in_the_same_way(call: str) -> None:
    async def main() -> None:
        outage, files = Outage(VirtualClock(), Listener()), Files(LastingClock())
        provider = HeedingFiles(files, outage, Halt())
        assert await FILE_CALLS[call](provider) == REFUSED
        assert outage.is_deaf
        files.answer = None
        assert not isinstance(await FILE_CALLS[call](provider), Failure)
        assert outage.heard

    run_virtual(main())
