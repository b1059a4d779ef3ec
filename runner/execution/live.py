"""Live sinks: records are given to them while the run goes on, as rows settle.

Owns   a thread for each sink that is `live`, from before the first request until the last reply is decided; and what it
       was told of rows that settled, which is a hint and nothing more.
Knows  `parts` and the ledger, which it reads beside its writer. It shares nothing with the engine: no lock, no
       transaction, no file that is written.

What is true is in the journal and the ledger. Hints say where to look, so they may be lost: where more wait than
`MAX_HINTS` they are dropped, and every row that was never given is looked for. What a thread leaves undone, because its
target failed or the run ended first, is done at the run's end, or by `runner export`.

A target that fails, after what it tried itself, is told once and waits for the end. It holds up neither the run nor
another sink.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

from msgspec.structs import replace

from runner.errors import LedgerError, RunnerError
from runner.events import Observer, Warned
from runner.execution.delivery import PartTarget
from runner.execution.parts import PartDelivery
from runner.execution.projecting import owner_name
from runner.execution.records import RecordMaker
from runner.ledger import Delivery
from runner.ledger.journal import BLOCK, Journal
from runner.ledger.sqlite import SqliteLedger
from runner.types import Record

MAX_HINTS = 100_000
"""Rows that settled and were not looked at yet: 800 kB."""
LINGER_S = 0.2
"""How long a row may wait for others to be in its part: what a person takes for at once."""


class LiveSinks:
    """The live sinks of one run under way. `settled` may be called from any thread, and never waits."""

    def __init__(self, sinks: Sequence[_LiveSink]) -> None:
        self._sinks = sinks

    def settled(self, rows: Sequence[int]) -> None:
        """These rows may have got their outcome, which is durable."""
        for sink in self._sinks:
            sink.hint(rows)

    def start(self) -> None:
        for sink in self._sinks:
            sink.start()

    def stop(self) -> list[Delivery]:
        """End the threads, each behind the part that it is at; how the sinks stand."""
        for sink in self._sinks:
            sink.stopping.set()
        return [sink.join() for sink in self._sinks]


MakeTargets = Callable[[Callable[[float], bool]], Sequence[PartTarget]]
"""Makes the live targets of a run, whose sinks wait by what is given before they try again."""


@contextmanager
def live_sinks(
    folder: Path, maker: RecordMaker, make_targets: MakeTargets, observer: Observer, note: Callable[[Delivery], None]
) -> Iterator[LiveSinks | None]:
    """Give records to the run's live sinks while the block lasts; None where it has none.

    How they stand is noted at both ends, by the thread that owns the ledger.
    """
    stopping = threading.Event()
    targets = make_targets(lambda seconds: not stopping.wait(seconds))
    if not targets:
        yield None
        return
    for target in targets:  # so that whoever looks at the run sees them, with what their journals say
        note(_pending(target))
    live = LiveSinks([_LiveSink(target, folder, maker, observer, stopping) for target in targets])
    live.start()
    try:
        yield live
    except BaseException:
        with suppress(RunnerError):  # what ended the block is the thing to tell
            live.stop()
        raise
    for delivery in live.stop():
        note(delivery)


class _LiveSink:
    """One sink and its thread."""

    def __init__(
        self, target: PartTarget, folder: Path, maker: RecordMaker, observer: Observer, stopping: threading.Event
    ) -> None:
        self.stopping = stopping
        self._target = target
        self._folder = folder
        self._maker = replace(maker, broken=type(maker.broken)())
        self._observer = observer
        self._hints: array[int] = array("q")
        self._missed = True
        """Whether there may be rows that nobody has told of: those that settled before this began, too."""
        self._gate = threading.Lock()
        self._told = threading.Event()
        self._stands: Delivery | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"runner-sink-{target.number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hint(self, rows: Sequence[int]) -> None:
        with self._gate:
            if len(self._hints) + len(rows) > MAX_HINTS:
                self._hints, self._missed = array("q"), True
            else:
                self._hints.extend(rows)
        self._told.set()

    def join(self) -> Delivery:
        """Wait for the thread's end. Raises what no target can be blamed for."""
        self._told.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._stands or _pending(self._target)

    def _run(self) -> None:
        try:
            with SqliteLedger.open(self._folder, read_only=True) as ledger:
                self._deliver(ledger)
        except BaseException as error:  # noqa: BLE001 - the thread's border: it is raised where the thread is joined
            self._error = error

    def _deliver(self, ledger: SqliteLedger) -> None:
        with (
            Journal(self._folder, self._target.number, self._target.definition) as journal,
            PartDelivery(self._target, journal, self._maker.run_id, owner_name(), self._observer) as delivery,
        ):
            try:
                delivery.begin(lambda row: self._record(ledger, row))
                while not self.stopping.is_set():
                    for row in self._next_rows(ledger, journal):
                        delivery.offer(self._record(ledger, row))
                        if self.stopping.is_set():
                            break
                    delivery.flush()
            except (OSError, RunnerError) as error:
                if isinstance(error, LedgerError):
                    raise
                if not self.stopping.is_set():
                    hint = "it gets the rest when the run has ended"
                    message = f"{self._target.sink.target} fails, so it takes nothing more for now: {error}; {hint}"
                    self._observer.notify(Warned("live-sink-waits", message))
            with suppress(LedgerError):
                self._stands = delivery.pending()

    def _record(self, ledger: SqliteLedger, row: int) -> Record:
        return self._maker.record_of(ledger.result(row), ledger)

    def _next_rows(self, ledger: SqliteLedger, journal: Journal) -> Iterable[int]:
        """Rows that may have to be given; waits until there are some, or the run ends."""
        self._told.wait()
        self.stopping.wait(LINGER_S)
        self._told.clear()
        with self._gate:
            rows, missed = self._hints, self._missed
            self._hints, self._missed = array("q"), False
        told = None if missed else ledger.with_twins(rows, MAX_HINTS)
        return _never_given(ledger, journal) if told is None else told


def _pending(target: PartTarget) -> Delivery:
    return Delivery(target.number, target.sink.kind, target.sink.target, "pending")


def _never_given(ledger: SqliteLedger, journal: Journal) -> Iterator[int]:
    """Rows that have their outcome and were never given, in the dataset's order."""
    start = 0
    while settled := ledger.settled_rows(start, BLOCK):
        for block, rows in groupby(settled, lambda row: row // BLOCK):
            versions = journal.versions(block)
            yield from (row for row in rows if not versions[row % BLOCK])
        start = settled[-1] + 1
