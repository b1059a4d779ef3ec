"""Stand-ins for the tests of batch mode: an API with batches in this process, and a book over a real ledger.

`BatchApi` keeps the provider's contract and accounts of its own: which bodies arrived, which batches exist. What
becomes of a create is scripted by `Fate`s, one a POST: every way of losing a reply, and of being refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from runner.clock import Clock
from runner.encoding import decode, encode
from runner.engines import BatchBook, Decision, Prepared
from runner.engines.custom_ids import read_custom_id
from runner.ledger import (
    AcceptedLines,
    Batch,
    BatchFacts,
    BatchState,
    BatchStep,
    Landed,
    Lease,
    Rule,
    Ruling,
    Settled,
)
from runner.ledger.sqlite import SqliteLedger
from runner.message import parse_reply
from runner.providers import BatchLine, BatchPage, RemoteBatch, RemoteStatus, Sent
from runner.types import Capabilities, Failure, Outcome, Request, Step
from support.engine_fakes import VirtualClock, body_of
from support.ledgers import new_ledger

MARK = "m4rk"


class LastingClock(VirtualClock):
    """A virtual clock that goes on where the loop before has ended."""

    def __init__(self) -> None:
        self._before = 0.0
        self._running = False

    def monotonic(self) -> float:
        return self._before + (super().monotonic() if self._running else 0.0)

    def begin(self) -> None:
        self._running = True

    def end(self) -> None:
        self._before, self._running = self.monotonic(), False


@dataclass(frozen=True)
class Fate:
    """What becomes of one POST. `reads`: how many chunks are taken (None: all); `accepts`: whether a batch comes to
    be; `failure`: the reply, None for a batch; `seconds`: how long it takes; `hangs`: the reply never comes."""

    accepts: bool = True
    failure: Failure | None = None
    reads: int | None = None
    seconds: float = 1.0
    hangs: bool = False


def lost(**fields: Any) -> Fate:
    """Accepted, and the reply never came."""
    return Fate(failure=Failure("connection_error", "reset", retryable=True, may_be_billed=True), **fields)


def refused(status: int, kind: str = "invalid_request_error", *, reads: int | None = None, **fields: Any) -> Fate:
    return Fate(accepts=False, failure=Failure(kind, f"it is {kind}", http_status=status, **fields), reads=reads)


@dataclass
class Kept:
    """A batch of the workspace."""

    remote: RemoteBatch
    requests: list[tuple[str, bytes]]
    ends_at: float
    foreign: bool = False


@dataclass
class BatchApi:
    """The provider. A batch ends `takes_s` after its create, every request answered as `line` says."""

    clock: LastingClock
    fates: list[Fate] = field(default_factory=list)
    takes_s: float = 60.0
    list_lag_s: float = 0.0
    list_failures: list[Failure] = field(default_factory=list)
    batches: list[Kept] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    """Every body that arrived whole."""
    posts: int = 0
    pages: int = 0
    creating: int = 0
    most_creating: int = 0
    canceled: list[str] = field(default_factory=list)
    """Batches whose cancellation was asked for; their requests were all under way, so they end as they would have."""
    on_post: Callable[[], None] = lambda: None
    endings: dict[str, Literal["succeeded", "errored", "expired"]] = field(default_factory=dict)
    """How requests end, by the text of their body; all others succeed."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(batches=True, count_tokens=False, models=False)

    async def create_batch(
        self, chunks: AsyncIterable[bytes], size_bytes: int, betas: Sequence[str] = ()
    ) -> RemoteBatch | Failure:
        self.posts += 1
        self.creating += 1
        self.most_creating = max(self.most_creating, self.creating)
        self.on_post()
        fate = self.fates.pop(0) if self.fates else Fate()
        try:
            body, remote = bytearray(), None
            taken = 0
            while taken != fate.reads and len(body) < size_bytes:
                body += await anext(aiter(chunks))
                taken += 1
                if len(body) >= size_bytes:  # from here on the batch may exist, whatever its sender does next
                    assert len(body) == size_bytes, "more than the size that was announced"
                    self.bodies.append(bytes(body))
                    remote = self.accept(bytes(body)) if fate.accepts else None
                await asyncio.sleep(0)
            await asyncio.sleep(fate.seconds)
            if fate.hangs:
                await asyncio.sleep(10**6)
            if fate.failure is not None:
                return fate.failure
            assert remote is not None
            return remote
        finally:
            self.creating -= 1

    def accept(self, body: bytes, *, foreign: bool = False, takes_s: float | None = None) -> RemoteBatch:
        """Make a batch of a body, as the API would."""
        requests = [(entry["custom_id"], encode(entry["params"])) for entry in decode(body)["requests"]]
        now = self.clock.now()
        remote = RemoteBatch(
            f"msgbatch_{len(self.batches) + 1:04}",
            "in_progress",
            {"processing": len(requests), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
            now,
            now + timedelta(hours=24),
        )
        takes = self.takes_s if takes_s is None else takes_s
        self.batches.append(Kept(remote, requests, self.clock.monotonic() + takes, foreign))
        return remote

    async def retrieve_batch(self, batch_id: str) -> RemoteBatch | Failure:
        await asyncio.sleep(0)
        kept = self._find(batch_id)
        return Failure("not_found_error", "no such batch", http_status=404) if kept is None else self._seen(kept)

    async def list_batches(self, *, after_id: str | None = None, limit: int = 100) -> BatchPage | Failure:
        await asyncio.sleep(0)
        self.pages += 1
        if self.list_failures:
            return self.list_failures.pop(0)
        oldest = self.clock.now() - timedelta(seconds=self.list_lag_s)
        listed = [kept for kept in reversed(self.batches) if kept.remote.created_at <= oldest]
        ids = [kept.remote.batch_id for kept in listed]
        start = ids.index(after_id) + 1 if after_id in ids else 0
        page = [self._seen(kept) for kept in listed[start : start + limit]]
        return BatchPage(page, start + limit < len(listed))

    async def cancel_batch(self, batch_id: str) -> RemoteBatch | Failure:
        self.canceled.append(batch_id)
        return await self.retrieve_batch(batch_id)

    async def download_results(self, batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        kept = self._find(batch_id)
        if kept is None or self._seen(kept).status != "ended":
            return Failure("not_found_error", "no results", http_status=404)
        total = 0
        for custom_id, body in reversed(kept.requests):
            line = encode({"custom_id": custom_id, "end": self._ending(body), "body": decode(body)}) + b"\n"
            await write(line)
            total += len(line)
        return total

    def read_result(self, line: bytes) -> BatchLine:
        values = decode(line)
        end = values["end"]
        if end == "succeeded":
            return BatchLine(values["custom_id"], end, parse_reply(body_of("ok"), None))
        return BatchLine(values["custom_id"], end, None, Failure("api_error", f"it {end}", retryable=True))

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        raise AssertionError("batch mode sends no single requests")

    async def count_tokens(self, request: Request) -> int | Failure:
        return 0

    async def models(self) -> list[Mapping[str, Any]] | Failure:
        return []

    async def aclose(self) -> None:
        pass

    # -- what a test asks ------------------------------------------------------------------------------------------

    def custom_ids(self, *, foreign: bool = False) -> list[str]:
        """The custom ids of all requests in batches that came to be."""
        return [text for kept in self.batches if kept.foreign == foreign for text, _ in kept.requests]

    def _find(self, batch_id: str) -> Kept | None:
        return next((kept for kept in self.batches if kept.remote.batch_id == batch_id), None)

    def _ending(self, body: bytes) -> Literal["succeeded", "errored", "expired"]:
        return self.endings.get(body.decode(), "succeeded")

    def _seen(self, kept: Kept) -> RemoteBatch:
        if self.clock.monotonic() < kept.ends_at:
            status: RemoteStatus = "canceling" if kept.remote.batch_id in self.canceled else "in_progress"
            return replace(kept.remote, status=status)
        tallies = dict.fromkeys(kept.remote.tallies, 0)
        for _, body in kept.requests:
            tallies[self._ending(body)] += 1
        ended_at = kept.remote.created_at + timedelta(seconds=self.takes_s)
        return replace(kept.remote, status="ended", tallies=tallies, ended_at=ended_at)


def keep_trying(outcome: Outcome) -> Ruling:
    """Replies are answers; what may pass is tried again, four times at most."""
    failure = outcome.failure
    if failure is None:
        return Ruling("succeeded")
    return Ruling("open" if failure.retryable and outcome.tries < 4 else "failed", failure)


class LedgerBook(BatchBook):
    """A `BatchBook` that calls the ledger where it stands, so that a test in virtual time has no threads."""

    def __init__(
        self, ledger: SqliteLedger, clock: Clock, *, cap_pico: int | None = None, rule: Rule = keep_trying
    ) -> None:
        self.ledger = ledger
        self.cap_pico = cap_pico
        self.fails_at: str | None = None
        """`before sending`: the call that raises, before or after it has done its work."""
        self._clock = clock
        self._rule = rule

    async def lease(self, prepared: Sequence[Prepared]) -> int:
        raise AssertionError("batch mode leases with its intents")

    async def record_all(self, outcomes: Sequence[Outcome]) -> Sequence[Decision]:
        return [await self.record(outcome) for outcome in outcomes]

    async def record(self, outcome: Outcome) -> Decision:
        await asyncio.sleep(0)
        (ruling,) = self.ledger.record([outcome], self._rule)
        state = ruling.state
        return Decision(state if state in ("succeeded", "failed") else "open", ruling.failure)

    async def release(self, steps: Sequence[Step]) -> None:
        raise AssertionError("batch mode has nothing to release")

    async def left_pico(self) -> int | None:
        await asyncio.sleep(0)
        if self.cap_pico is None:
            return None
        money = self.ledger.money()
        return self.cap_pico - money.spent - money.reserved - money.doubtful

    async def intend_batch(
        self, leases: Sequence[Lease], *, body_sha256: bytes, watermark: str | None, priming: bool = False
    ) -> Batch | None:
        await asyncio.sleep(0)
        with self._faults("intent"):
            return self.ledger.intend_batch(
                leases,
                body_sha256=body_sha256,
                watermark=watermark,
                cap_pico=self.cap_pico,
                now=self._clock.now(),
                priming=priming,
            )

    async def mark_batch(self, number: int, state: BatchState, facts: BatchFacts | None = None) -> Batch:
        await asyncio.sleep(0)
        with self._faults(state):
            return self.ledger.mark_batch(number, state, facts)

    async def batches(self) -> Sequence[Batch]:
        await asyncio.sleep(0)
        return self.ledger.batches()

    async def batch_steps(self, number: int, after: Step | None, limit: int) -> Sequence[BatchStep]:
        return self.ledger.batch_steps(number, after, limit)

    async def landing_path(self, number: int) -> Path:
        return self.ledger.landing_path(number)

    async def land(self, number: int) -> Path:
        return self.ledger.land(number)

    async def landed(self, number: int) -> Path | None:
        return self.ledger.landed(number)

    async def settle_batch(self, number: int, lines: Sequence[Landed], accepted: AcceptedLines) -> Settled:
        await asyncio.sleep(0)
        return self.ledger.settle_batch(number, lines, self._rule, self._clock.now(), accepted)

    @contextmanager
    def _faults(self, name: str) -> Iterator[None]:
        if self.fails_at == f"before {name}":
            raise OSError("no space left")
        yield
        if self.fails_at == f"after {name}":
            raise OSError("no space left")


HEAD = b'{"model":"m","max_tokens":10,"system":"' + b"shared " * 20 + b'","messages":'


def request_of(row: int, *, text: str | None = None, shared: bool = True, betas: tuple[str, ...] = ()) -> Request:
    body = HEAD + encode([{"role": "user", "content": text if text is not None else f"row {row}"}]) + b"}"
    return Request(
        hash=row.to_bytes(32),
        prefix=b"p",
        body=body,
        model="m",
        max_tokens=10,
        input_bound=10,
        betas=betas,
        shared_bytes=len(HEAD) if shared else 0,
    )


def prepared_steps(ledger: SqliteLedger, *, bound: int | None = 100) -> list[Prepared]:
    """What a feeder would make of the open steps."""
    return [
        Prepared(found.step, request_of(found.step.row), found.attempts, bound, found.tries)
        for found in ledger.open_steps(None, 10**6)
    ]


def ledger_of(folder: Path, count: int) -> SqliteLedger:
    return new_ledger(folder, count)


def rows_of(custom_ids: Iterable[str]) -> list[int]:
    read = [read_custom_id(text) for text in custom_ids]
    return [entry[2].row for entry in read if entry is not None]
