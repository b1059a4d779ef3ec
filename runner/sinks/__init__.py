"""Sinks: where records go. This module is the contract of the plugin folder.

A sink is a projection of what is durable: it is given the records of a run in the dataset's order and must leave its
target as it was until `commit`. After a crash it is simply run again from the first record (decision 12).

    sink = FileSink(options, context)   constructed from its Options and what it may know of the run; touches nothing
    sink.check()                        before anything is paid: what would stop the delivery
    sink.open(staging)                  a folder of its own inside the run's folder, made if need be
    sink.write(records)                 any number of times
    sink.seal() -> Delivered            no more records; all of it durable in the staging folder
    sink.commit()                       the reader sees the old or the new, never half
    sink.abort()                        instead of commit, at any time; removes what was staged

What goes wrong outside (a full disk, a closed pipe) is raised as `errors.DeliveryError`, with the target and the cure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runner.templating import Expression
from runner.types import Record


class MakeExpression(Protocol):
    """Makes an expression of a text and a name for messages; `TemplateSet.expression` and `Expression` are two."""

    def __call__(self, text: str, name: str, /, *, null_safe: bool = False) -> Expression: ...


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink may know of the run it writes for.

    `root` is what relative targets resolve against. `row_columns` are the columns of the dataset in order, for the
    default columns of a table. `schema` is the output's JSON Schema, where there is one. `expression` compiles a
    column. `known_sha256` are digests (hex) of what this job delivered, or was about to deliver, before: a file with
    one of them may be replaced.
    """

    root: Path
    row_columns: Sequence[str] = ()
    schema: Mapping[str, Any] | None = None
    expression: MakeExpression = Expression
    known_sha256: Collection[str] = frozenset()


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

    def check(self) -> None:
        """Raise DeliveryError for what would stop the delivery (a target that is not ours); changes nothing."""
        ...

    def open(self, staging: Path) -> None: ...

    def write(self, records: Sequence[Record]) -> None: ...

    def seal(self) -> Delivered:
        """End the writing: what `commit` will make visible is durable. Its digest is noted before `commit` is called,
        so that after a crash in between the target is known as our own."""
        ...

    def commit(self) -> None: ...

    def abort(self) -> None: ...
