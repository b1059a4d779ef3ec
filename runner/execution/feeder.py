"""The feeder's thread: open steps become prepared steps, a bounded window ahead of the engine.

Owns   reading rows, rendering, and looking for earlier answers; all the CPU work between the ledger and the wire.
Knows  the run's folder through a read-only ledger of its own. It never writes: a row that cannot be rendered, or that
       has an earlier answer, is posted to the writer as an outcome like any other.

Memory is bounded by `WINDOW_STEPS` and `WINDOW_BYTES` of request bodies, however many rows there are; as many may be
parked until the ids of their files are known, and as many bytes are prepared of steps that follow up others.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from runner.clock import Clock
from runner.engines import Judge, Prepared
from runner.events import Observer, Warned
from runner.execution.composing import Awaited, Composer, Standing
from runner.execution.earlier import Earlier
from runner.execution.grouping import ALL, Opened, grouped
from runner.execution.parked import Parked
from runner.execution.tool_rounds import ToolRounds
from runner.execution.uploads import Ticket, Uploads
from runner.ledger import Ledger, OpenStep
from runner.ledger.sqlite import SqliteLedger
from runner.planning.requests import CompiledJob
from runner.types import Failure, Outcome, Request, Row, Step

WINDOW_STEPS = 1_024
WINDOW_BYTES = 64 * 2**20
BATCH_WINDOW_BYTES = 2 * 2**20
"""The same for batches, which take what there is at once and wait for the line, not for rows: each body holds what all
rows share, so a full window would be most of the memory that sending takes."""
SLOW_RENDER_S = 1.0
"""A render of this length is told: time is the one thing that the sandbox does not bound."""
SLOW_RENDERS_TOLD = 3
"""Slow rows that are told; more of them would say nothing new."""
PUSHED = 64
PUSHED_BYTES = 2**20
"""Steps, and bytes of their bodies, that are gathered for one push into a window that has some; handing over each one
costs as much as rendering it."""
READ_AHEAD = 256
"""Open steps read from the ledger at a time."""

Bound = Callable[[Request], int | None]
Pages = Callable[[Ledger], Iterator[Sequence[OpenStep]]]
"""Open steps to feed, some at a time; called, and advanced, on the feeder's thread."""


class Poster(Protocol):
    """Who takes outcomes that need no engine: the writer, or what stands for it in a worker."""

    def post(self, outcome: Outcome) -> None:
        """From the feeder's thread; may block while too many wait."""
        ...


def open_pages(ledger: Ledger) -> Iterator[Sequence[OpenStep]]:
    """All open steps, in order. The ledger is asked for a page at a time, so steps opened behind are not seen."""
    after: Step | None = None
    opened = OpenedMeanwhile()
    while True:
        page = ledger.open_steps(after, READ_AHEAD)
        if page:
            yield opened.left_out_of(page)
        if len(page) < READ_AHEAD:
            return
        after = page[-1].step


class OpenedMeanwhile:
    """Leaves out of a page what was opened by outcomes of the pages before: who sent those is told of it.

    That can only be in the last row of the page before: of a conversation, which is a row and a sample of it, one step
    is open at a time.
    """

    def __init__(self) -> None:
        self._row: int | None = None
        self._samples: set[int] = set()

    def left_out_of(self, page: Sequence[OpenStep]) -> Sequence[OpenStep]:
        """The steps of the next page that were open before, in their order; `page` has at least one."""
        first = page[0].step.row
        if first == self._row:
            page_here = [each for each in page if each.step.row != first or each.step.sample not in self._samples]
        else:
            page_here = list(page)
        last = page[-1].step.row
        if last != self._row:
            self._row, self._samples = last, set()
        self._samples.update(each.step.sample for each in reversed(page) if each.step.row == last)
        return page_here


class Feeder:
    """A `Feed` over the open steps of one run: one pass in the dataset's order, or, where rows have cached prefixes of
    their own, prefix by prefix. One with less text than `least_prefix_bytes` is surely not cached.

    Steps that it is told to follow up go before all that is not in the window yet. There are never more of them than
    steps under way, or set aside for functions, so they need no bound of their own.
    """

    def __init__(
        self,
        folder: Path,
        compiled: CompiledJob,
        writer: Poster,
        *,
        judge: Judge,
        bound: Bound,
        open_earlier: Callable[[], Earlier | None],
        clock: Clock,
        observer: Observer,
        pages: Pages = open_pages,
        least_prefix_bytes: float = 0.0,
        window_steps: int = WINDOW_STEPS,
        window_bytes: int = WINDOW_BYTES,
        tools: ToolRounds | None = None,
        uploads: Uploads | None = None,
    ) -> None:
        self._folder = folder
        self._compiled = compiled
        self._composer = Composer(compiled, judge)
        self._writer = writer
        self._bound = bound
        self._open_earlier = open_earlier
        self._clock = clock
        self._observer = observer
        self._pages = pages
        self._least_prefix_bytes = least_prefix_bytes
        self._tools = tools
        self._awaiting = 0
        """Steps that are set aside until calls of functions have results."""
        self._ledger: Ledger
        self._earlier: Earlier | None = None
        self._slow_renders = 0
        self._window_steps = window_steps
        self._window_bytes = window_bytes
        self._window: deque[Prepared] = deque()
        self._bytes = 0
        self._told: deque[Step] = deque()
        """Steps to follow up that are not prepared yet."""
        self._ahead: deque[Prepared] = deque()
        """Those that are."""
        self._ahead_bytes = 0
        self._following = False
        """Whether they are being prepared."""
        self._gathered: list[Prepared] = []
        self._gathered_bytes = 0
        self._pushed = min(PUSHED, max(1, window_steps // 4))
        self._pushed_bytes = min(PUSHED_BYTES, window_bytes // 4)
        self._changed = threading.Condition()
        self._uploads = uploads
        self._parked = Parked(window_steps, window_bytes)
        self._closed = False
        self._exhausted = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="runner-feeder", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        if self._uploads is not None:
            self._uploads.notify = self._notice_files
        self._thread.start()

    async def close(self) -> None:
        """End the thread, whatever it still had to read."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._uploads is not None:
            self._uploads.stop()
        await asyncio.to_thread(self._thread.join)

    # -- the feed, on the loop -------------------------------------------------------------------------------------

    async def take(self, limit: int) -> Sequence[Prepared]:
        while True:
            self._ready.clear()
            with self._changed:
                if self._error is not None:
                    raise self._error
                if self._ahead:
                    taken = [self._ahead.popleft() for _ in range(min(limit, len(self._ahead)))]
                    self._ahead_bytes -= sum(len(item.request.body) for item in taken)
                    self._changed.notify()
                    return taken
                if self._window:
                    taken = [self._window.popleft() for _ in range(min(limit, len(self._window)))]
                    self._bytes -= sum(len(item.request.body) for item in taken)
                    self._changed.notify()
                    return taken
                if self._exhausted and not (self._told or self._awaiting):
                    return []
            await self._ready.wait()

    async def peek_is_empty(self) -> bool:
        with self._changed:
            return self._exhausted and not (self._window or self._ahead or self._told or self._awaiting)

    def follow_up(self, step: Step) -> None:
        with self._changed:
            self._told.append(step)
            self._changed.notify()

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with SqliteLedger.open(self._folder, read_only=True) as ledger, self._opened_earlier() as earlier:
                self._ledger, self._earlier = ledger, earlier
                self._feed_all(ledger)
                self._note_exhausted()
                self._follow_up_until_closed()
        except BaseException as error:  # noqa: BLE001 - the worker's border: the engine raises it from `take`
            self._error = error
            self._note_exhausted()

    def _note_exhausted(self) -> None:
        with self._changed:
            self._exhausted = True
        self._loop.call_soon_threadsafe(self._ready.set)

    def _feed_all(self, ledger: Ledger) -> None:
        for page in self._opened(ledger):
            for step, row, prefixes in page:
                self._feed(step, row, prefixes)
                if self._told:
                    self._follow_up()
                if not (self._wait_for_tools() and self._hand_over()):
                    return
            if not (self._await_files(until_empty=True) and self._push()):  # the next page may be long in coming
                return

    def _follow_up_until_closed(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._told)
                if self._closed:
                    return
            self._follow_up()

    def _follow_up(self) -> None:
        """Prepare what was opened by outcomes, for the engine to take first; no more of it than the window holds, since
        functions may end by the hundred while the engine has enough."""
        self._following = True
        while self._told and self._wait_for_room_ahead():
            step = self._told[0]
            opened = self._ledger.open_step(step)
            request = None if opened is None else self._request(opened, self._ledger.row(step.row), ALL)
            if opened is not None and request is not None and request.pending:
                # It comes with the others of the window: mostly its files were uploaded for the step before.
                self._send_for_files(opened, request)
                if not (self._await_files(until_empty=True) and self._push()):
                    return
                request = None
            with self._changed:
                self._told.popleft()
                if opened is not None and request is not None:
                    self._ahead.append(self._prepared(opened, request))
                    self._ahead_bytes += len(request.body)
            self._loop.call_soon_threadsafe(self._ready.set)
        self._following = False

    def _wait_for_room_ahead(self) -> bool:
        """Wait until one more may be prepared for the engine to take first; False once the feed was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ahead_bytes < self._window_bytes)
            return not self._closed

    @property
    def _may_follow_up(self) -> bool:
        return bool(self._told) and not self._following

    def _opened_earlier(self) -> AbstractContextManager[Earlier | None]:
        earlier = self._open_earlier()
        return nullcontext() if earlier is None else closing(earlier)

    def _opened(self, ledger: Ledger) -> Iterator[Iterable[Opened]]:
        """Open steps with their rows, some at a time."""
        pages = (((step, ledger.row(step.step.row), ALL) for step in page) for page in self._pages(ledger))
        if not self._compiled.row_prefixes:
            yield from pages
            return
        in_groups = grouped(
            chain.from_iterable(pages),
            ledger,
            self._compiled,
            self._folder,
            least_bytes=self._least_prefix_bytes,
            stopped=lambda: self._closed,
        )
        with closing(in_groups):
            yield in_groups

    def _feed(self, open_step: OpenStep, row: Row, prefixes: int) -> None:
        """Gather one step, of whose prefixes so many are of use."""
        request = self._request(open_step, row, prefixes)
        if request is None:
            return
        if request.pending:
            self._send_for_files(open_step, request)
        else:
            self._gather(open_step, request)

    def _request(self, open_step: OpenStep, row: Row, prefixes: int) -> Request | None:
        """A step's request; None where it needs no engine, because its outcome is with the writer, or none yet, because
        functions have to be called first."""
        request = self._rendered(open_step.step, row)
        if isinstance(request, Awaited):
            self._await_tools(open_step.step, request)
            return None
        if isinstance(request, Failure):
            self._writer.post(self._unsendable(open_step, request))
            return None
        if isinstance(request, Standing):
            self._writer.post(self._standing(open_step, request))
            return None
        if self._earlier is not None and open_step.attempts == 0:
            outcome = self._earlier.find(open_step.step, row, request)
            if outcome is not None:
                self._writer.post(outcome)
                return None
        return self._with_fewer(request, prefixes) if len(request.prefixes) > prefixes else request

    def _gather(self, open_step: OpenStep, request: Request) -> None:
        self._gathered.append(self._prepared(open_step, request))
        self._gathered_bytes += len(request.body)

    def _prepared(self, open_step: OpenStep, request: Request) -> Prepared:
        return Prepared(open_step.step, request, open_step.attempts, self._bound(request), open_step.tries)

    def _with_fewer(self, request: Request, prefixes: int) -> Request:
        """Nobody waits for a prefix that no other row has."""
        shared = self._compiled.shared_prefixes
        fewer = shared if prefixes == len(shared) else request.prefixes[:prefixes]
        return replace(request, prefixes=fewer, prefix=fewer[-1].digest if fewer else b"")

    def _hand_over(self) -> bool:
        """Push what has been gathered where it is worth it, or waited for; False once the feed was closed."""
        if not self._parked.is_empty and not self._await_files(until_empty=False):
            return False
        few = len(self._gathered) < self._pushed and self._gathered_bytes < self._pushed_bytes
        if few and self._window:
            return not self._closed
        return self._push()

    def _await_tools(self, step: Step, awaited: Awaited) -> None:
        """Set a step aside, and take it up again when the calls before it have their results."""
        assert self._tools is not None, "a job whose replies may call has functions"
        with self._changed:
            self._awaiting += 1
        self._tools.begin(awaited.asking, awaited.calls, partial(self._tools_ended, step))

    def _tools_ended(self, step: Step, error: BaseException | None) -> None:
        with self._changed:
            self._awaiting -= 1
            if error is None:
                self._told.append(step)
            else:
                self._error = error
            self._changed.notify()
        if error is not None:
            self._ready.set()

    def _wait_for_tools(self) -> bool:
        """Wait while as many steps are set aside as the window holds, and follow up meanwhile; False once the feed was
        closed. So functions that are slower than the API hold the rows back, and no memory grows."""
        while self._awaiting >= self._window_steps:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._told or self._awaiting < self._window_steps)
                if self._closed:
                    return False
            self._follow_up()
        return True

    def _rendered(self, step: Step, row: Row) -> Request | Failure | Awaited | Standing:
        started = self._clock.monotonic()
        request: Request | Failure | Awaited | Standing
        if step.turn or step.round:
            request = self._composer.request(self._ledger, step, row)
        else:
            request = self._compiled.request(row)
        took_s = self._clock.monotonic() - started
        if took_s >= SLOW_RENDER_S and self._slow_renders < SLOW_RENDERS_TOLD:
            self._slow_renders += 1
            names = ", ".join(self._compiled.row_templates)
            warned = Warned("slow-render", f"rendering the row {row.key!r} took {took_s:.1f} s ({names})")
            self._loop.call_soon_threadsafe(self._observer.notify, warned)
        return request

    # -- requests whose files are on their way ---------------------------------------------------------------------

    def _send_for_files(self, open_step: OpenStep, request: Request) -> None:
        """Put in the ids of a request's files, now or when they are known. Of a step that was tried before, it may be
        the files that failed."""
        assert self._uploads is not None, "a job without uploads has no pending files"
        found = self._uploads.ids_of(request.pending, doubted=open_step.attempts > 0)
        if isinstance(found, Ticket):
            self._parked.add(found, open_step, request)
        else:
            self._gather(open_step, request.with_ids(found))

    def _await_files(self, *, until_empty: bool) -> bool:
        """Take what has its files: at once, or, where too much is parked or all of it is wanted, when it has come.
        False once the feed was closed."""
        while True:
            for open_step, arrived in self._parked.take_done():
                if isinstance(arrived, Request):
                    self._gather(open_step, arrived)
                elif arrived.scope == "row":  # else the run stops, and the row stays open
                    self._writer.post(self._unsendable(open_step, arrived))
            enough = self._parked.is_empty if until_empty else not self._parked.is_full
            if enough:
                return not self._closed
            if not self._push():
                return False
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._parked.has_done or self._may_follow_up)
                if self._closed:
                    return False
            if self._may_follow_up:
                self._follow_up()

    def _notice_files(self) -> None:
        """Called on the loop."""
        with self._changed:
            self._changed.notify()

    def _push(self) -> bool:
        """Hand over what has been gathered, once there is room; False once the feed was closed."""
        gathered, size = self._gathered, self._gathered_bytes
        if not gathered:
            return not self._closed
        self._gathered, self._gathered_bytes = [], 0
        if not self._wait_for_room(len(gathered), size):
            return False
        with self._changed:
            was_empty = not self._window
            self._window.extend(gathered)
            self._bytes += size
        if was_empty:
            self._loop.call_soon_threadsafe(self._ready.set)
        return True

    def _wait_for_room(self, steps: int, size_bytes: int) -> bool:
        """Wait until so much more fits in the window, and follow up meanwhile; False once the feed was closed. Only
        this thread fills the window, so the room stays."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._may_follow_up or self._has_room(steps, size_bytes))
                if self._closed:
                    return False
                if not self._may_follow_up:
                    return True
            self._follow_up()

    def _has_room(self, steps: int, size_bytes: int) -> bool:
        """Whether so much more fits in the window; into an empty one everything does."""
        few = len(self._window) + steps <= self._window_steps and self._bytes + size_bytes <= self._window_bytes
        return few or not self._window

    def _unsendable(self, open_step: OpenStep, failure: Failure) -> Outcome:
        now = self._clock.now()
        return Outcome(
            open_step.step, open_step.attempts + 1, "errored", self._compiled.mode, b"", now, now, failure=failure,
            tries=open_step.tries + 1
        )  # fmt: skip

    def _standing(self, open_step: OpenStep, standing: Standing) -> Outcome:
        """A reply that stands, as what a step came to that was not sent: it costs nothing, and is no request."""
        now = self._clock.now()
        return Outcome(
            open_step.step, open_step.attempts + 1, "succeeded", self._compiled.mode, b"", now, now,
            body=standing.body, reply=standing.reply, tries=open_step.tries + 1
        )  # fmt: skip
