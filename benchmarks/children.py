"""Programs in child processes, and what they used: wall time, CPU time, peak memory.

Owns   starting and reaping; the figures are the kernel's (`wait4`), for the child alone.
Knows  nothing of runner but how it is started.

The peak of a child that was just forked counts its parent's pages until it becomes another program, so the measuring
process has to stay smaller than what it measures (`own_peak_bytes`).
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import ROOT
from runner.clock import SystemClock

RUNNER = (sys.executable, "-m", "runner")
TIMEOUT_S = 3_600.0
"""Beyond every run that is measured."""
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""`ru_maxrss` is in bytes on macOS and in KiB on Linux (getrusage(2) of both)."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a child used until it ended well; `cpu_s` is user and system time of all its threads, `started_at` the
    machine's monotonic clock."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    stdout: str
    started_at: float

    @property
    def peak_mib(self) -> float:
        return self.peak_bytes / 2**20


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    environ: Mapping[str, str] | None = None,
    expected: Sequence[int] = (0,),
    timeout_s: float = TIMEOUT_S,
) -> Used:
    """Run a program to its end. Raises RuntimeError, with what it said, where it ends with a status not `expected`, or
    was killed because it took too long."""
    clock = SystemClock()
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        started = clock.monotonic()
        child = subprocess.Popen(
            command, cwd=cwd, env=_environment(environ or {}), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
        alarm = threading.Timer(timeout_s, child.kill)
        alarm.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = clock.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        alarm.cancel()
        stdout.seek(0)
        stderr.seek(0)
        if child.returncode not in expected:
            raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}:\n{stdout.read()}{stderr.read()}")
        return Used(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _RSS_UNIT, stdout.read(), started)


def own_peak_bytes() -> int:
    """The peak of the measuring process: a child's figure below it says nothing of the child."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """No credential, address or setting of the machine reaches what is measured. Byte code is kept, as where a package
    is installed: compiling runner's sources at each start would be a quarter of the start."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANTHROPIC_", "RUNNER_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**inherited, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **added}
