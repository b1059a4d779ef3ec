"""`runner` in child processes that are forked from one which has imported everything already.

A command costs two seconds of imports; the tests run hundreds (`support.forked`), and campaigns more. Here one process
imports the program once and forks a child for each command: the child runs the real `main` with its own arguments,
folder, environment and output files, and can be killed like any other.

    with forks() as fork:
        child = fork.start(project, "run", "jobs/x.yaml")
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait().status == -signal.SIGKILL
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NoReturn

from support.crash_points import CRASH_AT, CRASH_LOG, install
from support.harness import ROOT, TIMEOUT_S, Done, Project

CLOCK_AHEAD_S = "CLOCK_AHEAD_S"
"""In a command's environment: how far ahead of the machine's clock its own is."""
HASTE = 20.0
"""How many times as quickly a command's waiting passes: pauses, polls and looks, all of which ask the clock."""

_PRELOADED = (
    "runner.cli", "runner.cli.app", "runner.cli.running", "runner.cli.look", "runner.cli.machine",
    "runner.execution.converge", "runner.execution.resuming", "runner.execution.exporting", "runner.execution.showing",
    "runner.execution.batching", "runner.providers.wire", "runner.providers.aiohttp_wire", "runner.replies.schema",
    "runner.replies.formats", "runner.sinks.files", "runner.datasets.text", "runner.datasets.csv_text",
    "runner.datasets.sql_options", "genai_prices.data", "jsonschema", "encodings.idna", "uvloop",
)  # fmt: skip


@dataclass(slots=True)
class Child:
    """A command under way. `wait` gives how it ended, once."""

    pid: int
    fork: Forks
    stdout: Path
    stderr: Path

    def wait(self, timeout_s: float = TIMEOUT_S) -> Done:
        status = self.fork.wait(self.pid, timeout_s, self.stderr)
        return Done(status, self.stdout.read_text(encoding="utf-8"), self.stderr.read_text(encoding="utf-8"))

    def kill(self) -> Done:
        """SIGKILL, unless it has ended already."""
        self.fork.signal(self.pid, signal.SIGKILL)
        return self.wait()


@dataclass(slots=True)
class Forks:
    """The parent of the children. It is asked by one thread at a time."""

    process: subprocess.Popen[bytes]
    folder: Path
    _count: int = 0
    _ended: dict[int, int] = field(default_factory=dict)

    def start(
        self,
        project: Project,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        exactly: Mapping[str, str] | None = None,
    ) -> Child:
        """Start a command. With `exactly`, that is its environment, its time passes as the machine's does, and it ends
        as a program of its own would; else its waiting passes quickly, and it leaves without more ado."""
        self._count += 1
        outputs = [self.folder / f"{self._count}.{name}" for name in ("out", "err")]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "RUNNER_"))}
        request = {
            "arguments": arguments,
            "cwd": str(project.root),
            "environ": {**kept, **project.environ, **(environ or {})} if exactly is None else dict(exactly),
            "hasty": exactly is None,
            "outputs": [str(path) for path in outputs],
        }
        return Child(self._ask(request, TIMEOUT_S), self, *outputs)

    def runner(self, project: Project, *arguments: str, environ: Mapping[str, str] | None = None) -> Done:
        """Run a command to its end."""
        return self.start(project, *arguments, environ=environ).wait()

    def signal(self, pid: int, number: int) -> None:
        """The child is this process's to reap, so its number is nobody else's yet."""
        self._ask({"signal": number, "pid": pid}, TIMEOUT_S)

    def wait(self, pid: int, timeout_s: float, stderr: Path) -> int:
        self._send({"wait": pid})
        answer = None
        try:
            answer = self._receive(timeout_s)
        finally:
            if answer is None:  # also where the test is over before the command is
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if answer is None:
            self._receive(TIMEOUT_S)
            raise AssertionError(f"a command did not end:\n{stderr.read_text(encoding='utf-8')}")
        return answer

    def resume(self, project: Project, *arguments: str, environ: Mapping[str, str] | None = None) -> Done:
        """`runner resume … --format json` of the project's last run."""
        return self.runner(project, "resume", project.runs()[-1], *arguments, "--format", "json", environ=environ)

    def _ask(self, request: Mapping[str, Any], timeout_s: float) -> int:
        self._send(request)
        answer = self._receive(timeout_s)
        assert answer is not None, "the process that forks does not answer"
        return answer

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def _receive(self, timeout_s: float) -> int | None:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            if not ready.select(timeout_s):
                return None
        line = self.process.stdout.readline()
        assert line, "the process that forks has died"
        return int(line)


@contextmanager
def forks() -> Iterator[Forks]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "RUNNER_"))}
    environ["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests'}"
    command = [sys.executable, "-m", "support.batch_forks"]
    with (
        TemporaryDirectory(prefix="forks-") as folder,
        subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process,
    ):
        try:
            yield Forks(process, Path(folder))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.kill()


# -- the process that forks --------------------------------------------------------------------------------------------


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until they end: a child's number for a command, its exit status for a wait."""
    while line := requests.readline():
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif "signal" in request:
            with suppress(ProcessLookupError):
                os.kill(request["pid"], request["signal"])
            answer = 0
        else:
            answer = os.fork()
            if not answer:
                _become(request)
        answers.write(b"%d\n" % answer)
        answers.flush()


def _become(request: Mapping[str, Any]) -> NoReturn:
    """Be the command from here on."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    time.tzset()
    null = os.open(os.devnull, os.O_RDONLY)
    outputs = [os.open(path, os.O_WRONLY | os.O_CREAT, 0o600) for path in request["outputs"]]
    for number, descriptor in enumerate((null, *outputs)):
        os.dup2(descriptor, number)
    sys.argv = ["runner", *request["arguments"]]
    sys.path[:] = [request["cwd"], *(path for path in sys.path[1:] if path != str(ROOT / "tests"))]
    if request["hasty"]:
        _be_hasty()
    from runner.cli import main  # where this is imported for its names, the program is not

    main()
    raise AssertionError("main always leaves")


def _be_hasty() -> NoReturn:
    status = 1
    try:
        _turn_clock(float(os.environ.get(CLOCK_AHEAD_S, "0")))
        install(os.environ.get(CRASH_AT), os.environ.get(CRASH_LOG))
        status = _run_main()
    except Exception:  # noqa: BLE001 - nobody above would print it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _turn_clock(ahead_s: float) -> None:
    """The machine's clock, as this process sees it: so far ahead, and waiting passes quickly."""
    from runner.clock import SystemClock

    now, sleep = SystemClock.now, SystemClock.sleep
    SystemClock.now = lambda self: now(self) + timedelta(seconds=ahead_s)  # type: ignore[method-assign]  # the seam
    SystemClock.sleep = lambda self, seconds: sleep(self, seconds / HASTE)  # type: ignore[method-assign]  # the same


def _run_main() -> int:
    from runner.cli import main

    try:
        main()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return 0


if __name__ == "__main__":
    import importlib

    for name in _PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # the children share these pages
    serve(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
