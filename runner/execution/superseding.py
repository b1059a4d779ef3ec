"""Runs that another is to take the place of: what they have at the API is collected, then they are left.

Owns   what becomes of an unfinished run once the user has asked for a new one, and of one whose cancel was cut off.
Knows  the state folder and the parts that a run is made of. Nothing is sent for such a run any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from runner.deferred import deferred
from runner.errors import LedgerError
from runner.events import Task, Warned
from runner.execution.advance import Ended, at_work
from runner.execution.asked import Asked
from runner.execution.assemble import assemble, stored_rule
from runner.execution.folders import RunInfo
from runner.execution.standing import open_batches
from runner.execution.summary import Summary
from runner.execution.under_way import Advance, Sitting
from runner.ledger.sqlite import SqliteLedger

if TYPE_CHECKING:
    from runner.execution import following
else:
    following = deferred("runner.execution.following")


def ended_as_canceled(asked: Asked, info: RunInfo) -> bool:
    """End a run that was being canceled when its process ended; whether it was. Raises LedgerError where it cannot be
    ended yet."""
    if not info.meta.get("canceling"):
        return False
    summary = _follow(asked, info, following.cancel, "cancel")
    if summary.status != "canceled":
        stopped = summary.stopped_by
        why, cure = (f": {stopped.message}", stopped.hint) if stopped is not None else ("", None)
        raise LedgerError(
            f"run {info.run_id} is being canceled, and has not ended{why}",
            code="canceling",
            hint=cure or f"`runner cancel {info.run_id}` goes on with it",
        )
    return True


def collected(asked: Asked, given_up: Sequence[RunInfo]) -> Summary | None:
    """Wait for what the runs that are given up have at the API; how one of them stands where that is not done."""
    for info in given_up:
        with SqliteLedger.open(info.folder, read_only=True) as ledger:
            waits = bool(open_batches(ledger))
        if waits:
            message = f"the open batches of run {info.run_id} are collected first; what they answer is reused"
            asked.observer.notify(Warned("collected-first", message))
            summary = _follow(asked, info, following.collect, "collect")
            if summary.stopped_by is not None:
                later = f"the new run has not begun: run {info.run_id} comes first; then give the same command again"
                return replace(summary, warnings=(*summary.warnings, later))
    return None


def give_up(info: RunInfo) -> None:
    """Leave an unfinished run for a new one: on the user's word, or because it was only a trial.

    What a kill left undecided in its spool is decided first, so that the new run finds those replies.
    """
    with SqliteLedger.open(info.folder) as ledger:
        ledger.settle_answered(stored_rule(info.folder))
        ledger.set_meta({"state": "superseded"})


def _follow(asked: Asked, info: RunInfo, act: Callable[[Advance], Ended], task: Task) -> Summary:
    loaded, sitting = info.stored_job(asked.loaded.settings), Sitting(detach=asked.options.detach)
    with SqliteLedger.open(info.folder) as ledger:
        run = assemble(
            info, ledger, loaded, asked.state, asked.api, asked.observer, asked.clock, resumed=True, sitting=sitting,
            to_send=False,
        )  # fmt: skip
        return at_work(run, act, task)
