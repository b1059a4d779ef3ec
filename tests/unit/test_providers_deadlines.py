from __future__ import annotations

import asyncio
from typing import Any

from runner.providers.deadlines import Deadlines
from support.engine_fakes import run_virtual


async def attempt(deadlines: Deadlines, seconds: float) -> str:
    """One attempt that waits so long: how it ended."""
    task = deadlines.begin()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if deadlines.end(task):
            assert task.uncancel() == 0
            return "too late"
        raise
    assert not deadlines.end(task)
    return "in time"


def test_an_attempt_that_takes_too_long_is_canceled_and_the_others_go_on() -> None:
    async def main() -> list[str]:
        deadlines = Deadlines(0.2)
        ended = await asyncio.gather(*(attempt(deadlines, seconds) for seconds in (60, 0, 60, 0.01)))
        deadlines.close()
        return ended

    assert run_virtual(main()) == ["too late", "in time", "too late", "in time"]


def test_a_task_that_begins_again_has_its_whole_time_again() -> None:
    async def main() -> list[str]:
        deadlines = Deadlines(0.3)
        async with asyncio.timeout(5):
            return [await attempt(deadlines, seconds) for seconds in (0.2, 0.2, 60, 0.2)]

    assert run_virtual(main()) == ["in time", "in time", "too late", "in time"]


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the timers that are set."""

    timers = 0

    def call_at(self, *arguments: Any, **options: Any) -> asyncio.TimerHandle:  # type: ignore[override]  # all go on
        self.timers += 1
        return super().call_at(*arguments, **options)


def test_many_attempts_have_one_timer() -> None:
    async def attempt_at_once(deadlines: Deadlines) -> None:
        deadlines.end(deadlines.begin())

    async def main() -> None:
        deadlines = Deadlines(600)
        for _ in range(100):
            await asyncio.gather(*(attempt_at_once(deadlines) for _ in range(10)))
        deadlines.close()

    loop = CountingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as running:
        running.run(main())
    assert loop.timers == 1


def test_the_timer_moves_on_to_the_next_deadline() -> None:
    async def main() -> str:
        deadlines = Deadlines(0.3)
        first = asyncio.create_task(attempt(deadlines, 0.1))
        await asyncio.sleep(0.15)
        second = asyncio.create_task(attempt(deadlines, 60))
        assert await first == "in time"
        async with asyncio.timeout(10):
            return await second

    assert run_virtual(main()) == "too late"


def test_who_cancels_besides_is_obeyed() -> None:
    async def main() -> bool:
        deadlines = Deadlines(60)
        task = asyncio.create_task(attempt(deadlines, 60))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        deadlines.close()
        return task.cancelled()

    assert run_virtual(main())
