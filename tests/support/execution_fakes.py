"""Stand-ins for the tests of execution: a ledger that fails at a counted call, a provider in this process, small jobs.

All keep their contracts: the ledger is the real one with a fault in it, the provider answers with what the request
says, so that a swapped reply is seen, and keeps an account of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from runner.errors import LedgerError
from runner.ledger import Delivery, Lease, Rule, Ruling
from runner.ledger.sqlite import SqliteLedger
from runner.types import Outcome, Step

T = TypeVar("T")


def disk_full() -> LedgerError:
    return LedgerError("no space left", code="disk-full")


@dataclass(frozen=True, slots=True)
class Call:
    """One writing call of a ledger, with how many outcomes, leases or steps it was given."""

    method: str
    size: int = 1


class FaultyLedger(SqliteLedger):
    """A ledger that counts its writing calls, fails at one of them, and can be held up.

    `fails_at` is the call, from 1, that raises `disk_full`: before it did anything or, with `fails_after`, when all of
    it is durable and nobody has been told.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.calls: list[Call] = []
        self.fails_at: int | None = None
        self.fails_after = False
        self._open_gate = threading.Event()
        self._open_gate.set()
        self._arrived = threading.Event()
        super().__init__(*arguments, **options)

    @property
    def has_failed(self) -> bool:
        return self.fails_at is not None and len(self.calls) >= self.fails_at

    def hold(self) -> None:
        """Let the next call wait until `let_go`."""
        self._arrived.clear()
        self._open_gate.clear()

    def wait_until_held(self) -> None:
        assert self._arrived.wait(10), "nothing was written"

    def let_go(self) -> None:
        self._open_gate.set()

    def set_meta(self, values: Mapping[str, Any]) -> None:
        self._call(Call("set_meta"), lambda: super(FaultyLedger, self).set_meta(values))

    def lease(self, leases: Sequence[Lease], cap_pico: int | None) -> int:
        return self._call(Call("lease", len(leases)), lambda: super(FaultyLedger, self).lease(leases, cap_pico))

    def release(self, steps: Sequence[Step]) -> None:
        self._call(Call("release", len(steps)), lambda: super(FaultyLedger, self).release(steps))

    def record(self, outcomes: Sequence[Outcome], rule: Rule) -> Sequence[Ruling]:
        return self._call(Call("record", len(outcomes)), lambda: super(FaultyLedger, self).record(outcomes, rule))

    def set_delivery(self, delivery: Delivery) -> None:
        self._call(Call("set_delivery"), lambda: super(FaultyLedger, self).set_delivery(delivery))

    def _call(self, call: Call, act: Callable[[], T]) -> T:
        self._arrived.set()
        assert self._open_gate.wait(10), "nobody let the ledger go"
        self.calls.append(call)
        failing = len(self.calls) == self.fails_at
        if failing and not self.fails_after:
            raise disk_full()
        result = act()
        if failing:
            raise disk_full()
        return result


def methods(calls: Iterable[Call]) -> list[str]:
    return [call.method for call in calls]
