"""Which files are a job's own: the digests of all that its runs wrote, or were about to write.

Owns   `outputs.txt` in a run's folder: a digest (hex) a line, durable before the file that it is of can be seen.
Knows  run folders. Nothing of sinks.

The ledger keeps how each sink stands now, and forgets what it stood at before. To know a file again that is too little:
killed between the note and the rename, a run finds the target with what it delivered the last time; an export that
fails leaves what was there; and while another process owns the ledger, an export has only this file to note it in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from runner.execution.delivery import Note
from runner.execution.folders import StateFolder
from runner.ledger import Delivery, Ledger
from runner.ledger.folder import open_private, sync_entries
from runner.ledger.refusals import disk_errors

OUTPUTS = "outputs.txt"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def note_in(ledger: Ledger, folder: Path) -> Note:
    """Keep deliveries in a ledger that is open for writing, and their digests beside it."""
    beside = note_beside(folder)

    def note(delivery: Delivery) -> None:
        beside(delivery)
        ledger.set_delivery(delivery)

    return note


def note_beside(folder: Path) -> Note:
    """Keep the digests of what is about to become visible. Raises LedgerError."""

    def note(delivery: Delivery) -> None:
        if delivery.state == "staged" and delivery.sha256 is not None:
            _append(folder, delivery.sha256)

    return note


def own_outputs(state: StateFolder, job_file: str) -> frozenset[str]:
    """Digests of what the runs of a job wrote, or were about to write: those files may be replaced."""
    folders = [run.folder for run in state.runs() if run.meta["job_file"] == job_file]
    return frozenset(digest for folder in folders for digest in _read(folder / OUTPUTS))


def _append(folder: Path, digest: str) -> None:
    path = folder / OUTPUTS
    with disk_errors(path):
        with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "wb") as file:
            file.write(f"\n{digest}\n".encode())  # a line of its own, also after one that a full disk tore
            file.flush()
            os.fsync(file.fileno())
        sync_entries(folder)


def _read(path: Path) -> Iterator[str]:
    if path.exists():
        yield from filter(_DIGEST.fullmatch, path.read_text(encoding="ascii", errors="replace").splitlines())
