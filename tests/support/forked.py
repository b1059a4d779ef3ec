"""Commands of `support.harness.Project` that run to their end: forked from a process which has imported the program.

Owns   which commands are forked, and the processes that fork them: as many as commands have run at once.
Knows  `support.batch_forks`. Here time is the machine's, and a command ends by itself: what is registered to be done at
       the end is done, and a thread that stays holds it up.

A command costs about two seconds of processor time, most of it imports; the tests run some hundreds. What a process is
given before its first line (`PYTHON…`, locale, loader) a fork cannot be given: such a command is started anew, and so
is every one that a test signals, reads from or writes to while it runs (`Project.start`). Forks of one process have the
seed of their hashes in common: what must not depend on it needs a test that gives `PYTHONHASHSEED`.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from support.batch_forks import Forks, forks
from support.harness import ROOT, Done, Project

_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC", "SSL_", "OPENSSL_", "ARROW_")


@dataclass(frozen=True, slots=True, eq=False)
class _Forking:
    """A process that forks. `environ` is what it was given before its first line; `held` ends it."""

    environ: Mapping[str, str]
    fork: Forks
    held: ExitStack


_idle: list[_Forking] = []
_lock = threading.Lock()


def run_forked(project: Project, arguments: tuple[str, ...], environ: Mapping[str, str]) -> Done | None:
    """Run `runner` to its end, with exactly this environment; None where it must be a new process."""
    at_start = _at_start(environ)
    if environ.get("PYTHONPATH") != str(ROOT) or at_start != _at_start(os.environ):
        return None
    forking = _taken(at_start)
    try:
        child = forking.fork.start(project, *arguments, exactly=environ)
        done = child.wait()
    except BaseException:  # out of step with what it forks: the next command gets another one
        forking.held.close()
        raise
    _idle.append(forking)
    child.stdout.unlink()
    child.stderr.unlink()
    return done


def _at_start(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(_AT_START) and name != "PYTHONPATH"}


def _taken(environ: Mapping[str, str]) -> _Forking:
    with _lock:
        for forking in _idle:
            if forking.environ == environ:
                _idle.remove(forking)
                return forking
    held = ExitStack()
    atexit.register(held.close)
    return _Forking(environ, held.enter_context(forks()), held)
