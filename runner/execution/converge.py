"""What running a job means: go on with its unfinished run, or make a run of what has no answer yet.

Owns   the choice between the two (interface, section 3), the making of a new run, and the words for a job that changed.
Knows  the state folder and the parts that a run is made of. Sending and delivering is `advance`.

    unfinished run, same job      ─▶ goes on
    unfinished run, changed job   ─▶ stops, and names both ways out
    finished run, nothing new     ─▶ says so, makes no run
    anything else                 ─▶ a new run; earlier answers cost nothing
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from runner.catalog.prices import Prices
from runner.clock import Clock, SystemClock, to_rfc3339
from runner.errors import LedgerError, UsageError
from runner.events import Observer, Warned
from runner.execution.advance import Ended, advance, at_work
from runner.execution.api import Api, reach
from runner.execution.assemble import (
    Known,
    assemble,
    earlier_of,
    previous_run,
    stored_rule,
)
from runner.execution.choosing import choose_mode, choose_priming
from runner.execution.confirm import Confirm, confirm_cost
from runner.execution.enrolment import Trial, enrol
from runner.execution.folders import Line, RunInfo, StateFolder, line_of
from runner.execution.following import cancel, collect
from runner.execution.judging import PASSING
from runner.execution.pricing import load_run_prices, store_prices
from runner.execution.resuming import require_detachable
from runner.execution.standing import open_batches
from runner.execution.summary import Summary, summarise
from runner.execution.targets import is_written
from runner.execution.under_way import Advance, Sitting
from runner.ledger.folder import sync_entries
from runner.ledger.refusals import disk_errors
from runner.ledger.sqlite import SqliteLedger
from runner.planning.identity import fingerprint_changes, job_fingerprint
from runner.planning.priming import Priming
from runner.spec.load import LoadedJob, load

MARK_LENGTH = 13
"""36^13 is more than 2^67: two runs of one workspace never draw the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What `runner run` takes beside the job, by the names of its flags."""

    sets: Sequence[str] = ()
    variables: Sequence[str] = ()
    profile: str | None = None
    limit: int | None = None
    keys: Sequence[str] = ()
    new: bool = False
    reuse: bool = True
    yes: bool = False
    simulate: bool = False
    deliver: bool = False
    trial: bool = False
    detach: bool = False
    """Submit what can be submitted, and leave it at the API."""
    refuse_stdout: bool = False
    """stdout is taken by `--format json`: a job with a stdout sink is refused."""
    environ: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def narrowing(self) -> Trial:
        return Trial(self.limit, tuple(self.keys))

    @property
    def is_trial(self) -> bool:
        """Trials never touch production (interface, section 3)."""
        return self.trial or self.simulate or self.narrowing.narrows


def run_job(
    path: Path, options: RunOptions, *, observer: Observer, confirm: Confirm | None, clock: Clock | None = None
) -> Summary:
    """Converge one job. Raises SpecError, InputError, PlanError, SetupError, LedgerError, BudgetError."""
    loaded = load(
        path, sets=options.sets, variables=options.variables, profile=options.profile, environ=options.environ
    )
    if options.refuse_stdout and any(sink.path == "-" for sink in loaded.job.sinks):
        raise UsageError(
            f"{path} writes its records to stdout, which --format json needs for the summary",
            hint="take the `-` sink out, or use --summary FILE for the summary",
        )
    state = StateFolder(loaded.settings.state_dir)
    with reach(loaded.environ, simulate=options.simulate, simulator_state=state.simulator_path) as api:
        api.require_credential()
        return converge(loaded, options, api, observer=observer, confirm=confirm, clock=clock or SystemClock())


def converge(
    loaded: LoadedJob, options: RunOptions, api: Api, *, observer: Observer, confirm: Confirm | None, clock: Clock
) -> Summary:
    """Converge a job that was read, at an API that was reached. Raises what `run_job` raises."""
    state = StateFolder(loaded.settings.state_dir)
    line = line_of(loaded, api.address, api.simulated)
    with state.own(line, trial=options.is_trial):
        return _Converging(loaded, options, state, api, line, observer, confirm, clock).summary()


@dataclass(frozen=True, slots=True)
class _Converging:
    loaded: LoadedJob
    options: RunOptions
    state: StateFolder
    api: Api
    line: Line
    observer: Observer
    confirm: Confirm | None
    clock: Clock

    def summary(self) -> Summary:
        if not (self.options.new or self.options.is_trial):
            self.state.require_readable()
        unfinished = [info for info in self._unfinished() if not self._ended_as_canceled(info)]
        if not unfinished:
            return self._begin(())
        if unfinished[-1].meta["fingerprint"] == job_fingerprint(self.loaded) and not self.options.new:
            return self._go_on(unfinished[-1])
        if not self.options.new and not self.options.is_trial:
            raise self._changed_since(unfinished[-1])
        return self._begin(unfinished)

    # -- an unfinished run -----------------------------------------------------------------------------------------

    def _unfinished(self) -> list[RunInfo]:
        """The line's unfinished runs of the same kind and selection, oldest first; usually one, or none.

        What an interrupted enrolment left is removed. A run before one that finished does not count: it was opened
        again by `runner retry`, which is also how it is gone on with.
        """
        found: list[RunInfo] = []
        for info in self.state.of_line(self.line):
            if info.trial != self.options.is_trial:
                continue  # under another lock: what looks abandoned may be another process at work
            if not info.begun:
                self.state.discard(info.folder)
            elif self._is_asked_for(info):
                if info.finished:
                    found.clear()
                elif info.unfinished:
                    found.append(info)
        return found

    def _is_asked_for(self, info: RunInfo) -> bool:
        same_selection = bool(info.meta["selection"] == self._selection())
        return same_selection and (not info.trial or info.meta["deliver"] == self.options.deliver)

    def _selection(self) -> list[object]:
        return [self.options.limit, list(self.options.keys)]

    def _changed_since(self, unfinished: RunInfo) -> LedgerError:
        began_as = LoadedJob.restore(unfinished.folder / "inputs", self.loaded.settings)
        changes = fingerprint_changes(began_as, self.loaded)
        return LedgerError(
            f"{self.line.job} has changed since its unfinished run {unfinished.run_id} began: {', '.join(changes)}",
            code="job-changed",
            hint=f"`runner resume {unfinished.run_id}` finishes the job as it was; "
            f"`runner run {self.line.job} --new` starts over with the job as it is "
            "(equal requests keep their answers)",
        )

    def _give_up(self, unfinished: RunInfo) -> None:
        """Leave an unfinished run for a new one: on the user's word, or because it was only a trial.

        What a kill left undecided in its spool is decided first, so that the new run finds those replies.
        """
        ledger = SqliteLedger.open(unfinished.folder)
        try:
            ledger.settle_answered(stored_rule(unfinished.folder))
            ledger.set_meta({"state": "superseded"})
        finally:
            ledger.close()

    def _ended_as_canceled(self, info: RunInfo) -> bool:
        """End a run that was being canceled when its process ended; whether it was. Raises LedgerError where it cannot
        be ended yet."""
        if not info.meta.get("canceling"):
            return False
        summary = self._follow(info, cancel)
        if summary.status != "canceled":
            why = f": {summary.stopped_by.message}" if summary.stopped_by is not None else ""
            raise LedgerError(
                f"run {info.run_id} is being canceled, and has not ended{why}",
                code="canceling",
                hint=f"`runner cancel {info.run_id}` goes on with it",
            )
        return True

    def _collected(self, given_up: Sequence[RunInfo]) -> Summary | None:
        """Wait for what the runs that are given up have at the API; how one of them stands where that is not done."""
        for info in given_up:
            with SqliteLedger.open(info.folder, read_only=True) as ledger:
                waits = bool(open_batches(ledger))
            if waits:
                message = f"the open batches of run {info.run_id} are collected first; what they answer is reused"
                self.observer.notify(Warned("collected-first", message))
                summary = self._follow(info, collect)
                if summary.stopped_by is not None:
                    return summary
        return None

    def _follow(self, info: RunInfo, act: Callable[[Advance], Ended]) -> Summary:
        """Do something with another run of the line that sends nothing."""
        loaded, sitting = info.stored_job(self.loaded.settings), Sitting(detach=self.options.detach)
        with SqliteLedger.open(info.folder) as ledger:
            run = assemble(
                info, ledger, loaded, self.state, self.api, self.observer, self.clock, resumed=True, sitting=sitting,
                to_send=False,
            )  # fmt: skip
            return at_work(run, act)

    def _go_on(self, info: RunInfo) -> Summary:
        if self.options.detach:
            require_detachable(info.meta["mode"], info.meta["mode_why"])
        ledger = SqliteLedger.open(info.folder)
        try:
            self._store_again(info.folder / "inputs")
            return advance(self._assemble(info, ledger, resumed=True))
        finally:
            ledger.close()

    def _store_again(self, inputs: Path) -> None:
        """Keep what may change without changing an answer: limits, retry. Each file is replaced whole, so that the
        run can be resumed after a kill in between."""
        with disk_errors(inputs), TemporaryDirectory(prefix="inputs-", dir=inputs.parent) as aside:
            self.loaded.store(Path(aside))
            for path in Path(aside).iterdir():
                path.replace(inputs / path.name)
            sync_entries(inputs)

    # -- a new run -------------------------------------------------------------------------------------------------

    def _begin(self, given_up: Sequence[RunInfo]) -> Summary:
        """A new run, in the place of unfinished ones; they stay as they are until it may send."""
        waiting = self._collected(given_up)
        if waiting is not None:
            return waiting
        previous = previous_run(self.state, self.line)
        info, ledger = self.state.new_run(self.line, self._meta(previous), self.clock.now())
        with ExitStack() as undo:  # until its first request may leave, a run that fails leaves nothing
            undo.callback(self.state.discard, info.folder)
            undo.callback(ledger.close)
            with disk_errors(info.folder):
                self.loaded.store(info.folder / "inputs")
            enrol(self.loaded, ledger, self.options.narrowing)
            if previous is not None and self._nothing_new(ledger, previous):
                return replace(self._of_previous(previous), nothing_to_do=True)
            prices, known = load_run_prices(self.loaded, self.clock), Known.of(self.state, self.api, self.clock)
            store_prices(info.folder, prices)
            self._choose(info, ledger, known, prices)
            run = self._assemble(replace(info, meta=ledger.meta), ledger, resumed=False, known=known)
            confirm_cost(run, self.loaded.settings, self.confirm, assume_yes=self.options.yes)
            for unfinished in given_up:
                self._give_up(unfinished)
            ledger.set_meta({"state": "open"})
            undo.pop_all()
        try:
            return advance(run)
        finally:
            ledger.close()

    def _meta(self, previous: RunInfo | None) -> dict[str, Any]:
        job, now = self.loaded.job, self.clock.now()
        deadline_s = job.limits.deadline
        return {
            "state": "enrolling",
            "job": self.loaded.job.name,
            "job_file": self.line.job,
            "profile": self.line.profile,
            "address": self.line.address,
            "simulated": self.line.simulated,
            "line": self.line.digest,
            "scope": self.line.scope,
            "trial": self.options.is_trial,
            "selection": self._selection(),
            "deliver": self.options.deliver,
            "reuse": self.options.reuse and self.loaded.job.reuse,
            "fingerprint": job_fingerprint(self.loaded),
            "mode": "parallel" if job.mode == "auto" else job.mode,  # until it is chosen, once there are rows
            "mark": new_mark(),
            "model": job.model,
            "previous": previous.run_id if previous is not None else None,
            "created_at": to_rfc3339(now),
            "deadline_at": None if deadline_s is None else to_rfc3339(now + timedelta(seconds=deadline_s)),
            "detached": self.options.detach,
        }

    def _choose(self, info: RunInfo, ledger: SqliteLedger, known: Known, prices: Prices) -> None:
        """Noted, so that a resume goes on in it. Raises PlanError, and UsageError for what cannot be left alone."""
        facts = known.catalog.facts(self.loaded.job.model)
        earlier = earlier_of(info, self.state, self.clock)
        choice, requests = choose_mode(self.loaded, ledger, info, self.state, self.api, facts, earlier)
        if self.options.detach:
            require_detachable(choice.mode, choice.why)
        priming = choose_priming(self.loaded, choice.mode, requests, facts=facts, prices=prices)
        ledger.set_meta({"mode": choice.mode, "mode_why": choice.why, **_noted(priming)})

    def _nothing_new(self, ledger: SqliteLedger, previous: RunInfo) -> bool:
        """Whether a new run would send nothing and write what is written already."""
        if self.options.new or not self.options.reuse or self.options.is_trial:
            return False
        if previous.meta["fingerprint"] != job_fingerprint(self.loaded):
            return False
        if previous.meta["rows_sha256"] != ledger.meta["rows_sha256"]:
            return False
        last = SqliteLedger.open(previous.folder, read_only=True)
        try:
            counts, deliveries = last.counts(), last.deliveries()
        finally:
            last.close()
        waits = counts.expired or counts.canceled or PASSING.intersection(counts.failures)
        written = all(
            delivery.state == "delivered" and is_written(delivery, self.loaded.root) for delivery in deliveries
        )
        return written and not waits

    def _of_previous(self, previous: RunInfo) -> Summary:
        last = SqliteLedger.open(previous.folder, read_only=True)
        try:
            return summarise(last, allow_failures=self.loaded.job.limits.allow_failures)
        finally:
            last.close()

    def _assemble(self, info: RunInfo, ledger: SqliteLedger, *, resumed: bool, known: Known | None = None) -> Advance:
        return assemble(
            info, ledger, self.loaded, self.state, self.api, self.observer, self.clock, resumed=resumed,
            sitting=Sitting(detach=self.options.detach), known=known,
        )  # fmt: skip


def _noted(priming: Priming | None) -> dict[str, Any]:
    return {} if priming is None else {"priming": priming.pays, "priming_why": priming.why}


def new_mark() -> str:
    """The random mark of a run, in base 36: what its custom ids begin with, so that no other run's results are taken
    for its own."""
    return "".join(secrets.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(MARK_LENGTH))
