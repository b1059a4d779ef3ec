"""The display: plain lines and the live block, turned by a hand-held clock."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from runner.cli.display import Display, PlainLines, open_display
from runner.cli.live_block import LiveBlock
from runner.cli.tally import MAX_KINDS, Notice, Progress, Tally
from runner.events import (
    CoolingDown,
    Preparing,
    RunEnded,
    RunStarted,
    SinkDelivered,
    StepEnded,
    StepSent,
    Stopping,
    Warned,
)
from runner.types import PICO_PER_USD, Failure, RowStatus, Step, Usage

USAGE = Usage(input_tokens=60, output_tokens=9, cache_read_input_tokens=900, ephemeral_5m_input_tokens=40)
COST = 145_000_000


class HandClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def started(
    rows: int = 100, open_rows: int = 100, cap_pico: int | None = PICO_PER_USD // 20, *, resumed: bool = False
) -> RunStarted:
    return RunStarted("r7", "sentiment", "parallel", rows, open_rows, cap_pico, resumed)


def ended(
    row: int,
    status: RowStatus = "succeeded",
    kind: str = "",
    *,
    cost: int | None = COST,
    in_flight: int | None = 8,
    reused: bool = False,
) -> StepEnded:
    failure = Failure(kind, "why") if kind else None
    return StepEnded(Step(row), 1, status, failure, USAGE, cost, reused, in_flight)


def run_story(display: Display, clock: HandClock) -> None:
    """A run of 100 rows: a good start, a pause, failures, a warning, the end."""
    display.notify(started())
    display.refresh()
    for row in range(40):
        display.notify(StepSent(Step(row), 1, 8))
        display.notify(ended(row))
    clock.seconds += 10
    display.refresh()
    display.notify(Warned("cache-cold", "the shared block was written twice"))
    display.notify(Warned("cache-cold", "the shared block was written twice"))
    display.notify(CoolingDown(30, "rate_limit_error"))
    for row in range(40, 45):
        display.notify(ended(row, "open", "rate_limit_error"))
    clock.seconds += 4
    display.refresh()
    clock.seconds += 6
    display.refresh()
    for row in range(40, 100):
        display.notify(ended(row, "failed", "refusal") if row % 20 == 0 else ended(row, in_flight=0))
    clock.seconds += 12
    display.refresh()
    display.notify(SinkDelivered("jsonl", "out/sentiment.jsonl", 100))
    display.notify(RunEnded("r7", "finished"))
    display.refresh()


def test_plain_lines_tell_the_story_of_a_run(snapshot: SnapshotAssertion) -> None:
    clock, stream = HandClock(), io.StringIO()
    run_story(Display(PlainLines(stream), clock, interval_s=60), clock)
    assert stream.getvalue() == snapshot
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_a_warm_up_costs_and_is_no_row() -> None:
    clock, plain, warmed = HandClock(), io.StringIO(), io.StringIO()
    for stream, rows in ((plain, [0]), (warmed, [-1, 0])):
        display = Display(PlainLines(stream), clock, interval_s=60)
        display.notify(started())
        for row in rows:
            display.notify(ended(row, "failed", "invalid_request_error") if row < 0 else ended(row))
        display.notify(RunEnded("r7", "stopped"))
        display.refresh()
    assert plain.getvalue() != warmed.getvalue(), "its cost is told"
    assert "invalid_request_error" not in warmed.getvalue()
    assert "1 of 100" in warmed.getvalue() or "1/100" in warmed.getvalue(), warmed.getvalue()


def live_console(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width, height=20, highlight=False)


def screen(console: Console) -> Sequence[str]:
    """What stands on the terminal in the end: carries out the few controls that a redraw uses."""
    assert isinstance(console.file, io.StringIO)
    lines, row, column = [""], 0, 0
    text = console.file.getvalue()
    at = 0
    while at < len(text):
        if text[at] == "\x1b":
            end = next(i for i in range(at + 2, len(text)) if text[i].isalpha())
            sequence, at = text[at + 2 : end + 1], end + 1
            if sequence.endswith("A"):
                row = max(0, row - int(sequence[:-1] or 1))
            elif sequence == "2K":
                lines[row] = ""
            else:
                assert sequence in {"?25l", "?25h"}, f"an unexpected control: {sequence!r}"
        elif text[at] == "\n":
            row, column, at = row + 1, 0, at + 1
            lines += [""] * (row + 1 - len(lines))
        elif text[at] == "\r":
            column, at = 0, at + 1
        else:
            lines[row] = lines[row][:column].ljust(column) + text[at] + lines[row][column + 1 :]
            column, at = column + 1, at + 1
    return [line.rstrip() for line in lines]


def test_the_live_block_is_drawn_in_place(snapshot: SnapshotAssertion) -> None:
    clock, console = HandClock(), live_console(100)
    surface = LiveBlock(console)
    display = Display(surface, clock, interval_s=60)
    display.notify(started())
    for row in range(40):
        display.notify(ended(row))
    clock.seconds += 10
    display.refresh()
    display.notify(Warned("cache-cold", "the shared block was written twice"))
    display.notify(ended(40, "failed", "refusal"))
    display.notify(ended(41, "open", "overloaded_error"))
    display.notify(CoolingDown(20, "overloaded_error"))
    clock.seconds += 2
    display.refresh()
    assert "\n".join(screen(console)) == snapshot


def test_the_live_block_leaves_only_what_was_said_when_it_is_over(snapshot: SnapshotAssertion) -> None:
    clock, console = HandClock(), live_console(100)
    surface = LiveBlock(console)
    run_story(Display(surface, clock, interval_s=60), clock)
    surface.close()
    assert "\n".join(screen(console)).rstrip() == snapshot


def preparing(done: int, rows: int = 5_000) -> Preparing:
    return Preparing("sentiment", "looking for rows that ask the same", done, rows)


def test_plain_lines_tell_what_goes_on_before_a_run_starts() -> None:
    clock, stream = HandClock(), io.StringIO()
    display = Display(PlainLines(stream), clock, interval_s=60)
    for done in (0, 1_200, 2_400):
        display.notify(preparing(done))
        display.refresh()
        clock.seconds += 6
    display.refresh()
    display.notify(preparing(5_000))
    display.notify(started())
    display.refresh()
    assert stream.getvalue().splitlines() == [
        "sentiment: looking for rows that ask the same: 2,400 of 5,000 rows",
        "sentiment: run r7: 100 rows in parallel mode",
    ]


def test_a_short_preparation_is_not_told() -> None:
    clock, stream = HandClock(), io.StringIO()
    display = Display(PlainLines(stream), clock, interval_s=60)
    display.notify(preparing(0, 1))
    display.notify(preparing(1, 1))
    display.refresh()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("width", [100, 30])
def test_the_live_block_of_a_preparation_is_gone_before_anything_is_asked(width: int) -> None:
    clock, console = HandClock(), live_console(width)
    display = Display(LiveBlock(console), clock, interval_s=60)
    display.notify(preparing(1_200))
    display.refresh()
    (line,) = screen(console)
    assert "sentiment: looking for rows"[: width - 1] in line
    assert len(line) < width
    display.notify(preparing(5_000))  # nobody refreshes, and the terminal is free
    assert "".join(screen(console)) == ""


@pytest.mark.parametrize("width", [200, 80, 40, 12, 3])
def test_no_line_of_the_live_block_wraps(width: int) -> None:
    console = live_console(width)
    surface = LiveBlock(console)
    progress = Progress(
        at=0,
        job="a-job-with-quite-a-long-name",
        total=3_700_000,
        done=1_250_000,
        in_flight=200,
        rows_per_s=41.25,
        left_s=59_393,
        prompt_tokens=10**9,
        cached_tokens=9 * 10**8,
        output_tokens=10**8,
        cost_pico=PICO_PER_USD,
        cap_pico=PICO_PER_USD * 5,
        failures={"refusal": 12, "truncated": 3},
        retried={"rate_limit_error": 120},
        ended=False,
    )
    surface.show((), progress)
    assert max(len(line) for line in screen(console)) < width


def test_a_smaller_terminal_is_drawn_to_its_new_width() -> None:
    console = live_console(100)
    surface = LiveBlock(console)
    progress = Progress(at=0, job="sentiment", total=100, done=50, rows_per_s=4, left_s=12, ended=False)
    surface.show((), progress)
    console.size = console.size._replace(width=20)  # what a resize looks like to rich
    surface.show((), progress)
    assert max(len(line) for line in screen(console)) < 20


def test_before_and_after_a_run_the_terminal_is_left_alone() -> None:
    clock, console = HandClock(), live_console(80)
    display = Display(LiveBlock(console), clock, interval_s=60)
    assert isinstance(console.file, io.StringIO)
    display.refresh()
    assert console.file.getvalue() == ""
    for _ in range(2):
        display.notify(started())
        display.refresh()
        display.notify(RunEnded("r7", "finished"))
        display.refresh()
    written = console.file.getvalue()
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 2
    display.refresh()
    assert console.file.getvalue() == written
    said = screen(console)
    assert [line for line in said if line] == [
        "sentiment: run r7: 100 rows in parallel mode",
        "sentiment: run r7: 100 rows in parallel mode",
    ]


def test_a_resumed_run_counts_what_was_done_and_spent_before() -> None:
    clock = HandClock()
    tally = Tally(clock)
    tally.notify(RunStarted("r7", "sentiment", "parallel", 100, 30, 10 * COST, resumed=True, spent_pico=4 * COST))
    tally.notify(ended(70))
    clock.seconds += 2
    progress = tally.progress()
    assert (progress.done, progress.cost_pico) == (71, 5 * COST)
    assert progress.rows_per_s == 0.5
    assert progress.left_s == 58
    assert "30 of 100 rows to do" in tally.notices()[0].text


def test_the_rate_begins_with_the_first_request() -> None:
    clock = HandClock()
    tally = Tally(clock)
    tally.notify(started())
    clock.seconds += 100  # connecting, importing
    assert tally.progress().rows_per_s is None
    tally.notify(StepSent(Step(0), 1, 1))
    clock.seconds += 2
    tally.notify(ended(0))
    assert tally.progress().rows_per_s == 0.5


def test_a_stop_says_what_is_awaited_and_what_a_second_ctrl_c_does() -> None:
    tally = Tally(HandClock())
    tally.notify(started())
    tally.notify(Stopping("interrupted", "interrupted"))
    tally.notify(Stopping("budget", "the cap is reached"))
    assert [notice.text for notice in tally.notices()[1:]] == [
        "sentiment: interrupted; waiting for what is in flight (Ctrl-C again drops it)",
        "sentiment: stopping (budget): the cap is reached; waiting for what is in flight",
    ]


def test_rows_a_second_forget_what_is_half_a_minute_old() -> None:
    clock = HandClock()
    tally = Tally(clock)
    tally.notify(started(rows=1000, open_rows=1000))
    for row in range(300):
        tally.notify(ended(row))
    clock.seconds += 10
    assert tally.progress().rows_per_s == 30
    for _ in range(40):
        clock.seconds += 1
        slow = tally.progress()
    assert slow.rows_per_s == 0
    assert slow.left_s is None


def test_a_row_of_several_samples_counts_once() -> None:
    tally = Tally(HandClock())
    tally.notify(RunStarted("r7", "sentiment", "parallel", 10, 8, None, resumed=True, samples=3))
    assert tally.progress().done == 2
    for sample in range(3):
        tally.notify(replace(ended(5), step=Step(5, sample=sample)))
        assert tally.progress().done == (3 if sample == 2 else 2)


def test_an_attempt_that_is_tried_again_is_no_finished_row() -> None:
    tally = Tally(HandClock())
    tally.notify(started())
    tally.notify(ended(1, "open", "overloaded_error"))
    tally.notify(ended(1))
    progress = tally.progress()
    assert (progress.done, progress.failures, progress.retried) == (1, {}, {"overloaded_error": 1})


def test_an_outcome_that_was_never_sent_leaves_the_count_in_flight() -> None:
    tally = Tally(HandClock())
    tally.notify(started())
    tally.notify(StepSent(Step(0), 1, 5))
    tally.notify(ended(1, in_flight=None, reused=True))
    progress = tally.progress()
    assert (progress.in_flight, progress.reused) == (5, 1)


def test_a_reply_of_unknown_price_is_told_apart_from_a_free_one() -> None:
    clock, stream = HandClock(), io.StringIO()
    display = Display(PlainLines(stream, every_s=1), clock, interval_s=60)
    display.notify(started(cap_pico=None))
    display.refresh()
    display.notify(ended(0, cost=None))
    clock.seconds += 1
    display.refresh()
    assert "cost $0.00 and 1 of unknown price" in stream.getvalue()


def test_kinds_of_failure_are_bounded_and_the_commonest_are_named() -> None:
    clock, stream = HandClock(), io.StringIO()
    display = Display(PlainLines(stream, every_s=1), clock, interval_s=60)
    display.notify(started(rows=10_000, open_rows=10_000))
    display.refresh()
    for row in range(500):
        display.notify(ended(row, "failed", f"kind_{row}"))
    for row in range(500, 503):
        display.notify(ended(row, "failed", "kind_3"))
    clock.seconds += 1
    display.refresh()
    assert "failed rows 503 (other 450, kind_3 4, kind_0 1, kind_1 1, others 47)" in stream.getvalue()
    tally = Tally(clock)
    tally.notify(started())
    for row in range(500):
        tally.notify(ended(row, "failed", f"kind_{row}"))
    assert len(tally.progress().failures) == MAX_KINDS + 1


def test_text_from_outside_cannot_control_the_terminal() -> None:
    clock, console = HandClock(), live_console(200)
    surface = LiveBlock(console)
    display = Display(surface, clock, interval_s=60)
    hostile = "\x1b[2J\x1b]0;title\x07\u202e[bold]x[/bold]"
    display.notify(RunStarted("r\x1b[1m", f"job{hostile}", "parallel", 10, 10, None, False))
    display.notify(ended(0, "failed", f"kind{hostile}"))
    display.notify(CoolingDown(5, f"reason{hostile}"))
    display.notify(Warned("code", f"message{hostile}\nsecond line"))
    display.notify(Stopping(f"reason{hostile}", f"stop{hostile}"))
    display.notify(SinkDelivered("jsonl", f"target{hostile}", 1))
    display.refresh()
    shown = "\n".join(screen(console))  # fails on any control that a redraw does not use
    for word in ("job", "kind", "reason", "message", "stop", "target"):
        assert f"{word}[bold]x[/bold]" in shown
    assert "title" not in shown
    assert "\u202e" not in shown


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_stream_that_is_gone_does_not_stop_the_run() -> None:
    clock = HandClock()
    with Display(PlainLines(Gone()), clock, interval_s=60) as display:
        display.notify(started())
        display.refresh()
        display.notify(RunEnded("r7", "finished"))


def test_a_blocked_terminal_does_not_block_whoever_tells() -> None:
    release = threading.Event()
    showing = threading.Event()

    class Blocked:
        def show(self, notices: Sequence[Notice], progress: Progress) -> None:
            showing.set()
            release.wait(60)

        def close(self) -> None: ...

    with Display(Blocked(), HandClock(), interval_s=0.001) as display:
        assert showing.wait(60)
        display.notify(started())
        for row in range(100):
            display.notify(ended(row))
        release.set()


def test_leaving_shows_what_was_not_shown_yet() -> None:
    clock, stream = HandClock(), io.StringIO()
    with Display(PlainLines(stream), clock, interval_s=60) as display:
        display.notify(started())
        display.notify(RunEnded("r7", "interrupted"))
    assert stream.getvalue() == (
        "sentiment: run r7: 100 rows in parallel mode\n"
        "sentiment: interrupted: 0/100 rows (0%), cost $0.00 of $0.0500 (0%), in 0:00\n"
    )


@pytest.mark.parametrize("environ", [{}, {"TERM": "dumb"}, {"TERM": "xterm-256color"}])
def test_what_is_no_terminal_gets_plain_lines(environ: dict[str, str]) -> None:
    stream = io.StringIO() if environ.get("TERM") != "dumb" else Terminal()
    with open_display(stream, HandClock(), environ) as display:
        display.notify(started())
    assert stream.getvalue() == "sentiment: run r7: 100 rows in parallel mode\n"


def test_no_color_leaves_out_every_style_on_a_terminal() -> None:
    colored, plain = Terminal(), Terminal()
    for stream, environ in ((colored, {}), (plain, {"NO_COLOR": "1"})):
        with open_display(stream, HandClock(), {"TERM": "xterm-256color", **environ}) as display:
            display.notify(started())
            display.notify(Warned("code", "message"))
            display.refresh()
    assert "m" in {part[: part.find("m") + 1][-1:] for part in colored.getvalue().split("\x1b[")[1:]}
    assert not [part for part in plain.getvalue().split("\x1b[")[1:] if part.lstrip("0123456789;").startswith("m")]
