"""`log.jsonl` of a run: what happened, by ids and counts, for whoever looks later.

Owns   the log file and its rotation. Holds no prompt, no reply and no credential: a failure's message is there where
       it is the API's own, and left out where it may quote a row or a reply.
A row that succeeds is not logged (the ledger knows it): the log grows with trouble, not with rows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from runner.clock import Clock, to_rfc3339
from runner.encoding import encode
from runner.events import (
    BatchMoved,
    BatchSettled,
    CoolingDown,
    Event,
    FileUploaded,
    HeldBack,
    RunEnded,
    RunStarted,
    SinkDelivered,
    StepEnded,
    StepSent,
    Stopping,
    Warned,
)
from runner.ledger.folder import open_private
from runner.ledger.refusals import disk_errors
from runner.types import Failure

ROTATE_BYTES = 16 * 2**20
"""One older file is kept beside it, so a run's log never takes more than twice this."""


class RunLog:
    """An observer that appends one JSON object a line.

    A log that cannot be written ends in silence: the run does not hang on it, and a full disk stops the run where
    something is lost, at the ledger.
    """

    hears_each_row: ClassVar[bool] = False

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises LedgerError where the file cannot be opened."""
        self._path = path
        self._clock = clock
        with disk_errors(path):
            self._descriptor: int | None = self._open()
            self._size = os.fstat(self._descriptor).st_size

    def notify(self, event: Event) -> None:
        fields = _fields(event)
        if fields is None or self._descriptor is None:
            return
        line = encode({"at": to_rfc3339(self._clock.now()), **fields}) + b"\n"
        try:
            if self._size + len(line) > ROTATE_BYTES:
                self._rotate()
            self._size += os.write(self._descriptor, line)
        except OSError:
            self.close()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        return open_private(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def _rotate(self) -> None:
        self._path.replace(self._path.with_suffix(".jsonl.1"))
        self.close()
        self._descriptor = self._open()
        self._size = 0


def _in_the_api_s_words(failure: Failure) -> bool:
    """Whether a message is an error reply's; all others may quote a row or a reply (the ledger has them whole)."""
    return failure.http_status is not None and failure.http_status >= 400


def _fields(event: Event) -> dict[str, object] | None:
    match event:
        case StepSent():
            return None
        case StepEnded(failure=None):
            return None
        case StepEnded(step=step, attempt=attempt, status=status, failure=failure) if failure is not None:
            return {
                "event": "failure",
                "row": step.row,
                "attempt": attempt,
                "row_status": status,
                **failure.to_dict(),
                "message": failure.message if _in_the_api_s_words(failure) else None,
            }
        case RunStarted(run_id=run_id, job=job, mode=mode, rows=rows, open_rows=open_rows, resumed=resumed):
            return {
                "event": "started",
                "run_id": run_id,
                "job": job,
                "mode": mode,
                "rows": rows,
                "open": open_rows,
                "resumed": resumed,
            }
        case BatchMoved(number=number, state=state, batch_id=batch_id, steps=steps, expires_at=expires_at):
            return {
                "event": "batch",
                "number": number,
                "state": state,
                "batch_id": batch_id,
                "requests": steps,
                "expires_at": to_rfc3339(expires_at) if expires_at is not None else None,
                "priming": event.priming,
            }
        case BatchSettled(number=number, statuses=statuses):
            return {"event": "settled", "number": number, "row_statuses": dict(statuses)}
        case FileUploaded(file_id=file_id, size_bytes=size_bytes):
            return {"event": "uploaded", "file_id": file_id, "size_bytes": size_bytes}
        case CoolingDown(seconds=seconds, reason=reason):
            return {"event": "cooling_down", "seconds": round(seconds, 3), "reason": reason}
        case HeldBack(by=by, limit=limit, own=own):
            return {"event": "held_back", "by": by, "limit": limit, "own": own}
        case Warned(code=code, message=message):
            return {"event": "warning", "code": code, "message": message}
        case Stopping(reason=reason, message=message):
            return {"event": "stopping", "reason": reason, "message": message}
        case SinkDelivered(kind=kind, target=target, records=records):
            return {"event": "delivered", "kind": kind, "target": target, "records": records}
        case RunEnded(run_id=run_id, status=status):
            return {"event": "ended", "run_id": run_id, "status": status}
        case _:
            return None
