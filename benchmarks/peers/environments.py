"""An environment a peer, outside the checkout: made by the benchmark itself, and kept for the next time.

Owns   `python -m venv`, `pip install` within a bounded time, and where they are put. They take some 2 GB; deleting the
       folder is safe.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import Peer

FOLDER = Path(tempfile.gettempdir()) / "runner-benchmark-peers"
TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Installed:
    peer: Peer
    python: Path
    version: str


def install(peer: Peer) -> Installed | str:
    """The peer's environment, or in a line why there is none."""
    place = FOLDER / peer.distribution
    python, mark = place / "bin" / "python", place / "installed"
    wanted = "\n".join(peer.requirements)
    if not mark.is_file() or mark.read_text("utf-8") != wanted:
        said = _call([sys.executable, "-m", "venv", "--clear", str(place)]) or _call(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements]
        )
        if said:
            return f"{peer.distribution} is left out, it could not be installed: {said}"
        mark.write_text(wanted, encoding="utf-8")
    ask = f"import importlib.metadata; print(importlib.metadata.version({peer.distribution!r}))"
    told = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    return Installed(peer, python, told.stdout.strip())


def _call(command: list[str]) -> str:
    """Run a command; returns the last line of what went wrong, empty where nothing did."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"it took more than {TIMEOUT_S:.0f} s"
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"exit status {done.returncode}")
