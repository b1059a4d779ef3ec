"""What sinks of files have in common: staged in the run's folder, sealed, then put in their place at once.

Owns   the steps of the contract (`Sink`), the target's protection, and the count of records.
Knows  a target and something staged. What the bytes are is its subclasses' to say.

It replaces its own last output. A file that this job did not write stays as it is: the delivery is refused before
anything is paid (`check`) and again just before the rename, unless the file already has exactly the new content.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from runner.errors import Problem, SpecError
from runner.plugins import COMPRESSIONS
from runner.sinks import Delivered, SinkContext
from runner.sinks.fitting import LeftOut
from runner.sinks.targets import check_target, place_of, shown_target, told
from runner.storage import RemoteTarget, file_name
from runner.types import Record


class Staged(Protocol):
    """A file or a folder in the making; every method may raise OSError."""

    def seal(self) -> str:
        """End it and make it durable; its digest (hex)."""
        ...

    def publish(self, target: Path | RemoteTarget) -> None: ...

    def discard(self) -> None: ...


class StagedSink(ABC):
    """A sink whose target is replaced as a whole."""

    def __init__(self, path: str, context: SinkContext, *, overwrite: bool) -> None:
        """Raises SpecError for a URL that takes no files."""
        self._target = shown_target(path)
        self._place = place_of(path, context.root)
        self._overwrite = overwrite
        self._known_sha256 = frozenset(context.known_sha256)
        self._left_out = LeftOut()
        self._staged: Staged | None = None
        self._records = 0
        self._is_ended = False

    @property
    @abstractmethod
    def kind(self) -> str: ...

    @abstractmethod
    def _begin(self, staging: Path) -> Staged:
        """Start writing in this folder."""

    @abstractmethod
    def _take(self, records: Sequence[Record]) -> None:
        """Write records."""

    def _end(self) -> None:  # noqa: B027  # a format without an end has nothing to do
        """Write what waits, and the end; called once."""

    def _give_up(self) -> None:  # noqa: B027
        """Let go of what is held for writing."""

    @property
    def target(self) -> str:
        return self._target

    def check(self) -> None:
        self._check(self._known_sha256)

    def _check(self, known_sha256: frozenset[str]) -> None:
        check_target(self._place, self._target, overwrite=self._overwrite, known_sha256=known_sha256)

    def open(self, staging: Path) -> None:
        self._left_out = LeftOut()
        self._records = 0
        self._is_ended = False
        with told(self._target):
            self._staged = self._begin(staging)

    def write(self, records: Sequence[Record]) -> None:
        self._opened()
        with told(self._target):
            self._take(records)
        self._records += len(records)

    def seal(self) -> Delivered:
        self._opened()
        with told(self._target):
            if not self._is_ended:
                self._end()
                self._is_ended = True
            sha256 = self._opened().seal()
        out = self._left_out
        return Delivered(self.kind, self._target, self._records - out.count, sha256, out.count, tuple(out.first))

    def commit(self) -> None:
        sealed = self.seal()
        assert sealed.sha256 is not None
        self._check(self._known_sha256 | {sealed.sha256})
        with told(self._target):
            self._opened().publish(self._place)
        self._staged = None

    def abort(self) -> None:
        self._give_up()
        if self._staged is not None:
            with told(self._target):
                self._staged.discard()
            self._staged = None

    def _opened(self) -> Staged:
        if self._staged is None:
            raise ValueError("the sink is not open")
        return self._staged


def refuse_compression(path: str, kind: str) -> None:
    """Raise SpecError for a suffix that says that the whole file is compressed, of a format that does that within."""
    name = file_name(path)
    suffix = name.rpartition(".")[2]
    if suffix.lower() in COMPRESSIONS:
        message = f"{name!r}: {kind} is compressed within, and is read at any place: not behind .{suffix}"
        hint = f"end the path in {name[: -len(suffix) - 1].rpartition('.')[2]!r}"
        raise SpecError([Problem("compressed-twice", message, hint=hint)])
