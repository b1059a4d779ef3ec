"""Running functions: bounded, with a time-out, and away from whoever waits for them.

Owns   the threads that run functions, and the loop on which `async` ones run.
Knows  functions and their arguments; what is done with a result is the caller's business.

A function of the project may block, compute or hang, so none runs on the loop that sends requests. A plain one gets a
thread for the call, an `async` one runs on a loop that only tools share. At most `concurrency` run at once.

A thread cannot be stopped. A call that has run out of time is told so, and its thread is left behind: it no longer
counts against `concurrency`, but no more than `MAX_LEFT_BEHIND` may be alive, and from then on no plain function is
called until one of them has ended. All threads are daemons: none keeps the process from ending.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from typing import Any

from pydantic import validate_call

from runner.tools.functions import Function
from runner.tools.results import text_of_error, text_of_value

MAX_LEFT_BEHIND = 64
_GRACE_S = 1.0
"""How long `async` functions get to take notice that they are dropped."""


class Caller:
    """Calls functions for one run. Made, and closed, on the loop that awaits it."""

    def __init__(self, concurrency: int) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._left_behind = 0
        self._tool_loop: asyncio.AbstractEventLoop | None = None

    async def call(
        self, function: Function, arguments: Mapping[str, Any], *, timeout_s: float, max_bytes: int
    ) -> tuple[str, bool]:
        """What the model is to be told, and whether it is of an error. Never raises for what the function does."""
        async with self._slots:
            if self._left_behind >= MAX_LEFT_BEHIND:
                return "the tool is not available: too many earlier calls have not returned", True
            future = self._started(function, arguments)
            try:
                done, _ = await asyncio.wait([asyncio.wrap_future(future)], timeout=timeout_s)
            except asyncio.CancelledError:
                future.cancel()
                raise
            if not done:
                self._leave_behind(future)
                return f"the tool did not answer within {timeout_s:g} s", True
            if future.cancelled():
                return "the tool canceled itself", True
            error = future.exception()
            if error is not None:
                return text_of_error(error), True
            return text_of_value(future.result(), max_bytes)

    def _started(self, function: Function, arguments: Mapping[str, Any]) -> Future[Any]:
        if _is_async(function):
            return asyncio.run_coroutine_threadsafe(_awaited(function, arguments), self._loop_of_tools())
        future: Future[Any] = Future()
        threading.Thread(target=_run, args=(future, function, arguments), name="runner-tool", daemon=True).start()
        return future

    def _leave_behind(self, future: Future[Any]) -> None:
        if future.cancel():  # an `async` one stops where it awaits
            return
        self._left_behind += 1
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _on(loop, self._returned))

    def _returned(self) -> None:
        self._left_behind -= 1

    def _loop_of_tools(self) -> asyncio.AbstractEventLoop:
        if self._tool_loop is None:
            self._tool_loop = loop = asyncio.new_event_loop()
            self._tool_thread = threading.Thread(target=_serve, args=(loop,), name="runner-tools", daemon=True)
            self._tool_thread.start()
        return self._tool_loop

    async def aclose(self) -> None:
        """Let go of the loop of tools; what still runs there is dropped."""
        if self._tool_loop is not None:
            self._tool_loop.call_soon_threadsafe(self._tool_loop.stop)
            self._tool_loop = None
            await asyncio.to_thread(self._tool_thread.join, _GRACE_S)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.run_until_complete(_drop_all())
    loop.close()


async def _drop_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _is_async(function: Function) -> bool:
    return inspect.iscoroutinefunction(function)


def _run(future: Future[Any], function: Function, arguments: Mapping[str, Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = _validated(function)(**arguments)
    except BaseException as error:  # noqa: BLE001 - the border to the author's code: the model is told
        future.set_exception(error)
    else:
        future.set_result(result)


async def _awaited(function: Function, arguments: Mapping[str, Any]) -> Any:
    try:
        return await _validated(function)(**arguments)
    except (SystemExit, KeyboardInterrupt) as error:  # would end the loop, and every other tool's call with it
        raise RuntimeError(f"{type(error).__name__} {error}".strip()) from error


@cache
def _validated(function: Function) -> Function:
    """Arguments come as JSON: what an annotation says (a date, a model, an enum) is made of them first."""
    return validate_call(function)


def _on(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the run has ended meanwhile, and its loop with it
        loop.call_soon_threadsafe(act)
