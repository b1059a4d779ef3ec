"""The sink of standard output: staged like a file, then written at once when the run has ended.

So a run that stops early writes nothing, and one that is resumed writes everything once. What a reader has taken cannot
be taken back: a pipe that closes in the middle is a delivery that failed, and the next one starts over.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from runner.errors import DeliveryError
from runner.sinks import Delivered, SinkContext
from runner.sinks.encoders import make_encoder
from runner.sinks.options import StdoutOptions
from runner.sinks.staging import StagedFile
from runner.sinks.targets import STDOUT, told
from runner.types import Record

_SHOWN = "standard output"


class StdoutSink:
    """Records to standard output."""

    Options: ClassVar[type[StdoutOptions]] = StdoutOptions

    def __init__(self, options: StdoutOptions, context: SinkContext) -> None:
        """Raises SpecError for default columns that clash."""
        self._encoder = make_encoder(options.format, options, context)
        self._staged: StagedFile | None = None
        self._records = 0

    @property
    def kind(self) -> str:
        return "stdout"

    @property
    def target(self) -> str:
        return STDOUT

    def check(self) -> None:
        if sys.stdout is None or sys.stdout.closed:
            raise DeliveryError(f"{_SHOWN} is closed", hint="name a file in the sink's `path`", code="bad-target")

    def open(self, staging: Path) -> None:
        with told(_SHOWN):
            self._staged = StagedFile(staging / "part", "")
            self._staged.write(self._encoder.header())
        self._records = 0

    def write(self, records: Sequence[Record]) -> None:
        with told(_SHOWN):
            self._opened().write(self._encoder.encode(records))
        self._records += len(records)

    def seal(self) -> Delivered:
        with told(_SHOWN):
            self._opened().seal()
        return Delivered(self.kind, self.target, self._records)

    def commit(self) -> None:
        self.seal()
        with told(_SHOWN):
            sys.stdout.flush()
            self._opened().send(sys.stdout.buffer)
        self.abort()

    def abort(self) -> None:
        if self._staged is not None:
            with told(_SHOWN):
                self._staged.discard()
            self._staged = None

    def _opened(self) -> StagedFile:
        if self._staged is None:
            raise ValueError("the sink is not open")
        return self._staged
