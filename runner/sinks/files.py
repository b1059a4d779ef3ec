"""The sink of one file: jsonl, csv or tsv, compressed or not.

Owns   the steps from records to a file in its place. Knows  its options, the encoders and staged files.

It replaces its own last output. A file that this job did not write stays as it is: the delivery is refused before
anything is paid (`check`) and again just before the rename, unless the file already has exactly the new content.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, cast, get_args

from runner.errors import Problem, SpecError
from runner.plugins import kind_of
from runner.sinks import Delivered, SinkContext
from runner.sinks.encoders import make_encoder
from runner.sinks.options import FileFormat, FileOptions
from runner.sinks.staging import StagedFile
from runner.sinks.targets import check_target, told
from runner.types import Record


class FileSink:
    """Records to one file, in the order they are given."""

    Options: ClassVar[type[FileOptions]] = FileOptions

    def __init__(self, options: FileOptions, context: SinkContext) -> None:
        """Raises SpecError for a name that tells no format, or default columns that clash."""
        self._target = options.path
        self._path = context.root / options.path
        self._format: FileFormat = options.format or _format_of(options.path)
        self._encoder = make_encoder(self._format, options, context)
        self._overwrite = options.overwrite
        self._known_sha256 = frozenset(context.known_sha256)
        self._staged: StagedFile | None = None
        self._records = 0

    @property
    def kind(self) -> str:
        return self._format

    @property
    def target(self) -> str:
        return self._target

    def check(self) -> None:
        check_target(self._path, self._target, overwrite=self._overwrite, known_sha256=self._known_sha256)

    def open(self, staging: Path) -> None:
        with told(self._target):
            self._staged = StagedFile(staging / "part", self._path.suffix)
            self._staged.write(self._encoder.header())
        self._records = 0

    def write(self, records: Sequence[Record]) -> None:
        with told(self._target):
            self._opened().write(self._encoder.encode(records))
        self._records += len(records)

    def seal(self) -> Delivered:
        with told(self._target):
            sha256 = self._opened().seal()
        return Delivered(self._format, self._target, self._records, sha256)

    def commit(self) -> None:
        sealed = self.seal()
        known = self._known_sha256 | {cast(str, sealed.sha256)}
        check_target(self._path, self._target, overwrite=self._overwrite, known_sha256=known)
        with told(self._target):
            self._opened().publish(self._path)
        self._staged = None

    def abort(self) -> None:
        if self._staged is not None:
            with told(self._target):
                self._staged.discard()
            self._staged = None

    def _opened(self) -> StagedFile:
        if self._staged is None:
            raise ValueError("the sink is not open")
        return self._staged


def _format_of(target: str) -> FileFormat:
    found = kind_of(target)
    if found not in get_args(FileFormat):
        hint = f"end it in one of .{', .'.join(get_args(FileFormat))}"
        raise SpecError([Problem("unknown-format", f"{target!r} does not tell a format", hint=hint)])
    return cast(FileFormat, found)
