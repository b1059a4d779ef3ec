"""Stand-ins for the tests of execution: a ledger that fails at a counted call, a provider in this process, small jobs.

All keep their contracts: the ledger is the real one with a fault in it, the provider answers with what the request
says, so that a swapped reply is seen, and keeps an account of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar

from msgspec.structs import replace

from runner.clock import Clock, SystemClock
from runner.encoding import decode, encode
from runner.errors import DeliveryError, LedgerError
from runner.execution.advance import advance
from runner.execution.api import Api
from runner.execution.asked import RunOptions
from runner.execution.assemble import assemble
from runner.execution.confirm import Confirm
from runner.execution.converge import converge
from runner.execution.delivery import PartTarget, Target
from runner.execution.folders import Line, RunInfo, StateFolder, line_of
from runner.execution.summary import Summary
from runner.execution.under_way import Advance
from runner.ledger import Delivery, Lease, Rule, Ruling
from runner.ledger.sqlite import SqliteLedger
from runner.message import parse_reply
from runner.providers import Provider, Sent
from runner.sinks import Delivered, Sink, SinkContext
from runner.sinks.files import FileSink
from runner.sinks.options import FileOptions
from runner.spec.load import LoadedJob, load
from runner.tools import ToolResult
from runner.types import Capabilities, Failure, Outcome, Record, Request, Step
from support.engine_fakes import Listener

MODEL = "claude-haiku-5-5"
ADDRESS = "https://api.example"

T = TypeVar("T")
Reach = Callable[[str], None]
"""Told of each step by name, before and after it; may raise, or kill."""


def disk_full() -> LedgerError:
    return LedgerError("no space left", code="disk-full")


@dataclass(frozen=True, slots=True)
class Call:
    """One writing call of a ledger, with how many outcomes, leases or steps it was given."""

    method: str
    size: int = 1


class FaultyLedger(SqliteLedger):
    """A ledger that counts its writing calls, fails at one of them, and can be held up.

    `fails_at` is the call, from 1, that raises `disk_full`: before it did anything or, with `fails_after`, when all of
    it is done and nobody has been told: it is durable then, or, within `together`, at the end of that, which is a call
    of its own. `reach` is called before and after each.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.calls: list[Call] = []
        self.fails_at: int | None = None
        self.fails_after = False
        self.reach: Reach = lambda _: None
        self._open_gate = threading.Event()
        self._open_gate.set()
        self._arrived = threading.Event()
        super().__init__(*arguments, **options)

    @property
    def has_failed(self) -> bool:
        return self.fails_at is not None and len(self.calls) >= self.fails_at

    def hold(self) -> None:
        """Let the next call wait until `let_go`."""
        self._arrived.clear()
        self._open_gate.clear()

    def wait_until_held(self) -> None:
        assert self._arrived.wait(60), "nothing was written"

    def let_go(self) -> None:
        self._open_gate.set()

    def set_meta(self, values: Mapping[str, Any]) -> None:
        self._call(Call("set_meta"), lambda: super(FaultyLedger, self).set_meta(values))

    def lease(self, leases: Sequence[Lease], cap_pico: int | None) -> int:
        return self._call(Call("lease", len(leases)), lambda: super(FaultyLedger, self).lease(leases, cap_pico))

    def release(self, steps: Sequence[Step]) -> None:
        self._call(Call("release", len(steps)), lambda: super(FaultyLedger, self).release(steps))

    def keep_tool_results(self, step: Step, results: Sequence[ToolResult]) -> None:
        self._call(Call("keep_tool_results"), lambda: super(FaultyLedger, self).keep_tool_results(step, results))

    def record(self, outcomes: Sequence[Outcome], rule: Rule) -> Sequence[Ruling]:
        return self._call(Call("record", len(outcomes)), lambda: super(FaultyLedger, self).record(outcomes, rule))

    def set_delivery(self, delivery: Delivery) -> None:
        self._call(Call("set_delivery"), lambda: super(FaultyLedger, self).set_delivery(delivery))

    @contextmanager
    def together(self) -> Iterator[None]:
        with self._calling(Call("together")), super().together():
            yield

    def _call(self, call: Call, act: Callable[[], T]) -> T:
        with self._calling(call):
            return act()

    @contextmanager
    def _calling(self, call: Call) -> Iterator[None]:
        self._arrived.set()
        assert self._open_gate.wait(60), "nobody let the ledger go"
        self.calls.append(call)
        failing = len(self.calls) == self.fails_at
        self.reach(f"before {call.method}")
        if failing and not self.fails_after:
            raise disk_full()
        yield
        self.reach(f"after {call.method}")
        if failing:
            raise disk_full()


def methods(calls: Iterable[Call]) -> list[str]:
    return [call.method for call in calls]


# -- a provider in this process ------------------------------------------------------------------------------------

INPUT_TOKENS, OUTPUT_TOKENS = 10, 5


def reply_body(text: str, *, stop_reason: str = "end_turn", message_id: str = "msg_1") -> bytes:
    usage = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}
    return encode(
        {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": [{"type": "text", "text": text}] if text else [],
            "stop_reason": stop_reason,
            "usage": usage,
        }
    )


def replied(text: str, *, stop_reason: str = "end_turn") -> Sent:
    body = reply_body(text, stop_reason=stop_reason)
    return Sent(parse_reply(body, "req_1"), None, body, "req_1", {})


def refused(kind: str = "overloaded_error", **fields: Any) -> Sent:
    """A failure: one that passes, where nothing else is said."""
    return Sent(None, Failure(kind, f"it is {kind}", **{"retryable": True, **fields}), b"", "req_2", {})


@dataclass
class EchoProvider:
    """Answers every request with its own text, so that a swapped reply is seen, and counts what it billed.

    `script` holds, for a text, what comes before that: one entry a try. A reply of the script is billed too.
    """

    script: dict[str, list[Sent]] = field(default_factory=dict)
    always: dict[str, Sent] = field(default_factory=dict)
    """What a text gets every time, once its script is played."""
    received: list[str] = field(default_factory=list)
    """The text of every try, in order."""
    billed: Counter[str] = field(default_factory=Counter)
    account: Path | None = None
    """Keeps the text of each request that is billed, a line each, so that it outlives a process that is killed."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(batches=False, count_tokens=False, models=False)

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        text = text_in(request)
        self.received.append(text)
        await asyncio.sleep(0)
        waiting = self.script.get(text)
        sent = waiting.pop(0) if waiting else self.always.get(text) or replied(f"echo of {text}")
        if sent.reply is not None:
            self._bill(text)
            if on_begin is not None:
                on_begin()
        return sent

    def _bill(self, text: str) -> None:
        self.billed[text] += 1
        if self.account is not None:
            with self.account.open("a") as file:
                file.write(f"{text}\n")

    async def count_tokens(self, request: Request) -> int | Failure:
        return 0

    async def models(self) -> list[Mapping[str, Any]] | Failure:
        return []

    async def aclose(self) -> None:
        pass


def text_in(request: Request) -> str:
    """The text of a request's last message."""
    content: str | list[dict[str, str]] = decode(request.body)["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


@dataclass(frozen=True, slots=True)
class OwnApi(Api):
    """An API whose provider a test brings; no process is started and nothing is connected to."""

    provider: Provider = field(default_factory=EchoProvider)

    def require_credential(self) -> None:
        """None is needed."""

    @property
    def offers_batches(self) -> bool:
        return self.provider.capabilities.batches

    def connect(self, *, max_concurrency: int, clock: Clock) -> Provider:
        return self.provider


# -- killing -------------------------------------------------------------------------------------------------------


class Counted:
    """A `reach` that counts the steps, and kills this process at the n-th one."""

    def __init__(self, kill_at: int | None = None) -> None:
        self._kill_at = kill_at
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if len(self.steps) == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def folder_in_memory(otherwise: Path) -> Iterator[Path]:
    """A folder where a sync costs nothing, as far as the system has one: a process that is killed leaves there what it
    would leave on a disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield otherwise
        return
    with TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def killed(act: Callable[[], object]) -> bool:
    """Run something in a child process; whether it was killed. It must not raise."""
    _, status = os.waitpid(forked(act), 0)
    assert status in (0, signal.SIGKILL), f"the child ended with {status}"
    return status == signal.SIGKILL


def forked(act: Callable[[], object]) -> int:
    """Run something in a child process that ends with it; the child's id, to be waited for."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:  # noqa: BLE001 - of a child, that must never go on as a second pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


# -- a job on disk -------------------------------------------------------------------------------------------------

JOB = """\
name: x
model: claude-haiku-5-5
params: {max_tokens: 50}
prompt: "{{ row.text }}"
dataset: {path: data/rows.csv, key: id}
limits: {max_concurrency: 4, max_cost_usd: 5}
retry: {initial_interval: 1ms, maximum_interval: 1ms, max_attempts: 3}
sinks: [out/x.jsonl]
"""


class Bench:
    """A project with one job, run in this process against a provider that the test brings."""

    def __init__(self, root: Path, rows: int = 20, *, job: str = JOB) -> None:
        self._open(root)
        root.mkdir(parents=True, exist_ok=True)
        (root / "runner.toml").touch()
        self.write("jobs/x.yaml", job)
        self.rows(f"text {number}" for number in range(rows))

    @classmethod
    def at(cls, root: Path) -> Self:
        """The bench of a project that is there already."""
        bench = cls.__new__(cls)
        bench._open(root)
        return bench

    def _open(self, root: Path) -> None:
        self.root = root
        self.provider: EchoProvider = EchoProvider()
        self.clock: Clock = SystemClock()
        self.events = Listener()

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    def rows(self, texts: Iterable[str]) -> None:
        """Replace the dataset: key `k<number>`, and these texts."""
        lines = (f"k{number},{text}\n" for number, text in enumerate(texts))
        self.write("data/rows.csv", "id,text\n" + "".join(lines))

    def load(self, *sets: str) -> LoadedJob:
        return load(self.root / "jobs" / "x.yaml", sets=sets, environ={})

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.root / ".runner")

    def api(self) -> OwnApi:
        return OwnApi(ADDRESS, simulated=False, environ={}, provider=self.provider)

    @property
    def line(self) -> Line:
        return line_of(self.load(), ADDRESS, simulated=False, betas=())

    def run(self, *sets: str, confirm: Confirm | None = None, **options: Any) -> Summary:
        """`runner run`."""
        loaded, asked = self.load(*sets), RunOptions(**options)
        return converge(loaded, asked, self.api(), observer=self.events, confirm=confirm, clock=self.clock)

    def begin(self, *sets: str) -> RunInfo:
        """A run that has its rows, and nothing else: its cap admits no request."""
        summary = self.run("limits.max_cost_usd=0.000000001", *sets)
        assert (summary.status, summary.counts.attempts) == ("stopped", 0)
        info = self.state.find(summary.run_id)
        self.load(*sets).store(info.folder / "inputs")
        return info

    def assembled(self, info: RunInfo, ledger: SqliteLedger, *sets: str) -> Advance:
        """A run that has begun, put together over a ledger that the test opened."""
        loaded = self.load(*sets)
        clock = SystemClock()
        return assemble(info, ledger, loaded, self.state, self.api(), self.events, clock, resumed=True)

    def go_on(self, info: RunInfo, reach: Reach, *sets: str) -> Summary:
        """Advance a run over a ledger and sinks that call `reach` before and after each of their steps."""
        with FaultyLedger.open(info.folder) as ledger:
            run = self.assembled(info, ledger, *sets)
            ledger.reach = reach
            return advance(replace(run, make_targets=lambda: _reaching(_whole(run.make_targets()), reach)))

    def records(self, path: str = "out/x.jsonl") -> list[dict[str, Any]]:
        return [decode(line) for line in (self.root / path).read_bytes().splitlines()]

    def runs(self) -> list[RunInfo]:
        return self.state.runs()


def _whole(targets: Iterable[Target | PartTarget]) -> Iterator[Target]:
    return (target for target in targets if isinstance(target, Target))


# -- sinks ---------------------------------------------------------------------------------------------------------


@dataclass
class FaultySink:
    """A file sink that calls `reach` before and after each of its steps: `open`, `write`, `seal`, `commit`, `abort`."""

    sink: Sink
    reach: Reach = lambda _: None
    steps: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.sink.kind

    @property
    def target(self) -> str:
        return self.sink.target

    def check(self) -> None:
        self.sink.check()

    def open(self, staging: Path) -> None:
        self._step("open", lambda: self.sink.open(staging))

    def write(self, records: Sequence[Record]) -> None:
        self._step("write", lambda: self.sink.write(records))

    def seal(self) -> Delivered:
        return self._step("seal", self.sink.seal)

    def commit(self) -> None:
        self._step("commit", self.sink.commit)

    def abort(self) -> None:
        self._step("abort", self.sink.abort)

    def _step(self, name: str, act: Callable[[], T]) -> T:
        self.steps.append(name)
        self.reach(f"before {name}")
        result = act()
        self.reach(f"after {name}")
        return result


def _reaching(targets: Iterable[Target], reach: Reach) -> list[Target]:
    return [replace(target, sink=FaultySink(target.sink, reach)) for target in targets]


def file_sink(root: Path, path: str, known: Iterable[str] = (), *, overwrite: bool = False) -> FileSink:
    options = FileOptions(path=path, overwrite=overwrite)
    return FileSink(options, SinkContext(root=root, row_columns=("id", "text"), known_sha256=frozenset(known)))


def failing_at(step: str, error: Exception | None = None) -> Reach:
    """Raise at one step; by default that the disk is full."""

    def reach(reached: str) -> None:
        if reached == step:
            raise error or DeliveryError("no space left", hint="make room")

    return reach
