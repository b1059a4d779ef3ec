"""The sink of one text file, here or at a URL: jsonl, csv or tsv, compressed or not.

Owns   which format a file has. Knows  its options, the encoders and staged files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, cast, get_args

from runner.errors import Problem, SpecError
from runner.plugins import kind_of
from runner.sinks import SinkContext
from runner.sinks.encoders import make_encoder
from runner.sinks.options import FileFormat, FileOptions
from runner.sinks.staged_sink import Staged, StagedSink
from runner.sinks.staging import StagedFile
from runner.storage import file_name
from runner.types import Record


class FileSink(StagedSink):
    """Records to one file, in the order they are given."""

    Options: ClassVar[type[FileOptions]] = FileOptions

    def __init__(self, options: FileOptions, context: SinkContext) -> None:
        """Raises SpecError for a name that tells no format, a URL that takes no files, columns that clash."""
        super().__init__(options.path, context, overwrite=options.overwrite)
        self._suffix = Path(file_name(options.path)).suffix
        self._format: FileFormat = options.format or _format_of(options.path)
        self._encoder = make_encoder(self._format, options, context)
        self._output: StagedFile | None = None

    @property
    def kind(self) -> str:
        return self._format

    def _begin(self, staging: Path) -> Staged:
        self._output = StagedFile(staging / "part", self._suffix)
        self._output.write(self._encoder.header())
        return self._output

    def _take(self, records: Sequence[Record]) -> None:
        assert self._output is not None
        self._output.write(self._encoder.encode(records))


def _format_of(target: str) -> FileFormat:
    found = kind_of(target)
    if found not in get_args(FileFormat):
        hint = f"end it in one of .{', .'.join(get_args(FileFormat))}"
        raise SpecError([Problem("unknown-format", f"{target!r} does not tell a format", hint=hint)])
    return cast(FileFormat, found)
