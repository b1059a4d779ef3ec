"""How many processes send a pass in parallel mode.

Owns   what `workers` comes to: the setting, what there is to send, the slots, the cores.
Knows  the run. It starts nothing: that is `execution.workers`.
"""

from __future__ import annotations

import os
import sys
from typing import Literal

from runner.events import Warned
from runner.execution.under_way import Advance
from runner.planning.requests import CompiledJob

SLOTS_A_WORKER = 250
ROWS_A_WORKER = 10_000
"""From how many requests in flight, and open rows, on `auto` takes one more worker. One process sends 2,000 rows a
second and more; 250 in flight come to that where a reply takes an eighth of a second, which is as fast as replies are.
A worker takes a second to start, in which one process sends a fifth of these rows."""

_ONE_WORKER = "`workers` is left aside: rows that share a cached prefix of their own are sent by one process"


def how_many(run: Advance, compiled: CompiledJob) -> int:
    """How many processes are to send what is open in this run; 1: none but this one.

    Rows with cached prefixes of their own are sent by one: those of a prefix wait for the first of them, which only
    who sends them all can see.
    """
    if run.mode != "parallel" or sys.platform == "win32":
        return 1
    if compiled.row_prefixes:
        if run.settings.workers not in (1, "auto"):
            run.observer.notify(Warned("one-worker", _ONE_WORKER))
        return 1
    return count_of(run.settings.workers, run.ledger.counts().open_asking, run.job.limits.max_concurrency, _cores())


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def count_of(wanted: int | Literal["auto"], open_rows: int, max_concurrency: int, cores: int) -> int:
    """As many workers as are wanted, and none that would have nothing to send."""
    worthwhile = min(cores, open_rows // ROWS_A_WORKER, max_concurrency // SLOTS_A_WORKER)
    return max(1, min(worthwhile if wanted == "auto" else wanted, open_rows, max_concurrency))
