"""Going on with runs that exist: resume, retry, export. Nothing of the project's files is read again.

Owns   what each command does to a run it is given by name. A run goes on with the job, templates, schema and prices
       that it stored when it began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.clock import Clock, SystemClock
from runner.errors import LedgerError, UsageError
from runner.events import Observer
from runner.execution.advance import advance
from runner.execution.api import Api, reach
from runner.execution.assemble import assemble
from runner.execution.folders import Line, RunInfo, StateFolder
from runner.execution.summary import Summary
from runner.ledger.sqlite import SqliteLedger
from runner.settings import Settings
from runner.spec.load import LoadedJob


def resume_run(
    info: RunInfo,
    state: StateFolder,
    settings: Settings,
    environ: Mapping[str, str],
    *,
    observer: Observer,
    clock: Clock | None = None,
) -> Summary:
    """Go on with an unfinished run. Raises LedgerError where there is nothing to go on with."""
    if not info.unfinished:
        raise LedgerError(
            f"run {info.run_id} is {info.meta['state']}: there is nothing to resume",
            code="not-resumable",
            hint=f"`runner retry {info.run_id}` sends its failed rows again; "
            f"`runner export {info.run_id}` writes its sinks again",
        )
    return _advance_stored(info, state, settings, environ, observer, clock or SystemClock())


def retry_run(
    info: RunInfo,
    state: StateFolder,
    settings: Settings,
    environ: Mapping[str, str],
    *,
    kinds: Sequence[str] = (),
    keys: Sequence[str] = (),
    observer: Observer,
    clock: Clock | None = None,
) -> Summary:
    """Send failed rows again: all of them, or those with these error kinds and keys. Raises UsageError where there
    are none."""
    if info.meta["state"] not in ("open", "finished"):
        raise LedgerError(
            f"run {info.run_id} is {info.meta['state']}: its rows are not sent again", code="not-resumable"
        )
    ledger = SqliteLedger.open(info.folder)
    try:
        for key in keys:
            if ledger.find(key) is None:
                raise UsageError(f"run {info.run_id} has no row with the key {key!r}", code="unknown-key")
        failures = ledger.counts().failures
        reopened = ledger.reopen(kinds=kinds, keys=keys)
        if not reopened:
            present = ", ".join(f"{kind} ({number})" for kind, number in sorted(failures.items()))
            raise UsageError(
                f"run {info.run_id} has no such failed rows",
                code="nothing-to-retry",
                hint=f"its failures: {present}" if present else "none of its rows failed",
            )
        ledger.set_meta({"state": "open"})
    finally:
        ledger.close()
    return _advance_stored(info, state, settings, environ, observer, clock or SystemClock())


def _advance_stored(
    info: RunInfo, state: StateFolder, settings: Settings, environ: Mapping[str, str], observer: Observer, clock: Clock
) -> Summary:
    loaded = LoadedJob.restore(info.folder / "inputs", settings)
    with reach(environ, simulate=bool(info.meta["simulated"]), simulator_state=state.simulator_path) as api:
        _require_same_api(info, api)
        with state.own(line_of_run(info), trial=info.trial):
            ledger = SqliteLedger.open(info.folder)
            try:
                return advance(assemble(info, ledger, loaded, state, api, observer, clock, resumed=True))
            finally:
                ledger.close()


def line_of_run(info: RunInfo) -> Line:
    meta = info.meta
    return Line(str(meta["job_file"]), meta["profile"], str(meta["address"]), bool(meta["simulated"]))


def _require_same_api(info: RunInfo, api: Api) -> None:
    if api.address != info.meta["address"]:
        raise LedgerError(
            f"run {info.run_id} belongs to {info.meta['address']}, and ANTHROPIC_BASE_URL now leads to {api.address}",
            code="other-address",
            hint="set the address that the run began with; its batches and caches are there",
        )
