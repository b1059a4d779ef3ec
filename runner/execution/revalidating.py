"""Revalidating: the replies that a run has are judged again, by the job file as it is now. Nothing is sent.

Owns   `runner revalidate`: what of a changed job a run takes on (`output`, its sinks and the templates they name), the
       order in which that becomes durable, and what is told.
Knows  the job file as it is now, the job as it was stored, the ledger. No credential, no API.

The rest of the stored job stays: its prompt, model and parameters are what the replies are replies to.

    noted (meta `revalidating`) ─▶ stored job replaced ─▶ replies judged, some rows at a time ─▶ note taken away
    ─▶ sinks

A kill anywhere leaves the note, and with it nothing goes on with the run but another `runner revalidate`, which does
the rest. A replaced file is there whole or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from runner.clock import Clock, SystemClock
from runner.encoding import encode
from runner.errors import SpecError
from runner.events import Observer, Observers, Warned
from runner.execution.asking import asking_of
from runner.execution.column_notes import COLUMNS, MAX_COLUMNS
from runner.execution.folders import RunInfo, StateFolder, store_again
from runner.execution.judging import make_judge, make_rule
from runner.execution.log import RunLog
from runner.execution.outputs import note_in
from runner.execution.projecting import project
from runner.execution.records import record_maker
from runner.execution.reply_checks import RowLookup, check_of
from runner.execution.resuming import line_of_run
from runner.execution.summary import Summary, summarise
from runner.execution.targets import checked_targets
from runner.execution.twins import require_same_for_twins
from runner.execution.under_way import retry_policy
from runner.ledger import Rejudged
from runner.ledger.sqlite import SqliteLedger
from runner.planning.compile import compile_job
from runner.planning.identity import fingerprint_changes, job_fingerprint
from runner.settings import Settings
from runner.spec.columns import check_columns_kept
from runner.spec.job import Job
from runner.spec.load import LoadedJob, load
from runner.templating import TemplateSet

TAKEN_ON = ("output", "sinks")
"""The keys of the job file that a run takes on. They decide what an answer is worth and where it goes."""


class Revalidated(Struct, frozen=True):
    """How a run stands, and what judging its replies again came to."""

    summary: Summary
    came_to: Rejudged
    left_aside: Sequence[str]
    """What else differs between the job file and the run; it has no part in this."""

    def to_dict(self) -> dict[str, Any]:
        """The summary's object, with `revalidated`."""
        came_to = self.came_to
        told = {"replies": came_to.replies, "succeeded": came_to.to_succeeded, "failed": came_to.to_failed}
        return {**self.summary.to_dict(), "revalidated": {**told, "left_aside": [*self.left_aside]}}


def revalidate_run(
    info: RunInfo,
    state: StateFolder,
    settings: Settings,
    environ: Mapping[str, str],
    *,
    sets: Sequence[str] = (),
    variables: Sequence[str] = (),
    observer: Observer,
    clock: Clock | None = None,
) -> Revalidated:
    """Judge the replies of a run by the job file as it is now, and write its sinks again if it has ended.

    Raises SpecError for what is wrong with the job file, DeliveryError for a sink that cannot be written, and
    LedgerError while another process is at the run.
    """
    clock = clock or SystemClock()
    current = load(
        settings.root / str(info.meta["job_file"]),
        sets=sets,
        variables=variables,
        profile=info.meta["profile"],
        environ=environ,
    )
    with (
        state.own(line_of_run(info), trial=info.trial),
        SqliteLedger.open(info.folder) as ledger,
        closing(RunLog(info.folder / "log.jsonl", clock)) as log,
    ):
        now = replace(info, meta=ledger.meta)
        stored = now.stored_job(settings)
        applied = with_output_of(stored, current)
        _require_columns(current, ledger.meta.get(COLUMNS))
        require_same_for_twins(ledger, applied)
        watching = Observers(observer, log)
        targets = checked_targets(now, applied, state)
        warnings = _warnings(stored, applied, current)
        for warning in warnings:
            watching.notify(Warned("revalidated", warning))
        with closing(RowLookup(info.folder)) as row_of:
            came_to = _judged_again(now, ledger, applied, row_of)
        if ledger.meta["state"] == "finished":
            maker, note = record_maker(now, applied), note_in(ledger, info.folder)
            project(ledger, maker, targets, info.folder, watching, note=note)
        changed = fingerprint_changes(applied, current)
        return Revalidated(summarise(ledger, warnings=warnings), came_to, changed)


def _require_columns(current: LoadedJob, columns: Sequence[str] | None) -> None:
    """Raise SpecError for what looks at columns that the run's rows do not have: a rule would fail all of them. Not all
    of them may be known: of a run from before they were noted, or of more than are remembered."""
    if columns is None or len(columns) >= MAX_COLUMNS:
        return
    problems = check_columns_kept(current, columns)
    if problems:
        raise SpecError(problems)


def with_output_of(stored: LoadedJob, current: LoadedJob) -> LoadedJob:
    """The job of a run, with the output and the sinks of its job file as it is now."""
    resolved = {key: value for key, value in stored.resolved.items() if key not in TAKEN_ON}
    resolved |= {key: current.resolved[key] for key in TAKEN_ON if key in current.resolved}
    job: Job = stored.job.model_copy(update={key: getattr(current.job, key) for key in TAKEN_ON})
    own = {name: text for name, text in stored.templates.sources.items() if not _is_taken_on(name)}
    theirs = {name: text for name, text in current.templates.sources.items() if _is_taken_on(name)}
    return dataclasses.replace(
        stored,
        job=job,
        resolved=resolved,
        schema=current.schema,
        templates=TemplateSet.from_sources({**own, **theirs}),
    )


def _is_taken_on(template: str) -> bool:
    """Whether a template is a text of the job file in one of these keys: `jobs/x.yaml#sinks.0.path`."""
    _, _, place = template.rpartition("#")
    return "#" in template and place.split(".")[0] in TAKEN_ON


def _judged_again(info: RunInfo, ledger: SqliteLedger, applied: LoadedJob, row_of: RowLookup) -> Rejudged:
    judge = make_judge(check_of(applied), asking_of(applied), len(applied.job.turns), row_of=row_of)
    rule = make_rule(judge, retry_policy(applied.job.retry))
    label = hashlib.sha256(encode([applied.resolved.get("output"), applied.schema])).hexdigest()
    judged = int(info.meta.get("judged") or 0)
    fingerprint = job_fingerprint(applied)
    ledger.set_meta({"revalidating": label, "judged": judged + 1, "fingerprint": fingerprint})
    store_again(applied, info.folder / "inputs")
    ledger.settle_answered(rule)
    came_to = ledger.rejudge(rule, label)
    # The number tells the index of replies to read them anew: what it read in between may be of either rule.
    ledger.set_meta({"revalidating": None, "revalidation": None, "judged": judged + 2})
    return came_to


def _warnings(stored: LoadedJob, applied: LoadedJob, current: LoadedJob) -> list[str]:
    """What does not stand in the way, and is to be known."""
    sent, would_be = (_sent_format(job) for job in (stored, applied))
    if sent == would_be:
        return []
    told = "the replies were asked for with another schema than would be sent now"
    return [f"{told}: the model was held to the old one; `runner run {current.path.name} --new` asks anew"]


def _sent_format(loaded: LoadedJob) -> Any:
    compiled = compile_job(loaded, mode="parallel")
    return (compiled.shared.get("output_config") or {}).get("format") or compiled.last_format
