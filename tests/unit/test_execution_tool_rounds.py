"""Tool rounds: each call gets a result, and each result is kept before anybody is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.engines import StopReason
from runner.engines.halt import Halt
from runner.errors import SetupError
from runner.events import Event, Warned
from runner.execution.tool_rounds import ToolRounds
from runner.tools import Tool, ToolCall, ToolResult
from runner.types import Step

FUNCTIONS = """\
import threading

begun, may_go_on = threading.Event(), threading.Event()

def find(name):
    return {"found": name}

def fail(name):
    raise LookupError("no " + name)

def hang(name):
    begun.set()
    may_go_on.wait()
    return name
"""
STEP = Step(3, round=1 << 20)


def tool(name: str) -> Tool:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    return Tool({"name": name, "description": name, "input_schema": schema}, python=f"rounds_of_tests:{name}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "rounds_of_tests.py").write_text(FUNCTIONS)
    return tmp_path


class Kept:
    def __init__(self) -> None:
        self.results: list[tuple[Step, ToolResult]] = []
        self.ended: list[BaseException | None] = []
        self.events: list[Event] = []
        self.error: BaseException | None = None

    async def keep(self, step: Step, results: Sequence[ToolResult]) -> None:
        if self.error is not None:
            raise self.error
        await asyncio.sleep(0)
        self.results += [(step, result) for result in results]

    def notify(self, event: Event) -> None:
        self.events.append(event)

    @property
    def said(self) -> dict[str, tuple[str, bool]]:
        return {result.id: (result.content, result.is_error) for _, result in self.results}


def made(root: Path, kept: Kept, *calls: ToolCall, tools: Sequence[str] = ("find", "fail")) -> None:
    async def make() -> None:
        rounds = ToolRounds([tool(name) for name in tools], root, kept.keep, concurrency=4, observer=kept)
        ended = asyncio.Event()

        def end(error: BaseException | None) -> None:
            kept.ended.append(error)
            ended.set()

        await asyncio.to_thread(rounds.begin, STEP, calls, end)
        await ended.wait()
        await rounds.aclose()

    asyncio.run(make())


def call(identifier: str, name: str, /, **given: Any) -> ToolCall:
    return ToolCall(identifier, name, given)


def test_calls_of_one_reply_all_get_results_before_it_is_said(root: Path) -> None:
    kept = Kept()
    made(root, kept, call("a", "find", name="Ann"), call("b", "find", name="Bob"), call("c", "find", name="Cy"))
    assert kept.said == {
        "a": ('{"found":"Ann"}', False),
        "b": ('{"found":"Bob"}', False),
        "c": ('{"found":"Cy"}', False),
    }
    assert {step for step, _ in kept.results} == {STEP}
    assert kept.ended == [None]


def test_what_cannot_be_called_is_told_to_the_model(root: Path) -> None:
    kept = Kept()
    calls = [
        call("a", "other", name="x"),
        call("b", "find", nam="x"),
        ToolCall("c", "find", "x"),
        call("d", "fail", name="x"),
    ]
    made(root, kept, *calls)
    assert kept.said["a"] == ("there is no tool 'other'; there are: find, fail", True)
    assert kept.said["b"] == ("the input does not fit: /: `name` is missing", True)
    assert kept.said["c"] == ('the input does not fit: /: expected an object, found the text "x"', True)
    assert kept.said["d"] == ("LookupError: no x", True)


def test_the_first_error_of_each_kind_is_a_warning_without_its_message(root: Path) -> None:
    kept = Kept()
    made(root, kept, call("a", "fail", name="x"), call("b", "fail", name="y"))
    assert kept.events == [Warned("tool-error", "the model was told of an error of the tool `fail`: LookupError")]


def test_results_that_cannot_be_kept_are_told_as_the_error(root: Path) -> None:
    kept = Kept()
    kept.error = OSError("the disk is full")
    made(root, kept, call("a", "find", name="Ann"))
    assert len(kept.ended) == 1
    assert isinstance(kept.ended[0], OSError)


def test_a_function_that_is_gone_stops_the_run_before_it_sends(root: Path) -> None:
    with pytest.raises(SetupError, match="the tool `lost`") as caught:
        made(root, Kept(), tools=["lost"])
    assert caught.value.code == "no-function"


def test_calls_that_are_being_made_are_waited_for_when_the_run_stops(root: Path) -> None:
    kept = Kept()

    async def make() -> None:
        rounds = ToolRounds([tool("hang")], root, kept.keep, concurrency=4, observer=kept)
        import rounds_of_tests as functions  # type: ignore[import-not-found]

        rounds.begin(STEP, [call("a", "hang", name="Ann")], kept.ended.append)
        await asyncio.to_thread(functions.begun.wait)
        halt = Halt()
        halt.stop(StopReason("interrupted", ""))
        threading.Timer(0.01, functions.may_go_on.set).start()
        await rounds.land(halt)
        await rounds.aclose()

    asyncio.run(make())
    assert kept.said == {"a": ("Ann", False)}


def test_calls_are_not_waited_for_when_what_is_in_flight_is_dropped(root: Path) -> None:
    kept = Kept()

    async def make() -> None:
        rounds = ToolRounds([tool("hang")], root, kept.keep, concurrency=4, observer=kept)
        import rounds_of_tests as functions

        functions.may_go_on.clear()
        rounds.begin(STEP, [call("a", "hang", name="Ann")], kept.ended.append)
        await asyncio.to_thread(functions.begun.wait)
        halt = Halt()
        asyncio.get_running_loop().call_later(0.01, halt.drop)
        await rounds.land(halt)
        await rounds.aclose()
        functions.may_go_on.set()

    asyncio.run(make())
    assert (kept.results, kept.ended) == ([], [])
