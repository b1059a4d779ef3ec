"""Where the content of an image or a document comes from: a file id, an address, a store or a path; which paths may be
read.

Owns   the reading of such a text (`origin_of`), and `LocalFiles`, which reads files for rows within the project only,
       and objects of stores by `storage`.
Knows  folders. A path that the author of a job wrote plainly is trusted; one that comes from a row stays inside the
       root or a folder of the setting `data_dirs`: links are resolved first, dotfiles and the state folder are never
       read.
What a job may write in its place is in docs/blocks.md.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from runner.catalog.api import MAX_REQUEST_BYTES
from runner.errors import SetupError
from runner.storage import StorageError, locate, read_small, shown

Origin = Literal["file-id", "url", "store", "path"]

_FILE_ID = re.compile(r"file_[A-Za-z0-9_-]+")
_SCHEME = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://|data:[a-z]+/)")
"""`s3://…` and `data:image/…`; not `C:\\…`, nor a file whose name has a colon."""
_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})


class Unreadable(Exception):
    """Content that cannot be had. `missing`: there is nothing there, which a block with `optional` may do without.
    `passing`: the same might go well another time."""

    def __init__(
        self, message: str, hint: str, *, missing: bool = False, passing: bool = False, code: str = "unreadable-file"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.missing = missing
        self.passing = passing
        self.code = code


class Unseen(Exception):
    """Content that is there for whoever makes a connection, which `check` does not."""


def origin_of(text: str) -> Origin:
    """What a text that names content is. Raises Unreadable for what neither the API nor runner takes."""
    if _FILE_ID.fullmatch(text):
        return "file-id"
    if text.startswith("https://"):
        return "url"
    scheme = _SCHEME.match(text)
    if scheme is None:
        return "path"
    name = (scheme.group(1) or "data").lower()
    if name in _STORES:
        return "store"
    if name == "http":
        raise Unreadable("the API fetches no `http://` address", "give an `https://` address", code="bad-source")
    if name == "data":
        raise Unreadable(
            "a `data:` address is not taken", "give a path, or a column that holds bytes", code="bad-source"
        )
    raise Unreadable(
        f"`{name}:` is no address that the API fetches",
        "give a path, an `https://` address or a file id",
        code="bad-source",
    )


class LocalFiles:
    """Reads the files of one project. Relative paths start at `root`; `data_dirs` may be read too."""

    def __init__(self, root: Path, data_dirs: Sequence[Path] = (), forbidden: Sequence[Path] = ()) -> None:
        self._root = root
        self._inside = tuple(folder.resolve() for folder in (root, *data_dirs))
        self._forbidden = tuple(folder.resolve() for folder in forbidden)

    def trusted(self, name: str) -> bytes:
        """The content of a file that the author of the job named. Raises Unreadable."""
        if origin_of(name) == "store":
            try:
                return of_store(name)
            except SetupError as error:
                raise Unreadable(error.message, str(error.hint), code=error.code) from error
        path = self._path(name)
        if not path.exists():
            raise _missing(name)
        return _read(path, name)

    def of_row(self, name: str) -> bytes:
        """The content of a file that a row names. Raises Unreadable, SetupError for a store whose library is not
        installed: that is no row's fault, and so no row fails for it."""
        if origin_of(name) == "store":
            return of_store(name)
        path = self._path(name)
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            self._require_inside(_as_far_as_it_goes(path), name)  # what lies outside is not told of
            raise _missing(name) from error
        self._require_inside(real, name)
        # The resolved path has no link left; one put there since then is refused.
        return _read(real, name, getattr(os, "O_NOFOLLOW", 0))

    def stamp(self, name: str) -> tuple[int | str | None, ...] | None:
        """What changes when the file that a name means does; None where there is none."""
        try:
            if origin_of(name) == "store":
                file = locate(name)
                return None if file.mark is None else (file.size, file.mark)
            found = self._path(name).stat()
        except (OSError, ValueError, Unreadable, StorageError, SetupError):
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _path(self, name: str) -> Path:
        if "\0" in name:
            raise Unreadable("a path cannot hold a NUL character", "look at the column that it comes from")
        return self._root / name

    def _require_inside(self, real: Path, name: str) -> None:
        inside = [folder for folder in self._inside if real.is_relative_to(folder)]
        if not inside:
            raise Unreadable(
                f"{name!r} lies outside of the project", "name its folder in the setting `data_dirs`", code="outside"
            )
        if any(real.is_relative_to(folder) for folder in self._forbidden):
            raise Unreadable(f"{name!r} lies in the state folder", "keep data elsewhere", code="outside")
        if all(any(part.startswith(".") for part in real.relative_to(folder).parts) for folder in inside):
            raise Unreadable(
                f"{name!r} is hidden, and hidden files are never sent", "rename it without the dot", code="outside"
            )


def _as_far_as_it_goes(path: Path) -> Path:
    """A path to nothing, its links resolved where there are any: those that lead to the project and those that lead
    out of it. One whose links cannot be followed is taken as it is written."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return Path(os.path.normpath(path))


def in_store(text: str) -> bool:
    """Whether a text that names content names an object of a store."""
    scheme = _SCHEME.match(text)
    return scheme is not None and (scheme.group(1) or "").lower() in _STORES


def of_store(url: str) -> bytes:
    """The content of an object. Raises Unreadable, SetupError."""
    try:
        data = read_small(url, MAX_REQUEST_BYTES)
        if data is None:
            raise _too_large(shown(url), locate(url).size or MAX_REQUEST_BYTES + 1)
        return data
    except StorageError as error:
        hint = "look at its name; write `optional: true` to do without it" if error.missing else str(error.hint)
        raise Unreadable(error.message, hint, missing=error.missing, passing=error.passing, code=error.code) from error


def _too_large(name: str, size: int) -> Unreadable:
    found = f"{name!r} has {size:,} bytes, and a request may have {MAX_REQUEST_BYTES:,}"
    return Unreadable(found, "split the file, or give it as an `https://` address", code="file-too-large")


def _missing(name: str) -> Unreadable:
    return Unreadable(
        f"there is no file {name!r}",
        "paths start at the project's root; write `optional: true` to do without it",
        missing=True,
        code="file-not-found",
    )


def _read(path: Path, name: str, flags: int = 0) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | flags)
    except OSError as error:
        raise Unreadable(f"{name!r} cannot be read: {error.strerror}", "look at its permissions") from error
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable(f"{name!r} is not a regular file", "name a file")
        if about.st_size > MAX_REQUEST_BYTES:
            raise _too_large(name, about.st_size)
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)
