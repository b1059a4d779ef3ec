"""Running functions: what they return, what they raise, how long they may take."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from runner.tools.calling import Caller
from runner.tools.functions import Function


def called(
    function: Function, arguments: Mapping[str, Any] | None = None, *, timeout_s: float = 60.0, max_bytes: int = 1_000
) -> tuple[str, bool]:
    async def call() -> tuple[str, bool]:
        caller = Caller(4)
        try:
            return await caller.call(function, arguments or {}, timeout_s=timeout_s, max_bytes=max_bytes)
        finally:
            await caller.aclose()

    return asyncio.run(call())


def test_text_is_given_as_it_is_and_anything_else_as_json() -> None:
    def text() -> str:
        return "as it is"

    def value() -> dict[str, Any]:
        return {"since": date(2026, 1, 2), "many": (1, 2)}

    assert called(text) == ("as it is", False)
    assert called(value) == ('{"since":"2026-01-02","many":[1,2]}', False)


def test_arguments_become_what_their_annotations_say() -> None:
    def year(day: date) -> int:
        return day.year

    assert called(year, {"day": "2026-11-22"}) == ("2026", False)
    said, is_error = called(year, {"day": "soon"})
    assert is_error
    assert said.startswith("ValidationError: day: ")


def test_an_async_function_runs_on_a_loop_of_its_own() -> None:
    async def elsewhere(name: str) -> str:
        await asyncio.sleep(0)
        assert threading.current_thread().name == "runner-tools"
        return name

    assert called(elsewhere, {"name": "Ann"}) == ("Ann", False)


def test_a_plain_function_runs_in_a_thread_of_its_own() -> None:
    def name() -> str:
        return threading.current_thread().name

    assert called(name) == ("runner-tool", False)


def test_an_exception_is_told_in_a_line_without_its_traceback() -> None:
    def fails() -> str:
        raise KeyError("no such\n  customer")

    async def fails_too() -> str:
        raise SystemExit("gone")

    assert called(fails) == ("KeyError: 'no such\\n customer'", True)
    assert called(fails_too) == ("RuntimeError: SystemExit gone", True)


def test_a_long_message_of_an_exception_is_shortened() -> None:
    def fails() -> str:
        raise ValueError("x" * 5_000)

    said, is_error = called(fails)
    assert is_error
    assert len(said) == 500


def test_a_result_that_is_too_long_or_has_no_json_form_is_an_error() -> None:
    def long() -> str:
        return "ä" * 600

    def odd() -> object:
        return object()

    assert called(long) == ("the result has 1,200 bytes, more than the 1,000 that are allowed: ask for less", True)
    assert called(odd) == ("the tool returned a object, which has no JSON form", True)


def test_a_call_that_takes_too_long_is_told_so() -> None:
    released = threading.Event()

    def hangs() -> str:
        released.wait()
        return "late"

    async def waits() -> str:
        await asyncio.Event().wait()
        return "never"

    assert called(hangs, timeout_s=0.01) == ("the tool did not answer within 0.01 s", True)
    assert called(waits, timeout_s=0.01) == ("the tool did not answer within 0.01 s", True)
    released.set()


def test_no_more_than_so_many_run_at_once() -> None:
    running = most = 0
    gate, both = threading.Lock(), threading.Barrier(2)

    def count() -> str:
        nonlocal running, most
        with gate:
            running += 1
            most = max(most, running)
        both.wait()
        with gate:
            running -= 1
        return ""

    async def call_six() -> None:
        caller = Caller(2)
        await asyncio.gather(*(caller.call(count, {}, timeout_s=60, max_bytes=10) for _ in range(6)))

    asyncio.run(call_six())
    assert most == 2


def test_threads_that_were_left_behind_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.tools.calling.MAX_LEFT_BEHIND", 1)
    released = threading.Event()

    def hangs() -> str:
        released.wait()
        return "late"

    def quick() -> str:
        return "there"

    async def call_until_there_is_room() -> None:
        caller = Caller(2)
        assert "did not answer" in (await caller.call(hangs, {}, timeout_s=0.01, max_bytes=10))[0]
        refused = await caller.call(quick, {}, timeout_s=60, max_bytes=10)
        assert refused == ("the tool is not available: too many earlier calls have not returned", True)
        released.set()
        while (await caller.call(quick, {}, timeout_s=60, max_bytes=10)) != ("there", False):  # noqa: ASYNC110 - a thread ends
            await asyncio.sleep(0)

    asyncio.run(call_until_there_is_room())
