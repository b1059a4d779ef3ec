"""The API's batch objects: from decoded JSON to `RemoteBatch` and `BatchPage`.

Owns   the reading of a batch and of a page of them, field by field. Pure.
Facts  names and nullability: SDK 2.12 `types/messages/message_batch.py`, `message_batch_request_counts.py`; unknown
       fields pass unread. Reasons of a ValueError name a field and never quote more of the reply than its value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

from runner.providers import BatchPage, RemoteBatch, RemoteStatus

_STATUSES = frozenset(get_args(RemoteStatus))
_TALLIES = ("processing", "succeeded", "errored", "canceled", "expired")
_BATCH_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""It becomes a part of an address and of file names; the API's own are `msgbatch_` and letters and digits."""
_MAX_TALLY = 100_000_000
"""A thousand times the requests that one batch may hold: beyond it a count is a mistake."""


def is_batch_id(text: str) -> bool:
    return _BATCH_ID.fullmatch(text) is not None


def batch_of(data: Any) -> RemoteBatch:
    """Read a batch object. Raises ValueError with a short reason."""
    if not isinstance(data, dict) or data.get("type") != "message_batch":
        raise ValueError("not a message_batch object")
    batch_id, status = data.get("id"), data.get("processing_status")
    if not isinstance(batch_id, str) or not is_batch_id(batch_id):
        raise ValueError(f"a batch whose id is {_short(batch_id)}")
    if not isinstance(status, str) or status not in _STATUSES:
        raise ValueError(f"a batch whose processing_status is {_short(status)}")
    created_at, expires_at = _time(data, "created_at"), _time(data, "expires_at")
    if created_at is None or expires_at is None:
        raise ValueError("a batch without created_at or expires_at")
    return RemoteBatch(
        batch_id=batch_id,
        status=status,  # type: ignore[arg-type]  # one of its literals, as was just looked up
        tallies=_tallies(data.get("request_counts")),
        created_at=created_at,
        expires_at=expires_at,
        ended_at=_time(data, "ended_at"),
        archived_at=_time(data, "archived_at"),
    )


def page_of(data: Any) -> BatchPage:
    """Read a page of batches. Raises ValueError with a short reason."""
    listed, has_more = (data.get("data"), data.get("has_more")) if isinstance(data, dict) else (None, None)
    if not isinstance(listed, list) or not isinstance(has_more, bool):
        raise ValueError("not a list of batches with has_more")
    if has_more and not listed:
        raise ValueError("an empty page that says that more follow")
    return BatchPage([batch_of(batch) for batch in listed], has_more)


def _tallies(counts: Any) -> Mapping[str, int]:
    """All counts, also such as are not known yet: their sum is the number of requests."""
    if not isinstance(counts, dict) or not all(name in counts for name in _TALLIES):
        raise ValueError("a batch without all of its request_counts")
    for name, count in counts.items():
        if type(count) is not int or not 0 <= count <= _MAX_TALLY:
            raise ValueError(f"a batch whose count {_short(name)} is {_short(count)}")
    return counts


def _time(data: Mapping[str, Any], name: str) -> datetime | None:
    """An RFC 3339 time, in UTC."""
    value = data.get(name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"a batch whose {name} is {_short(value)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
