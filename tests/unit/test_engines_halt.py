"""Stopping a run, from any thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest

from runner.engines import StopReason
from runner.engines.halt import INTERRUPTED, Halt, stop_reason
from runner.types import Failure
from support.engine_fakes import run_virtual

DISK = StopReason("disk", "full")


def test_the_first_reason_stays() -> None:
    halt = Halt()
    seen = [(halt.reason, halt.dropped)]
    acts: list[Callable[[], None]] = [partial(halt.stop, DISK), partial(halt.stop, INTERRUPTED), halt.drop]
    for act in acts:
        act()
        seen.append((halt.reason, halt.dropped))
    assert seen == [(None, False), (DISK, False), (DISK, False), (DISK, True)]


def test_a_drop_alone_is_a_stop_as_well() -> None:
    halt = Halt()
    halt.drop()
    assert (halt.reason, halt.dropped) == (INTERRUPTED, True)


def test_listeners_are_told_each_change_and_a_late_one_at_once() -> None:
    async def main() -> list[str]:
        halt, told = Halt(), list[str]()
        early, late, gone = (lambda name=name: told.append(name) for name in ("early", "late", "gone"))
        halt.listen(early)
        halt.listen(gone)
        halt.unlisten(gone)
        halt.stop(DISK)
        await asyncio.sleep(0)
        halt.listen(late)
        await asyncio.sleep(0)
        halt.drop()
        await asyncio.sleep(0)
        return told

    assert run_virtual(main()) == ["early", "late", "early", "late"]


def test_another_thread_can_stop_what_waits_on_a_loop() -> None:
    async def main() -> StopReason:
        halt = Halt()
        thread = threading.Thread(target=halt.stop, args=(DISK,))
        waiting = asyncio.create_task(halt.wait())
        await asyncio.sleep(0)
        thread.start()
        try:
            return await waiting
        finally:
            thread.join()

    assert asyncio.run(main()) == DISK


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("authentication_error", "credentials"),
        ("permission_error", "permission"),
        ("not_found_error", "not_found"),
        ("billing_error", "spend_limit"),
        ("invalid_request_error", "api_refused"),
    ],
)
def test_a_failure_that_concerns_every_row_has_its_reason(kind: str, reason: str) -> None:
    failure = Failure(kind, "what the API said", scope="job")
    stop = stop_reason(failure)
    assert (stop.kind, stop.message, stop.failure) == (reason, "what the API said", failure)
    assert stop.hint
