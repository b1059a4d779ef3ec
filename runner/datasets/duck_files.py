"""Remote files for DuckDB: our own reading of them (`runner.storage`) in the form of an fsspec file system.

Owns   the few calls that DuckDB makes of a file system; the first error is kept, since DuckDB only keeps its text.
Knows  storage. DuckDB's own access to S3, HTTP and others is in extensions, which it would fetch over the network.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from pathlib import Path
from typing import Any

import fsspec

from runner.errors import RunnerError
from runner.storage import RemoteFile, find

_UNKNOWN = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
"""When a file was changed is not asked for: one query reads it as it is then."""


class RemoteFiles(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Files of these schemes, read only. `error` is what went wrong first."""

    cachable = False
    async_impl = False

    def __init__(self, schemes: Collection[str], root: Path) -> None:
        super().__init__()
        self.protocol = tuple(sorted(schemes))
        self.error: RunnerError | None = None
        self._root = root
        self._found: dict[str, RemoteFile] = {}

    def glob(self, path: str, **_: Any) -> list[str]:
        """The files that a URL means; each is known from now on by the name that is given here. A lone one keeps its
        URL, which may be signed; the others have what may be shown of theirs."""
        found = self._told(lambda: find(path, self._root))
        names = [path] if len(found) == 1 else [file.name for file in found]
        self._found.update(zip(names, found, strict=True))
        return names

    def unstrip_protocol(self, name: str) -> str:
        return name

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        if mode != "rb":
            raise PermissionError(f"{path} is read only")
        file = self._file(path)
        return self._told(file.open)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        file = self._file(path)
        size = file.size
        if size is None:
            size = self._told(lambda: _size(file))
        return {"name": path, "size": size, "type": "file"}

    def size(self, path: str) -> int:
        return int(self.info(path)["size"])

    def exists(self, path: str, **_: Any) -> bool:
        return bool(self.glob(path))

    def modified(self, _path: str) -> dt.datetime:
        return _UNKNOWN

    def _file(self, path: str) -> RemoteFile:
        if path not in self._found:
            self.glob(path)
        return self._found[path]

    def _told(self, read: Any) -> Any:
        try:
            return read()
        except RunnerError as error:
            self.error = self.error or error
            raise


def _size(file: RemoteFile) -> int:
    with file.open() as stream:
        return stream.seek(0, 2)
