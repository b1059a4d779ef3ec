"""Export: the sinks of a run, written again from its folder; also while it goes on.

Owns   what `runner export` does. It sends nothing and reads nothing of the project but the folder of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from runner.errors import LedgerError, RunnerError, SpecError, UsageError
from runner.events import Observers
from runner.execution.delivery import Note, PartTarget, Target, told
from runner.execution.folders import RunInfo, StateFolder
from runner.execution.outputs import note_beside, note_in
from runner.execution.projecting import project
from runner.execution.records import record_maker
from runner.execution.targets import make_targets, target_at, unset_deliveries
from runner.ledger import Delivery
from runner.ledger.refusals import disk_errors
from runner.ledger.sqlite import SqliteLedger
from runner.scratch import scratch_folder
from runner.settings import Settings
from runner.spec.load import LoadedJob


def export_run(
    info: RunInfo,
    state: StateFolder,
    settings: Settings,
    *,
    to: str | None = None,
    as_: str | None = None,
) -> Sequence[Delivery]:
    """Write all records of a run to its own sinks, or to one file `to` (in the format `as_`). Rows without an answer
    are `open`.

    Raises UsageError for an unknown format; a sink that fails, or that lacks the value of a `${NAME}`, is told in what
    is returned.
    """
    if as_ is not None and to is None:
        raise UsageError("--as says how --to writes, and --to is not given", hint="--to - writes to stdout")
    loaded = info.stored_job(settings, sends=False)
    targets = make_targets(info, loaded, state) if to is None else [_target(info, loaded, to, as_)]
    failed = [failure for target in targets if (failure := _refused(target)) is not None] if to is None else []
    unset = unset_deliveries(info, loaded) if to is None else []
    maker = record_maker(info, loaded)
    with _opened(info, read_only=to is not None) as (ledger, note, is_owner), _staging(info.folder) as staging:
        had = {delivery.sink: delivery for delivery in ledger.deliveries()}
        unset = [replace(each, records=had[each.sink].records) if each.sink in had else each for each in unset]
        out_of_reach = [each for each in unset if each.sink not in had or had[each.sink].state != "delivered"]
        for delivery in (*failed, *out_of_reach):  # one that has all its records keeps them
            note(delivery)
        out = {delivery.sink for delivery in failed}
        left = [] if is_owner else [target for target in targets if isinstance(target, PartTarget)]
        taken = [target for target in targets if target not in left and target.number not in out]
        delivered = project(ledger, maker, taken, info.folder, Observers(), note=note, staging=staging)
        return sorted([*failed, *unset, *delivered, *map(_left_alone, left)], key=lambda delivery: delivery.sink)


def _refused(target: Target | PartTarget) -> Delivery | None:
    """How a sink stands that cannot be written, which must not stop the others: the answers are paid for. One that
    takes parts finds that out when it begins."""
    if isinstance(target, PartTarget):
        return None
    try:
        target.sink.check()
    except RunnerError as error:
        return Delivery(target.number, target.sink.kind, target.sink.target, "failed", error=told(error))
    return None


def _left_alone(target: PartTarget) -> Delivery:
    """Who goes on with the run delivers to it: two processes would send the same records."""
    why = "another process goes on with the run, and delivers to it"
    return Delivery(target.number, target.sink.kind, target.sink.target, "pending", error=why)


def _target(info: RunInfo, loaded: LoadedJob, to: str, as_: str | None) -> Target:
    try:
        return target_at(info, loaded, to, as_)
    except SpecError as error:
        if error.code != "unknown-kind":
            raise
        raise UsageError(error.message, code=error.code, hint=error.hint) from error


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder for each export: two at a time would otherwise rename one another's files."""
    with disk_errors(folder), scratch_folder(folder, "exported-") as own:
        yield own / "staged"


@contextmanager
def _opened(info: RunInfo, *, read_only: bool) -> Iterator[tuple[SqliteLedger, Note, bool]]:
    """The ledger, and where deliveries are noted: beside it, while another process writes it; last, whether the run is
    ours to write."""
    ledger = SqliteLedger.open(info.folder, read_only=True) if read_only else _writable(info)
    try:
        if ledger is not None:
            yield ledger, _forget if read_only else note_in(ledger, info.folder), not read_only
            return
        ledger = SqliteLedger.open(info.folder, read_only=True)
        yield ledger, note_beside(info.folder), False
    finally:
        if ledger is not None:
            ledger.close()


def _writable(info: RunInfo) -> SqliteLedger | None:
    try:
        return SqliteLedger.open(info.folder)
    except LedgerError as error:
        if error.code != "locked":
            raise
        return None


def _forget(delivery: Delivery) -> None:
    """A file that the user named is not one of the job's sinks."""
