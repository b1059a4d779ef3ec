"""The live block: where a run stands, drawn again in place at the bottom of a terminal.

Owns   `LiveBlock`. The only module that imports rich, which takes 10 ms and is loaded for a terminal alone.
Knows  the tally's values and their words. Nothing is parsed as rich markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TextIO

from msgspec import Struct
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from runner.cli.progress_words import cost, tokens, troubles, under_way
from runner.cli.tally import Level, Notice, Progress
from runner.cli.terminal import duration, share

_STYLES: Mapping[Level, str] = {"info": "dim", "warning": "yellow", "stop": "bold red"}


class LiveBlock:
    """A few lines at the bottom of a terminal that are drawn again in place; notices scroll by above them.

    The block is there only while a run is prepared or goes on: at other times the terminal, with its cursor, belongs to
    others (a question, the summary).
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def show(self, notices: Sequence[Notice], progress: Progress) -> None:
        for notice in notices:
            if notice.progress is None:  # the line that ends a run would only repeat the summary that follows
                self._console.print(Text(notice.text, style=_STYLES[notice.level]))
        if progress.ended and not progress.preparing:
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


class _Block(Struct, frozen=True):
    """The live block, as it is drawn.

    Each line is cropped to the terminal's width of that moment: one that wrapped would leave rests behind at the next.
    """

    progress: Progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # One column is left free: some terminals wrap when the last one is written.
        inner = options.update(width=max(1, options.max_width - 1), no_wrap=True, overflow="ellipsis")
        block = self._preparation() if self.progress.preparing else self._standing(options)
        for number, line in enumerate(console.render_lines(block, inner, pad=False)):
            if number:
                yield Segment.line()
            yield from line

    def _preparation(self) -> RenderableType:
        return Text(f"{self.progress.job}: {self.progress.preparing}", no_wrap=True, overflow="ellipsis")

    def _standing(self, options: ConsoleOptions) -> RenderableType:
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
        parts = [*under_way(progress), f"{duration(progress.elapsed_s)} so far"]
        lines = [_joined(parts), _joined([cost(progress), *tokens(progress)])]
        trouble = _joined(troubles(progress))
        if trouble:
            lines.append(trouble)
        return Group(bar, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))


def _joined(parts: Sequence[str]) -> str:
    return "  " + "   ".join(part for part in parts if part)


def live_block_on(stream: TextIO, *, plain: bool) -> LiveBlock:
    """A live block on a terminal; a plain one has no styles."""
    return LiveBlock(
        Console(
            file=stream,
            force_terminal=True,
            color_system=None if plain else "auto",
            no_color=plain,
            highlight=False,
            markup=False,
            emoji=False,
        )
    )
