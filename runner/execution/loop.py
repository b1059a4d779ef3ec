"""The event loop on which a run sends and follows: uvloop where there is one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

if sys.platform == "win32":
    _new_event_loop = asyncio.new_event_loop
else:
    from uvloop import new_event_loop as _new_event_loop

T = TypeVar("T")


def on_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        return runner.run(coroutine)
