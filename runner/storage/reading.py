"""Reading files by URL.

Owns   finding them (globs, order), and a stream that goes on where a connection was lost.
Knows  file systems by `systems`, the web by `web`; bytes only.

Invariants
  * A file is read as it was when reading began, or the reading ends with an error: after a lost connection its mark
    (an ETag, or its time and size) is compared.
  * A file that ends before its size is a lost connection, never a shorter file.
  * Memory: one block of a file, of 8 MiB at most.
"""

from __future__ import annotations

import glob
import io
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from runner.storage.addresses import file_name, is_web, scheme_of, shown
from runner.storage.systems import StorageError, System, archive_of, failure, open_archive, open_system, told
from runner.storage.web import Facts, WebFile, changed

WAITS_S = (0.25, 1.0, 4.0)
"""Before each further try at a part of a file. The stores' own libraries have tried several times by then."""
_FIRST_BLOCK = 256 * 1024
_LARGEST_BLOCK = 8 * 1024 * 1024
"""A part as large as S3 is usually read in: at 100 MB/s it takes 80 ms, and a round trip of 20 ms matters little."""
_BUFFER = 256 * 1024


class _Opened(Protocol):
    def facts(self) -> Facts: ...

    def fetch(self, start: int, length: int) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file at a URL. `name` is its URL as it may be shown; `mark` changes with its content, where there is one."""

    name: str
    size: int | None
    mark: str | None
    _url: str = field(repr=False)
    _path: str = field(repr=False, default="")
    _root: Path = field(repr=False, default=Path())

    @property
    def suffix(self) -> str:
        """As `Path.suffix`: `.gz` of `s3://bucket/x.csv.gz`."""
        return Path(file_name(self._url if not self._path else self._path)).suffix

    def open(self) -> io.BufferedReader:
        """Its bytes; seekable where its size is known. Reading raises StorageError."""
        return io.BufferedReader(cast(io.RawIOBase, RemoteStream(self)), _BUFFER)

    def connect(self, *, fresh: bool) -> _Opened:
        """For the stream: a connection to this file."""
        if is_web(self._url):
            return WebFile(self._url)
        return _StoredFile(_open(self._url, self._root, fresh=fresh), self._path)


def find(url: str, root: Path) -> tuple[RemoteFile, ...]:
    """The files that a URL means, at least one, in bytewise order of their paths; a local archive's path starts at
    `root`. Raises StorageError; `missing` where there are none.

    A file whose name has `*`, `?` or `[` in it is that file where it exists. Hidden files are matched only by a pattern
    that names them. An address of the web names one file.
    """
    if is_web(url):
        return (_of_web(url),)
    with closing(_open(url, root)) as system, told(url):
        exact = _info(system, system.path)
        if exact is not None and exact["type"] != "directory":
            return (_file(system, exact, url, root),)
        if not glob.has_magic(system.path):
            raise _none(url, is_folder=exact is not None)
        found: Mapping[str, Any] = system.fs.glob(system.path, detail=True)
    matches = sorted(
        (info for path, info in found.items() if not _is_hidden(path, system.path)),
        key=lambda info: str(info["name"]).encode("utf-8", "surrogateescape"),
    )
    files = tuple(_file(system, info, url, root) for info in matches if info["type"] != "directory")
    if not files:
        raise _none(url, is_folder=False)
    return files


def _is_hidden(path: str, pattern: str) -> bool:
    """Whether a match has a hidden name where the pattern names none: as on disk, `*` does not mean `.git`."""
    fixed, parts = 0, pattern.split("/")
    while fixed < len(parts) and not glob.has_magic(parts[fixed]):
        fixed += 1
    if any(part.startswith(".") for part in parts[fixed:]):
        return False
    return any(part.startswith(".") for part in path.split("/")[fixed:])


def locate(url: str) -> RemoteFile:
    """The one file of exactly this name; nothing in it is a pattern. Raises StorageError; `missing`: there is none."""
    if is_web(url):
        return _of_web(url)
    with closing(_open(url, Path())) as system, told(url):
        info = _info(system, system.path)
        if info is None or info["type"] == "directory":
            raise _none(url, is_folder=info is not None)
        return _file(system, info, url, Path())


def read_small(url: str, at_most: int) -> bytes | None:
    """All of one object of a store, in one request; None where it has more than `at_most` bytes. Raises StorageError,
    `missing` where there is none."""
    for wait_s in (*WAITS_S, None):
        try:
            system = open_system(url, fresh=wait_s != WAITS_S[0])
            with told(url):
                data: bytes = system.fs.cat_file(system.path, start=0, end=at_most + 1)
        except StorageError as error:
            if _is_empty(url, error):
                return b""
            if wait_s is None or not error.passing:
                raise
            threading.Event().wait(wait_s)
        else:
            return data if len(data) <= at_most else None
    raise AssertionError("the last try returns or raises")


def _is_empty(url: str, error: StorageError) -> bool:
    """No part of an empty object can be asked for: stores answer with status 416, "range not satisfiable"."""
    said = error.message.lower()
    if not error.passing or not ("range" in said or "416" in said):
        return False
    try:
        return locate(url).size == 0
    except StorageError:
        return False


class RemoteStream(io.RawIOBase):
    """The bytes of a remote file. `fetch`ed in blocks that grow while it is read in order."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._opened: _Opened | None = None
        self._facts: Facts | None = None
        self._at = 0
        self._block = b""
        self._block_at = 0
        self._ahead = _FIRST_BLOCK

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._size() is not None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._at
        elif whence == io.SEEK_END:
            size = self._size()
            if size is None:
                raise io.UnsupportedOperation(f"{self._file.name} does not say how long it is")
            offset += size
        self._at = max(0, offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        offset = self._at - self._block_at
        if not 0 <= offset < len(self._block):
            self._load(len(view))
            offset = 0
        taken = min(len(view), len(self._block) - offset)
        view[:taken] = memoryview(self._block)[offset : offset + taken]
        self._at += taken
        return taken

    def close(self) -> None:
        self._let_go()
        self._block = b""
        super().close()

    def _load(self, wanted: int) -> None:
        in_order = self._at == self._block_at + len(self._block)
        self._ahead = min(self._ahead * 2, _LARGEST_BLOCK) if in_order and self._block else _FIRST_BLOCK
        self._block = b""  # not two blocks at a time
        self._block = self._persistently(self._at, max(wanted, self._ahead))
        self._block_at = self._at

    def _persistently(self, start: int, length: int) -> bytes:
        """A part of the file, at least a byte of it but at its end. Raises StorageError."""
        for wait_s in (*WAITS_S, None):
            try:
                with told(self._file.name):
                    return self._part(start, length, fresh=wait_s != WAITS_S[0])
            except StorageError as error:
                self._let_go()
                if wait_s is None or not error.passing:
                    raise
                threading.Event().wait(wait_s)
        raise AssertionError("the last try returns or raises")

    def _part(self, start: int, length: int, *, fresh: bool) -> bytes:
        opened = self._connected(fresh=fresh)
        size = self._facts.size if self._facts is not None else None
        if size is not None:
            length = min(length, size - start)
        if length <= 0:
            return b""
        data = opened.fetch(start, length)
        if not data and size is not None:
            raise ConnectionError(f"the connection was lost after {start:,} of {size:,} bytes")
        return data

    def _connected(self, *, fresh: bool) -> _Opened:
        if self._opened is None:
            self._opened = self._file.connect(fresh=fresh)
            facts = self._opened.facts()
            if self._facts is not None and facts != self._facts:
                raise changed(self._file.name)
            self._facts = facts
        return self._opened

    def _size(self) -> int | None:
        if self._facts is None:
            self._persistently(0, 0)
        return self._facts.size if self._facts is not None else None

    def _let_go(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()


class _StoredFile:
    """A file of an fsspec file system, opened."""

    def __init__(self, system: System, path: str) -> None:
        self._system = system
        self._path = path
        self._stream: Any = None

    def facts(self) -> Facts:
        info = self._system.fs.info(self._path)
        return _facts(info)

    def fetch(self, start: int, length: int) -> bytes:
        if self._stream is None:
            # no cache of fsspec's own: each read is one request for just these bytes
            self._stream = self._system.fs.open(self._path, "rb", cache_type="none")
        if hasattr(self._stream, "readv"):  # paramiko's: asks for all pieces at once, where `read` waits for each
            return b"".join(self._stream.readv([(start, length)]))
        self._stream.seek(start)
        return bytes(self._stream.read(length))

    def close(self) -> None:
        if self._stream is not None:
            with suppress(Exception):  # it may be closed because it failed
                self._stream.close()
        with suppress(Exception):
            self._system.close()


def _open(url: str, root: Path, *, fresh: bool = False) -> System:
    archive = archive_of(url, root)
    if archive is None:
        return open_system(url, fresh=fresh)
    if scheme_of(archive):
        (file, *others) = find(archive, root)
        if others:
            raise StorageError(f"{shown(archive)} names {len(others) + 1} archives", hint="name one")
        return open_archive(url, file.open())
    with told(url):
        return open_archive(url, io.FileIO(archive))


def _of_web(url: str) -> RemoteFile:
    file = RemoteFile(shown(url), None, None, url)
    stream = RemoteStream(file)
    with stream:
        size = stream._size()  # noqa: SLF001  # of this module
        facts = stream._facts  # noqa: SLF001
    return RemoteFile(shown(url), size, facts.mark if facts is not None else None, url)


def _file(system: System, info: Mapping[str, Any], url: str, root: Path) -> RemoteFile:
    path, facts = str(info["name"]), _facts(info)
    return RemoteFile(system.shown(path), facts.size, facts.mark, url, path, root)


def _facts(info: Mapping[str, Any]) -> Facts:
    """What a file system says of a file. Their words for the same thing differ."""
    size = info.get("size")
    mark = next(
        (info[name] for name in ("ETag", "etag", "md5Hash", "CRC", "mtime", "LastModified") if info.get(name)), None
    )
    return Facts(int(size) if size is not None else None, None if mark is None else str(mark))


def _info(system: System, path: str) -> Mapping[str, Any] | None:
    try:
        info: Mapping[str, Any] = system.fs.info(path)
    except (FileNotFoundError, NotADirectoryError, KeyError):
        return None
    return info


def _none(url: str, *, is_folder: bool) -> StorageError:
    if is_folder:
        return StorageError(f"{shown(url)} is a folder", hint="name the files in it: …/*.jsonl", code="not-a-file")
    found = failure(url, FileNotFoundError())
    if glob.has_magic(url):
        found.args, found.message = (f"no file matches {shown(url)}",), f"no file matches {shown(url)}"
    return found
