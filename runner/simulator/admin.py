"""The server's side of `/_control/…`: scripts of faults, the clock, the books.

Owns   the control routes, and the clock that they can turn (it stays turned after a restart).
Knows  the parts it steers. Only the holder of the control token reaches it; the API's own credential does not open it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field

from runner.clock import Clock
from runner.simulator.accounts import Accounts
from runner.simulator.batches import Batches
from runner.simulator.faults import Faults, Rule
from runner.simulator.files import Files
from runner.simulator.messages import Messages
from runner.simulator.refusal import Refused


class TurnedClock:
    """A clock that runs with another one, some time ahead of it."""

    def __init__(self, clock: Clock, ahead_s: float = 0.0) -> None:
        self._clock = clock
        self._ahead_s = ahead_s

    @property
    def ahead_s(self) -> float:
        return self._ahead_s

    def advance(self, seconds: float) -> None:
        self._ahead_s += seconds

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._ahead_s)

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._ahead_s

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


class Traffic(Struct):
    """What went over the wire since the start or the last reset."""

    received: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    by_status: Counter[int] = field(default_factory=Counter)

    def begin(self) -> None:
        self.received += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def clear(self) -> None:
        self.received, self.max_in_flight = 0, self.in_flight
        self.by_status.clear()


class Admin:
    def __init__(
        self,
        clock: TurnedClock,
        accounts: Accounts,
        faults: Faults,
        messages: Messages,
        batches: Batches,
        files: Files,
        traffic: Traffic,
    ) -> None:
        self._clock = clock
        self._accounts = accounts
        self._faults = faults
        self._messages = messages
        self._batches = batches
        self._files = files
        self._traffic = traffic
        self._routes: Mapping[tuple[str, str], Callable[[Any], Any]] = {
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): lambda _: self._faults.clear(),
            ("GET", "accounts"): lambda _: self._accounts.totals(),
            ("GET", "requests"): lambda _: self._accounts.entries(),
            ("GET", "counts"): lambda _: self._accounts.counts(),
            ("GET", "traffic"): lambda _: self._describe_traffic(),
            ("GET", "batches"): lambda _: self._batches.describe_all(),
            ("GET", "uploads"): lambda _: self._files.store.uploads(),
            ("POST", "batches/end"): lambda body: self._batches.end_now((body or {}).get("id")),
            ("POST", "clock"): self._turn_clock,
            ("POST", "reset"): lambda _: self._reset(),
        }

    def call(self, method: str, name: str, body: Any) -> Any:
        """Carry out a control call; returns its answer as a JSON value. Raises Refused."""
        route = self._routes.get((method, name))
        if route is None:
            raise Refused(f"no control call {method} {name}", 404)
        return route(body)

    def _add_fault(self, body: Any) -> None:
        self._faults.add(Rule.from_json(body))

    def _turn_clock(self, body: Any) -> None:
        self._clock.advance(float(body["advance_s"]))
        self._accounts.set_ahead_s(self._clock.ahead_s)  # a restart must not bring back yesterday
        self._batches.work.wake()

    def _describe_traffic(self) -> dict[str, Any]:
        traffic = self._traffic
        by_status = {str(status): count for status, count in sorted(traffic.by_status.items())}
        return {
            "received": traffic.received,
            "in_flight": traffic.in_flight,
            "max_in_flight": traffic.max_in_flight,
            "by_status": by_status,
        }

    def _reset(self) -> None:
        self._faults.clear()
        self._accounts.clear()
        self._batches.forget()
        self._files.store.clear()
        self._messages.cache.clear()
        self._messages.limits.clear()
        self._traffic.clear()
