"""SIGINT and SIGTERM while a run is at work: the first drains for a while, the second drops.

Owns   the loop's handlers of the two signals for as long as something is sent or followed.
Knows  `Halt`. Batches at the API are not touched by either: only `runner cancel` cancels.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from runner.clock import Clock
from runner.engines import StopReason
from runner.engines.halt import INTERRUPTED, Halt

DRAIN_S = 30.0
"""How long the first Ctrl-C waits for what is in flight (docs/reliability.md, "Interrupting")."""

_TERMINATED = StopReason("terminated", "terminated by SIGTERM", INTERRUPTED.hint)


@contextmanager
def signals(halt: Halt, clock: Clock) -> Iterator[None]:
    """The first SIGINT or SIGTERM drains for a while, the second drops; only where this thread may take signals."""
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    loop = asyncio.get_running_loop()
    drains: list[asyncio.Task[None]] = []

    async def drop_later() -> None:
        await clock.sleep(DRAIN_S)
        halt.drop()

    def interrupt(reason: StopReason) -> None:
        if not drains:  # the run may have stopped by itself, and drain already
            halt.stop(reason)
            drains.append(loop.create_task(drop_later()))
        else:
            halt.drop(reason)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, reason in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, _TERMINATED)):
        loop.add_signal_handler(number, interrupt, reason)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)  # the loop would leave Python's own, not the caller's
        for task in drains:
            task.cancel()
