"""Time that passes only while nothing happens: for a server and its client in one loop, over real sockets.

    outcome = run_in_idle_time(main())

A client that gives up after 0.3 s does so because its server says nothing, never because this process had to wait for
its turn, or works slowly; and waiting for a minute costs no more than an instant. Where there are no sockets,
`support.engine_fakes.run_virtual` does the same and needs no grace.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple, Unpack

GRACE_S = 0.02
"""How long no socket has anything to say before that counts as idle. What is sent over loopback is there at once."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class PassingTime(selectors.DefaultSelector):
    """A selector that says what time it is."""

    now = 0.0


class _IdleSelector(PassingTime):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(min(timeout, GRACE_S))
        if not ready:
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, passing: PassingTime) -> None:
        self._passing = passing
        super().__init__(passing)

    def time(self) -> float:
        return self._passing.now

    def run_in_executor(self, executor: Any, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> asyncio.Future[T]:
        """Work for a thread is done on the spot: such time does not wait for it."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except BaseException as error:  # noqa: BLE001 - whatever it raises belongs to who awaits it
            future.set_exception(error)
        return future


def run_by(make_time: Callable[[], PassingTime], coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a loop whose time is the selector's."""
    with asyncio.Runner(loop_factory=lambda: _Loop(make_time())) as runner:
        return runner.run(coroutine)


def run_in_idle_time(coroutine: Coroutine[Any, Any, T]) -> T:
    return run_by(_IdleSelector, coroutine)
