"""The dataset of a folder of documents: a row a file.

Owns   the columns: `path`, `name`, `suffix`, `size`, `text` and `pages`.
Knows  its options and the root; documents by `documents`. One file is held at a time.

`path` is from the root, and so names a row in every run and stands in blocks: `{image: "{{ row.path }}"}`. Nothing of a
file's times is in a row, so that copying a folder changes none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from runner.datasets import DatasetContext, SourceRow
from runner.datasets.discovery import display_name, find_any
from runner.datasets.documents import HEAD_BYTES, Document, NoText, is_image, largest, read_document
from runner.datasets.options import FilesOptions
from runner.datasets.problems import Enough, ProblemList, data_error, data_problem
from runner.errors import InputError
from runner.storage import RemoteFile, file_name

COLUMNS = ("path", "name", "suffix", "size", "text", "pages")
_WITHOUT_TEXT = COLUMNS[:4]
_PROBLEM = "problem"
"""The column that says why a file has no text, where rows without one are kept."""


class FilesDataset:
    """Rows of files, in the order of the patterns and of the names that each matches."""

    Options: ClassVar[type[FilesOptions]] = FilesOptions

    def __init__(self, options: FilesOptions, context: DatasetContext) -> None:
        """Find the files. Raises InputError where there are none, StorageError where a store does not answer."""
        once: dict[str, Path | RemoteFile] = {}
        for pattern in options.files:
            for file in find_any(pattern, context.root):
                once.setdefault(display_name(file, context.root), file)
        self._files = once
        self._options = options

    def columns(self) -> tuple[str, ...]:
        if not self._options.text:
            return _WITHOUT_TEXT
        return (*COLUMNS, _PROBLEM) if self._options.unreadable == "keep" else COLUMNS

    def rows(self) -> Iterator[SourceRow]:
        """All rows. Raises InputError with the first files that give no text."""
        found = ProblemList()
        try:
            for name, file in self._files.items():
                row = self._row(name, file, found)
                if found:
                    found.look_on()
                elif row is not None:
                    yield SourceRow(row, name)
        except InputError as error:
            found.take(error)
        except Enough:
            pass
        found.raise_any()

    def _row(self, name: str, file: Path | RemoteFile, found: ProblemList) -> dict[str, Any] | None:
        base = file_name(name) if isinstance(file, RemoteFile) else file.name
        suffix = PurePosixPath(base).suffix.lower()
        size = file.size if isinstance(file, RemoteFile) else _size_of(file, name)
        row: dict[str, Any] = {"path": name, "name": base, "suffix": suffix, "size": size}
        if not self._options.text:
            return row
        document, problem = Document(None), None
        try:
            document = _read(file, name, suffix)
        except NoText as error:
            if self._options.unreadable == "fail":
                hint = f"{error.hint}; or keep rows without a text: `unreadable: keep`"
                found.add(data_problem(error.code, error.message, name, hint=hint))
                return None
            problem = error.message
        row |= {"text": document.text, "pages": document.pages}
        return row if self._options.unreadable == "fail" else row | {_PROBLEM: problem}


def _read(file: Path | RemoteFile, name: str, suffix: str) -> Document:
    try:
        with file.open() if isinstance(file, RemoteFile) else file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
            if is_image(head):
                return Document(None)
            most = largest(head)
            data = head + stream.read(most - len(head) + 1)
    except OSError as error:
        raise data_error("unreadable-file", f"cannot be read: {error.strerror}", name) from error
    if len(data) > most:
        message = f"has more than {most // 1024**2} MiB, and a request may have 32 MB"
        raise NoText(message, "split it, or take it out of the pattern", "file-too-large")
    return read_document(data, suffix)


def _size_of(file: Path, name: str) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise data_error("unreadable-file", f"cannot be read: {error.strerror}", name) from error
