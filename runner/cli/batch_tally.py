"""What a run's batches come to, as a display shows them: how many are packed, sent, ended, and how old they are.

Owns   `BatchTally`, which events of batches touch, and the words for it. There is no progress inside a batch: the API
       tells nothing of its requests before all of it has ended, and nothing is made up here.
Knows  events only. Batches that are over are counted and forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from runner.cli.terminal import counted, duration
from runner.events import BatchMoved, Packed

_GONE = frozenset({"rejected", "not_sent"})
_LEAVING = frozenset({"intent", "sending"})


class AtApi(Struct, frozen=True):
    """Batches at one moment. `oldest_s` is the age of the oldest that is not over, `expires_at` when the first of them
    does, by the API's clock."""

    batches: int
    requests: int
    ended: int
    canceling: int
    doubtful: int
    closed: int
    oldest_s: float | None
    expires_at: datetime | None
    packing: int
    """Requests in the batch that is being packed, or leaves."""


class BatchTally:
    """Told of each event in turn; asked for where the batches stand."""

    def __init__(self) -> None:
        self._open: dict[int, BatchMoved] = {}
        self._closed = 0
        self._packing = 0
        self._any = False

    def packed(self, event: Packed) -> None:
        self._any = True
        self._packing = event.steps

    def moved(self, event: BatchMoved) -> None:
        self._any = True
        if event.state == "sending":
            self._packing = 0
        if is_open(event):
            self._open[event.number] = event
            return
        self._open.pop(event.number, None)
        self._closed += event.state == "closed"

    def standing(self, now: datetime) -> AtApi | None:
        """Where the batches stand; None where there has been none."""
        if not self._any:
            return None
        waiting = [event for event in self._open.values() if event.state not in _LEAVING]
        begun = [event.began_at for event in waiting if event.began_at is not None]
        return AtApi(
            batches=len(waiting),
            requests=sum(event.steps for event in waiting),
            ended=sum(event.state == "ended" for event in waiting),
            canceling=sum(event.state == "canceling" for event in waiting),
            doubtful=sum(event.state == "in_doubt" for event in waiting),
            closed=self._closed,
            oldest_s=max(0.0, (now - min(begun)).total_seconds()) if begun else None,
            expires_at=min((event.expires_at for event in waiting if event.expires_at is not None), default=None),
            packing=self._packing,
        )


def is_open(event: BatchMoved) -> bool:
    """Whether something is still to be done about the batch."""
    return event.state != "closed" and event.state not in _GONE


def batch_words(at_api: AtApi) -> Sequence[str]:
    """Where the batches stand, in a few words each."""
    words = []
    if at_api.batches:
        oldest = f", the oldest for {duration(at_api.oldest_s)}" if at_api.oldest_s is not None else ""
        words.append(f"{counted(at_api.batches, 'batch', 'batches')} at the API ({at_api.requests:,} requests{oldest})")
    words += [
        f"{number:,} {what}"
        for number, what in (
            (at_api.ended, "ended"),
            (at_api.canceling, "being canceled"),
            (at_api.doubtful, "in doubt"),
            (at_api.closed, "collected"),
        )
        if number
    ]
    if at_api.expires_at is not None:
        words.append(f"expiring from {at_api.expires_at:%b %d %H:%M} UTC on")
    if at_api.packing:
        words.append(f"packing {at_api.packing:,}")
    return words


def said_of(event: BatchMoved) -> str | None:
    """What is said once of a move; None for one that needs no word."""
    name = f"batch {event.number}" + (f" ({event.batch_id})" if event.batch_id is not None else "")
    requests = counted(event.steps, "request")
    expires = f"; expires {event.expires_at:%b %d %H:%M} UTC" if event.expires_at is not None else ""
    match event.state:
        case "in_progress":
            first = ", first and alone to fill the cache" if event.priming else ""
            return f"{name}: {requests} at the API{first}{expires}"
        case "ended":
            return f"{name}: ended; collecting {requests}"
        case "closed":
            return f"{name}: collected"
        case "canceling":
            return f"{name}: being canceled"
        case "in_doubt":
            return f"{name}: in doubt, since the reply to its create never came; it is looked for"
        case "not_sent" | "rejected":
            return f"{name}: {'did not leave' if event.state == 'not_sent' else 'refused'}"
        case _:
            return None


__all__ = ["AtApi", "BatchTally", "batch_words", "is_open", "said_of"]
