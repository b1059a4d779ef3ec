"""What a person sees while a run goes on: a live block on a terminal, plain lines anywhere else.

Owns   the surfaces that show a `Progress` (`LiveBlock`, `PlainLines`) and `Display`, the observer that joins one
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
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from runner.cli.batch_tally import batch_words
from runner.cli.tally import Level, Notice, Progress, Tally
from runner.cli.terminal import duration, ranked, share, usd
from runner.clock import Clock
from runner.events import Event

REDRAW_S = 0.25
"""Four times a second: enough to look alive, half of what a slow remote terminal is allowed."""
LOOK_S = 0.5
"""How often plain lines look for something to say."""
EVERY_S = 10.0
"""Seconds between two progress lines in a log: 360 lines for an hour."""
_STYLES: Mapping[Level, str] = {"info": "dim", "warning": "yellow", "stop": "bold red"}


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
            self._write(_said(notice))
        if progress.ended:
            self._job = ""
        elif progress.job != self._job:
            self._job, self._last_at = progress.job, progress.at
        elif progress.at - self._last_at >= self._every_s:
            self._last_at = progress.at
            self._write(f"{progress.job}: {_line(progress)}")

    def close(self) -> None:
        """Nothing to take back."""

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class LiveBlock:
    """A few lines at the bottom of a terminal that are drawn again in place; notices scroll by above them.

    The block is there only while a run goes on: before and after it the terminal, with its cursor, belongs to others (a
    question, the summary).
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def show(self, notices: Sequence[Notice], progress: Progress) -> None:
        for notice in notices:
            if notice.progress is None:  # the line that ends a run would only repeat the summary that follows
                self._console.print(Text(notice.text, style=_STYLES[notice.level]))
        if progress.ended:
            self.close()
            return
        if self._live is None:
            # Our own thread redraws; stdout and stderr stay as they are, because a sink may write to stdout.
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(_Block(progress), refresh=True)

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()


class Display:
    """The observer for people. Use it as a context manager around a run; `notify` may be called by any thread."""

    def __init__(self, surface: Surface, clock: Clock, *, interval_s: float) -> None:
        self._surface = surface
        self._interval_s = interval_s
        self._tally = Tally(clock)
        self._stop = threading.Event()
        self._gone = False
        self._thread = threading.Thread(target=self._watch, name="display", daemon=True)

    def notify(self, event: Event) -> None:
        self._tally.notify(event)

    def refresh(self) -> None:
        """Show what there is now."""
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
    plain = bool(environ.get("NO_COLOR"))
    console = Console(
        file=stream,
        force_terminal=True,
        color_system=None if plain else "auto",
        no_color=plain,
        highlight=False,
        markup=False,
        emoji=False,
    )
    return Display(LiveBlock(console), clock, interval_s=REDRAW_S)


# -- words -------------------------------------------------------------------------------------------------------------
def _said(notice: Notice) -> str:
    if notice.progress is None:
        return notice.text
    return f"{notice.text}: {_line(notice.progress)}, in {duration(notice.progress.elapsed_s)}"


def _line(progress: Progress) -> str:
    """All of it in one line."""
    parts = [f"{progress.done:,}/{progress.total:,} rows ({share(progress.done, progress.total)})"]
    if not progress.ended:
        parts += _under_way(progress)
    parts += [*_tokens(progress), _cost(progress), *_troubles(progress)]
    if not progress.ended and progress.left_s is not None:
        parts.append(f"{duration(progress.left_s)} left")
    return ", ".join(part for part in parts if part)


def _under_way(progress: Progress) -> list[str]:
    """What is being waited for: requests in flight, and batches, of which nothing is known until they have ended."""
    at_api = progress.at_api
    if at_api is None:
        return [f"{progress.in_flight:,} in flight", _rate(progress)]
    in_flight = [f"{progress.in_flight:,} in flight", _rate(progress)] if progress.in_flight else []
    return [*in_flight, *batch_words(at_api)]


def _rate(progress: Progress) -> str:
    return f"{progress.rows_per_s:,.1f} rows/s" if progress.rows_per_s is not None else ""


def _tokens(progress: Progress) -> list[str]:
    if not progress.prompt_tokens:
        return []
    cached = share(progress.cached_tokens, progress.prompt_tokens)
    return [f"tokens {progress.prompt_tokens:,} in, {progress.output_tokens:,} out", f"{cached} from cache"]


def _cost(progress: Progress) -> str:
    text = f"cost {usd(progress.cost_pico)}"
    if progress.cap_pico is not None:
        text += f" of {usd(progress.cap_pico)} ({share(progress.cost_pico, progress.cap_pico)})"
    return f"{text} and {progress.unpriced:,} of unknown price" if progress.unpriced else text


def _troubles(progress: Progress) -> list[str]:
    parts = []
    if progress.reused:
        parts.append(f"{progress.reused:,} reused")
    if progress.failures:
        what = "rows" if progress.samples == 1 else "samples"
        parts.append(f"failed {what} {ranked(progress.failures)}")
    if progress.retried:
        parts.append(f"failed attempts {ranked(progress.retried)}")
    if progress.cooling_s > 0 and not progress.ended:
        parts.append(f"waiting {duration(progress.cooling_s)} ({progress.cooling_reason})")
    elif progress.held and not progress.ended:
        parts.append(progress.held)
    return parts


@dataclass(frozen=True, slots=True)
class _Block:
    """The live block, as it is drawn.

    Each line is cropped to the terminal's width of that moment: one that wrapped would leave rests behind at the next.
    """

    progress: Progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        progress = self.progress
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text(progress.job, style="bold"),
            ProgressBar(
                total=max(1, progress.total), completed=progress.done, width=min(40, max(8, options.max_width // 4))
            ),
            f"{progress.done:,}/{progress.total:,}",
            share(progress.done, progress.total),
            "" if progress.left_s is None else f"{duration(progress.left_s)} left",
        )
        parts = [*_under_way(progress), f"{duration(progress.elapsed_s)} so far"]
        lines = [_joined(parts), _joined([_cost(progress), *_tokens(progress)])]
        troubles = _joined(_troubles(progress))
        if troubles:
            lines.append(troubles)
        # One column is left free: some terminals wrap when the last one is written.
        inner = options.update(width=max(1, options.max_width - 1), no_wrap=True, overflow="ellipsis")
        block = Group(bar, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))
        rendered = console.render_lines(block, inner, pad=False)
        for number, line in enumerate(rendered):
            if number:
                yield Segment.line()
            yield from line


def _joined(parts: Sequence[str]) -> str:
    return "  " + "   ".join(part for part in parts if part)


__all__ = ["Display", "LiveBlock", "PlainLines", "Surface", "open_display"]
