"""Advancing one run: from open steps to delivered records.

Owns   the order of things while a command is at a run: what was left is decided, what is open is sent (`passes`), what
       is done is delivered, and how it ended is noted; the cure that a person is told, with the run's own name in it.
Knows  the parts by their contracts. Everything here may be cut off at any line; the ledger is what the next attempt
       reads.

    open ─▶ rendered (feeder) ─▶ leased and sent (engine) ─▶ durable and ruled on (writer) ─▶ records (delivery)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from typing import ClassVar

from msgspec.structs import replace

from runner.engines import StopReason
from runner.errors import Problem
from runner.events import BatchMoved, Event, Observer, Observers, RunEnded, RunStarted, Task, Warned
from runner.execution.delivery import Note
from runner.execution.enrolment import no_rows
from runner.execution.holding import HeldTime
from runner.execution.in_time import CURE, assumed_rate, told_of_deadline
from runner.execution.live import live_sinks
from runner.execution.log import RunLog
from runner.execution.outputs import note_in
from runner.execution.passes import send_all
from runner.execution.projecting import project
from runner.execution.standing import open_batches, soon_lost
from runner.execution.summary import Summary, stop_note, summarise, tolerance_note
from runner.execution.under_way import Advance
from runner.types import PICO_PER_USD

MAX_WARNINGS = 100
"""Warnings that a summary repeats; the log has them all."""

Ended = tuple[str, StopReason | None]
"""The state that a run is in from now on, and why it stopped before its end."""


def advance(run: Advance) -> Summary:
    """Send what is open, deliver when nothing is, and say how the run stands. Raises LedgerError and SetupError."""
    return at_work(run, _sent_and_delivered, "send")


def at_work(run: Advance, act: Callable[[Advance], Ended], task: Task) -> Summary:
    """Do something with a run, between its first and its last event; log, time and end are noted."""
    with closing(RunLog(run.folder / "log.jsonl", run.clock)) as log, closing(run.row_of):
        heard, held = _Heard(), HeldTime(run.clock)
        return _at_work(replace(run, observer=Observers(run.observer, log, heard, held)), act, task, heard, held)


def _at_work(run: Advance, act: Callable[[Advance], Ended], task: Task, heard: _Heard, held: HeldTime) -> Summary:
    started = run.clock.monotonic()
    _begin(run, task)
    state, stopped_by = act(run)
    if stopped_by is not None:
        stopped_by = _with_cure(stopped_by, run)
    elapsed_s = float(run.ledger.meta.get("elapsed_s", 0.0)) + run.clock.monotonic() - started
    notes = {"limited_by": held.words(), **stop_note(stopped_by), **tolerance_note(run.job.limits.allow_failures)}
    run.ledger.set_meta({"elapsed_s": elapsed_s, "state": state, **notes})
    summary = summarise(run.ledger, stopped_by=stopped_by, warnings=heard.warnings, prices=run.prices)
    counts = summary.counts
    run.observer.notify(RunEnded(run.run_id, summary.status, counts.asking - counts.open_asking))
    return summary


def _begin(run: Advance, task: Task) -> None:
    run.ledger.settle_answered(run.rule)
    if run.ledger.meta.get("stopped_by"):
        run.ledger.set_meta(stop_note(None))
    if run.sitting.detach and not run.ledger.meta.get("detached"):
        run.ledger.set_meta({"detached": True})
    counts = run.ledger.counts()
    cap_pico = run.job.limits.max_cost_pico
    spent_pico = run.ledger.money().spent
    why = str(run.ledger.meta.get("mode_why", "")) if run.job.mode == "auto" else ""
    run.observer.notify(
        RunStarted(
            run.run_id,
            run.job.name,
            run.mode,
            counts.total,
            counts.open,
            cap_pico,
            run.resumed,
            spent_pico,
            why,
            task,
            run.samples,
            counts.twins,
            counts.open_twins,
        )
    )
    waiting = open_batches(run.ledger)
    if run.deadline_at is not None and task == "send":
        left_s = (run.deadline_at - run.clock.now()).total_seconds()
        late = told_of_deadline(_requests(run, counts.open_asking), left_s, assumed_rate(run.job.limits))
        if late is not None:
            run.observer.notify(Warned("short-deadline", f"{late}; {CURE}"))
    for text in soon_lost(run.run_id, waiting, run.clock.now()):
        run.observer.notify(Warned("soon-lost", text))
    for batch in waiting:
        run.observer.notify(
            BatchMoved(
                batch.number,
                batch.state,
                batch.batch_id,
                batch.steps,
                batch.began_at,
                batch.expires_at,
                batch.priming,
            )
        )
    for problem in (*run.warnings, *([] if counts.total else [no_rows(run.job.dataset)])):
        _tell(problem, run.observer)


def _requests(run: Advance, rows: int) -> int:
    """How many requests so many rows take, where all goes well."""
    return rows * run.samples * (1 + len(run.job.turns))


def _sent_and_delivered(run: Advance) -> Ended:
    note = note_in(run.ledger, run.folder)
    waits = run.ledger.counts().open or open_batches(run.ledger)
    stopped_by = _sent(run, note) if waits else None
    if stopped_by is not None:
        return "open", stopped_by
    project(run.ledger, run.records, run.make_targets(), run.folder, run.observer, note=note)
    for rule, rows in run.records.broken.items():
        count = "1 row" if rows == 1 else f"{rows:,} rows"
        run.observer.notify(Warned("rule-warned", f"the rule `{rule}` does not hold for {count}"))
    return "finished", None


def _sent(run: Advance, note: Note) -> StopReason | None:
    """Send, and meanwhile give live sinks what settles."""
    with live_sinks(run.folder, run.records, run.make_live, run.observer, note) as live:
        return send_all(run if live is None else replace(run, on_settled=live.settled))


_COMMAND = re.compile(r"`runner (resume|cancel|show)(?: RUN)?( --\w+)?`")
"""A command about the run, as engines say it, which do not know the run's name."""


def _with_cure(reason: StopReason, run: Advance) -> StopReason:
    """The reason, with a hint that can be copied: it names the run, and a cap the amount that would do."""
    hint = _COMMAND.sub(rf"`runner \1 {run.run_id}\2`", reason.hint or "")
    upper_pico = run.ledger.meta.get("upper_cost_pico")
    if reason.kind == "budget" and upper_pico is not None:
        hint = f"all of it needs up to about ${upper_pico / PICO_PER_USD:,.4g} in {run.mode} mode: {hint}"
    return replace(reason, hint=hint or None)


def _tell(problem: Problem, observer: Observer) -> None:
    place = f"{problem.where}: " if problem.where is not None else ""
    text = f"{place}{problem.message}" + (f"; {problem.hint}" if problem.hint else "")
    observer.notify(Warned(problem.code, text))


class _Heard:
    """Hears warnings, for the summary. A sink's own trouble stands there with the sink."""

    hears_each_row: ClassVar[bool] = False

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def notify(self, event: Event) -> None:
        if isinstance(event, Warned) and event.code != "sink-failed":
            known = event.message in self.warnings
            if not known and len(self.warnings) < MAX_WARNINGS:
                self.warnings.append(event.message)
