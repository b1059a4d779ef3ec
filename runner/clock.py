"""Time, as a thing that is passed in.

Owns   `Clock` and `SystemClock`. Everything that decides by time asks a clock, so tests turn it by hand; only transport
       timeouts (sockets) look at the machine's own.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """`now` is wall time (aware, UTC); `monotonic` only measures differences, in seconds; `sleep` waits without
    blocking."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def pause(seconds: float) -> bool:
    """Wait on a thread that has nothing else to do; True, as nothing cuts it short."""
    time.sleep(seconds)
    return True


@lru_cache(maxsize=1_024)  # of a fast run many replies ended in the same millisecond, and each record has two times
def to_rfc3339(moment: datetime) -> str:
    """UTC with milliseconds, as records and logs show it: 2026-11-22T10:05:00.123Z."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return f"{moment.isoformat(timespec='milliseconds')[:-6]}Z"
