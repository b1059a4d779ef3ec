"""Ctrl-C around runs: it ends a command that has not begun to send, and never costs the summary of one that has.

Owns   what SIGINT does while no run has taken it over. A run takes signals itself as long as it sends (first drain,
       then drop); before it, Ctrl-C ends the command as everywhere; once a run is stopping by a signal, a further one
       that comes between its last request and its summary is too late to mean anything.
Knows  events. Only the main thread may take signals, and only it runs commands.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar

import typer

from runner.events import Event, Stopping

SIGNALLED = frozenset({"interrupted", "terminated"})
"""Reasons to stop that a person, or the system, gave by a signal."""


class Patience:
    """An observer that hears when a run stops by a signal."""

    hears_each_row: ClassVar[bool] = False

    def __init__(self) -> None:
        self._stopping = False

    def notify(self, event: Event) -> None:
        if isinstance(event, Stopping) and event.reason in SIGNALLED:
            self._stopping = True

    @contextmanager
    def around(self) -> Iterator[None]:
        """Run what is inside with this in place of Python's own handler of SIGINT."""
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        except KeyboardInterrupt:
            raise typer.Abort from None  # typer would end with 130 and not a word
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self._stopping:
            raise KeyboardInterrupt
