"""Going on with runs that exist: resume, retry, cancel. Nothing of the project's files is read again.

Owns   what each command does to a run it is given by name. A run goes on with the job, templates, schema and prices
       that it stored when it began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from runner.clock import Clock, SystemClock
from runner.deferred import deferred
from runner.errors import LedgerError, UsageError
from runner.events import Observer
from runner.execution.advance import advance, at_work
from runner.execution.api import Api, reach
from runner.execution.assemble import assemble
from runner.execution.folders import Line, RunInfo, StateFolder
from runner.execution.standing import open_batches
from runner.execution.summary import Summary
from runner.execution.under_way import ATTENDED, Advance, Sitting
from runner.ledger.sqlite import SqliteLedger
from runner.settings import Settings
from runner.types import Mode

if TYPE_CHECKING:
    from runner.execution import following
else:
    following = deferred("runner.execution.following")

_AFTERWARDS = "`runner show {0}` shows how it ended; `runner retry {0}` sends the rows again that did not succeed"


def resume_run(
    info: RunInfo,
    state: StateFolder,
    settings: Settings,
    environ: Mapping[str, str],
    *,
    how: Resume | None = None,
    observer: Observer,
    clock: Clock | None = None,
) -> Summary:
    """Go on with an unfinished run. Raises LedgerError where there is nothing to go on with, and UsageError for a
    parallel run that is to be detached."""
    with _reach(info, state, settings, environ) as api:
        api.require_credential()
        return resume(info, state, settings, api, how=how, observer=observer, clock=clock or SystemClock())


class Resume(Struct, frozen=True):
    """What `runner resume` takes beside the run, by the names of its flags."""

    detach: bool = False
    """Do what is due and leave the rest at the API: from now on, for this run."""
    wait: bool = False
    """Follow a detached run to its end, this time."""
    resend: bool = False
    """Send again what is in doubt, and what is missing in results."""

    def sitting(self, meta: Mapping[str, Any]) -> Sitting:
        detached = self.detach or bool(meta.get("detached"))
        return Sitting(detach=detached and not self.wait, resend=self.resend)


def resume(
    info: RunInfo,
    state: StateFolder,
    settings: Settings,
    api: Api,
    *,
    how: Resume | None = None,
    observer: Observer,
    clock: Clock,
) -> Summary:
    """`resume_run` at an API that was reached. A run that is being canceled is ended."""
    how = how or Resume()
    _require(info, ("open",), _AFTERWARDS.format(info.run_id))
    if how.detach:
        require_detachable(info.meta["mode"], str(info.meta["mode_why"]))
    with _owned(info, state, api) as ledger:
        now = _now(info, ledger)
        _require(now, ("open",), _AFTERWARDS.format(info.run_id))
        sitting, canceling = how.sitting(now.meta), bool(now.meta.get("canceling"))
        run = _assembled(now, ledger, state, settings, api, observer, clock, sitting, to_send=not canceling)
        return at_work(run, following.cancel, "cancel") if canceling else advance(run)


def cancel_run(
    info: RunInfo,
    state: StateFolder,
    settings: Settings,
    environ: Mapping[str, str],
    *,
    detach: bool = False,
    observer: Observer,
    clock: Clock | None = None,
) -> Summary:
    """Cancel a run: what it has at the API is canceled there, what finished is collected and kept, and every other row
    ends `canceled`. With `detach` the end is not awaited. Raises LedgerError where there is nothing to cancel."""
    with _reach(info, state, settings, environ) as api:
        api.require_credential()
        return cancel_at(info, state, settings, api, detach=detach, observer=observer, clock=clock or SystemClock())


def cancel_at(
    info: RunInfo,
    state: StateFolder,
    settings: Settings,
    api: Api,
    *,
    detach: bool = False,
    observer: Observer,
    clock: Clock,
) -> Summary:
    """`cancel_run` at an API that was reached."""
    _require_to_cancel(info)
    with _owned(info, state, api, to_send=False) as ledger:
        now = _now(info, ledger)
        _require_to_cancel(now)
        sitting = Sitting(detach=detach)
        run = _assembled(now, ledger, state, settings, api, observer, clock, sitting, to_send=False)
        return at_work(run, following.cancel, "cancel")


def _require_to_cancel(info: RunInfo) -> None:
    state = info.meta["state"]
    if state != "open":
        raise LedgerError(
            f"run {info.run_id} is {state}: there is nothing to cancel",
            code="nothing-to-cancel",
            hint=f"`runner show {info.run_id}` shows how it ended",
        )


def require_detachable(mode: Mode, why: str) -> None:
    """Raise UsageError for a run that has nothing at the API to be left alone."""
    if mode == "parallel":
        raise UsageError(
            f"--detach leaves batches at the API, and this run is in parallel mode, because {why}",
            code="not-detachable",
            hint="leave --detach out, or ask for --mode batch",
        )


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
    with _reach(info, state, settings, environ) as api:
        api.require_credential()
        return retry(
            info, state, settings, api, kinds=kinds, keys=keys, observer=observer, clock=clock or SystemClock()
        )


def retry(
    info: RunInfo,
    state: StateFolder,
    settings: Settings,
    api: Api,
    *,
    kinds: Sequence[str] = (),
    keys: Sequence[str] = (),
    observer: Observer,
    clock: Clock,
) -> Summary:
    """`retry_run` at an API that was reached. The run stays as it is until all is ready to send."""
    with _owned(info, state, api) as ledger:
        _require(
            _now(info, ledger),
            ("open", "finished", "canceled"),
            "a newer run has taken its place: `runner list` shows it",
        )
        for key in keys:
            if ledger.find(key) is None:
                raise UsageError(f"run {info.run_id} has no row with the key {key!r}", code="unknown-key")
        run = _assembled(info, ledger, state, settings, api, observer, clock, ATTENDED)
        _reopen(info, ledger, kinds, keys)
        return advance(run)


def _reopen(info: RunInfo, ledger: SqliteLedger, kinds: Sequence[str], keys: Sequence[str]) -> None:
    meta, failures = ledger.meta, ledger.counts().failures
    ledger.set_meta({"state": "open", "canceling": None})  # first: rows that are open again are never in a finished run
    if not ledger.reopen(kinds=kinds, keys=keys):
        ledger.set_meta({"state": meta["state"], "canceling": meta.get("canceling")})
        present = ", ".join(f"{kind} ({number})" for kind, number in sorted(failures.items()))
        raise UsageError(
            f"run {info.run_id} has no {'such ' if present else ''}failed rows",
            code="nothing-to-retry",
            hint=f"its failures: {present}" if present else f"`runner show {info.run_id}` shows how its rows stand",
        )


# -- a run that exists ---------------------------------------------------------------------------------------------


def _reach(
    info: RunInfo, state: StateFolder, settings: Settings, environ: Mapping[str, str]
) -> AbstractContextManager[Api]:
    """The API that the run's own job names."""
    return reach(
        environ,
        simulate=bool(info.meta["simulated"]),
        simulator_state=state.simulator_path,
        transport=settings.transport,
        served_by=info.stored_job(settings).job.provider,
    )


@contextmanager
def _owned(info: RunInfo, state: StateFolder, api: Api, *, to_send: bool = True) -> Iterator[SqliteLedger]:
    """The run's ledger, while no other process is at its job. Raises LedgerError.

    With `to_send` False only what it has at the API ties it to that: one that began at a mistyped address, and has
    nothing anywhere, can be ended from any other.
    """
    if to_send:
        _require_same_api(info, api, f"; if that was mistyped, `runner cancel {info.run_id}` ends the run")
        _require_same_betas(info, api)
    with state.own(line_of_run(info), trial=info.trial), SqliteLedger.open(info.folder) as ledger:
        if not to_send and open_batches(ledger):
            _require_same_api(info, api)
        yield ledger


def _now(info: RunInfo, ledger: SqliteLedger) -> RunInfo:
    """The run as it is now that nobody else can change it."""
    return replace(info, meta=ledger.meta)


def _require(info: RunInfo, states: Sequence[str], hint: str) -> None:
    state = info.meta["state"]
    if state not in states:
        raise LedgerError(
            f"run {info.run_id} is {state}: there is nothing to go on with", code="not-resumable", hint=hint
        )


def _assembled(
    info: RunInfo,
    ledger: SqliteLedger,
    state: StateFolder,
    settings: Settings,
    api: Api,
    observer: Observer,
    clock: Clock,
    sitting: Sitting,
    *,
    to_send: bool = True,
) -> Advance:
    loaded = info.stored_job(settings)
    return assemble(info, ledger, loaded, state, api, observer, clock, resumed=True, sitting=sitting, to_send=to_send)


def line_of_run(info: RunInfo) -> Line:
    meta = info.meta
    betas = tuple(meta.get("betas", ()))
    return Line(str(meta["job_file"]), meta["profile"], str(meta["address"]), bool(meta["simulated"]), betas)


def _require_same_api(info: RunInfo, api: Api, or_else: str = "") -> None:
    if api.address != info.meta["address"]:
        raise LedgerError(
            f"run {info.run_id} belongs to {info.meta['address']}, and the environment now leads to {api.address}",
            code="other-address",
            hint="set the address that the run began with (ANTHROPIC_BASE_URL, where it is not a platform's); its "
            f"batches and caches are there{or_else}",
        )


def _require_same_betas(info: RunInfo, api: Api) -> None:
    betas = line_of_run(info).betas
    if api.betas != betas:
        raise LedgerError(
            f"run {info.run_id} began with {_listed(betas)}, and the environment now has {_listed(api.betas)}",
            code="other-betas",
            hint="set `anthropic-beta` in ANTHROPIC_CUSTOM_HEADERS as it was; a job's own betas are its `params.betas`",
        )


def _listed(betas: Sequence[str]) -> str:
    return f"the betas {', '.join(betas)}" if betas else "no betas"
