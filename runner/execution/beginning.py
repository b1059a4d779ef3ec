"""Beginning a new run: its rows, its mode, its bill; and whether it is needed at all.

Owns   the making of a run, up to where its first request may leave: until then, one that fails leaves nothing.
Knows  the state folder and the parts that a run is made of. Sending and delivering is `advance`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from runner.catalog.prices import Prices
from runner.clock import to_rfc3339
from runner.execution.advance import advance
from runner.execution.asked import Asked
from runner.execution.assemble import Known, assemble, earlier_of, previous_run
from runner.execution.choosing import choose_mode, choose_priming
from runner.execution.confirm import confirm_cost
from runner.execution.enrolment import enrol
from runner.execution.folders import RunInfo
from runner.execution.judging import PASSING
from runner.execution.pricing import load_run_prices, store_prices
from runner.execution.resuming import require_detachable
from runner.execution.summary import Summary, summarise
from runner.execution.superseding import collected, give_up
from runner.execution.targets import is_written
from runner.execution.twins import note_twins
from runner.execution.under_way import Sitting
from runner.ledger import Ledger
from runner.ledger.refusals import disk_errors
from runner.ledger.sqlite import SqliteLedger
from runner.planning.compile import compile_job
from runner.planning.identity import job_fingerprint
from runner.planning.priming import Priming
from runner.spec.loaded import LoadedJob
from runner.types import Failure

MARK_LENGTH = 13
"""36^13 is more than 2^67: two runs of one workspace never draw the same."""


def begin(asked: Asked, given_up: Sequence[RunInfo]) -> Summary:
    """A new run, in the place of unfinished ones; they stay as they are until it may send."""
    waiting = collected(asked, given_up)
    if waiting is not None:
        return waiting
    loaded, previous = asked.loaded, previous_run(asked.state, asked.line)
    info, ledger = asked.state.new_run(asked.line, _meta(asked, previous), asked.clock.now())
    with ExitStack() as undo:
        undo.callback(asked.state.discard, info.folder)
        undo.callback(ledger.close)
        with disk_errors(info.folder):
            loaded.store(info.folder / "inputs")
        enrol(loaded, ledger, asked.options.narrowing)
        if previous is not None and _nothing_new(asked, ledger, previous):
            return replace(_of_previous(asked, previous), nothing_to_do=True)
        note_twins(loaded, ledger, asked.observer)
        prices, known = (
            load_run_prices(loaded, asked.clock),
            Known.of(asked.state, asked.api, asked.clock, loaded.settings),
        )
        store_prices(info.folder, prices)
        _choose(asked, info, ledger, known, prices)
        run = assemble(
            replace(info, meta=ledger.meta), ledger, loaded, asked.state, asked.api, asked.observer, asked.clock,
            resumed=False, sitting=Sitting(detach=asked.options.detach), known=known,
        )  # fmt: skip
        confirm_cost(run, loaded.settings, asked.confirm, assume_yes=asked.options.yes)
        for unfinished in given_up:
            give_up(unfinished)
        ledger.set_meta({"state": "open"})
        undo.pop_all()
    try:
        return advance(run)
    finally:
        ledger.close()


def _meta(asked: Asked, previous: RunInfo | None) -> Mapping[str, Any]:
    job, line, options, now = asked.loaded.job, asked.line, asked.options, asked.clock.now()
    deadline_s = job.limits.deadline
    return {
        "state": "enrolling",
        "job": job.name,
        "job_file": line.job,
        "profile": line.profile,
        "address": line.address,
        "simulated": line.simulated,
        "betas": list(line.betas),
        "line": line.digest,
        "scope": line.scope,
        "trial": options.is_trial,
        "selection": options.selection,
        "deliver": options.deliver,
        "reuse": options.reuse and job.reuse,
        "fingerprint": job_fingerprint(asked.loaded),
        "mode": "parallel" if job.mode == "auto" else job.mode,  # until it is chosen, once there are rows
        "mark": new_mark(),
        "model": job.model,
        "previous": previous.run_id if previous is not None else None,
        "created_at": to_rfc3339(now),
        "deadline_at": None if deadline_s is None else to_rfc3339(now + timedelta(seconds=deadline_s)),
        "detached": options.detach,
    }


def _choose(asked: Asked, info: RunInfo, ledger: SqliteLedger, known: Known, prices: Prices) -> None:
    """Noted, so that a resume goes on in it. Raises PlanError, and UsageError for what cannot be left alone."""
    facts = known.catalog.facts(asked.loaded.job.model)
    earlier = earlier_of(info, asked.state, asked.clock)
    choice, requests = choose_mode(asked.loaded, ledger, info, asked.state, asked.api, facts, earlier)
    if asked.options.detach:
        require_detachable(choice.mode, choice.why)
    priming = choose_priming(asked.loaded, choice.mode, requests, facts=facts, prices=prices)
    ledger.set_meta({"mode": choice.mode, "mode_why": choice.why, **_noted(priming)})


def _noted(priming: Priming | None) -> dict[str, Any]:
    return {} if priming is None else {"priming": priming.pays, "priming_why": priming.why}


def new_mark() -> str:
    """The random mark of a run, in base 36: what its custom ids begin with, so that no other run's results are taken
    for its own."""
    return "".join(secrets.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(MARK_LENGTH))


# -- a run that would do nothing ---------------------------------------------------------------------------------------


def _nothing_new(asked: Asked, ledger: SqliteLedger, previous: RunInfo) -> bool:
    """Whether a new run would send nothing and write what is written already."""
    options = asked.options
    if options.new or not options.reuse or options.is_trial:
        return False
    if previous.meta["fingerprint"] != job_fingerprint(asked.loaded):
        return False
    if previous.meta["rows_sha256"] != ledger.meta["rows_sha256"]:
        return False
    with SqliteLedger.open(previous.folder, read_only=True) as last:
        counts, deliveries = last.counts(), last.deliveries()
        if _files_changed(asked.loaded, ledger, last):
            return False
    waits = counts.expired or counts.canceled or PASSING.intersection(counts.failures)
    root = asked.loaded.root
    written = all(delivery.state == "delivered" and is_written(delivery, root) for delivery in deliveries)
    return written and not waits


def _files_changed(loaded: LoadedJob, ledger: Ledger, last: Ledger) -> bool:
    """Whether files that the rows name, which are no part of them, make other requests of the same rows. Reads them all
    where there are any."""
    compiled = compile_job(loaded, mode="parallel")  # the identity of a request is the same in both
    if not compiled.reads_files:
        return False
    for row in ledger.rows():
        request = compiled.request(row)
        if isinstance(request, Failure):
            if last.result(row.index).status == "succeeded":
                return True
        elif last.earlier_reply(row.index, 0, request.hash) is None:
            return True
    return False


def _of_previous(asked: Asked, previous: RunInfo) -> Summary:
    with SqliteLedger.open(previous.folder, read_only=True) as last:
        return summarise(last, allow_failures=asked.loaded.job.limits.allow_failures)
