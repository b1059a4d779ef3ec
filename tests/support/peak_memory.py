"""The most memory that a process has held so far, and programs that tests start to be told of theirs."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_bytes() -> int:
    """Linux lets `ru_maxrss` of a new program begin with what its parent had; the memory map's own mark does not."""
    if _STATUS.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii", errors="replace"))
        assert found is not None
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_apart(program: str, *arguments: object, timeout_s: float = 240) -> str:
    """What a Python program prints in a process of its own, which can import this module."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    command = [sys.executable, "-c", program, *map(str, arguments)]
    environ = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout
