"""Named points at which a run may die: every write of the ledger, every call of the batch API, every file put in place.

Owns   the points, and how a process is made to reach them: `install` wraps the real methods of a process that then runs
       the real command line. There is no hook for it in the product.
Knows  the methods' names. A method that is renamed makes `install` fail; a point that is no longer passed makes the
       campaign fail, which holds the points of an undisturbed run against `EXPECTED`.

    CRASH_LOG=FILE                            write down every point that is passed
    CRASH_AT="before mark_batch:sending 2"    SIGKILL of the process itself before it marks a batch so the second time

Around a call there are two points: `before` it nothing of it has happened, `after` it all has, and nobody was told.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self, cast

CRASH_AT = "CRASH_AT"
CRASH_LOG = "CRASH_LOG"

Moment = Literal["before", "after"]

LEDGER_CALLS = (
    "enrol", "lease", "release", "record", "keep_tool_results", "settle_answered", "reopen", "set_meta", "set_delivery",
    "intend_batch", "land", "settle_batch", "cancel_open", "rejudge",
)  # fmt: skip
"""Methods that write; `mark_batch` beside them, which is a point for each state it marks."""
FILE_CALLS = ("fsync", "fdatasync", "replace", "rename")
"""Of `os`, where a module of runner calls them (`Path.replace` does too); the point names the module."""
API_CALLS = ("retrieve_batch", "list_batches", "cancel_batch")

EXPECTED = frozenset(
    {
        "enrol", "set_meta", "intend_batch", "mark_batch:sending", "mark_batch:in_progress", "mark_batch:ended",
        "mark_batch:closed", "land", "settle_batch", "set_delivery", "list_batches", "create_batch",
        "create_batch:first chunk", "create_batch:last chunk", "retrieve_batch", "download_results",
        "download_results:write", "replace sinks.staging",
    }
)  # fmt: skip
"""Points that an undisturbed batch run passes, at the least."""


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """One moment in the life of a process: before or after the `nth` call of a name, counted from 1."""

    name: str
    moment: Moment
    nth: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        moment, _, rest = text.partition(" ")
        name, _, nth = rest.rpartition(" ")
        assert moment in ("before", "after")
        return cls(name, cast(Moment, moment), int(nth))

    def __str__(self) -> str:
        return f"{self.moment} {self.name} {self.nth}"


def passed(log: Path) -> list[Point]:
    """The points that a process has passed, in order."""
    return [Point.parse(line) for line in log.read_text(encoding="utf-8").splitlines()]


def chosen(points: Iterable[Point], each: int) -> list[Point]:
    """Of every name and moment the first `each` times and the last one, in the order of the run."""
    seen = list(dict.fromkeys(points))
    last = Counter((point.name, point.moment) for point in seen)
    return [point for point in seen if point.nth <= each or point.nth == last[point.name, point.moment]]


def telling(points: Sequence[Point]) -> list[Point]:
    """Of every name and moment the first time, less those that come right behind another: what is durable there, and
    what the API has seen, is the same as after that one."""
    found = [points[0]]
    for before, point in pairwise(points):
        if point.nth == 1 and not (before.moment == "after" and point.moment == "before"):
            found.append(point)
    return found


class _Watch:
    """Counts the points of this process, and ends it at the one it is asked to."""

    def __init__(self, crash_at: Point | None, log: str | None) -> None:
        self._crash_at = crash_at
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log else None
        self._counts: Counter[tuple[str, Moment]] = Counter()
        self._lock = threading.Lock()

    def reach(self, moment: Moment, name: str) -> None:
        with self._lock:
            self._counts[name, moment] += 1
            point = Point(name, moment, self._counts[name, moment])
            if self._log is not None:
                os.write(self._log, f"{point}\n".encode())
        if point == self._crash_at:
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()  # the signal may take its time to reach a thread that is not the first


def install(crash_at: str | None, log: str | None) -> None:
    """Make this process pass named points; nothing where neither is asked for."""
    if not (crash_at or log):
        return
    watch = _Watch(Point.parse(crash_at) if crash_at else None, log)
    for name in FILE_CALLS:
        _wrap_file_call(watch, name)
    _wrap_ledger(watch)
    _wrap_provider(watch)


# -- what is wrapped ---------------------------------------------------------------------------------------------------


def _wrap_file_call(watch: _Watch, name: str) -> None:
    inner: Callable[..., Any] = getattr(os, name)

    @functools.wraps(inner)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        place = _calling_module()
        if place is None:
            return inner(*arguments, **named)
        watch.reach("before", f"{name} {place}")
        result = inner(*arguments, **named)
        watch.reach("after", f"{name} {place}")
        return result

    setattr(os, name, wrapped)


def _calling_module() -> str | None:
    """The nearest caller of runner's, beyond the standard library; None where somebody else calls."""
    frame = sys._getframe(2)
    while str(frame.f_globals.get("__name__")).startswith("pathlib") and frame.f_back is not None:
        frame = frame.f_back
    module = str(frame.f_globals.get("__name__"))
    return module.removeprefix("runner.") if module.startswith("runner.") else None


def _wrap_ledger(watch: _Watch) -> None:
    from runner.ledger.sqlite import SqliteLedger

    for name in LEDGER_CALLS:
        _wrap(watch, SqliteLedger, name)
    _wrap(watch, SqliteLedger, "mark_batch", lambda arguments: f":{arguments[1]}")


def _wrap(watch: _Watch, owner: type, name: str, label: Callable[[Sequence[Any]], str] = lambda _: "") -> None:
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
        point = f"{name}{label(arguments)}"
        watch.reach("before", point)
        result = inner(self, *arguments, **named)
        watch.reach("after", point)
        return result

    setattr(owner, name, wrapped)


def _wrap_provider(watch: _Watch) -> None:
    from runner.providers.wire import WireProvider  # what a run with a key sends over

    for name in API_CALLS:
        _wrap_async(watch, WireProvider, name, lambda arguments: arguments)
    _wrap_async(
        watch, WireProvider, "create_batch",
        lambda arguments: (_watched_chunks(watch, arguments[0], arguments[1]), *arguments[1:]),
    )  # fmt: skip
    _wrap_async(
        watch, WireProvider, "download_results",
        lambda arguments: (arguments[0], _watched_write(watch, arguments[1]), *arguments[2:]),
    )  # fmt: skip


def _wrap_async(watch: _Watch, owner: type, name: str, passed_on: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
    inner = getattr(owner, name)

    @functools.wraps(inner)
    async def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
        watch.reach("before", name)
        result = await inner(self, *passed_on(arguments), **named)
        watch.reach("after", name)
        return result

    setattr(owner, name, wrapped)


async def _watched_chunks(watch: _Watch, chunks: AsyncIterable[bytes], size_bytes: int) -> AsyncIterator[bytes]:
    """`before` a chunk it is not there yet; `after` it the next one was asked for, so it has left."""
    left = 0
    async for chunk in chunks:
        names = ["first chunk"] if left == 0 else []
        left += len(chunk)
        names += ["last chunk"] if left >= size_bytes else []
        for name in names:
            watch.reach("before", f"create_batch:{name}")
        yield chunk
        for name in names:
            watch.reach("after", f"create_batch:{name}")


def _watched_write(watch: _Watch, write: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    async def watched(data: bytes) -> None:
        watch.reach("before", "download_results:write")
        await write(data)
        watch.reach("after", "download_results:write")

    return watched
