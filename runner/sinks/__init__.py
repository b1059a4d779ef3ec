"""Sinks: where records go. This module is the contract of the plugin folder.

A sink is a projection of what is durable: it is given the records of a run in the dataset's order and must leave its target
as it was until `commit`. After a crash it is simply run again from the first record (decision 12).

    sink = FileSink(options, ...)       constructed from its Options and resolved target; touches nothing
    sink.open(staging)                  a folder of its own inside the run's folder
    sink.write(records)                 any number of times
    sink.commit() -> Delivered          the reader sees the old or the new, never half
    sink.abort()                        instead of commit; removes what was staged
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runner.types import Record


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a sink wrote. `sha256` (hex) is of the whole target where it is a file, else None."""

    kind: str
    target: str
    records: int
    sha256: str | None = None


class Sink(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def target(self) -> str:
        """Where it writes, for people and for the ledger; without secrets."""
        ...

    def open(self, staging: Path) -> None: ...

    def write(self, records: Sequence[Record]) -> None: ...

    def commit(self) -> Delivered: ...

    def abort(self) -> None: ...
