"""A terminal with `runner` in it: what a person would see, and keys for it to read.

with Terminal(project, "run", "jobs/x.yaml", columns=80) as terminal:
    terminal.wait_for("Go on?")
    terminal.type("n\\n")
    assert terminal.end() == 4
print(terminal.seen)
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import Self

from support.harness import ROOT, TIMEOUT_S, Project


class Terminal:
    """`seen` is everything that was written, with its escape sequences."""

    def __init__(self, project: Project, *arguments: str, columns: int = 80, **environ: str) -> None:
        self.seen = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "RUNNER_"))}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            kept.pop(name, None)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "runner", *arguments],
            cwd=project.root,
            env={**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **project.environ, **environ},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._deadline = time.monotonic() + TIMEOUT_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """What Ctrl-C sends."""
        self._child.send_signal(signal.SIGINT)

    def wait_for(self, text: str) -> None:
        while text not in self.seen:
            assert self._read(), f"{text!r} was never shown:\n{self.seen}"

    def end(self) -> int:
        """Read to the end; returns the exit status."""
        while self._read():
            pass
        return self._child.wait()

    def _read(self) -> bool:
        left_s = self._deadline - time.monotonic()
        ready, _, _ = select.select([self._master], [], [], max(0.0, left_s))
        if not ready:
            raise AssertionError(f"nothing more came for {TIMEOUT_S:.0f} s:\n{self.seen}")
        try:
            chunk = os.read(self._master, 65_536)
        except OSError:  # EIO: the program has closed its side
            return False
        self.seen += chunk.decode(errors="replace")
        return bool(chunk)
