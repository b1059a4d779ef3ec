"""Commands of `support.harness.Project` that run to their end: forked from a process which has imported the program.

Owns   which commands are forked, and the processes that fork them: one for each thread, started when first asked.
Knows  `support.batch_forks`. Here time is the machine's, and a command ends by itself: what is registered to be done at
       the end is done, and a thread that stays holds it up.

A command costs about two seconds of processor time, most of it imports; the tests run some hundreds. What a process is
given before its first line (`PYTHON…`, locale, loader) a fork cannot be given: such a command is started anew, and so
is every one that a test signals, reads from or writes to while it runs (`Project.start`).
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack

from support.batch_forks import Forks, forks
from support.harness import ROOT, Done, Project

_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC", "SSL_", "OPENSSL_", "ARROW_")

_own = threading.local()


def run_forked(project: Project, arguments: tuple[str, ...], environ: Mapping[str, str]) -> Done | None:
    """Run `runner` to its end, with exactly this environment; None where it must be a new process."""
    if environ.get("PYTHONPATH") != str(ROOT) or _at_start(environ) != _at_start(os.environ):
        return None
    fork = _fork(_at_start(environ))
    try:
        child = fork.start(project, *arguments, exactly=environ)
        done = child.wait()
    except BaseException:  # out of step with what it forks: the next command gets another one
        _close()
        raise
    child.stdout.unlink()
    child.stderr.unlink()
    return done


def _at_start(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(_AT_START) and name != "PYTHONPATH"}


def _fork(at_start: Mapping[str, str]) -> Forks:
    if getattr(_own, "at_start", None) != at_start:
        _close()
        _own.stack = ExitStack()
        _own.fork = _own.stack.enter_context(forks())
        _own.at_start = at_start
        atexit.register(_own.stack.close)
    fork: Forks = _own.fork
    return fork


def _close() -> None:
    if hasattr(_own, "stack"):
        _own.stack.close()
        _own.__dict__.clear()
