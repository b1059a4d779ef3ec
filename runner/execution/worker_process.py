"""A worker's process: how it is started, and in which words its end is told.

Owns   the command, the environment and the descriptors that a worker is given.
Knows  that its program is `execution.worker`, which is told all else over the channel.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol


class Process(Protocol):
    """What is needed of a worker's process: `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...

    def wait(self, timeout: float | None = None) -> int:
        """The return code, negative for a signal. Raises subprocess.TimeoutExpired."""
        ...

    def kill(self) -> None: ...


Spawn = Callable[[socket.socket], Process]
"""Starts a worker that has this end of the channel; the caller closes it afterwards."""


def how_it_ended(status: int) -> str:
    """A return code, negative for a signal, in words."""
    if status >= 0:
        return f"ended with exit status {status}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"


def spawn_worker(end: socket.socket) -> subprocess.Popen[bytes]:
    """Start a worker with its end of the channel. It has no terminal to read from or to be interrupted by, and says on
    stderr what goes wrong before it can say it here. `-P`: it gets a credential, and imports nothing from the folder
    that it happens to be started in."""
    return subprocess.Popen(  # noqa: S603 - our own module, our own arguments
        [sys.executable, "-P", "-m", "runner.execution.worker", str(end.fileno())],
        pass_fds=[end.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,  # Ctrl-C at the terminal is this process's to handle
    )


def _environment() -> Mapping[str, str]:
    # The child must find this very package, also from a checkout that is not installed.
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
