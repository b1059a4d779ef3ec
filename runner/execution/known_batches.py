"""Which batches belong to runs of this state folder: what reconciling must not take for its own.

Owns   reading batch ids from all ledgers, and remembering them while a ledger has not changed.
Knows  ledgers, read-only. One that cannot be read is told once: a batch of its run could then be held for longer, but
       is never taken up, since ids in results prove whose it is.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

from runner.errors import LedgerError
from runner.events import Observer, Warned
from runner.execution.folders import StateFolder
from runner.ledger.folder import DATABASE
from runner.ledger.sqlite import SqliteLedger


class KnownBatches:
    """The ids in the ledgers of a state folder; may be asked from any thread, one at a time."""

    def __init__(self, state: StateFolder, observer: Observer) -> None:
        self._state = state
        self._observer = observer
        self._read: dict[Path, tuple[object, frozenset[str]]] = {}
        self._told: set[Path] = set()

    def ids(self) -> AbstractSet[str]:
        """All ids that are known now."""
        found: set[str] = set()
        for database in self._state.runs_path.glob(f"[!.]*/{DATABASE}"):
            found |= self._of(database.parent)
        return found

    def _of(self, folder: Path) -> frozenset[str]:
        stamp = _stamp(folder)
        known = self._read.get(folder)
        if known is not None and known[0] == stamp:
            return known[1]
        ids = self._ids_in(folder)
        self._read[folder] = (stamp, ids)
        return ids

    def _ids_in(self, folder: Path) -> frozenset[str]:
        try:
            with SqliteLedger.open(folder, read_only=True) as ledger:
                return frozenset(batch.batch_id for batch in ledger.batches() if batch.batch_id is not None)
        except LedgerError as error:
            if error.code != "no-ledger" and folder not in self._told:
                self._told.add(folder)
                message = f"the batches of the run in {folder} are not known: {error.message}"
                self._observer.notify(Warned("unreadable-run", message))
            return frozenset()


def _stamp(folder: Path) -> object:
    """Changes whenever a commit changes the ledger."""
    parts = []
    for name in (DATABASE, f"{DATABASE}-wal"):
        with suppress(FileNotFoundError):
            found = (folder / name).stat()
            parts.append((found.st_size, found.st_mtime_ns))
    return tuple(parts)
