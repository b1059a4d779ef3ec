"""Tool rounds: what a reply calls for is run, and kept, before the row is asked again.

Owns   the functions of one job, found before anything is sent; the way of a call: known, fitting, run, durable.
Knows  tools and the book. Which replies call, and what a request with results says, is not known here.

    feeder ── calls of a reply ──▶ begin ──▶ functions (threads, a loop of their own) ──▶ book, durable ──▶ feeder

A call that cannot be made (no such tool, an input that does not fit, an error, no time) has a result like any other:
the model is told, and goes on. Calls of one reply are made side by side, and each result is durable on its own, so a
run that is killed makes only those again that had none.

Invariants
  * A row's next request is not composed before every result it has is durable.
  * No function runs on the loop that sends, nor on the feeder's thread or the writer's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from runner.deferred import deferred
from runner.engines.halt import Halt
from runner.errors import SetupError
from runner.events import Observer, Warned
from runner.execution.under_way import Advance
from runner.tools import Tool, ToolCall, ToolError, ToolResult, client_tools
from runner.tools.calling import Caller
from runner.tools.functions import Function, find_function
from runner.types import Step

if TYPE_CHECKING:
    from runner.replies import schema as schemas
else:
    schemas = deferred("runner.replies.schema")

Keep = Callable[[Step, Sequence[ToolResult]], Awaitable[None]]
"""Makes results of calls of the reply to a step durable."""
Ended = Callable[[BaseException | None], None]
"""Called on the loop when all calls of a reply have results, or when they cannot be kept."""


class _Callable(Struct, frozen=True):
    tool: Tool
    function: Function
    check: schemas.Check


class ToolRounds:
    """Runs the functions of one job. Made, and closed, on the loop; `begin` may be called on any thread."""

    def __init__(self, tools: Sequence[Tool], root: Path, keep: Keep, *, concurrency: int, observer: Observer) -> None:
        """Raises SetupError where a function cannot be found any more."""
        self._tools = {name: _found(tool, root) for name, tool in client_tools(tools).items()}
        self._keep = keep
        self._observer = observer
        self._caller = Caller(concurrency)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: set[tuple[str, str]] = set()
        self._closed = False

    def begin(self, asking: Step, calls: Sequence[ToolCall], ended: Ended) -> None:
        """Make the calls of the reply to `asking`, and say when their results are durable."""
        self._loop.call_soon_threadsafe(self._begin, asking, calls, ended)

    async def land(self, halt: Halt) -> None:
        """Wait for calls that are being made when the run stops, so that they need not be made again; until what is in
        flight is to be dropped."""
        changed = asyncio.Event()
        halt.listen(changed.set)
        try:
            while self._tasks and not halt.dropped:
                changed.clear()
                waits = asyncio.create_task(changed.wait())
                await asyncio.wait([waits, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
                waits.cancel()
        finally:
            halt.unlisten(changed.set)

    async def aclose(self) -> None:
        """Drop what still runs: its results would come too late for this sitting."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._caller.aclose()

    def _begin(self, asking: Step, calls: Sequence[ToolCall], ended: Ended) -> None:
        if self._closed:
            return
        task = self._loop.create_task(self._make(asking, calls))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._end(done, ended))

    def _end(self, task: asyncio.Task[None], ended: Ended) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            ended(task.exception())

    async def _make(self, asking: Step, calls: Sequence[ToolCall]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    group.create_task(self._made(asking, call))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _made(self, asking: Step, call: ToolCall) -> None:
        await self._keep(asking, [await self._result(call)])

    async def _result(self, call: ToolCall) -> ToolResult:
        known = self._tools.get(call.name)
        if known is None:
            return ToolResult(call.id, f"there is no tool {call.name!r}; there are: {', '.join(self._tools)}", True)
        problems = known.check.problems(call.input)
        if problems:
            return ToolResult(call.id, f"the input does not fit: {'; '.join(problems)}", True)
        said, is_error = await self._caller.call(
            known.function, call.input, timeout_s=known.tool.timeout_s, max_bytes=known.tool.max_bytes
        )
        if is_error:
            self._tell(call.name, said)
        return ToolResult(call.id, said, is_error)

    def _tell(self, name: str, said: str) -> None:
        """Tell of the first error of each kind that a tool has; its message may hold what is in the data."""
        kind = said.partition(":")[0]
        if (name, kind) not in self._told:
            self._told.add((name, kind))
            self._observer.notify(Warned("tool-error", f"the model was told of an error of the tool `{name}`: {kind}"))


@asynccontextmanager
async def calling(run: Advance, keep: Keep) -> AsyncIterator[ToolRounds | None]:
    """What runs the functions of a run's job, for one pass; None where it has none. Raises SetupError."""
    if not client_tools(run.tools):
        yield None
        return
    settings = run.settings
    rounds = ToolRounds(run.tools, settings.root, keep, concurrency=settings.tool_concurrency, observer=run.observer)
    try:
        yield rounds
    finally:
        await rounds.aclose()


def _found(tool: Tool, root: Path) -> _Callable:
    assert tool.python is not None, "a client tool is a function"
    try:
        function = find_function(tool.python, root)
    except ToolError as error:
        raise SetupError(
            f"the tool `{tool.name}`: {error.message}", code=error.code, hint=error.hint or "mend it and resume the run"
        ) from error
    return _Callable(tool, function, schemas.Check(tool.input_schema))
