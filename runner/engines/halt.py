"""How a run is told to stop, from whichever thread notices that it has to, and the reason a failed request may be.

Owns   the reason and the two degrees: `stop` admits nothing more and awaits what is in flight, `drop` abandons that
       too; and the table from a failure that concerns every row to the reason for stopping.
Knows  nothing of who stops or what is running. The first reason stays; a drop without a stop is a stop as well.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from runner.engines import StopReason
from runner.types import Failure

INTERRUPTED = StopReason("interrupted", "interrupted", "run it again, or `runner resume`, to go on where it stopped")

_REASONS = {
    "authentication_error": ("credentials", "check ANTHROPIC_API_KEY, then go on with `runner resume`"),
    "permission_error": ("permission", "ask for the permission, or use another key, then go on with `runner resume`"),
    "not_found_error": ("not_found", "check `model` in the job and ANTHROPIC_BASE_URL"),
    "billing_error": ("spend_limit", "raise the limit or add credit, then go on with `runner resume`"),
}
_OTHER_REASON = ("api_refused", "the API refuses every request of this account; its message says why")


def stop_reason(failure: Failure) -> StopReason:
    """Why a failure of job scope stops the run."""
    kind, hint = _REASONS.get(failure.kind, _OTHER_REASON)
    return StopReason(kind, failure.message, hint, failure)


def waiting_at_api(batches: int, requests: int, hint: str) -> StopReason:
    """The reason of a run that leaves batches at the API: nothing is wrong."""
    what = "1 batch" if batches == 1 else f"{batches:,} batches"
    of = "1 unfinished request" if requests == 1 else f"{requests:,} unfinished requests"
    waits = "waits" if batches == 1 else "wait"
    return StopReason("waiting", f"{what} with {of} {waits} at the API", hint)


class Halt:
    """One per run. Listeners are called on their own loop, also for a stop that came before they listened."""

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._reason: StopReason | None = None
        self._dropped = False
        self._listeners: list[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = []

    @property
    def reason(self) -> StopReason | None:
        """Why the run stops; None while it goes on."""
        return self._reason

    @property
    def dropped(self) -> bool:
        """Whether what is in flight is to be abandoned."""
        return self._dropped

    def stop(self, reason: StopReason) -> None:
        """Admit nothing more; what is in flight is awaited. Callable from any thread and from a loop's signal
        handler."""
        self._change(reason, dropped=False)

    def drop(self, reason: StopReason = INTERRUPTED) -> None:
        """Abandon what is in flight too: its leases stay and are found lost when the run goes on."""
        self._change(reason, dropped=True)

    def listen(self, callback: Callable[[], None]) -> None:
        """Call back on the running loop whenever the halt changes, and at once if it already has."""
        loop = asyncio.get_running_loop()
        with self._gate:
            self._listeners.append((loop, callback))
            halted = self._reason is not None
        if halted:
            loop.call_soon(callback)

    def unlisten(self, callback: Callable[[], None]) -> None:
        with self._gate:
            self._listeners = [entry for entry in self._listeners if entry[1] != callback]

    async def wait(self) -> StopReason:
        """Wait until the run is told to stop."""
        changed = asyncio.Event()
        self.listen(changed.set)
        try:
            await changed.wait()
        finally:
            self.unlisten(changed.set)
        assert self._reason is not None
        return self._reason

    def _change(self, reason: StopReason, *, dropped: bool) -> None:
        with self._gate:
            if self._reason is None:
                self._reason = reason
            self._dropped = self._dropped or dropped
            listeners = list(self._listeners)
        for loop, callback in listeners:
            if not loop.is_closed():
                loop.call_soon_threadsafe(callback)
