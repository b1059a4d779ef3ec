"""Where a run stands, as counts: events in, a `Progress` out.

Owns   `Tally`, which `notify` touches on the loop's thread and which costs a microsecond or two an event, and the
       values that a display shows: `Progress` for what changes, `Notice` for what is said once.
Knows  events only. Times come from the clock that it is given.

Invariants
  * Memory does not grow with the rows: kinds of failure, waiting notices and remembered warnings are bounded, and of
    batches only those are remembered that are not over.
  * Text that an event carries has passed `terminal.plain_text` before it leaves this module.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct, field

from runner.cli.batch_tally import AtApi, BatchTally, said_of
from runner.cli.patience import SIGNALLED
from runner.cli.terminal import counted, plain_text
from runner.clock import Clock
from runner.events import (
    BatchMoved,
    BatchSettled,
    CoolingDown,
    Event,
    FileUploaded,
    HeldBack,
    Packed,
    Preparing,
    RunEnded,
    RunStarted,
    SinkDelivered,
    StepEnded,
    StepSent,
    Stopping,
    Warned,
)
from runner.execution.holding import held_words
from runner.types import Mode

RATE_WINDOW_S = 30.0
"""Rows a second are those of the last half minute, so that a pause shows and a slow start is forgotten."""
MAX_KINDS = 50
"""Kinds of failure that are counted apart; a server that invents one for each row does not grow memory."""
MAX_NOTICES = 1000
"""Notices that wait to be shown, and warnings that are remembered as shown."""

Level = Literal["info", "warning", "stop"]


class Notice(Struct, frozen=True):
    """A line that is said once; `progress` is where the run stood, for the line that ends it."""

    level: Level
    text: str
    progress: Progress | None = None


class Progress(Struct, frozen=True):
    """Where a run stands at one moment. `at` and the other seconds are the clock's monotonic ones."""

    at: float
    job: str = ""
    mode: Mode = "parallel"
    total: int = 0
    """Rows that are sent; those that end with them are not counted."""
    done: int = 0
    samples: int = 1
    """How many conversations a row has; each of them may fail."""
    in_flight: int = 0
    rows_per_s: float | None = None
    left_s: float | None = None
    elapsed_s: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_pico: int = 0
    cap_pico: int | None = None
    unpriced: int = 0
    reused: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    retried: Mapping[str, int] = field(default_factory=dict)
    cooling_s: float = 0.0
    cooling_reason: str = ""
    held: str = ""
    """What holds requests back, in words."""
    at_api: AtApi | None = None
    """What batches there are; None where there was none in this sitting."""
    stopping: bool = False
    ended: bool = True
    preparing: str = ""
    """What goes on before the run starts, in words, and how far it is."""


class Tally:
    """Counts of one run at a time; a `RunStarted` begins the next. Told by any thread, read by the display's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._notices: deque[Notice] = deque(maxlen=MAX_NOTICES)
        self._warned: set[tuple[str, str]] = set()
        self._started: RunStarted | None = None
        self._ended = True
        self._preparation: Preparing | None = None
        self._tell: dict[type, Callable[..., None]] = {
            Preparing: self._preparing,
            RunStarted: self._run_started,
            StepSent: self._step_sent,
            StepEnded: self._step_ended,
            Packed: self._packed,
            BatchMoved: self._batch_moved,
            BatchSettled: self._batch_settled,
            FileUploaded: self._file_uploaded,
            CoolingDown: self._cooling_down,
            HeldBack: self._held_back,
            Warned: self._told_warning,
            Stopping: self._told_stop,
            SinkDelivered: self._sink_delivered,
            RunEnded: self._run_ended,
        }
        self._begin(rows_before=0, spent_pico=0)

    def notify(self, event: Event) -> None:
        with self._lock:
            self._tell[type(event)](event)

    def notices(self) -> Sequence[Notice]:
        """What is to be said since the last time."""
        with self._lock:
            taken = tuple(self._notices)
            self._notices.clear()
        return taken

    def progress(self) -> Progress:
        with self._lock:
            return self._progress(self._clock.monotonic())

    def _begin(self, *, rows_before: int, spent_pico: int, samples: int = 1) -> None:
        now = self._clock.monotonic()
        self._began_at = now
        self._samples: deque[tuple[float, int]] = (
            deque()
        )  # from the first request or answer on: connecting is no slowness
        self._samples_a_row = samples
        self._done = rows_before * samples  # what ends is a sample: a row has as many as the job asks for
        self._in_flight = 0
        self._input = self._cache_read = self._cache_written = self._output = 0
        self._cost_pico = spent_pico
        self._unpriced = self._reused = 0
        self._uploaded = self._uploaded_bytes = 0
        self._failures: Counter[str] = Counter()
        self._retried: Counter[str] = Counter()
        self._cooling_until = now
        self._cooling_reason = ""
        self._held = ""
        self._stopping = False
        self._batches = BatchTally()

    # -- events, rarest last; the first two come once or more for every row --------------------------------------------
    def _step_sent(self, event: StepSent) -> None:
        self._begin_rate()
        self._in_flight = event.in_flight

    def _begin_rate(self) -> None:
        if not self._samples:
            self._samples.append((self._clock.monotonic(), self._done))

    def _step_ended(self, event: StepEnded) -> None:
        self._begin_rate()
        if event.in_flight is not None:
            self._in_flight = event.in_flight
        usage = event.usage
        self._input += usage.input_tokens
        self._cache_read += usage.cache_read_input_tokens
        self._cache_written += usage.ephemeral_5m_input_tokens + usage.ephemeral_1h_input_tokens
        self._output += usage.output_tokens
        if event.cost_pico is None:
            self._unpriced += 1
        else:
            self._cost_pico += event.cost_pico
        if event.step.row < 0:
            return  # a warm-up: it costs, and is no row
        if event.status != "open":
            self._done += 1
            self._reused += event.reused
        if event.failure is not None:
            _count(self._retried if event.status == "open" else self._failures, event.failure.kind)

    def _packed(self, event: Packed) -> None:
        self._batches.packed(event)

    def _batch_moved(self, event: BatchMoved) -> None:
        self._batches.moved(event)
        said = said_of(event)
        if said is not None:
            self._say("warning" if event.state == "in_doubt" else "info", said)

    def _batch_settled(self, event: BatchSettled) -> None:
        usage = event.usage
        self._input += usage.input_tokens
        self._cache_read += usage.cache_read_input_tokens
        self._cache_written += usage.ephemeral_5m_input_tokens + usage.ephemeral_1h_input_tokens
        self._output += usage.output_tokens
        self._cost_pico += event.cost_pico
        self._unpriced += event.unpriced
        for status, number in event.statuses.items():
            if status == "open":
                self._retried["of batches"] += number
                continue
            self._done += number
            if status not in ("succeeded", "canceled"):  # taken back is not failed
                self._failures[status] += number

    def _run_started(self, event: RunStarted) -> None:
        self._started, self._ended, self._preparation = event, False, None
        self._warned.clear()
        ended = event.rows - event.open_rows - (event.twins - event.open_twins)
        self._begin(rows_before=ended, spent_pico=event.spent_pico, samples=event.samples)
        if event.task == "cancel":
            what = f"canceling run {event.run_id}: {event.open_rows:,} of {counted(event.rows, 'row')} are open"
        elif event.task == "collect":
            what = f"collecting what run {event.run_id} has at the API"
        elif event.resumed:
            what = f"going on with run {event.run_id}: {event.open_rows:,} of {counted(event.rows, 'row')} to do"
        else:
            because = f", because {event.why}" if event.why else ""
            some = f", {event.rows - event.twins:,} of which are sent," if event.twins else ""
            what = f"run {event.run_id}: {counted(event.rows, 'row')}{some} in {event.mode} mode{because}"
        self._say("info", what)

    def _preparing(self, event: Preparing) -> None:
        self._preparation = event if event.done < event.rows else None

    def _file_uploaded(self, event: FileUploaded) -> None:
        self._uploaded += 1
        self._uploaded_bytes += event.size_bytes

    def _cooling_down(self, event: CoolingDown) -> None:
        self._cooling_until = self._clock.monotonic() + event.seconds
        self._cooling_reason = plain_text(event.reason)

    def _held_back(self, event: HeldBack) -> None:
        # How many at a time is what the job asks for: nothing that a person is to know of.
        self._held = "" if event.by == "connections" and event.own else held_words(event)

    def _told_warning(self, event: Warned) -> None:
        seen = (event.code, event.message)
        if seen not in self._warned and len(self._warned) < MAX_NOTICES:
            self._warned.add(seen)
            self._say("warning", f"warning[{event.code}]: {event.message}")

    def _told_stop(self, event: Stopping) -> None:
        self._stopping = True
        by_signal = event.reason in SIGNALLED
        what = event.message if by_signal else f"stopping ({event.reason}): {event.message}"
        again = " (Ctrl-C again drops it)" if by_signal else ""
        self._say("stop", f"{what}; waiting for what is in flight{again}")

    def _sink_delivered(self, event: SinkDelivered) -> None:
        self._say("info", f"wrote {counted(event.records, 'record')} to {event.target}")

    def _run_ended(self, event: RunEnded) -> None:
        if self._started is None or self._ended:
            return
        self._ended = True
        if event.rows_done is not None:  # of a row that was open some samples may have ended in an earlier sitting
            self._done = event.rows_done * self._samples_a_row
        if self._uploaded:
            size = f"{self._uploaded_bytes / 1e6:,.1f} MB"
            self._say("info", f"uploaded {counted(self._uploaded, 'file')}, {size}; requests name them from now on")
        self._say("info", event.status, self._progress(self._clock.monotonic()))

    def _say(self, level: Level, text: str, progress: Progress | None = None) -> None:
        job = self._started.job if self._started else "runner"
        self._notices.append(Notice(level, plain_text(f"{job}: {text}"), progress))

    # -- reading -------------------------------------------------------------------------------------------------------
    def _progress(self, now: float) -> Progress:
        started, preparation = self._started, self._preparation
        if preparation is not None:
            far = f"{preparation.what}: {preparation.done:,} of {counted(preparation.rows, 'row')}"
            return Progress(at=now, job=plain_text(preparation.job), preparing=plain_text(far))
        if started is None:
            return Progress(at=now)
        at_api = self._batches.standing(self._clock.now())
        rate = self._rows_per_s(now) if not (at_api and at_api.batches) else None  # a batch has no progress to tell of
        done = self._done // self._samples_a_row
        total = started.rows - started.twins
        open_rows = total - done
        return Progress(
            at=now,
            job=plain_text(started.job),
            mode=started.mode,
            total=total,
            done=done,
            samples=self._samples_a_row,
            in_flight=self._in_flight,
            rows_per_s=rate,
            left_s=open_rows / rate if rate and open_rows and not self._stopping else None,
            elapsed_s=now - self._began_at,
            prompt_tokens=self._input + self._cache_read + self._cache_written,
            cached_tokens=self._cache_read,
            output_tokens=self._output,
            cost_pico=self._cost_pico,
            cap_pico=started.cap_pico,
            unpriced=self._unpriced,
            reused=self._reused // self._samples_a_row,
            failures=_harmless(self._failures),
            retried=_harmless(self._retried),
            cooling_s=max(0.0, self._cooling_until - now),
            cooling_reason=self._cooling_reason,
            held=self._held,
            at_api=at_api,
            stopping=self._stopping,
            ended=self._ended,
        )

    def _rows_per_s(self, now: float) -> float | None:
        samples = self._samples
        if not samples:
            return None
        samples.append((now, self._done))
        while len(samples) > 2 and samples[1][0] <= now - RATE_WINDOW_S:
            samples.popleft()
        then, done = samples[0]
        return (self._done - done) / self._samples_a_row / (now - then) if now > then else None


def _count(counter: Counter[str], kind: str) -> None:
    counter[kind if kind in counter or len(counter) < MAX_KINDS else "other"] += 1


def _harmless(counter: Counter[str]) -> dict[str, int]:
    """Kinds come from the API's error objects."""
    return {plain_text(kind): number for kind, number in counter.items()}
