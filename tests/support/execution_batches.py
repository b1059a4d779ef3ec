"""An API with batches in this process, for the tests of execution: it echoes, and keeps an account, as `EchoProvider`.

A batch ends at the second look at it, unless it `hangs`. What becomes of a create is scripted: `lost` of them are
accepted and get no reply.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from runner.clock import SystemClock
from runner.encoding import decode, encode
from runner.execution.resuming import Resume, cancel_at, resume, retry
from runner.execution.summary import Summary
from runner.ledger.sqlite import SqliteLedger
from runner.providers import BatchLine, BatchPage, RemoteBatch, Sent
from runner.providers.results import read_result
from runner.settings import load_settings
from runner.types import Capabilities, Failure, Request
from support.execution_fakes import Bench, EchoProvider, reply_body

SETTINGS = """\
batch_max_requests = 3
batch_poll_first_s = 0.01
batch_poll_longest_s = 0.02
"""

REFUSED = Failure("connection_error", "ConnectionRefusedError: connect call failed", retryable=True)
NOT_FOUND = Failure("not_found_error", "no such batch", http_status=404)


class ShiftedClock(SystemClock):
    """The machine's clock, set forward by hand; what waits by it waits a fiftieth as long."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 50)


@dataclass
class Made:
    """A batch of the workspace: custom ids with the texts of their requests."""

    remote: RemoteBatch
    texts: list[tuple[str, str]]
    looks: int = 0
    canceled: bool = False


@dataclass
class BatchEcho(EchoProvider):
    made: list[Made] = field(default_factory=list)
    hangs: bool = False
    ends_by_itself: bool = False
    """Whether a look at the list counts as one at each batch."""
    lost: int = 0
    """So many creates are accepted without a reply, and stay out of the list."""
    hidden: list[Made] = field(default_factory=list)
    list_lag_s: float = 3600.0
    missing: set[str] = field(default_factory=set)
    """Texts of which results have no line."""
    deleted: set[str] = field(default_factory=set)
    list_failures: int = 0
    """So many looks at the list fail."""
    unreachable: bool = False
    """No connection comes to stand."""
    looks_refused: int = 0
    """So many looks at a batch get no connection."""
    endings: dict[str, list[str]] = field(default_factory=dict)
    """How a text's requests end before they succeed: `errored`, `invalid` or `expired`, one a batch."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(batches=True, count_tokens=False, models=False, batch_list_lag_s=self.list_lag_s)

    @property
    def bought(self) -> list[list[str]]:
        """The texts of each batch that was accepted, in the order of creation."""
        return [[text for _, text in made.texts] for made in (*self.made, *self.hidden)]

    async def create_batch(
        self, chunks: AsyncIterable[bytes], size_bytes: int, betas: Sequence[str] = ()
    ) -> RemoteBatch | Failure:
        if self.unreachable:
            return REFUSED
        body = b"".join([chunk async for chunk in chunks])
        assert len(body) == size_bytes
        texts = [(entry["custom_id"], _text(entry["params"])) for entry in decode(body)["requests"]]
        now = datetime.now(UTC)
        tallies = {"processing": len(texts), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        name = f"msgbatch_{len(self.made) + len(self.hidden) + 1:02}"
        made = Made(RemoteBatch(name, "in_progress", tallies, now, now + timedelta(hours=24)), texts)
        if self.lost:
            self.lost -= 1
            self.hidden.append(made)
            return Failure("connection_error", "reset", retryable=True, may_be_billed=True)
        self.made.append(made)
        return made.remote

    async def retrieve_batch(self, batch_id: str) -> RemoteBatch | Failure:
        if self.unreachable or self.looks_refused:
            self.looks_refused -= self.looks_refused > 0
            return REFUSED
        if batch_id in self.deleted:
            return NOT_FOUND
        made = self._find(batch_id)
        made.looks += 1
        return self._seen(made)

    async def list_batches(self, *, after_id: str | None = None, limit: int = 100) -> BatchPage | Failure:
        if self.unreachable:
            return REFUSED
        if self.list_failures:
            self.list_failures -= 1
            return Failure("connection_error", "no route", retryable=True)
        for made in self.made if self.ends_by_itself else ():
            made.looks += 1
        return BatchPage([self._seen(made) for made in reversed(self.made)][:limit], False)

    async def cancel_batch(self, batch_id: str) -> RemoteBatch | Failure:
        if self.unreachable:
            return REFUSED
        if batch_id in self.deleted:
            return NOT_FOUND
        made = self._find(batch_id)
        made.canceled = True
        return self._seen(made)

    async def download_results(self, batch_id: str, write: Callable[[bytes], Awaitable[None]]) -> int | Failure:
        if self.unreachable:
            return REFUSED
        made = self._find(batch_id)
        lines = [
            encode({"custom_id": name, "result": self._result(made, text)})
            for name, text in made.texts
            if text not in self.missing
        ]
        data = b"".join(line + b"\n" for line in reversed(lines))
        await write(data)
        for _, text in made.texts:
            if self._ending(made, text) == "succeeded":
                self.billed[text] += 1
        return len(data)

    def read_result(self, line: bytes) -> BatchLine:
        return read_result(line)

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        return Sent(None, REFUSED) if self.unreachable else await super().send(request, on_begin=on_begin)

    def _find(self, batch_id: str) -> Made:
        return next(made for made in self.made if made.remote.batch_id == batch_id)

    def _seen(self, made: Made) -> RemoteBatch:
        if not made.canceled and (self.hangs or made.looks < 2):
            return made.remote
        tallies = dict.fromkeys(made.remote.tallies, 0)
        for _, text in made.texts:
            tallies[_tally(self._ending(made, text))] += 1
        return replace(made.remote, status="ended", tallies=tallies, ended_at=datetime.now(UTC))

    def _ending(self, made: Made, text: str) -> str:
        if made.canceled:
            return "canceled"
        before = sum(text in texts for texts in self.bought[: self.made.index(made)])
        script = self.endings.get(text, [])
        return script[before] if before < len(script) else "succeeded"

    def _result(self, made: Made, text: str) -> dict[str, Any]:
        match self._ending(made, text):
            case "succeeded":
                return {"type": "succeeded", "message": decode(reply_body(f"echo of {text}"))}
            case "errored":
                return _errored("overloaded_error")
            case "invalid":
                return _errored("invalid_request_error")
            case other:
                return {"type": other}


def _errored(kind: str) -> dict[str, Any]:
    error = {"type": "error", "error": {"type": kind, "message": f"it is {kind}"}}
    return {"type": "errored", "error": error}


def _tally(ending: str) -> str:
    return "errored" if ending == "invalid" else ending


def _text(params: dict[str, Any]) -> str:
    content = params["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


class BatchBench(Bench):
    """A bench whose API has batches; three requests fill one."""

    provider: BatchEcho
    clock: ShiftedClock

    def __init__(self, root: Path, rows: int = 8, **options: Any) -> None:
        super().__init__(root, rows, **options)
        (root / "runner.toml").write_text(SETTINGS)
        self.provider = BatchEcho()
        self.clock = ShiftedClock()

    def run(self, *sets: str, **options: Any) -> Summary:
        return super().run("mode=batch", *sets, **options)

    def resume(self, *, run: int = -1, **how: bool) -> Summary:
        settings = load_settings(self.root, {})
        return resume(
            self.runs()[run],
            self.state,
            settings,
            self.api(),
            how=Resume(**how),
            observer=self.events,
            clock=self.clock,
        )

    def open_last(self) -> SqliteLedger:
        """The last run's ledger, to write."""
        return SqliteLedger.open(self.runs()[-1].folder)

    def retry(self, **which: Any) -> Summary:
        settings = load_settings(self.root, {})
        info = self.runs()[-1]
        return retry(info, self.state, settings, self.api(), observer=self.events, clock=self.clock, **which)

    def cancel(self, *, detach: bool = False) -> Summary:
        settings = load_settings(self.root, {})
        return cancel_at(
            self.runs()[-1], self.state, settings, self.api(), detach=detach, observer=self.events, clock=self.clock
        )
