"""What running a job means: go on with its unfinished run, or make a run of what has no answer yet.

Owns   the choice between the two, going on, and the words for a job that changed.
Knows  the state folder. A new run is `beginning`'s, what it takes the place of `superseding`'s.

    unfinished run, same job      ─▶ goes on
    unfinished run, changed job   ─▶ stops, and names both ways out
    finished run, nothing new     ─▶ says so, makes no run
    anything else                 ─▶ a new run; earlier answers cost nothing
"""

from __future__ import annotations

from pathlib import Path

from runner.clock import Clock, SystemClock
from runner.errors import LedgerError, UsageError
from runner.events import Observer
from runner.execution.advance import advance
from runner.execution.api import Api, reach
from runner.execution.asked import Asked, RunOptions
from runner.execution.assemble import assemble
from runner.execution.beginning import begin
from runner.execution.confirm import Confirm
from runner.execution.facts import facts_for_reading
from runner.execution.folders import RunInfo, StateFolder, line_of, store_again
from runner.execution.resuming import require_detachable
from runner.execution.summary import Summary
from runner.execution.superseding import ended_as_canceled
from runner.execution.under_way import Sitting
from runner.ledger.sqlite import SqliteLedger
from runner.planning.identity import fingerprint_changes, job_fingerprint
from runner.spec.load import LoadedJob, load


def run_job(
    path: Path, options: RunOptions, *, observer: Observer, confirm: Confirm | None, clock: Clock | None = None
) -> Summary:
    """Converge one job. Raises SpecError, InputError, PlanError, SetupError, LedgerError, BudgetError."""
    clock = clock or SystemClock()
    loaded = load(
        path, sets=options.sets, variables=options.variables, profile=options.profile, environ=options.environ,
        facts_of=facts_for_reading(clock),
    )  # fmt: skip
    if options.refuse_stdout and any(sink.path == "-" for sink in loaded.job.sinks):
        raise UsageError(
            f"{path} writes its records to stdout, which --format json needs for the summary",
            hint="take the `-` sink out, or use --summary FILE for the summary",
        )
    state = StateFolder(loaded.settings.state_dir)
    state.require_folder()
    if options.simulate:
        state.create()  # the stand-in keeps its accounts there, and could say less of what is wrong with it
    with reach(
        loaded.environ,
        simulate=options.simulate,
        simulator_state=state.simulator_path,
        transport=loaded.settings.transport,
        served_by=loaded.job.provider,
    ) as api:
        api.require_credential()
        return converge(loaded, options, api, observer=observer, confirm=confirm, clock=clock)


def converge(
    loaded: LoadedJob, options: RunOptions, api: Api, *, observer: Observer, confirm: Confirm | None, clock: Clock
) -> Summary:
    """Converge a job that was read, at an API that was reached. Raises what `run_job` raises."""
    state = StateFolder(loaded.settings.state_dir)
    line = line_of(loaded, api.address, api.simulated, api.betas)
    with state.own(line, trial=options.is_trial):
        return _converged(Asked(loaded, options, state, api, line, observer, confirm, clock))


def _converged(asked: Asked) -> Summary:
    must_be_last = not (asked.options.new or asked.options.is_trial)
    if must_be_last:
        asked.state.require_readable()
    unfinished = [info for info in _unfinished(asked) if not ended_as_canceled(asked, info)]
    if not unfinished:
        return begin(asked, ())
    if unfinished[-1].meta["fingerprint"] == job_fingerprint(asked.loaded) and not asked.options.new:
        return _go_on(asked, unfinished[-1])
    if must_be_last:
        raise _changed_since(asked, unfinished[-1])
    return begin(asked, unfinished)


def _unfinished(asked: Asked) -> list[RunInfo]:
    """The line's unfinished runs of the same kind and selection, oldest first; usually one, or none.

    What an interrupted enrolment left is removed. A run before one that finished does not count: it was opened
    again by `runner retry`, which is also how it is gone on with.
    """
    found: list[RunInfo] = []
    for info in asked.state.of_line(asked.line):
        if info.trial != asked.options.is_trial:
            continue  # under another lock: what looks abandoned may be another process at work
        if not info.begun:
            asked.state.discard(info.folder)
        elif asked.options.ask_for(info):
            if info.finished:
                found.clear()
            elif info.unfinished:
                found.append(info)
    return found


def _changed_since(asked: Asked, unfinished: RunInfo) -> LedgerError:
    job = asked.line.job
    began_as = LoadedJob.restore(unfinished.folder / "inputs", asked.loaded.settings)
    changes = fingerprint_changes(began_as, asked.loaded)
    return LedgerError(
        f"{job} has changed since its unfinished run {unfinished.run_id} began: {', '.join(changes)}",
        code="job-changed",
        hint=f"`runner resume {unfinished.run_id}` finishes the job as it was; "
        f"`runner run {job} --new` starts over with the job as it is (equal requests keep their answers)",
    )


def _go_on(asked: Asked, info: RunInfo) -> Summary:
    if asked.options.detach:
        require_detachable(info.meta["mode"], info.meta["mode_why"])
    with SqliteLedger.open(info.folder) as ledger:
        store_again(asked.loaded, info.folder / "inputs")
        run = assemble(
            info, ledger, asked.loaded, asked.state, asked.api, asked.observer, asked.clock, resumed=True,
            sitting=Sitting(detach=asked.options.detach),
        )  # fmt: skip
        return advance(run)
