"""A job with functions, in this process: what is sent and called; a kill anywhere loses and doubles nothing."""

from __future__ import annotations

import importlib
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.clock import SystemClock
from runner.encoding import decode, encode
from runner.execution.feeder import Feeder
from runner.execution.passes import bound_of
from runner.execution.pricing import load_run_prices
from runner.message import parse_reply
from runner.planning.compile import compile_job
from runner.planning.identity import request_identity
from runner.providers import Sent
from runner.types import PICO_PER_USD, Request, Row
from support.execution_fakes import (
    INPUT_TOKENS,
    JOB,
    OUTPUT_TOKENS,
    Bench,
    Counted,
    EchoProvider,
    folder_in_memory,
    killed,
    replied,
)

FUNCTIONS = '''\
"""Functions that write down each call."""
from pathlib import Path

CALLS = Path(__file__).with_name("calls.txt")


def find(name: str) -> dict:
    """Find by name."""
    with CALLS.open("a") as file:
        file.write(f"{name}\\n")
    return {"name": name}
'''
MODULE = "tool_job_functions"


class Caller(EchoProvider):
    """Calls `find` twice in each of so many rounds, as the conversation shows them, and then answers.

    It checks that each request is named by what it says, and that every call is answered by its own result.
    """

    def __init__(self, rounds: int, account: Path | None = None) -> None:
        super().__init__()
        self.account = account
        self.rounds = rounds

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        body = decode(request.body)
        assert request.hash == request_identity(body, request.betas)
        messages = body["messages"]
        text = messages[0]["content"][0]["text"]
        for said, answered in zip(messages[1::2], messages[2::2], strict=True):
            for call, result in zip(said["content"], answered["content"], strict=True):
                assert result["tool_use_id"] == call["id"]
                assert decode(result["content"]) == {"name": call["input"]["name"]}
        self.received.append(text)
        self._bill(text)
        done = len(messages) // 2
        return replied(f"done: {text}") if done == self.rounds else _calls(text, done)


def _calls(text: str, done: int) -> Sent:
    content = [
        {"type": "tool_use", "id": f"toolu_{done}_{place}", "name": "find", "input": {"name": f"{text}/{done}/{place}"}}
        for place in range(2)
    ]
    usage = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-5-5", "content": content,
        "stop_reason": "tool_use", "usage": usage,
    }  # fmt: skip
    body = encode(message)
    return Sent(parse_reply(body, "req_1"), None, body, "req_1", {})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with folder_in_memory(tmp_path) as found:
        yield found


def bench_at(root: Path, *, rows: int, rounds: int, account: Path | None = None) -> Bench:
    bench = Bench(root, rows=rows, job=JOB.replace("sinks:", f"tools: {MODULE}:find\nsinks:"))
    bench.write(f"{MODULE}.py", FUNCTIONS)
    bench.provider = Caller(rounds, account)
    return bench


def calls(bench: Bench) -> Counter[str]:
    path = bench.root / "calls.txt"
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def test_every_call_is_made_once_and_every_row_is_billed_for_its_rounds(folder: Path) -> None:
    bench = bench_at(folder / "project", rows=6, rounds=2)
    summary = bench.run()
    assert (summary.exit_status, summary.counts.succeeded, summary.counts.requests) == (0, 6, 18)
    assert calls(bench) == Counter(
        {f"text {row}/{done}/{place}": 1 for row in range(6) for done in (0, 1) for place in (0, 1)}
    )
    for record in bench.records():
        assert record["output"] == f"done: {record['row']['text']}"
        assert (record["attempts"], record["usage"]["output_tokens"]) == (3, 3 * OUTPUT_TOKENS)


def test_the_cap_holds_for_what_is_asked_with_results(folder: Path) -> None:
    """The first request fits, and the one with results does not.

    One row, since another one that no longer fits stops the run as well, before or after the functions of the first
    were called.
    """
    bench = bench_at(folder / "project", rows=1, rounds=3)
    loaded = bench.load()
    request = compile_job(loaded, mode="parallel").request(Row("k0", 0, {"id": "k0", "text": "text 0"}))
    assert isinstance(request, Request)
    bound = bound_of(load_run_prices(loaded, SystemClock()), "parallel")(request)
    assert bound is not None
    cap_usd = bound * 1.02 / PICO_PER_USD
    summary = bench.run(f"limits.max_cost_usd={cap_usd:.9f}")
    assert summary.status == "stopped"
    assert len(bench.provider.received) == summary.counts.attempts == 1
    assert calls(bench) == Counter({"text 0/0/0": 1, "text 0/0/1": 1})
    assert summary.stopped_by is not None
    assert summary.stopped_by.kind == "budget"


def test_a_later_run_reuses_what_was_said_and_calls_the_functions_again(folder: Path) -> None:
    bench = bench_at(folder / "project", rows=3, rounds=2)
    bench.run()
    bench.rows(f"text {number}" for number in range(4))
    summary = bench.run()
    assert (summary.counts.succeeded, summary.counts.reused) == (4, 3)
    assert len(bench.provider.received) == 9 + 3
    assert set(calls(bench).values()) <= {1, 2}


def test_slow_functions_hold_rows_back_instead_of_filling_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_at(folder / "project", rows=100, rounds=1)
    bench.write(
        f"{MODULE}.py",
        FUNCTIONS.replace("    with CALLS", "    import slow_gate\n    slow_gate.gate.wait()\n    with CALLS"),
    )
    bench.write("slow_gate.py", "import threading\ngate = threading.Event()\n")
    monkeypatch.setattr("runner.execution.passes.Feeder", _with_small_window)
    monkeypatch.syspath_prepend(str(bench.root))
    gate = importlib.import_module("slow_gate").gate
    sent_before: list[int] = []

    def open_the_gate() -> None:
        sent_before.append(len(bench.provider.received))
        gate.set()

    timer = threading.Timer(1.0, open_the_gate)
    timer.start()
    summary = bench.run("limits.max_concurrency=2")
    timer.join()
    sys.modules.pop("slow_gate")
    assert summary.counts.succeeded == 100
    # Set aside, in the window, gathered, taken ahead of the lease, leased, and leased in the place of what is recorded.
    assert sent_before[0] <= 8 + 8 + 2 + 2 + 4 + 4


def _with_small_window(*arguments: Any, **options: Any) -> Any:
    return Feeder(*arguments, **{**options, "window_steps": 8})


@pytest.mark.slow
def test_a_process_that_is_killed_anywhere_loses_and_doubles_nothing(folder: Path) -> None:
    """SIGKILL before and after each write: a durable reply is not paid again, a durable result is not made again."""
    count, kill_at = 1, 0
    while kill_at < count:
        kill_at += 1
        account = folder / f"account-{kill_at}"
        account.touch()
        bench = bench_at(folder / f"project-{kill_at}", rows=2, rounds=1, account=account)
        info = bench.begin()
        bench.provider = Caller(1, account)

        def going_on(bench: Bench = bench, info: Any = info, kill_at: int = kill_at) -> None:
            bench.go_on(info, Counted(kill_at))

        assert killed(going_on) or kill_at > 1
        counted = Counted()
        summary = bench.go_on(info, counted)
        if kill_at == 1:
            count = len(counted.steps)
        assert summary.counts.succeeded == 2, f"killed at step {kill_at}"
        in_doubt = 2
        assert len(account.read_text().splitlines()) <= 2 * 2 + in_doubt
        made = calls(bench)
        assert set(made) == {f"text {row}/0/{place}" for row in range(2) for place in range(2)}
        assert set(made.values()) <= {1, 2}
