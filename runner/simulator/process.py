"""The stand-in as a child process: start it, find out where it listens, end it.

Owns   the child's environment (no credential, address or setting of the parent reaches it), the pipe whose closing
       ends it, and `Running`, the parent's view. The child dies with its parent, however that dies, because the pipe
       closes then.
Knows  nothing of HTTP servers; `python -m runner.simulator` is the child.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from runner.errors import SetupError
from runner.simulator.control import Controls
from runner.simulator.options import ANY_KEY, DEFAULT_KEY, Options

_STOP_TIMEOUT_S = 5.0
"""How long the child gets to end by itself once its pipe is closed, and again after SIGTERM."""

_WITHHELD = ("ANTHROPIC_", "RUNNER_")
"""What of the environment a stand-in never gets: the real key and address, and settings that are not its own."""


class Running(Struct, frozen=True):
    """A stand-in that listens at `base_url` and accepts `api_key`. `controls` scripts faults and asks its accounts."""

    base_url: str
    api_key: str
    pid: int
    state: Path
    controls: Controls

    @property
    def environ(self) -> dict[str, str]:
        """The variables that point the unmodified SDK here."""
        return {"ANTHROPIC_BASE_URL": self.base_url, "ANTHROPIC_API_KEY": self.api_key}


@contextmanager
def launch(options: Options) -> Iterator[Running]:
    """Start a stand-in as a child process and end it on leaving.

    Raises:
        SetupError: the child did not come up; it said why on stderr.
    """
    with _child(options) as (_, running):
        yield running


def serve(options: Options, on_ready: Callable[[Running], None]) -> int:
    """Run a stand-in until SIGINT or SIGTERM, or until it ends by itself; blocks. Call it on the main thread.

    Args:
        on_ready: called once, when it listens.
    Returns:
        the child's exit status, 0 after a signal.
    Raises:
        SetupError: the child did not come up.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both signals become KeyboardInterrupt
    with _child(options) as (child, running):
        try:
            on_ready(running)
            return child.wait()
        except KeyboardInterrupt:
            return 0


@contextmanager
def _child(options: Options) -> Iterator[tuple[subprocess.Popen[bytes], Running]]:
    options = replace(options, control_token=options.control_token or secrets.token_hex(8), die_with_stdin=True)
    child = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
        # -P: nothing is imported from the folder that it happens to be started in.
        [sys.executable, "-P", "-m", "runner.simulator", *options.to_arguments()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_clean_environment(),
        start_new_session=True,  # a Ctrl-C at the terminal is the runner's to handle; the child ends with the pipe
    )
    try:
        yield child, _wait_until_ready(child, options)
    finally:
        _end(child)


def _clean_environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_WITHHELD)}
    # The child must find this very package, also from a checkout that is not installed.
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    return environment


def _wait_until_ready(child: subprocess.Popen[bytes], options: Options) -> Running:
    assert child.stdout is not None
    line = child.stdout.readline()  # ends at once where the child dies
    if not line:
        raise SetupError(
            f"the stand-in API did not start (exit status {child.wait()})",
            hint=f"start it by hand to see why: runner simulate --state {options.state}",
            code="stand-in-failed",
        )
    ready = json.loads(line)
    if "error" in ready:
        raise SetupError(
            f"the stand-in API did not start at {ready['error']}",
            hint="choose another --port; 0 lets the system choose one",
            code="stand-in-failed",
        )
    key = DEFAULT_KEY if options.key == ANY_KEY else options.key
    controls = Controls(ready["base_url"], options.control_token)
    return Running(ready["base_url"], key, child.pid, options.state, controls)


def _end(child: subprocess.Popen[bytes]) -> None:
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()
    for insist in (child.terminate, child.kill):
        try:
            child.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            insist()
    child.wait()
