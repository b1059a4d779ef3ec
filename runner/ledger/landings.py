"""Landed result files: what a batch brought, as the API sent it, kept beside the spool's own segments.

Owns   the files `spool/batch-000003.part` (being written) and `spool/000001.jsonl` (landed, numbered in the order of
       landing), the table `landings`, and finding the message object in a line.
Knows  the API's result line: `{"custom_id": …, "result": {"type": "succeeded", "message": {…}}}` (SDK 2.12
       `types/messages/message_batch_individual_response.py`).

A file has landed once its row is committed. Before, it is nothing: the next landing takes its number, and opening the
run to write removes what a killed process left. A landed file is never written again.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import orjson

from runner.encoding import decode, encode
from runner.ledger.database import Database, fetch, fetch_value
from runner.ledger.folder import sync_entries
from runner.ledger.frames import BrokenFrame
from runner.ledger.refusals import disk_errors

_USUAL_START = re.compile(
    rb'\s*\{\s*"custom_id"\s*:\s*"[^"\\]*"\s*,\s*"result"\s*:\s*\{\s*"type"\s*:\s*"succeeded"\s*,\s*"message"\s*:\s*'
)
_USUAL_END = re.compile(rb"\s*\}\s*\}\s*\Z")
_LONGEST_END = 64
"""Bytes that are looked at for the end of a line: two brackets and a line end, generously spaced."""


def landed_path(folder: Path, landing: int) -> Path:
    """Where a landed file is, in the spool's folder."""
    return folder / f"{landing:06d}.jsonl"


def landing_path(folder: Path, batch: int) -> Path:
    """Where a batch's results are written before they land."""
    return folder / f"batch-{batch:06d}.part"


def land(database: Database, folder: Path, batch: int) -> Path:
    """Make what is at `landing_path` durable and a landed file. Raises LedgerError `cannot-write`, `disk-error`."""
    source = landing_path(folder, batch)
    landing = fetch_value(database.connection, "SELECT coalesce(max(id), 0) + 1 FROM landings")
    target = landed_path(folder, landing)
    with disk_errors(source):
        size = _sync(source)
        source.replace(target)
        sync_entries(folder)
    with database.transaction(durable=True) as connection:
        connection.execute("INSERT INTO landings VALUES (?, ?, ?)", (landing, batch, size))
    return target


def _sync(path: Path) -> int:
    """Make a file durable, and only its owner's; returns its size in bytes."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def last_landing(database: Database, batch: int) -> int | None:
    """The number of a batch's last landed file; None where none has landed."""
    landing: int | None = fetch_value(database.connection, "SELECT max(id) FROM landings WHERE batch = ?", (batch,))
    return landing


def remove_unlanded(database: Database, folder: Path) -> None:
    """Remove what a killed process left: files that were being written, and one that had not quite landed."""
    known = {landed_path(folder, landing) for (landing,) in fetch(database.connection, "SELECT id FROM landings")}
    with disk_errors(folder):
        for path in (*folder.glob("*.jsonl"), *folder.glob("batch-*.part")):
            if path not in known:
                path.unlink()


def message_of_line(line: bytes) -> bytes:
    """The message object in a line of results, byte by byte as it was sent; `b""` where the line has none.

    A line that is written in another way than usual is decoded, and its message encoded again. Raises BrokenFrame for
    bytes that are no line of results.
    """
    start, end = _USUAL_START.match(line), _USUAL_END.search(line, max(0, len(line) - _LONGEST_END))
    if start is not None and end is not None:
        message = line[start.end() : end.start()]
        if _is_object(message):
            return message
    try:
        result = decode(line)["result"]
        return encode(result["message"]) if result["type"] == "succeeded" else b""
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise BrokenFrame(f"no line of results ({error})") from error


def _is_object(data: bytes) -> bool:
    # Where these bytes are one JSON object, the line around them can mean nothing else.
    if not data.startswith(b"{"):
        return False
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            decode(data)  # a lone surrogate is JSON, too
        except (ValueError, RecursionError):
            return False
    return True
