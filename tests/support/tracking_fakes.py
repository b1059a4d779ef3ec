"""What tests of following batches need: an API that is scripted batch by batch, a clock that runs fast, and a run with
batches over a real ledger and its writer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from runner.encoding import encode
from runner.engines.custom_ids import custom_id
from runner.engines.deadline import Deadline
from runner.engines.halt import Halt
from runner.engines.parallel import Price
from runner.engines.polling import PollIntervals
from runner.engines.retry import RetryPolicy
from runner.engines.tracking import Tracker
from runner.events import Warned
from runner.execution.judging import make_judge, make_rule
from runner.execution.writer import Writer
from runner.ledger import Batch, BatchFacts, Lease, RowResult
from runner.ledger.sqlite import SqliteLedger
from runner.providers import BatchLine, BatchPage, RemoteBatch, RemoteStatus, Sent
from runner.providers.results import read_result
from runner.types import Capabilities, Failure, Request, Step
from support.engine_fakes import Listener, output_price
from support.ledgers import message, new_ledger

T = TypeVar("T")

MARK = "m4rk"
BEGAN = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
"""The API's clock at the creation of every batch; an hour behind this machine's."""
RETRY = RetryPolicy(3, 0.5, 2.0, 60.0)
INTERVALS = PollIntervals(1.0, 60.0)

NOT_FOUND = Failure("not_found_error", "no such batch", http_status=404)
RESET = Failure("connection_error", "reset by peer", retryable=True)


class QuickClock:
    """A clock of which a thousand seconds pass in one."""

    START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    SPEED = 1_000.0

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._ahead_s = 0.0

    def advance(self, seconds: float) -> None:
        """Jump, as a machine that slept does."""
        self._ahead_s += seconds

    def now(self) -> datetime:
        return self.START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return (time.monotonic() - self._began) * self.SPEED + self._ahead_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.SPEED)


def succeeded(name: str, text: str = "yes") -> bytes:
    return b'{"custom_id":%s,"result":{"type":"succeeded","message":%s}}' % (encode(name), message(text))


def errored(name: str, kind: str = "overloaded_error", text: str = "busy") -> bytes:
    error = {"type": "error", "error": {"type": kind, "message": text}}
    return encode({"custom_id": name, "result": {"type": "errored", "error": error}})


def ended(name: str, kind: str) -> bytes:
    """A result that is `canceled` or `expired`."""
    return encode({"custom_id": name, "result": {"type": kind}})


def remote(batch_id: str, status: RemoteStatus = "in_progress", **tallies: int) -> RemoteBatch:
    """A batch as the API tells of it; it took an hour where it has ended."""
    ended_at = BEGAN + timedelta(hours=1) if status == "ended" else None
    return RemoteBatch(batch_id, status, tallies, BEGAN, BEGAN + timedelta(hours=24), ended_at)


@dataclass
class BatchAnswers:
    """What the API says of one batch, answer by answer; the last one repeats."""

    looks: list[RemoteBatch | Failure]
    results: list[bytes | Failure] = field(default_factory=list)
    cancels: list[RemoteBatch | Failure] = field(default_factory=list)
    after_cancel: list[RemoteBatch | Failure] | None = None
    """What looks find once a cancel has come through."""


@dataclass
class ScriptedBatches:
    """A `BatchProvider` that plays a script and notes each call: `(call, batch id, seconds)`."""

    clock: QuickClock
    answers: dict[str, BatchAnswers] = field(default_factory=dict)
    calls: list[tuple[str, str, float]] = field(default_factory=list)
    at_cancel: Callable[[str], Awaitable[None]] | None = None
    """Awaited before a cancel is answered."""
    chunk_bytes: int = 1 << 16
    under_way: int = 0
    most_under_way: int = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(batches=True, count_tokens=False, models=False)

    async def retrieve_batch(self, batch_id: str) -> RemoteBatch | Failure:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        self._note("look", batch_id)
        return _next(self.answers[batch_id].looks)

    async def cancel_batch(self, batch_id: str) -> RemoteBatch | Failure:
        if self.at_cancel is not None:
            await self.at_cancel(batch_id)
        self._note("cancel", batch_id)
        answers = self.answers[batch_id]
        answer = _next(answers.cancels)
        if not isinstance(answer, Failure) and answers.after_cancel is not None:
            answers.looks = answers.after_cancel
        return answer

    async def download_results(self, batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        self._note("results", batch_id)
        results = _next(self.answers[batch_id].results)
        if isinstance(results, Failure):
            await write(b'{"custom_id":"cut')
            return results
        for start in range(0, len(results), self.chunk_bytes):
            await write(results[start : start + self.chunk_bytes])
        return len(results)

    def read_result(self, line: bytes) -> BatchLine:
        return read_result(line)

    def count(self, call: str, batch_id: str = "msgbatch_1") -> int:
        return sum(1 for name, about, _ in self.calls if (name, about) == (call, batch_id))

    def times(self, call: str, batch_id: str = "msgbatch_1") -> list[float]:
        return [at for name, about, at in self.calls if (name, about) == (call, batch_id)]

    def _note(self, call: str, batch_id: str) -> None:
        self.calls.append((call, batch_id, self.clock.monotonic()))

    async def create_batch(
        self, chunks: AsyncIterable[bytes], size_bytes: int, betas: Sequence[str] = ()
    ) -> RemoteBatch | Failure:
        raise AssertionError("a tracker creates nothing")

    async def list_batches(self, *, after_id: str | None = None, limit: int = 100) -> BatchPage | Failure:
        raise AssertionError("a tracker lists nothing")

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        raise AssertionError("a tracker sends nothing")

    async def count_tokens(self, request: Request) -> int | Failure:
        return 0

    async def models(self) -> list[Mapping[str, Any]] | Failure:
        return []

    async def aclose(self) -> None:
        pass


def _next(answers: list[T]) -> T:
    return answers.pop(0) if len(answers) > 1 else answers[0]


class BatchRun:
    """A run with batches at a scripted API, over a real ledger."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = folder
        self.rows = rows
        self.clock = QuickClock()
        self.api = ScriptedBatches(self.clock)
        self.listener = Listener()
        self.halt = Halt()
        self.ledger = new_ledger(folder, rows)
        self.intervals = INTERVALS
        self.deadline: Deadline | None = None
        self.price: Price = output_price
        self.turns = 0
        """Further turns of each row."""

    def batch(self, rows: Sequence[int], answers: BatchAnswers, *, age_s: float = 3_600) -> Batch:
        """A batch of these rows that was sent, by an earlier sitting, `age_s` ago."""
        leases = [Lease(Step(row), bytes([row % 256]) * 32, 1_000, "batch") for row in rows]
        batch = self.ledger.intend_batch(
            leases,
            body_sha256=bytes(32),
            watermark=None,
            cap_pico=None,
            now=self.clock.now() - timedelta(seconds=age_s),
        )
        assert batch is not None
        batch_id = f"msgbatch_{batch.number}"
        self.api.answers[batch_id] = answers
        self.ledger.mark_batch(batch.number, "sending")
        facts = BatchFacts(batch_id=batch_id, began_at=BEGAN, expires_at=BEGAN + timedelta(hours=24))
        return self.ledger.mark_batch(batch.number, "in_progress", facts)

    @asynccontextmanager
    async def tracker(self, *, follow: bool = True) -> AsyncIterator[Tracker]:
        """A tracker that follows the batches there are, on a writer of its own."""
        self.writer = Writer(
            self.ledger,
            make_rule(make_judge(None, turns=self.turns), RETRY),
            cap_pico=None,
            clock=self.clock,
            on_posted=lambda _: None,
            after_group=lambda: None,
        )
        self.writer.start()
        tracker = Tracker(
            self.api,
            self.writer,
            mark=MARK,
            clock=self.clock,
            observer=self.listener,
            halt=self.halt,
            price=self.price,
            judge=make_judge(None, turns=self.turns),
            intervals=self.intervals,
            retry=RETRY,
            deadline=self.deadline,
            draw=lambda: 0.5,
        )
        try:
            if follow:
                for batch in self.ledger.batches():
                    if batch.state != "closed":
                        tracker.follow(batch)
            yield tracker
        finally:
            await tracker.aclose()
            await self.writer.close()

    def to_the_end(self) -> Tracker:
        """Follow all batches until none is left, or there is a reason to stop."""

        async def follow() -> Tracker:
            async with self.tracker() as tracker:
                await until(tracker, lambda: tracker.open == 0 or tracker.reason is not None)
            return tracker

        return asyncio.run(follow())

    def reopen(self) -> BatchRun:
        """The same run after its process has gone: nothing but the folder is left."""
        self.ledger.close()
        again = BatchRun.__new__(BatchRun)
        again.__dict__.update(self.__dict__)
        again.ledger = SqliteLedger.open(self.folder)
        again.listener, again.halt = Listener(), Halt()
        return again

    def state(self, number: int = 1) -> str:
        return self.ledger.batch(number).state

    def statuses(self) -> list[str]:
        return [result.status for result in self.ledger.results()]

    def result(self, row: int) -> RowResult:
        return self.ledger.result(row)

    def warnings(self) -> list[str]:
        return [event.code for event in self.listener.of(Warned)]


async def until(tracker: Tracker, is_so: Callable[[], bool]) -> None:
    """Wait for changes until something is so, a minute at most."""
    async with asyncio.timeout(60):
        while not is_so():
            await tracker.changed()


def name(row: int, number: int = 1) -> str:
    return custom_id(MARK, number, Step(row))


def jsonl(*lines: bytes, end: bytes = b"\n") -> bytes:
    return b"".join(line + end for line in lines)


def archived(batch: RemoteBatch) -> RemoteBatch:
    return replace(batch, archived_at=BEGAN + timedelta(days=29))
