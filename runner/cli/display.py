"""What a person sees while a run goes on: a live block on a terminal, plain lines anywhere else.

Owns   `PlainLines`, which like `live_block.LiveBlock` shows a `Progress`, and `Display`, the observer that joins one
       of them to a `Tally`. A thread of its own looks at the tally a few times a second, so that a slow or blocked
       terminal never holds up a request.
Knows  nothing but the tally; it neither decides nor asks anything.

Invariants
  * A terminal is redrawn at most 8 times a second; elsewhere there is at most one progress line every `EVERY_S`
    seconds, besides the start, warnings, deliveries and the end.
  * Nothing is parsed as rich markup, and every text came through `terminal.plain_text` in the tally.
  * A stream that is gone (closed pipe, hung-up terminal) ends the display, not the run.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self, TextIO

from runner.cli.progress_words import line, said
from runner.cli.tally import Notice, Progress, Tally
from runner.clock import Clock
from runner.events import Event, Preparing

REDRAW_S = 0.25
"""Four times a second: enough to look alive, half of what a slow remote terminal is allowed."""
LOOK_S = 0.5
"""How often plain lines look for something to say."""
EVERY_S = 10.0
"""Seconds between two progress lines in a log: 360 lines for an hour."""


class Surface(Protocol):
    """Something that can show where a run stands. Raises OSError where its stream is gone."""

    def show(self, notices: Sequence[Notice], progress: Progress) -> None: ...

    def close(self) -> None:
        """Give the stream back as it was."""
        ...


class PlainLines:
    """Lines of text for logs, pipes and CI: no colours, no cursor movement, each line flushed."""

    def __init__(self, stream: TextIO, *, every_s: float = EVERY_S) -> None:
        self._stream = stream
        self._every_s = every_s
        self._job = ""
        self._last_at = 0.0

    def show(self, notices: Sequence[Notice], progress: Progress) -> None:
        for notice in notices:
            self._write(said(notice))
        if progress.ended and not progress.preparing:
            self._job = ""
        elif progress.job != self._job:
            self._job, self._last_at = progress.job, progress.at
        elif progress.at - self._last_at >= self._every_s:
            self._last_at = progress.at
            self._write(f"{progress.job}: {progress.preparing or line(progress)}")

    def close(self) -> None:
        """Nothing to take back."""

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class Display:
    """The observer for people. Use it as a context manager around a run; `notify` may be called by any thread."""

    def __init__(self, surface: Surface, clock: Clock, *, interval_s: float) -> None:
        self._surface = surface
        self._interval_s = interval_s
        self._tally = Tally(clock)
        self._stop = threading.Event()
        self._gone = False
        self._drawing = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="display", daemon=True)

    def notify(self, event: Event) -> None:
        self._tally.notify(event)
        if isinstance(event, Preparing) and event.done >= event.rows:
            self.refresh()  # at once: a question may follow, and the terminal is its own then

    def refresh(self) -> None:
        """Show what there is now."""
        with self._drawing:
            if self._gone:
                return
            try:
                self._surface.show(self._tally.notices(), self._tally.progress())
            except (OSError, ValueError):  # ValueError: "I/O operation on closed file"
                self._gone = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        try:
            self._thread.join()
            self.refresh()
        finally:
            self._close()  # whatever happens, the terminal gets its cursor back

    def _close(self) -> None:
        try:
            self._surface.close()
        except (OSError, ValueError):
            self._gone = True

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_s) and not self._gone:
            self.refresh()


def open_display(stream: TextIO, clock: Clock, environ: Mapping[str, str]) -> Display:
    """The display that suits `stream` (stderr): live on a terminal that can move its cursor, plain lines elsewhere.

    `NO_COLOR` (no-color.org: any value that is not empty) keeps the live block and leaves out every style.
    """
    if not stream.isatty() or environ.get("TERM", "") in {"", "dumb", "unknown"}:
        return Display(PlainLines(stream), clock, interval_s=LOOK_S)
    from runner.cli.live_block import live_block_on  # loads rich

    return Display(live_block_on(stream, plain=bool(environ.get("NO_COLOR"))), clock, interval_s=REDRAW_S)
