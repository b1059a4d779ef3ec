"""Versions: whether a record is still what it was when a sink was given it.

Owns   `version_of`, a number of 8 bytes over all of a record that may change while its run lives.
Why    a row that was delivered may get another outcome (`runner retry`), and its outcome another meaning (`runner
       revalidate`). What the record says is compared, so that what stayed the same is not delivered twice.

The row's own columns are no part of it, since a run never changes them; nor are the run, the job and the key. It is
written into journals: what goes into it, and in which order, may not change without their format.
"""

from __future__ import annotations

from hashlib import blake2b
from operator import attrgetter

from runner.encoding import encode
from runner.types import Record

_CHANGING = attrgetter(
    "status", "output", "text", "stop_reason", "error", "model", "mode", "attempts", "reused", "cost_usd", "usage",
    "request_hash", "message_id", "request_id", "batch_id", "started_at", "ended_at", "warnings", "turns", "samples",
    "vote",
)  # fmt: skip


def version_of(record: Record) -> tuple[int, int]:
    """The version, which is never 0, and about how many bytes of JSON it stands for."""
    encoded = encode(_CHANGING(record))
    return int.from_bytes(blake2b(encoded, digest_size=8).digest(), "little") or 1, len(encoded)
