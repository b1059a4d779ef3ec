"""A file on its way: written in a staging folder, then put in its place at once.

Owns   durability (fsync of file and folder before anybody relies on them), the digest, compression.
Knows  bytes; nothing of records.

A reader of the target sees the old content or the new, never half: it is renamed within one file system. Where the
staging folder is on another one, the content is first copied beside the target. At a URL `storage` publishes it.

Source: rename(2) ("atomically replaced"), fsync(2) ("does not necessarily ensure that the entry in the directory … has
also reached disk"). Compressed files bear no name and no time, so that equal records make equal bytes.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import lzma
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol, cast

import zstandard

from runner.storage import RemoteTarget


class _Output(Protocol):
    def write(self, data: bytes, /) -> object: ...

    def close(self) -> None: ...


class StagedFile:
    """One file in the making. Every method may raise OSError, `publish` also what a RemoteTarget raises."""

    def __init__(self, path: Path, suffix: str) -> None:
        """Create the file at `path`, compressed as the target's last `suffix` (`.gz`) says."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("wb")
        self._hashed = _Hashed(self._file)
        self._output = _compressed(self._hashed, suffix)
        self._sha256: str | None = None

    def write(self, data: bytes) -> None:
        self._output.write(data)

    def seal(self) -> str:
        """End the file and make it durable; its digest (hex). Further calls give the same."""
        if self._sha256 is None:
            self._output.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            sync_folder(self._path.parent)
            self._sha256 = self._hashed.digest.hexdigest()
        return self._sha256

    def publish(self, target: Path | RemoteTarget) -> None:
        """Put the sealed file in the place of `target`, whose folder is made where it is missing."""
        if isinstance(target, RemoteTarget):
            target.publish(self._path, self.seal())
            self._path.unlink()
            return
        target = target.resolve()  # a link stays, and the file it points at is replaced
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._path.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy_beside(target)
        sync_folder(target.parent)

    def send(self, output: IO[bytes]) -> None:
        """Copy the sealed content to an open stream."""
        with self._path.open("rb") as file:
            shutil.copyfileobj(file, output)
        output.flush()

    def discard(self) -> None:
        """Remove what is left; harmless after `publish`."""
        for file in (self._output, self._file):  # from the outside in: a compressor writes its end when it is closed
            with suppress(OSError):  # what is still buffered may not fit on a full disk, and need not
                file.close()
        self._path.unlink(missing_ok=True)

    def _copy_beside(self, target: Path) -> None:
        beside = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with self._path.open("rb") as source, beside.open("wb") as copy:
                shutil.copyfileobj(source, copy)
                copy.flush()
                os.fsync(copy.fileno())
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
        self._path.unlink()


class _Hashed:
    """A file that digests what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Nothing: the file is closed by its owner, after its fsync."""


def _compressed(output: _Hashed, suffix: str) -> _Output:
    file = cast(IO[bytes], output)
    match suffix.lower():
        case ".gz":
            # level 6 is gzip's own default; Python's 9 takes three times as long for a few per cent
            return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
        case ".bz2":
            return bz2.BZ2File(file, "wb")
        case ".xz":
            return lzma.LZMAFile(file, "wb")
        case ".zst":
            return zstandard.ZstdCompressor().stream_writer(file, closefd=False)
        case _:
            return output


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
