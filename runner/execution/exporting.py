"""Export: the sinks of a run, written again from its folder; also while it goes on.

Owns   what `runner export` does. It sends nothing and reads nothing of the project but the folder of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from runner.errors import LedgerError, SpecError, UsageError
from runner.events import Observers
from runner.execution.delivery import Note, Target, deliver
from runner.execution.folders import RunInfo, StateFolder
from runner.execution.outputs import note_beside, note_in
from runner.execution.records import record_maker
from runner.execution.targets import checked_targets, target_at
from runner.ledger import Delivery
from runner.ledger.refusals import disk_errors
from runner.ledger.sqlite import SqliteLedger
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

    Raises UsageError for an unknown format; a sink that fails is told in what is returned.
    """
    if as_ is not None and to is None:
        raise UsageError("--as says how --to writes, and --to is not given", hint="--to - writes to stdout")
    loaded = info.stored_job(settings)
    targets = checked_targets(info, loaded, state) if to is None else [_target(info, loaded, to, as_)]
    maker = record_maker(info, loaded)
    with _opened(info, read_only=to is not None) as (ledger, note), _staging(info.folder) as staging:
        return deliver(maker.records(ledger), targets, staging, Observers(), note=note)


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
    with disk_errors(folder), TemporaryDirectory(prefix="exported-", dir=folder) as own:
        yield Path(own) / "staged"


@contextmanager
def _opened(info: RunInfo, *, read_only: bool) -> Iterator[tuple[SqliteLedger, Note]]:
    """The ledger, and where deliveries are noted: beside it, while another process writes it."""
    ledger = SqliteLedger.open(info.folder, read_only=True) if read_only else _writable(info)
    try:
        if ledger is not None:
            yield ledger, _forget if read_only else note_in(ledger, info.folder)
            return
        ledger = SqliteLedger.open(info.folder, read_only=True)
        yield ledger, note_beside(info.folder)
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
